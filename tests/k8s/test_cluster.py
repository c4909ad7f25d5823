"""The rehearsal on a real Kubernetes: from nothing to a banner, and through each fault without a wrong picture."""

import base64
import gzip
import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from support.paths import K8S
from support.tools import tool
from support.until import until

from k8s import kube, manifests
from k8s.kube import X, kubectl, monitoring, objects

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
    X().answers(upload="silent")
    X().follow()
    until("there is news", 60, lambda: kube.series('banner:publish{publish="news"}'))
    before = X().state()["banners"]
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
    names = {"consumer_key", "consumer_secret", "access_token", "access_token_secret", "bearer_token", "renderer_token"}
    assert names <= set(re.findall(r"\w+", str(told.value).partition("denied request:")[2]))
    assert "missing or blank: fill in k8s/components/secrets/.env" in str(told.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"publish": "alway"}, "publish must be news or always"),
        ({"publish": "news", "schedule": "*/5 * * * *"}, "publish=news needs a run each minute"),
        ({"range": "30 days"}, "range must be a time as Grafana has it"),
    ],
)
def test_settings_that_would_fail_in_silence_are_told_at_the_apply(settings: dict[str, str], says: str) -> None:
    with pytest.raises(kube.KubectlError, match=says):
        monitoring(
            "patch", "configmap", "banner-settings", "--patch", json.dumps({"data": settings}), "--dry-run=server"
        )


AMTOOL = "go install github.com/prometheus/alertmanager/cmd/amtool@v0.33.0"
ALERT = {"alertname": "BannerNotOnX", "namespace": "monitoring", "part_of": "banner", "severity": "warning"}


@pytest.fixture(scope="module")
def alertmanager_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the operator makes for Alertmanager of kube-prometheus' configuration and components/notify."""
    ours = [one for one in manifests.build(manifests.NOTIFY) if named_notify(one)]
    objects_of_ours = yaml.safe_dump_all(ours)
    kubectl("apply", "--server-side", "--filename", "-", stdin=objects_of_ours)
    try:
        until("the operator has seen it", 60, lambda: all(f"banner-{way}" in generated() for way in WAYS))
        file = tmp_path_factory.mktemp("alertmanager") / "alertmanager.yaml"
        file.write_text(generated())
        yield file
    finally:
        kubectl("delete", "--filename", "-", stdin=objects_of_ours)


WAYS = ("webhook", "email", "slack")


