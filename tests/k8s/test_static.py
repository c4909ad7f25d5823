"""The manifests as files and as kustomize builds them: valid, whole, closed to the outside, and all of one mind."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml
from rehearsal.grafana import PANEL
from support.paths import K8S, TOP
from support.tools import VERSION, tool

from k8s import manifests
from k8s.manifests import (
    ACCOUNTS,
    ADDONS,
    APPLIED,
    LONG_TERM,
    LONG_TERM_REHEARSAL,
    LONG_TERM_SMALL,
    MANAGED,
    NOTIFY,
    SMALL,
    Object,
    build,
    called,
    containers,
    find,
    ours,
    pod,
)

pytestmark = pytest.mark.xdist_group("manifests")

# The examples are another repository's.
FILES = [path for path in K8S.rglob("kustomization.yaml") if "examples" not in path.parts]
FOLDERS = sorted(str(path.parent.relative_to(K8S)) for path in FILES)
STACKS = (".", "rehearsal", SMALL, ACCOUNTS, LONG_TERM, LONG_TERM_SMALL, LONG_TERM_REHEARSAL)
VERSIONS = ("1.33", "1.34", "1.35", "1.36")
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of")}


def kind(folder: str) -> str:
    return str(yaml.safe_load((K8S / folder / "kustomization.yaml").read_text())["kind"])


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if kind(folder) == "Kustomization"])
def test_every_kustomization_builds(folder: str) -> None:
    assert build(folder)


def test_every_component_is_a_part_of_what_is_applied() -> None:
    used = set()
    for file in manifests.copy().rglob("kustomization.yaml"):
        for component in yaml.safe_load(file.read_text()).get("components", []):
            if "://" not in component:
                used.add(str((file.parent / component).resolve().relative_to(manifests.copy())))
    assert {folder for folder in FOLDERS if kind(folder) == "Component"} == used


def test_each_file_holds_one_object_and_is_called_by_its_kind_first() -> None:
    for file in K8S.rglob("*-*.yaml"):
        documents = [one for one in yaml.safe_load_all(file.read_text()) if one]
        if documents:
            [one] = documents
            assert file.name == f"{one['kind']}-{one['metadata']['name']}.yaml".lower(), file
    others = {
        "kustomization.yaml",
        "modules.yaml",
        "namespaces.yaml",
        "references.yaml",
        "scrapeconfig.yaml",
        "values.yaml",
    }
    named = {file.name for file in K8S.rglob("*.yaml")} - others
    assert all("-" in name for name in named), named


def test_kube_prometheus_is_a_pinned_remote_base_and_no_copy() -> None:
    text = "\n".join(path.read_text() for path in FILES)
    bases = set(re.findall(r"^ *- (https?://\S+)", text, re.MULTILINE))
    assert bases == {f"{manifests.KUBE_PROMETHEUS}?ref=v0.18.0&timeout=120s&submodules=false"}


def test_what_an_overlay_merges_into_the_settings_reaches_their_places() -> None:
    settings = {
        "name": "banner-settings",
        "namespace": "monitoring",
        "behavior": "merge",
        "literals": ["account=alice", "publish=always", "schedule=*/5 * * * *", "timezone=Europe/Amsterdam"],
    }
    manifests.overlay(
        "overlaid",
        manifests.copy(),
        resources=["../ours"],
        configMapGenerator=[settings],
        components=["../components/replacements"],
        images=[{"name": "localhost/banner", "newName": "registry.test/banner", "newTag": "2.0.0"}],
    )
    objects = build("overlaid")
    job = find(objects, "CronJob", "banner")
    assert (job["spec"]["schedule"], job["spec"]["timeZone"]) == ("*/5 * * * *", "Europe/Amsterdam")
    assert [container["image"] for _, container in containers((job,))] == ["registry.test/banner:2.0.0"]
    assert find(objects, "Probe", "x-user")["spec"]["targets"]["staticConfig"]["static"] == ["alice"]
    merged = find(objects, "ConfigMap", "banner-settings")["data"]
    assert (merged["account"], merged["panel"]) == ("alice", "4")


def test_one_line_of_the_stack_takes_the_published_image(tmp_path: Path) -> None:
    folder = shutil.copytree(manifests.copy(), tmp_path / "k8s")
    file = folder / "kustomization.yaml"
    file.write_text(re.sub("^# (?=images: )", "", file.read_text(), flags=re.MULTILINE))
    images = [container["image"] for _, container in containers((find(build(str(folder)), "CronJob", "banner"),))]
    assert images == [f"ghcr.io/OWNER/banner:{VERSION}"]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git fetches of this version of github.com/OWNER/banner is what is here."""
    repository = tmp_path / "OWNER/banner.git"
    shutil.copytree(K8S, repository / "k8s", ignore=shutil.ignore_patterns(".env"))
    git = [tool("git", "apt-get install git"), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init"], ["add", "--all"], ["commit", "--message=new"], ["tag", f"v{VERSION}"]):
        subprocess.run([*git, *arguments], cwd=repository, check=True, capture_output=True)
    number = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(number + 1))
    monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", f"url.file://{tmp_path}/OWNER/.insteadOf")
    monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", "https://github.com/OWNER/")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("example", "deploys", "keys", "namespace"),
    [
        ("argo-cd", "Application", "ExternalSecret", "monitoring"),
        ("flux", "Kustomization", "SealedSecret", "observability"),
    ],
)
def test_an_example_of_another_repository_builds_with_its_own_settings(
    example: str, deploys: str, keys: str, namespace: str
) -> None:
    objects = build(f"examples/{example}/banner")
    probe = find(objects, "Probe", "x-user")
    assert probe["spec"]["targets"]["staticConfig"]["static"] == ["alice"]
    job = find(objects, "CronJob", "banner")
    assert [container["image"] for _, container in containers((job,))] == [f"ghcr.io/OWNER/banner:{VERSION}"]
    assert (job["spec"]["schedule"], job["metadata"]["namespace"]) == ("* * * * *", namespace)
    assert find(objects, keys, "banner-keys")["metadata"]["namespace"] == namespace
    assert not [one for one in objects if one["kind"] == "Secret" and one["metadata"]["name"] == "banner-keys"]
    text = (K8S / f"examples/{example}/{deploys.lower()}-banner.yaml").read_text()
    assert yaml.safe_load(text)["kind"] == deploys
    if example == "flux":
        sealed = find(objects, keys, "banner-keys")["spec"]["encryptedData"].keys()
        asked = {what[2] for what in named((pod(job) or {})["spec"]) if what[0] == "Secret"}
        assert asked | {"bearer_token", "grafana_token"} <= sealed
        assert probe["metadata"]["labels"]["release"] == "kube-prometheus-stack"
        assert {one["metadata"]["namespace"] for one in objects} == {namespace}


