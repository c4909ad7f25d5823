"""The rehearsal on a real Kubernetes: from nothing to a banner, and through each fault without a wrong picture."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.paths import K8S

from k8s import kube, manifests
from k8s.kube import X, kubectl, monitoring, objects, until

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def start() -> kube.Start:
    return kube.started()


def test_a_banner_is_on_the_profile_within_five_minutes_of_the_second_apply(start: kube.Start) -> None:
    print(start)
    assert start.banner < 300


def test_follow_is_on_the_banner_within_two_minutes() -> None:
    began = time.monotonic()
    assert kube.follow_to_banner() < 120, f"{time.monotonic() - began} s"


@dataclass(frozen=True)
class Silence:
    """A run on schedule to which X said nothing, the banners that came of it, and the run after it."""

    run: kube.Run
    banners: int
    after: kube.Run


def silenced() -> Silence:
    before = X().state()["banners"]
    X().answers(upload="silent")
    try:
        run = kube.scheduled()
        banners = X().state()["banners"] - before
    finally:
        X().answers(upload="ok")
    return Silence(run, banners, kube.scheduled())


@pytest.fixture(scope="module")
def silence() -> Iterator[Future[Silence]]:
    """Two minutes of the schedule, in which other tests go on."""
    with ThreadPoolExecutor() as background:
        yield background.submit(silenced)


@pytest.mark.usefixtures("silence")
def test_both_applies_again_change_nothing() -> None:
    for folder in ("setup", "rehearsal"):
        assert kubectl("diff", "--server-side", "--kustomize", str(K8S / folder)) == ""


@pytest.mark.parametrize("folder", sorted({*manifests.APPLIED} - {"setup", "admission", "rehearsal"}))
def test_the_api_server_takes_every_other_apply(folder: str) -> None:
    path = str(manifests.copy() / folder)
    taken = kubectl("apply", "--server-side", "--dry-run=server", "--kustomize", path).splitlines()
    assert "cronjob.batch/banner serverside-applied (server dry run)" in taken


def test_keys_as_the_example_has_them_are_told_at_the_apply() -> None:
    example = f"--from-env-file={K8S / 'components/secrets/.env.example'}"
    create = ("create", "secret", "generic", "banner-keys", example, "--dry-run=server")
    with pytest.raises(kube.KubectlError) as told:
        monitoring(*create)
    assert "consumer_key, consumer_secret, access_token, access_token_secret, bearer_token, renderer_token" in str(
        told.value
    )
    assert "missing or blank: fill in k8s/components/secrets/.env" in str(told.value)


def test_the_restricted_standard_admits_every_pod_of_ours() -> None:
    kubectl("create", "namespace", "restricted")
    try:
        kubectl("label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted")
        for name, template in [*templates(kube.OURS), *templates("app.kubernetes.io/name=grafana")]:
            assert admission(template) == "", name
        refused = templates("app.kubernetes.io/name=node-exporter")[0][1]
        assert "violates PodSecurity" in admission(refused)
    finally:
        kubectl("delete", "namespace", "restricted", "--wait=false")


def templates(selector: str) -> list[tuple[str, Any]]:
    """The name and pod template of each workload that the selector finds."""
    found = []
    for one in objects("deployments,daemonsets,cronjobs", "--selector", selector):
        spec = one["spec"]
        template = spec["jobTemplate"]["spec"]["template"] if one["kind"] == "CronJob" else spec["template"]
        found.append((f"{one['kind']} {one['metadata']['name']}", template))
    assert found
    return found


def admission(template: Any) -> str:
    """Why a pod of this template is not let into the restricted namespace; "" where it is."""
    spec = template["spec"] | {"serviceAccountName": "default", "serviceAccount": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    create = ("create", "--namespace", "restricted", "--dry-run=server", "--filename", "-")
    until("a service account", 10, lambda: "default" in kubectl("get", "serviceaccounts", "--namespace", "restricted"))
    try:
        kubectl(*create, stdin=json.dumps(pod))
    except kube.KubectlError as refused:
        return str(refused)
    return ""


def test_all_that_an_object_of_ours_names_is_there() -> None:
    missing = []
    for name, template in templates(kube.OURS):
        missing += [f"{name}: {what}" for what in wanted(template["spec"]) if not provided(*what)]
    for one in objects("services", "--selector", kube.OURS):
        slices = objects("endpointslices", "--selector", f"kubernetes.io/service-name={one['metadata']['name']}")
        if not any(end["conditions"]["ready"] for each in slices for end in each["endpoints"] or []):
            missing.append(f"a pod for Service {one['metadata']['name']}")
    for claim in objects("persistentvolumeclaims"):
        if claim["status"]["phase"] != "Bound":
            missing.append(f"a volume for {claim['metadata']['name']}")
    assert missing == []


def wanted(spec: Any) -> Iterator[tuple[str, str, str]]:
    """What a pod's spec names, a kind, a name, and a key or port ("" for the whole of it)."""
    yield "serviceaccount", spec.get("serviceAccountName", "default"), ""
    for volume in spec.get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            for kind, field in (("secret", "secretName"), ("configMap", "name")):
                if kind in source:
                    of = source[kind]
                    keys = [item["key"] for item in of.get("items", [])] or [""]
                    yield from ((kind, of.get(field) or of["name"], key) for key in keys)
    settings = objects("configmap", "banner-settings")[0]["data"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for source in container.get("envFrom", []):
            yield from ((kind.removesuffix("Ref"), of["name"], "") for kind, of in source.items() if kind != "prefix")
        for variable in container.get("env", []):
            for kind, of in variable.get("valueFrom", {}).items():
                if kind in ("secretKeyRef", "configMapKeyRef") and variable["name"] != "grafana_token":
                    yield kind.removesuffix("KeyRef"), of["name"], of["key"]
            yield from named_service(manifests.expanded(variable.get("value", ""), settings))


def named_service(url: str) -> Iterator[tuple[str, str, str]]:
    """The Service and port of a URL that leads into the cluster."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        name, _, rest = parts.hostname.partition(".")
        if rest in ("", "monitoring", "monitoring.svc", "monitoring.svc.cluster.local"):
            yield "service", name, str(parts.port or {"http": 80, "https": 443}[parts.scheme])


def provided(kind: str, name: str, key: str) -> bool:
    """Whether the API server has it, and in it the key or port."""
    try:
        found = objects(kind, name)[0]
    except kube.KubectlError:
        return False
    if kind == "service":
        return any(str(port["port"]) == key for port in found["spec"]["ports"])
    return not key or key in found.get("data", {})


PROBE = """
import json, socket, sys, time
from concurrent.futures import ThreadPoolExecutor

def opens(peer):
    host, port = peer.rsplit(":", 1)
    end = time.monotonic() + 8  # the policies know a new pod after a second or two
    while time.monotonic() < end:
        try:
            socket.create_connection((host, int(port)), 3).close()
            return True
        except OSError:
            pass
    return False

peers = sys.argv[1:]
print(json.dumps(dict(zip(peers, ThreadPoolExecutor().map(opens, peers)))))
"""
GRAFANA, PROMETHEUS, RENDERER = "grafana:3000", "prometheus-k8s:9090", "image-renderer:8081"
EXPORTER, DNS = "json-exporter:7979", "kube-dns.kube-system:53"


@pytest.mark.parametrize(
    ("who", "labels", "opens", "closed"),
    [
        ("the job", {"app.kubernetes.io/name": "banner"}, {DNS, GRAFANA}, {PROMETHEUS, RENDERER, EXPORTER}),
        ("another pod", {}, {DNS}, {GRAFANA, PROMETHEUS, RENDERER, EXPORTER}),
        ("the renderer", {"app.kubernetes.io/name": "image-renderer"}, {DNS, GRAFANA}, {PROMETHEUS, EXPORTER}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_network_policies_open_and_close(
    who: str, labels: dict[str, str], opens: set[str], closed: set[str]
) -> None:
    name = f"probe-{who.split()[-1]}"
    spec = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "probe",
                "image": "localhost/banner-rehearsal:1.0.0",
                "command": ["python", "-c", PROBE, *sorted(opens | closed)],
            }
        ],
    }
    metadata = {"name": name, "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    monitoring("create", "--filename", "-", stdin=json.dumps(pod))
    try:
        monitoring("wait", f"pod/{name}", "--for", "jsonpath={.status.phase}=Succeeded", "--timeout", "120s")
        answer = json.loads(monitoring("logs", name))
    finally:
        monitoring("delete", "pod", name, "--now", "--wait=false")
    assert answer == dict.fromkeys(opens, True) | dict.fromkeys(closed, False)


def test_a_run_ends_before_the_next_begins_when_x_is_silent(silence: Future[Silence]) -> None:
    kube.hurry()  # for the faults that follow: it takes half a minute
    seen = silence.result()
    assert (seen.run.code, seen.banners) == (1, 0)
    assert "out of time after 45 s, sending the picture" in seen.run.message
    assert (seen.run.ended - seen.run.made).total_seconds() < 60
    assert seen.run.ended <= seen.after.made
    assert seen.after.log.startswith("published: ")


@pytest.fixture(scope="module")
def suspended() -> Iterator[None]:
    """The schedule stands still, so that each run is one that a test asked for, and Prometheus hurries."""
    kube.hurry()
    kube.suspend(True)
    yield
    kube.suspend(False)


@dataclass(frozen=True)
class Fault:
    """A fault: how it begins and ends, the exit code of a run meanwhile, and what its pod says."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    code: int
    says: str


def scale(deployment: str, replicas: int) -> None:
    monitoring("scale", f"deployment/{deployment}", f"--replicas={replicas}")
    if replicas:
        monitoring("rollout", "status", f"deployment/{deployment}", "--timeout", "90s")
    else:
        monitoring("wait", "pods", "--for", "delete", "--selector", f"app.kubernetes.io/name={deployment}")


FIRST_SAMPLES: list[str] = []


def first_sample() -> str:
    """The Unix time of the follower series' first sample, in seconds."""
    query = "min_over_time(timestamp(x_user_followers_count)[1h:5s])"
    return str(kube.prometheus("query", query=query)["result"][0]["value"][1])


def prometheus_away() -> None:
    FIRST_SAMPLES.append(first_sample())
    monitoring("patch", "prometheus", "k8s", "--type", "merge", "--patch", '{"spec": {"replicas": 0}}')
    monitoring("wait", "pod/prometheus-k8s-0", "--for", "delete", "--timeout", "90s")


def prometheus_back() -> None:
    monitoring("patch", "prometheus", "k8s", "--type", "merge", "--patch", '{"spec": {"replicas": 1}}')
    monitoring("wait", "pod/prometheus-k8s-0", "--for", "create", "--timeout", "60s")
    monitoring("wait", "pod/prometheus-k8s-0", "--for", "condition=Ready", "--timeout", "90s")
    series_back()
    assert first_sample() == FIRST_SAMPLES.pop()  # its volume outlasted the pod


def series_gone() -> None:
    until("the follower series is gone", 60, lambda: not kube.followers())


def series_back() -> None:
    until("the follower series is back", 60, kube.followers)


def exporter_away() -> None:
    scale("json-exporter", 0)
    series_gone()


def exporter_back() -> None:
    scale("json-exporter", 1)
    series_back()


def no_data() -> None:
    X().answers(user="unknown")
    series_gone()


def data() -> None:
    X().answers(user="ok")
    series_back()


SECRETS: list[Any] = []


def secret_missing() -> None:
    secret = objects("secret", "banner-keys")[0]
    secret["metadata"] = {key: secret["metadata"].get(key) for key in ("name", "namespace", "labels")}
    SECRETS.append(secret)
    monitoring("delete", "secret", "banner-keys")


def secret_given() -> None:
    monitoring("create", "--filename", "-", stdin=json.dumps(SECRETS.pop()))


SKIPPED = "skipped: publish_if_url answers without a series"
FAULTS = [
    Fault("Grafana away", lambda: scale("grafana", 0), lambda: scale("grafana", 1), 1, "at grafana:3000"),
    Fault("Prometheus away", prometheus_away, prometheus_back, 1, "Prometheus or a proxy"),
    Fault("no data", no_data, data, 0, SKIPPED),
    Fault("exporter away", exporter_away, exporter_back, 0, SKIPPED),
    Fault("X out of credits", lambda: X().answers(upload="credits"), lambda: X().answers(upload="ok"), 2, "no credits"),
    Fault("a Secret missing", secret_missing, secret_given, 2, "consumer_key, consumer_secret"),
]


@pytest.mark.usefixtures("suspended")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_puts_no_picture_on_the_profile_and_is_said_on_the_pod(fault: Fault) -> None:
    name = fault.name.lower().replace(" ", "-")
    before = X().state()["banners"]
    try:
        fault.begin()
        run = kube.run(f"{name}-during")
    finally:
        fault.end()
    assert (run.code, X().state()["banners"]) == (fault.code, before)
    assert fault.says in (run.message if run.code else run.log)
    numbers = itertools.count()
    until("a banner again", 150, lambda: "published" in kube.run(f"{name}-after-{next(numbers)}").log)
    assert X().state()["banners"] == before + 1