def named_notify(one: Any) -> bool:
    return bool(one["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "banner-notify")


def generated() -> str:
    """Alertmanager's configuration, which the operator writes into a Secret."""
    packed = objects("secret", "alertmanager-main-generated")[0]["data"]["alertmanager.yaml.gz"]
    return gzip.decompress(base64.b64decode(packed)).decode()


def test_the_operator_makes_a_configuration_that_alertmanager_takes(alertmanager_configuration: Path) -> None:
    amtool = tool("amtool", AMTOOL)
    done = subprocess.run([amtool, "check-config", alertmanager_configuration], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (ALERT, {f"monitoring/banner-{way}/{way}" for way in WAYS}),
        ({name: value for name, value in ALERT.items() if name != "namespace"}, {"Default"}),
        (ALERT | {"part_of": "other"}, {"Default"}),
    ],
    ids=["ours", "without a namespace", "another's"],
)
def test_an_alert_of_ours_goes_to_each_receiver_and_no_other_does(
    alertmanager_configuration: Path, labels: dict[str, str], receivers: set[str]
) -> None:
    amtool = tool("amtool", AMTOOL)
    test = [amtool, "config", "routes", "test", f"--config.file={alertmanager_configuration}"]
    test += [f"{name}={value}" for name, value in labels.items()]
    done = subprocess.run(test, check=True, capture_output=True, text=True)
    assert set(done.stdout.strip().split(",")) == receivers


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


GRAFANA, PROMETHEUS, RENDERER = "grafana:3000", "prometheus-k8s:9090", "image-renderer:8081"
EXPORTER, DNS = "json-exporter:7979", "kube-dns.kube-system:53"


PEERS = {DNS, EXPORTER, GRAFANA, PROMETHEUS, RENDERER}
REACHES: dict[str, set[str]] = {
    "banner": {DNS, GRAFANA},
    "another": {DNS},
    "prometheus": PEERS,
    "image-renderer": {DNS, GRAFANA},
}


def test_the_network_policies_open_and_close() -> None:
    assert kube.reached({*REACHES}, PEERS) == REACHES


def test_a_run_ends_before_the_next_begins_when_x_is_silent(silence: Future[Silence]) -> None:
    kube.hurry()  # for the faults that follow: it takes half a minute
    seen = silence.result()
    assert (seen.run.code, seen.banners) == (1, 0)
    assert "out of time after 40 s, waiting for X's answer" in seen.run.message
    assert (seen.run.ended - seen.run.made).total_seconds() < 60
    assert seen.run.ended <= seen.after.made
    assert seen.after.code == 0


@pytest.fixture(scope="module")
def suspended() -> Iterator[None]:
    """The schedule stands still, so that each run is one that a test asked for and publishes; Prometheus hurries."""
    kube.hurry()
    kube.suspend(True)
    kube.publish("always")
    yield
    kube.publish("news")
    kube.suspend(False)


def late(name: str, **pod: Any) -> Any:
    """Makes a Job of the CronJob whose pod differs so; returns the function that waits for its end.

    That one returns the seconds that the Job took from its making to its end, and its pods' messages.
    """
    job = json.loads(
        monitoring("create", "job", "--from", "cronjob/banner", name, "--dry-run=client", "--output", "json")
    )
    job["metadata"] = {"name": name}
    job["spec"]["template"]["spec"] |= pod
    made = json.loads(monitoring("create", "--filename", "-", "--output", "json", stdin=json.dumps(job)))

    def wait() -> tuple[float, list[str]]:
        monitoring("wait", f"job/{name}", "--for", "condition=Failed", "--timeout", "90s")
        [ended] = [one for one in objects("job", name)[0]["status"]["conditions"] if one["type"] == "Failed"]
        times = [
            datetime.fromisoformat(at) for at in (made["metadata"]["creationTimestamp"], ended["lastTransitionTime"])
        ]
        pods = objects("pods", f"--selector=batch.kubernetes.io/job-name={name}")
        statuses = [status for one in pods for status in one["status"].get("containerStatuses", [])]
        messages = [status["state"].get("terminated", {}).get("message", "") for status in statuses]
        return (times[1] - times[0]).total_seconds(), messages

    return wait


@pytest.mark.usefixtures("suspended")
def test_a_run_that_starts_late_is_over_within_a_minute_of_its_making() -> None:
    sleeper = {"name": "late", "image": "localhost/banner-rehearsal:1.1.0", "command": ["python", "-c", LATE]}
    gate = {"name": "banner/late"}  # the scheduler leaves it alone: no node takes the pod
    X().answers(upload="silent")
    try:
        waits = [late("late-to-start", initContainers=[sleeper]), late("never-taken", schedulingGates=[gate])]
        (started, messages), (never, none) = [wait() for wait in waits]
    finally:
        X().answers(upload="ok")
    assert 45 <= started < 60
    assert [message.partition(" while ")[0] for message in messages] == ["stopped by SIGTERM"]
    assert 55 <= never < 60
    assert none == []


LATE = "import time; time.sleep(30)"  # of the 45 s that the pod has


@pytest.fixture
def busy_renderer() -> Iterator[None]:
    """A render takes the CPU for some seconds, as a real one does."""
    monitoring("set", "env", "deployment/image-renderer", "RENDER_SECONDS=4")
    monitoring("rollout", "status", "deployment/image-renderer", "--timeout", "90s")
    yield
    monitoring("set", "env", "deployment/image-renderer", "RENDER_SECONDS-")
    monitoring("rollout", "status", "deployment/image-renderer", "--timeout", "90s")


def renders() -> int:
    """How many the renderer is at."""
    metrics = kube.api(f"{kube.service('image-renderer:8081')}/metrics").decode()
    return int(dict(line.split(" ") for line in metrics.splitlines())["http_requests_in_flight"])


@pytest.mark.usefixtures("suspended", "busy_renderer")
def test_of_four_renders_at_once_two_are_refused_and_none_ends_the_renderer() -> None:
    before = X().state()["banners"]
    names = [f"at-once-{number}" for number in range(4)]
    for name in names:
        kube.begin(name)
    runs = [kube.finished(name) for name in names]
    assert sorted(run.code for run in runs) == [0, 0, 1, 1]
    assert all("Grafana's render answered 429: it is busy" in run.message for run in runs if run.code)
    assert X().state()["banners"] == before + 2
    [renderer] = objects("pods", "--selector=app.kubernetes.io/name=image-renderer")
    assert renderer["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.usefixtures("suspended", "busy_renderer")
def test_prometheus_killed_in_the_middle_of_ten_renders_puts_no_picture_on_the_profile() -> None:
    before = X().state()["banners"]
    for kill in range(5):
        names = [f"killed-{kill}-{number}" for number in range(2)]
        for name in names:
            kube.begin(name)
        until("both at their render", 30, lambda: renders() == 2)
        monitoring("delete", "pod", "prometheus-k8s-0", "--grace-period=0", "--force")
        runs = [kube.finished(name) for name in names]
        said = {run.message.strip().partition(": the query")[0] for run in runs}
        assert said == {"failed: the picture shows no data, only 0 pixels of data_color"}
        monitoring("wait", "pod/prometheus-k8s-0", "--for", "condition=Ready", "--timeout", "90s")
        series_back()
    assert X().state()["banners"] == before
    published_again("after-the-kills")


@dataclass(frozen=True)
class Fault:
    """A fault: how it begins and ends, the exit code of a run meanwhile, and what its pod says."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    code: int
    says: str


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


FOLLOWERS, PUBLISH = "x_user_followers_count", 'banner:publish{publish="always"}'


def series_gone() -> None:
    until("the follower series is gone, and the rule's", 60, lambda: not kube.series(f"{FOLLOWERS} or {PUBLISH}"))


def series_back() -> None:
    """Waits for a sample of both from now on: a Prometheus that has just started answers what the last one knew, and
    would go on for five minutes about a series that it has not seen itself before its end.
    """
    began = time.time()
    new = f"timestamp({FOLLOWERS}) > {began} or timestamp({PUBLISH}) > {began}"
    until("the follower series is back, and the rule's", 60, lambda: len(kube.series(new)) == 2)


def exporter_away() -> None:
    kube.scale("json-exporter", 0)
    series_gone()


def exporter_back() -> None:
    kube.scale("json-exporter", 1)
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


SKIPPED = "skipped: publish_if_url returned no series"
FAULTS = [
    Fault(
        "Grafana away",
        lambda: kube.scale("grafana", 0),
        lambda: kube.scale("grafana", 1),
        1,
        "cannot connect to grafana:3000",
    ),
    Fault(
        "Prometheus away", prometheus_away, prometheus_back, 1, "publish_if_url answered 502: the server, renderer or"
    ),
    Fault("no data", no_data, data, 0, SKIPPED),
    Fault("exporter away", exporter_away, exporter_back, 0, SKIPPED),
    Fault("X out of credits", lambda: X().answers(upload="credits"), lambda: X().answers(upload="ok"), 2, "no credits"),
    Fault("a Secret missing", secret_missing, secret_given, 2, "consumer_key, consumer_secret"),
]


def published_again(name: str) -> None:
    """Runs, one after the other, until one has published. The series of a pod just started may be away for a moment."""
    numbers = itertools.count()
    until("a banner again", 150, lambda: kube.run(f"{name}-{next(numbers)}").log.startswith("published: "))


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
    published_again(f"{name}-after")
    assert X().state()["banners"] == before + 1


@pytest.mark.usefixtures("suspended")
def test_after_a_power_cut_of_the_node_the_graph_is_still_there() -> None:
    if "BANNER_CLUSTER" not in os.environ:
        pytest.skip("needs a cluster whose node can be switched off: set BANNER_CLUSTER")
    cluster = Path(os.environ["BANNER_CLUSTER"])
    first = first_sample()
    subprocess.run([cluster / "down"], check=True, stdout=subprocess.DEVNULL)
    until("Prometheus answers", 300, lambda: kube.switched_on(cluster) and answers())
    monitoring("rollout", "status", "deployment/x", "--timeout", "120s")
    monitoring("rollout", "restart", "deployment/json-exporter")  # it knows the certificate that X had before
    series_back()
    assert first_sample() == first
    published_again("after-the-cut")


def answers() -> bool:
    """Whether Prometheus does; the API server does not either in the first seconds of a node."""
    try:
        return bool(kube.series("vector(1)"))
    except kube.KubectlError:
        return False