@pytest.mark.usefixtures("published")
def test_what_the_readme_applies_from_afar_is_what_is_here() -> None:
    [address] = re.findall(r"-k '(https://github.com/OWNER/banner//k8s/(?:[^']+))'", (K8S / "README.md").read_text())
    folder = urlsplit(address).path.partition("//k8s/")[2]
    here = build(folder)  # first, as it skips the test where there is no kubectl
    afar = subprocess.run(["kubectl", "kustomize", address], capture_output=True, text=True)
    assert afar.returncode == 0, afar.stderr
    assert tuple(one for one in yaml.load_all(afar.stdout, manifests.Loader) if one) == here


def test_a_managed_cluster_is_not_asked_for_what_it_hides() -> None:
    gone = {called(one) for one in build(".")} - {called(one) for one in build(MANAGED)}
    assert {one for one in gone if not one.startswith(("Secret", "ConfigMap"))} == {
        "ServiceMonitor kube-controller-manager",
        "ServiceMonitor kube-scheduler",
    }
    alerts = [
        {rule["alert"] for group in one["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
        for one in (find(build(folder), "PrometheusRule", "kubernetes-monitoring-rules") for folder in (".", MANAGED))
    ]
    misfiring = {"Down", "InstanceUnreachable"}
    assert alerts[0] - alerts[1] == {
        f"Kube{of}{what}" for of in ("Scheduler", "ControllerManager") for what in misfiring
    }
    dropped = find(build(MANAGED), "ServiceMonitor", "kubelet")["spec"]["endpoints"][0]["metricRelabelings"][-1]
    assert re.fullmatch(dropped["regex"], "apiserver_request_duration_seconds_bucket")
    assert not re.fullmatch(dropped["regex"], "kubelet_running_pods")


@pytest.mark.parametrize("folder", ADDONS)
def test_an_addon_is_all_of_ours_and_nothing_of_the_base(folder: str) -> None:
    addon = {called(one) for one in build(folder)}
    assert addon == {called(one) for one in ours(build(folder))}
    of_the_stack = {called(one) for one in ours(build("."))}
    brought = {"Secret additional-configs"}  # more of kube-prometheus' Prometheus
    if folder.endswith("stack"):
        brought |= {called(one) for one in build("image-renderer")}  # the chart has its own
    assert of_the_stack - addon == brought
    assert addon <= of_the_stack


@pytest.mark.parametrize("folder", ADDONS)
def test_an_overlay_moves_an_addon_to_the_namespace_of_another_prometheus(folder: str) -> None:
    name = f"moved-{folder.removeprefix('addon/')}"
    manifests.overlay(name, manifests.copy(), resources=[f"../{folder}"], namespace="observability")
    objects = build(name)
    assert {one["metadata"]["namespace"] for one in objects} == {"observability"}
    assert "monitoring" not in json.dumps([one["spec"] for one in objects if one["kind"] == "PrometheusRule"])


def test_the_chart_s_renderer_is_ours() -> None:
    values = yaml.safe_load((K8S / "addon/kube-prometheus-stack/values.yaml").read_text())["grafana"]["imageRenderer"]
    spec = (pod(find(build("."), "Deployment", "image-renderer")) or {})["spec"]
    [container] = spec["containers"]
    assert f"docker.io/grafana/grafana-image-renderer:{values['image']['tag']}" == container["image"]
    assert values["env"] == {one["name"]: one["value"] for one in container["env"] if "value" in one}
    assert (values["resources"], values["securityContext"]) == (container["resources"], spec["securityContext"])


# ------------------------------------------------------------------------------------------------ validity


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_strictly_valid(version: str) -> None:
    core = [one for one in everything() if not one["apiVersion"].startswith("monitoring.coreos.com/")]
    assert {"CronJob", "Deployment", "NetworkPolicy", "CustomResourceDefinition"} <= {one["kind"] for one in core}
    for one in core:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as wrong:
            pytest.fail(f"{called(one)}: {wrong}")


def everything() -> list[Object]:
    """Each object that is ever applied, once."""
    built = {json.dumps(one, sort_keys=True): one for folder in (*APPLIED, SMALL) for one in build(folder)}
    return list(built.values())


@pytest.mark.parametrize("folder", [*STACKS, NOTIFY])
def test_every_custom_object_is_strictly_valid_against_its_definition(folder: str) -> None:
    schemas = {
        (definition["spec"]["group"] + "/" + version["name"], definition["spec"]["names"]["kind"]): strict(
            version["schema"]["openAPIV3Schema"]
        )
        for definition in build("setup")
        if definition["kind"] == "CustomResourceDefinition"
        for version in definition["spec"]["versions"]
    }
    custom = [one for one in build(folder) if one["apiVersion"].startswith("monitoring.coreos.com/")]
    assert {"Alertmanager", "Probe", "Prometheus", "PrometheusRule"} <= {one["kind"] for one in custom}
    for one in custom:
        schema = schemas[one["apiVersion"], one["kind"]]
        wrong = [f"{error.json_path}: {error.message}" for error in jsonschema.Draft4Validator(schema).iter_errors(one)]
        assert wrong == [], called(one)


def strict(schema: Any) -> Any:
    """A definition's schema as JSON schema that takes no field it does not know."""
    if not isinstance(schema, dict):
        return [strict(one) for one in schema] if isinstance(schema, list) else schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: value if key in ("enum", "default", "required") else strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        if "additionalProperties" not in schema and "x-kubernetes-preserve-unknown-fields" not in schema:
            made["additionalProperties"] = False
        if "apiVersion" in schema["properties"]:
            made["properties"]["metadata"] = {"type": "object"}  # which the API server knows by itself
    return made


def test_an_object_with_an_unknown_field_is_told() -> None:
    probe = find(build("rehearsal"), "Probe", "x-user")
    definition = find(build("setup"), "CustomResourceDefinition", "probes.monitoring.coreos.com")
    schema = strict(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    wrong = probe | {"spec": probe["spec"] | {"intervall": "30s"}}
    with pytest.raises(jsonschema.ValidationError, match="intervall"):
        jsonschema.validate(wrong, schema, jsonschema.Draft4Validator)
    cronjob = find(build("rehearsal"), "CronJob", "banner")
    with pytest.raises(kubernetes_validate.ValidationError, match="shedule"):
        kubernetes_validate.validate(cronjob | {"spec": cronjob["spec"] | {"shedule": "x"}}, "1.34", strict=True)


@pytest.mark.parametrize("folder", STACKS)
def test_kube_score_finds_nothing_critical_in_what_is_ours(folder: str, tmp_path: Path) -> None:
    kube_score = tool("kube-score", "go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0")
    file = tmp_path / "objects.yaml"
    objects = build(folder)
    theirs = find(objects, "Deployment", "grafana")  # there because a policy of ours selects its pod
    file.write_text(yaml.safe_dump_all([*ours(objects), theirs]))
    done = subprocess.run([kube_score, "score", "--output-format", "ci", file], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert any(line.startswith("[OK]") for line in lines), done.stderr
    critical = [line for line in lines if line.startswith("[CRITICAL]")]
    assert [line for line in critical if " grafana/monitoring apps/v1/Deployment" not in line] == []


# ------------------------------------------------------------------------------------------------ wholeness


@pytest.mark.parametrize("folder", [*STACKS, "banner", *ADDONS])
def test_every_object_of_ours_carries_the_labels_and_so_do_its_pods(folder: str) -> None:
    objects = build(folder)
    for one in objects:
        labels = one["metadata"].get("labels", {})
        if one["kind"] not in ("CustomResourceDefinition", "Namespace"):
            assert labels.keys() >= LABELS, called(one)
        if template := pod(one):
            assert template["metadata"]["labels"].keys() >= LABELS, called(one)
    assert len(ours(objects)) >= 5


@pytest.mark.parametrize("folder", STACKS)
def test_all_that_a_workload_names_is_there(folder: str) -> None:
    objects = build(folder)
    for one in ours(objects):
        if template := pod(one):
            for what in [*named(template["spec"]), *services(environment(one, objects))]:
                assert provided(objects, *what), f"{called(one)} names {what}"
    for one in objects:
        if one["kind"] == "Service":
            assert selected(objects, one), f"no pod has the labels and ports of {called(one)}"


REFERENCES = {"configMapRef": "ConfigMap", "secretRef": "Secret"}


def named(spec: Object) -> Iterator[tuple[str, str, str]]:
    """What a pod's spec names: kind, name, and key or port ("" for none)."""
    yield "ServiceAccount", spec["serviceAccountName"], ""
    for volume in spec.get("volumes", []):
        for kind, source, field in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
            if source in volume:
                for item in volume[source].get("items", [{"key": ""}]):
                    yield kind, volume[source][field], item["key"]
    for container in spec["containers"]:
        for source in container.get("envFrom", []):
            yield from ((REFERENCES[kind], of["name"], "") for kind, of in source.items())
        for variable in container.get("env", []):
            secret = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if secret and variable["name"] != "grafana_token":  # which only a Grafana with a sign-in wants
                yield "Secret", secret["name"], secret["key"]


def services(variables: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """The Services that environment variables name, with their port."""
    for name, value in variables.items():
        url = urlsplit(value)
        if url.scheme in ("http", "https") and url.hostname not in (None, "127.0.0.1"):
            yield "Service", url.hostname.split(".")[0], str(url.port)
        if name == "x_host":
            yield "Service", value.split(".")[0], "443"


def provided(objects: tuple[Object, ...], kind: str, name: str, key: str) -> bool:
    for one in objects:
        if (one["kind"], one["metadata"]["name"]) == (kind, name):
            if kind == "Service":
                return key in {str(port["port"]) for port in one["spec"]["ports"]}
            # The stand-in X writes its ConfigMap itself.
            return not key or (kind, name) == ("ConfigMap", "x-ca") or bool(one["data"].get(key))
    return False


def selected(objects: tuple[Object, ...], service: Object) -> bool:
    """Whether a workload has the Service's labels and ports; Prometheus and Alertmanager are the operator's to make."""
    for one in objects:
        if one["kind"] in ("Prometheus", "Alertmanager"):
            labels = one["spec"]["podMetadata"]["labels"]
            if service["spec"]["selector"].items() <= labels.items():
                return True
        if (template := pod(one)) and service["spec"]["selector"].items() <= template["metadata"]["labels"].items():
            listed = [port for container in template["spec"]["containers"] for port in container.get("ports", [])]
            ports = {port["name"] for port in listed} | {port["containerPort"] for port in listed}
            return {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    return False


@pytest.mark.parametrize("folder", STACKS)
def test_the_operator_s_objects_lead_to_services_that_are_there(folder: str) -> None:
    objects = build(folder)
    prober = find(objects, "Probe", "x-user")["spec"]["prober"]["url"]
    assert provided(objects, "Service", *prober.split(":"))
    prometheus = find(objects, "Prometheus", "k8s")["spec"]
    assert provided(
        objects,
        "Secret",
        prometheus["additionalScrapeConfigs"]["name"],
        prometheus["additionalScrapeConfigs"]["key"],
    )


# ------------------------------------------------------------------------------------------------ safety


@pytest.mark.parametrize("folder", [*STACKS, "banner", *ADDONS])
def test_nothing_is_reachable_from_outside(folder: str) -> None:
    for one in build(folder):
        assert one["kind"] not in ("Ingress", "Gateway", "HTTPRoute"), called(one)
        if one["kind"] == "Service":
            assert one["spec"].get("type", "ClusterIP") == "ClusterIP", called(one)
    for one, container in containers(tuple(ours(build(folder)))):
        assert not any("hostPort" in port for port in container.get("ports", [])), called(one)


@pytest.mark.parametrize("folder", [*STACKS, "banner", *ADDONS])
def test_every_image_has_a_version(folder: str) -> None:
    images = [container["image"] for _, container in containers(build(folder))]
    images += [one["spec"]["image"] for one in build(folder) if one["kind"] in ("Prometheus", "Alertmanager")]
    assert images
    for image in images:
        assert re.search(r":v?\d+(\.\d+){1,2}$", image), image


def test_no_secret_is_in_git() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "k8s"], cwd=TOP, capture_output=True)
    files = listed.stdout.decode().split()
    assert "k8s/components/secrets/.env.example" in files
    assert not [name for name in files if Path(name).name == ".env"]
    for name in files:
        if name.endswith(".env.example"):
            lines = [line for line in (TOP / name).read_text().splitlines() if line and line[0] != "#"]
            assert all(line.endswith("=") for line in lines), name


@pytest.mark.parametrize("folder", [".", "banner", ACCOUNTS, *ADDONS])
def test_what_is_in_the_env_file_is_in_secrets_alone(folder: str) -> None:
    for one in build(folder):
        if one["kind"] != "Secret":
            assert not re.search(r"test-(consumer|access|bearer|renderer)", json.dumps(one)), called(one)


def test_without_an_env_file_the_build_says_which_file_is_missing(tmp_path: Path) -> None:
    kubectl = tool("kubectl", "https://kubernetes.io/docs/tasks/tools")
    subprocess.run(["cp", "-r", manifests.copy(), tmp_path / "k8s"], check=True)
    (tmp_path / "k8s/components/secrets/.env").unlink()
    done = subprocess.run([kubectl, "kustomize", tmp_path / "k8s/banner"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "k8s/components/secrets/.env" in done.stderr
    assert "no such file" in done.stderr


@pytest.mark.parametrize("folder", STACKS)
def test_a_network_policy_covers_every_pod_of_ours(folder: str) -> None:
    objects = ours(build(folder))
    policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
    for one in objects:
        if template := pod(one):
            labels = template["metadata"]["labels"].items()
            covering = [policy for policy in policies if policy["podSelector"]["matchLabels"].items() <= labels]
            assert covering, called(one)
            assert {"Ingress"} <= {kind for policy in covering for kind in policy["policyTypes"]}, called(one)


# ------------------------------------------------------------------------------------------------ the job


def test_the_job_keeps_to_its_minute_and_leaves_its_message() -> None:
    cronjob = find(build("."), "CronJob", "banner")
    spec = cronjob["spec"]
    job = spec["jobTemplate"]["spec"]
    template = job["template"]["spec"]
    [container] = template["containers"]
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("* * * * *", "Forbid")
    assert spec["startingDeadlineSeconds"] >= 10
    assert (job["backoffLimit"], template["restartPolicy"]) == (0, "Never")
    own = int(environment(cronjob, build("."))["deadline_seconds"])
    ends = template["terminationGracePeriodSeconds"]
    assert own + 5 <= template["activeDeadlineSeconds"], (
        "a container starts within 5 s, and the run's own line is the message"
    )
    assert template["activeDeadlineSeconds"] + ends + 8 <= job["activeDeadlineSeconds"], "the pod goes with the Job's"
    assert job["activeDeadlineSeconds"] + ends + 3 <= 60, "the controller needs a moment to see that all is over"
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert spec["failedJobsHistoryLimit"] >= 1
    # the stock KubeJobFailed waits 15 minutes, and kube-state-metrics is asked each 30 s
    assert 600 <= job["ttlSecondsAfterFinished"] <= 15 * 60 - 60


@pytest.mark.parametrize("folder", STACKS)
def test_only_the_stand_in_x_has_a_token_of_the_api_server(folder: str) -> None:
    with_token = [
        one for one in ours(build(folder)) if (t := pod(one)) and t["spec"].get("automountServiceAccountToken")
    ]
    assert [called(one) for one in with_token] == (["Deployment x"] if "rehearsal" in folder else [])


def test_the_rehearsal_differs_from_the_stack_in_nothing_but_where_x_is() -> None:
    stack = {called(one) + one["metadata"].get("namespace", ""): one for one in build(".")}
    rehearsal = {called(one) + one["metadata"].get("namespace", ""): one for one in build("rehearsal")}
    added = {name: rehearsal[name] for name in rehearsal.keys() - stack.keys()}
    assert stack.keys() <= rehearsal.keys()
    assert all(one["metadata"]["labels"]["app.kubernetes.io/name"] == "x" for one in added.values())
    changed = {name.removesuffix("monitoring") for name in stack if stack[name] != rehearsal[name]}
    assert changed == {
        "CronJob banner",  # where the API is, and its certificate
        "Deployment json-exporter",  # its certificate
        "NetworkPolicy banner",  # the way there
        "NetworkPolicy json-exporter",
        "Probe x-user",  # where the API is
        "Secret banner-keys",  # no keys of more accounts
    }


# ------------------------------------------------------------------------------------------------ one truth


def environment(one: Object, objects: tuple[Object, ...]) -> dict[str, str]:
    """A workload's variables with a value, as the kubelet makes them: settings first, and $(...) replaced."""
    container = (pod(one) or {})["spec"]["containers"][0]
    made: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            made |= find(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", []):
        if "value" in variable:
            made[variable["name"]] = manifests.expanded(variable["value"], made)
    return made


@pytest.mark.parametrize("folder", STACKS)
def test_dashboard_job_exporter_and_alerts_speak_of_the_same_series(folder: str) -> None:
    objects = build(folder)
    dashboard = json.loads(
        find(objects, "ConfigMap", "grafana-dashboard-twitter-followers")["data"]["twitter-followers.json"]
    )
    panels = {str(panel["id"]): panel for panel in dashboard["panels"]}
    modules = yaml.safe_load(
        next(
            one for one in objects if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("json-exporter")
        )["data"]["modules.yaml"]
    )["modules"]
    probe = find(objects, "Probe", "x-user")["spec"]
    read = {f"{metric['name']}_{value}" for metric in modules[probe["module"]]["metrics"] for value in metric["values"]}
    metric = "x_user_followers_count"
    assert read == {metric, "x_user_banner_info"}
    groups = [group for one in ours(objects) if one["kind"] == "PrometheusRule" for group in one["spec"]["groups"]]
    rules = json.dumps(groups)
    jobs = [one for one in ours(objects) if one["kind"] == "CronJob"]
    accounts = set()
    assert len(jobs) == (3 if folder == ACCOUNTS else 1)
    for job in jobs:
        settings = environment(job, objects)
        accounts.add(settings["account"])
        image = urlsplit(settings["image_url"])
        asked = {name: values[0] for name, values in parse_qs(image.query).items()}
        condition = urlsplit(settings["publish_if_url"])
        [query] = parse_qs(condition.query)["query"]

        uid, slug = image.path.removeprefix("/render/d-solo/").split("/")
        assert (uid, slug) == (dashboard["uid"], dashboard["title"].lower().replace(" ", "-"))
        scaled = [int(asked[side]) * float(asked["scale"]) for side in ("width", "height")]
        assert scaled == [1500, 500]
        panel = panels[asked["panelId"]]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert f"/api/datasources/proxy/uid/{asked['var-datasource']}/api/v1/query" == condition.path
        [target] = panel["targets"]
        assert target["datasource"] == panel["datasource"]
        series = f'{metric}{{username="{settings["account"]}"}}'
        assert target["expr"].replace("$account", asked["var-account"]) == PANEL.replace("SERIES", series)
        assert query == f'banner:publish{{publish="{settings["publish"]}",username="{settings["account"]}"}}'
        assert settings["publish"] in {rule["labels"]["publish"] for rule in recorded(groups, "banner:publish")}
        assert (image.scheme, image.netloc) == (condition.scheme, condition.netloc)
    assert {"2", "4"} <= panels.keys()
    assert set(",".join(probe["targets"]["staticConfig"]["static"]).split(",")) == accounts
    expected = [rule["labels"] for rule in recorded(groups, "banner:account")]
    assert {labels["username"] for labels in expected} == accounts
    assert {labels["cronjob"] for labels in expected} == {job["metadata"]["name"] for job in jobs}
    assert all(metric in rules for metric in read)
    assert f'job=\\"{probe["jobName"]}\\"' in rules or f"job={probe['jobName']}" in rules
    assert 'deployment=~\\".*image-renderer\\"' in rules
    assert find(objects, "Deployment", "image-renderer")


def recorded(groups: list[Any], name: str) -> list[Any]:
    """The rules that record this series."""
    return [rule for group in groups for rule in group["rules"] if rule.get("record") == name]


def panels() -> dict[int, Any]:
    """The panels that become the banner, by their ids."""
    dashboard = json.loads((K8S / "dashboards/twitter-followers.json").read_text())
    return {panel["id"]: panel for panel in dashboard["panels"]}


def test_both_panels_draw_in_the_job_s_data_color_only_where_they_have_data() -> None:
    colour = environment(find(build("."), "CronJob", "banner"), build("."))["data_color"]
    line, number = (panels()[panel]["fieldConfig"]["defaults"] for panel in (2, 4))
    assert line["color"] == {"mode": "fixed", "fixedColor": colour}
    assert number["color"] == {"mode": "thresholds"}, 'a stat panel writes "No data" in a fixed colour'
    base, data = number["thresholds"]["steps"]
    assert base["value"] is None
    assert base["color"].lower() != colour.lower(), '"No data" is written in the first'
    assert data == {"value": 0, "color": colour}
    assert panels()[4]["options"]["colorMode"] == "value", "a background is not of the very colour"


def test_both_panels_can_be_read_on_a_phone_from_the_first_sample_on() -> None:
    custom = panels()[2]["fieldConfig"]["defaults"]["custom"]
    assert (custom["lineWidth"], custom["showPoints"]) == (5, "auto")
    assert "text" not in panels()[4]["options"], "Grafana makes its text as large as fits"
    for panel in panels().values():
        assert not panel.get("description"), "it draws an i into the corner"
    objects = build(".")
    image = urlsplit(environment(find(objects, "CronJob", "banner"), objects)["image_url"])
    asked = {name: values[0] for name, values in parse_qs(image.query).items()}
    renderer = environment(find(objects, "Deployment", "image-renderer"), objects)
    assert (renderer["BROWSER_MIN_WIDTH"], renderer["BROWSER_MIN_HEIGHT"]) == (asked["width"], asked["height"])


def test_news_lasts_two_minutes_and_an_answer_of_x() -> None:
    [rule] = [rule for rule in publish_rules() if rule["labels"]["publish"] == "news"]
    interval = int(find(build("."), "Probe", "x-user")["spec"]["interval"].removesuffix("s"))
    windows = {"changes": 2 * 60 + interval, "present_over_time": 30 + interval}
    for function, seconds in windows.items():
        found = re.search(rf"{function}\(x_user_followers_count\[(\d+)s\]", rule["expr"])
        assert found
        assert int(found[1]) == seconds


def publish_rules() -> Any:
    rule = yaml.safe_load((K8S / "alerts/prometheusrule-banner-publish.yaml").read_text())
    return rule["spec"]["groups"][0]["rules"]


COSTS = [("news", "0", 48), ("news", "5", 48 + 2 * 5), ("news", "50", 48 + 2 * 50), ("always", "any", 1440)]


@pytest.mark.parametrize("file", ["README.md", "alerts/prometheusrule-banner-publish.yaml"])
def test_the_calls_and_dollars_of_a_day_are_right(file: str) -> None:
    """A change makes two calls, and so does each hour: tests/k8s/publish_test.yaml."""
    text = re.sub(r"[ |`]+", " ", (K8S / file).read_text())
    for publish, changes, calls in COSTS:
        dollars = f"{calls * 0.005:.2f} to {calls * 0.015:.2f}"
        assert f" {publish} {changes} {calls} {dollars}" in text


def test_the_dashboards_ask_the_data_source_that_is_chosen_and_carry_no_id_twice() -> None:
    for file in sorted((K8S / "dashboards").glob("*.json")):
        dashboard = json.loads(file.read_text())
        assert dashboard["templating"]["list"][0]["name"] == "datasource"
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len({*ids})
        for panel in dashboard["panels"]:
            assert {one["datasource"]["uid"] for one in (panel, *panel["targets"])} == {"${datasource}"}


def test_every_dashboard_is_mounted() -> None:
    grafana = (pod(find(build("."), "Deployment", "grafana")) or {})["spec"]
    mounted = {mount["mountPath"].rpartition("/")[2] for mount in grafana["containers"][0]["volumeMounts"]}
    assert {file.stem for file in (K8S / "dashboards").glob("*.json")} <= mounted


def test_the_data_source_is_the_one_that_kube_prometheus_provisions() -> None:
    config = find(build("."), "Secret", "grafana-datasources")["stringData"]["datasources.yaml"]
    [source] = json.loads(config)["datasources"]
    # Grafana derives the uid of a provisioned source without one from its name.
    assert (source["name"], source.get("uid")) == ("prometheus", None)


def sources(folder: str) -> Any:
    """The data sources that Grafana is given there; it starts anew with them, as its pod carries their checksum."""
    objects = build(folder)
    text = find(objects, "Secret", "grafana-datasources")["stringData"]["datasources.yaml"]
    carried = (pod(find(objects, "Deployment", "grafana")) or {})["metadata"]["annotations"][
        "checksum/grafana-datasources"
    ]
    assert folder == "." or carried == hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return json.loads(text)["datasources"]


def test_with_a_longer_past_grafana_asks_another_and_nothing_else_of_its_data_source_changes() -> None:
    [source] = sources(".")
    assert sources(LONG_TERM) == [source | {"url": "http://thanos-query.monitoring.svc:9090"}]
    first, followers = sources(LONG_TERM_SMALL)
    assert first == source
    settings = find(build(LONG_TERM_SMALL), "ConfigMap", "banner-settings")["data"]
    assert (followers["uid"], followers["access"]) == (settings["datasource"], "proxy")


def test_other_keys_of_the_object_storage_start_anew_all_that_read_them() -> None:
    objects = build(LONG_TERM)
    names = {one["metadata"]["name"] for one in ours(objects) if one["kind"] == "Secret"}
    [secret] = [name for name in names if name.startswith("thanos-objstore-")]
    assert find(objects, "Prometheus", "k8s")["spec"]["thanos"]["objectStorageConfig"]["name"] == secret
    for kind, name in (("Deployment", "thanos-store"), ("StatefulSet", "thanos-compact")):
        assert ("Secret", secret, "") in [*named((pod(find(objects, kind, name)) or {})["spec"])]


@pytest.mark.parametrize("folder", [LONG_TERM, LONG_TERM_SMALL])
def test_what_of_a_longer_past_is_added_goes_by_one_label(folder: str) -> None:
    stack = {called(one) for one in build(".")}
    added = [one for one in build(folder) if called(one) not in stack]
    name = folder.removeprefix("with-")
    assert {one["metadata"]["labels"].get("app.kubernetes.io/instance") for one in added} == {name}
    [away] = [line for line in (K8S / "README.md").read_text().splitlines() if line.endswith(f"/instance={name}")]
    kinds = {one["kind"].lower().replace("policy", "policie") + "s" for one in added}
    assert kinds <= {*away.split()[4].split(",")}


def test_the_example_of_another_json_source_is_commented_out_and_would_be_valid() -> None:
    text = (K8S / "json-exporter/probe-example.yaml").read_text()
    assert all(line.startswith("#") for line in text.splitlines() if line)
    probe = yaml.safe_load("\n".join(line.removeprefix("# ") for line in text.splitlines()[1:]))
    modules, example = (K8S / "json-exporter/modules.yaml").read_text().split("\n# Another")
    lines = [line.removeprefix("# ") for line in example.splitlines()[1:]]
    assert probe["spec"]["module"] in yaml.safe_load("\n".join(line[2:] for line in lines))
    assert yaml.safe_load(modules).keys() == {"modules"}
    definition = find(build("setup"), "CustomResourceDefinition", "probes.monitoring.coreos.com")
    jsonschema.validate(
        probe, strict(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]), jsonschema.Draft4Validator
    )


# ------------------------------------------------------------------------------------------------ accounts


def generated(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Writes these accounts, generates in that copy of k8s/, and returns what was said."""
    accounts = folder / "components/accounts"
    (accounts / "accounts").write_text("\n".join(lines))
    return subprocess.run([sys.executable, accounts / "generate.py"], capture_output=True, text=True)


def test_what_is_generated_is_of_the_accounts_that_are_there(tmp_path: Path) -> None:
    folder = shutil.copytree(K8S, tmp_path / "k8s")
    lines = (K8S / "components/accounts/accounts").read_text().splitlines()
    assert generated(folder, *lines).returncode == 0
    for file in (K8S / "components/accounts").rglob("kustomization.yaml"):
        assert (folder / file.relative_to(K8S)).read_text() == file.read_text()


def test_each_line_is_an_account_with_a_job_a_turn_and_keys_of_its_own(tmp_path: Path) -> None:
    folder = shutil.copytree(manifests.copy(), tmp_path / "k8s")
    names = [f"n{number}" for number in range(120)]
    assert generated(folder, "# so many", "", "_A_", "b panel=2 publish=always", *names).returncode == 0
    components = ["../components/accounts", "../components/replacements"]
    manifests.overlay("all", folder, resources=["../ours", "../image-renderer"], components=components)
    objects = build(str(folder / "all"))

    jobs = [one for one in objects if one["kind"] == "CronJob"]
    waits = []
    for job in jobs:
        [container] = (pod(job) or {})["spec"]["containers"]
        variables = environment(job, objects)
        account = variables["account"]
        keys = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one}
        first = job["metadata"]["name"] == "banner"
        assert keys["access_token"]["key"] == ("access_token" if first else f"access_token_{account}")
        assert keys["access_token_secret"]["name"] == "banner-keys"
        assert variables["image_url"].count(f"&var-account={account}&") == 1
        assert job["spec"]["schedule"] == "* * * * *"
        wait = float(variables.get("wait", 0))
        waits.append(wait)
        limits = job["spec"]["jobTemplate"]["spec"]
        pods = limits["template"]["spec"]["activeDeadlineSeconds"]
        assert wait + float(variables["deadline_seconds"]) + 2 <= pods
        assert pods + 2 <= limits["activeDeadlineSeconds"] <= 60 - 2
        assert first or float(variables["deadline_seconds"]) >= 12
    assert len(jobs) == 123
    assert len({round(wait, 1) for wait in waits}) == 123
    assert max(waits) < 36
    b = environment(find(objects, "CronJob", "banner-b"), objects)
    assert (b["panel"], b["publish"], b["account"]) == ("2", "always", "b")
    assert environment(find(objects, "CronJob", "banner-x-a-x"), objects)["account"] == "_A_"

    reads = [read.split(",") for read in find(objects, "Probe", "x-user")["spec"]["targets"]["staticConfig"]["static"]]
    assert [len(read) for read in reads] == [100, 23]
    assert (reads[0][:3], reads[1][-1]) == (["YOUR_ACCOUNT_NAME", "_A_", "b"], "n119")
    rules = [rule for group in find(objects, "PrometheusRule", "banner")["spec"]["groups"] for rule in group["rules"]]
    expected = [rule["labels"] for rule in rules if rule.get("record") == "banner:account"]
    assert {(one["username"], one["cronjob"]) for one in expected} == {
        (environment(job, objects)["account"], job["metadata"]["name"]) for job in jobs
    }
    assert find(objects, "Deployment", "image-renderer")["spec"]["replicas"] == 16


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("@alice", "no name on X"),
        ("alice schedule=*/5", "no name on X with panel="),
        ("alice timezone=Etc/GMT+5", "no name on X with panel="),
        ("BOB", "an earlier line's job is banner-bob"),
    ],
)
def test_a_line_that_is_no_account_is_told(tmp_path: Path, line: str, said: str) -> None:
    done = generated(shutil.copytree(K8S, tmp_path / "k8s"), "bob", line)
    assert done.returncode == 1
    assert said in done.stderr
    assert line in done.stderr


# ------------------------------------------------------------------------------------------------ small


def quantity(text: str | int) -> float:
    """A Kubernetes quantity as a number: cores, or bytes."""
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
    found = re.fullmatch(r"([\d.]+)(\D*)", str(text))
    assert found, text
    return float(found[1]) * units.get(found[2], 1)


def requests(objects: tuple[Object, ...]) -> tuple[float, float]:
    """What the pods on one node ask for: cores, and GiB."""
    asked = []
    for one in objects:
        if template := pod(one):
            replicas = one["spec"].get("replicas", 1)
            asked += [(replicas, container.get("resources", {})) for container in template["spec"]["containers"]]
        elif one["kind"] in ("Prometheus", "Alertmanager"):
            # Beside each runs the operator's config reloader, which asks for 10m and 50Mi.
            reloader = {"requests": {"cpu": "10m", "memory": "50Mi"}}
            sidecar = one["spec"].get("thanos", {}).get("resources", {})
            asked += [(one["spec"]["replicas"], of) for of in (one["spec"]["resources"], reloader, sidecar)]
    cpu = sum(replicas * quantity(of.get("requests", {}).get("cpu", 0)) for replicas, of in asked)
    memory = sum(replicas * quantity(of.get("requests", {}).get("memory", 0)) for replicas, of in asked)
    return round(cpu, 3), round(memory / 2**30, 2)


def test_small_asks_for_less_and_fits_a_node_of_4_gb(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = requests(build(".")), requests(build(SMALL))
    with capsys.disabled():
        print(f"\nrequests on one node, cores and GiB: the stack {before}, with small {after}")
    assert after[0] < before[0]
    assert after[1] < before[1]
    assert after[0] < 1
    # Of 4 GB, k3s and the system keep 1 to 1.5; what is left must also hold what pods take beyond their requests.
    assert after[1] < 2
    workloads = [one for one in build(SMALL) if pod(one) or one["kind"] in ("Prometheus", "Alertmanager")]
    assert {one["spec"].get("replicas", 1) for one in workloads} == {1}
    readme = (K8S / "README.md").read_text()
    for cores, gib in (before, after):
        assert f"{cores:g} cores" in readme
        assert f"{gib:g} GiB" in readme
    for component in (LONG_TERM_SMALL, LONG_TERM):
        cores, gib = requests(build(component))
        assert f"{cores - before[0]:.2f} cores and {gib - before[1]:.2f} GiB more" in readme, component
