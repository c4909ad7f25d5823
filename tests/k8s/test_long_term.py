"""The rehearsal with components/long-term on a real Kubernetes: a month on the banner, and parts of it away."""

import base64
import io
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.paths import K8S
from support.thanos import same
from support.until import until

from k8s import kube, manifests
from k8s.kube import X, kubectl, monitoring, objects

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(900)]

DAY = 86400


@pytest.fixture(scope="module", autouse=True)
def month() -> Iterator[float]:
    """The rehearsal with the component, which writes and looks often; the seconds until all of it runs."""
    kube.started()
    name = "long-term-in-a-hurry"
    metadata = {"name": "k8s", "namespace": "monitoring"}
    patch: dict[str, Any] = {"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": metadata}
    patch["spec"] = {"thanos": {"blockSize": "1m"}}
    scrapes = json.dumps([{"op": "replace", "path": "/spec/endpoints/0/interval", "value": "5s"}])
    sync = "/spec/template/spec/containers/0/args/5"
    syncs = json.dumps(
        [
            {"op": "test", "path": sync, "value": "--sync-block-duration=1m"},
            {"op": "replace", "path": sync, "value": "--sync-block-duration=5s"},
        ]
    )
    if not (manifests.copy() / name).exists():
        base = [f"../{manifests.LONG_TERM_REHEARSAL}"]
        patches = [
            {"patch": json.dumps(patch)},
            {"target": {"kind": "ServiceMonitor", "name": "thanos-.*"}, "patch": scrapes},
            {"target": {"kind": "PrometheusRule", "name": "thanos"}, "patch": kube.EACH_FIVE_SECONDS},
            {"target": {"kind": "Deployment", "name": "thanos-store"}, "patch": syncs},
        ]
        manifests.overlay(name, manifests.copy(), resources=base, patches=patches)
    began = time.monotonic()
    try:
        apply(manifests.copy() / name)
        monitoring("wait", "job/thanos-history", "--for", "condition=Complete", "--timeout", "180s")
        for workload in ("deployment/thanos-store", "deployment/thanos-query", "statefulset/thanos-compact"):
            monitoring("rollout", "status", workload, "--timeout", "180s")
        until("a month is there", 180, lambda: len(values(30)) >= 590)
        kube.suspend(True)
        kube.publish("always")
        yield time.monotonic() - began
    finally:
        kube.take_away("long-term")
        apply(K8S / "rehearsal")
        kube.suspend(False)
        kube.hurry.cache_clear()


def apply(folder: Path) -> None:
    """Applies it, though what a test has set is another's, and waits for Grafana and Prometheus."""
    kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(folder))
    monitoring("rollout", "status", "deployment/grafana", "--timeout", "120s")
    until("the operator has it", 60, lambda: ready("prometheus-k8s"))


def ready(stateful_set: str) -> bool:
    """Whether it is as its object says, and its pod is ready."""
    status = objects("statefulset", stateful_set)[0]["status"]
    return bool(status.get("readyReplicas") == 1 and status["currentRevision"] == status["updateRevision"])


def values(days: float, of: str = "thanos-query:9090") -> list[Any]:
    """The samples of the followers' one series that Grafana would ask for; none while nobody answers."""
    end, step = time.time(), max(15, days * DAY / 600)
    asked = {"start": f"{end - days * DAY:.0f}", "end": f"{end:.0f}", "step": f"{step:.0f}"}
    try:
        found = kube.prometheus("query_range", of, query="x_user_followers_count", **asked)["result"]
    except kube.KubectlError:
        return []
    assert len(found) <= 1, [one["metric"] for one in found]
    return found[0]["values"] if found else []


def published(name: str) -> None:
    """Runs the job, and sees to it that its picture goes back a month: its line is there in all of the width."""
    run = kube.run(name)
    assert run.code == 0, run.message
    picture = Image.open(io.BytesIO(kube.api(f"{X.path}/banner.png"))).convert("RGB")
    pixels = picture.crop((0, picture.height // 4, picture.width, picture.height))
    blue = [column for column in range(0, picture.width, picture.width // 20) if has_line(pixels, column)]
    assert len(blue) >= 18, (name, blue)


def has_line(picture: Image.Image, column: int) -> bool:
    strip = picture.crop((column, 0, min(column + 20, picture.width), picture.height))
    colours = strip.getcolors(maxcolors=strip.width * strip.height) or []
    return any(blue > red + 20 for _, (red, _, blue) in colours)  # type: ignore[misc]  # RGB


def test_a_month_is_on_the_banner(month: float) -> None:
    print("seconds from the apply until all of it runs:", month)
    past = values(30)
    assert (past[0][1], past[-1][1]) == ("1", str(X().state()["followers"]))
    published("a-month")


def failed(name: str) -> None:
    """Runs the job, and sees to it that nothing is published."""
    before = X().state()["banners"]
    run = kube.run(name)
    assert run.code == 1
    assert "the picture shows no data" in run.message or "publish_if_url answered" in run.message
    assert X().state()["banners"] == before


def test_while_the_store_is_away_no_half_of_a_month_is_published() -> None:
    kube.scale("thanos-store", 0)
    try:
        failed("without-the-store")
    finally:
        kube.scale("thanos-store", 1)
    until("the month is there again", 60, lambda: len(values(30)) >= 590)
    published("with-the-store")


@pytest.fixture(scope="module")
def away() -> Iterator[float]:
    """The bucket is away; since when, in Unix time."""
    begin = time.time()
    kube.scale("seaweedfs", 0)
    yield begin
    kube.scale("seaweedfs", 1)


@pytest.fixture(scope="module")
def outage(away: float) -> tuple[float, float]:
    """From when to when the bucket was away; Prometheus wrote a block in each minute."""
    kube.scale("seaweedfs", 1)
    return away, time.time()


@pytest.mark.usefixtures("away")
def test_news_goes_and_comes_with_follow_and_the_other_rule_is_there_always() -> None:
    # Here, as in these minutes nothing else is new; each hour begins with two of news.
    until("no news", 480, lambda: not kube.series('banner:publish{publish="news"}'))
    assert kube.series('banner:publish{publish="always"}')
    X().follow()
    until("news", 60, lambda: kube.series('banner:publish{publish="news"}'))


def test_when_the_bucket_has_been_away_for_five_minutes_the_banner_goes_on(away: float) -> None:
    time.sleep(max(0.0, away + 5 * 60 - time.time()))  # what the test before has left of them
    published("without-the-bucket")


@pytest.mark.usefixtures("away")  # so that the sidecar has something to upload
def test_keys_that_the_bucket_does_not_know_are_told_and_no_half_of_a_month_is_published(box: str) -> None:
    [secret] = objects("secrets", "--selector", "app.kubernetes.io/name=thanos,app.kubernetes.io/component=secrets")
    name = secret["metadata"]["name"]
    right = base64.b64decode(secret["data"]["objstore.yml"]).decode()
    keys(name, right.replace("test-access-key", "test-wrong-key"))
    try:
        read_keys_anew(box)
        kube.scale("seaweedfs", 1)
        failed("with-wrong-keys")
        sidecar = ("prometheus-k8s-0", "--container=thanos-sidecar")
        until("the sidecar says why", 90, lambda: re.search("InvalidAccessKeyId|access key ID", kube.log(*sidecar)))
        until("both are told", 90, lambda: {"ThanosBucketRefuses", "ThanosStoreAway"} <= kube.alerts())
    finally:
        keys(name, right)
        read_keys_anew(box)
    until("the month is there again", 120, lambda: len(values(30)) >= 590)
    until("the Store is there for the alert, too", 60, lambda: "ThanosStoreAway" not in kube.alerts())
    published("with-the-right-keys")


def keys(secret: str, text: str) -> None:
    monitoring("patch", "secret", secret, "--patch", json.dumps({"stringData": {"objstore.yml": text}}))


@pytest.fixture
def box() -> str:
    """The command that runs another one on the node."""
    if "BANNER_CLUSTER" not in os.environ:
        pytest.skip("needs a cluster on whose node a process can be killed: set BANNER_CLUSTER")
    return f"{os.environ['BANNER_CLUSTER']}/box"


def read_keys_anew(box: str) -> None:
    """Ends the three that read the keys only when they start."""
    killed(box, "thanos sidecar")
    monitoring("delete", "pods", "--selector", "app.kubernetes.io/name in (thanos-store, thanos-compact)")


def killed(box: str, command: str) -> None:
    """Kills the process of this command; its container is then started anew."""
    subprocess.run([box, "pkill", "-KILL", "--full", f"^/bin/{command} "], check=True)


def samples(of: str, begin: float, end: float) -> int:
    """How many samples of the followers there are between two moments, by Prometheus or in the bucket."""
    series = 'x_user_followers_count{prometheus_replica!="history"}'
    asked = {"query": f"count_over_time({series}[{end - begin:.0f}s])", "time": f"{end:.3f}"}
    if of == "thanos-store":
        found = fan_out(**asked | {"dedup": "false", "storeMatch[]": '{__address__="thanos-store:10901"}'})
    else:
        found = kube.prometheus("query", of, **asked)["result"]
    return int(found[0]["value"][1]) if found else 0


def fan_out(**asked: str) -> list[Any]:
    """What the fan-out answers, which no Service leads to."""
    [pod] = objects("pods", "--selector", "app.kubernetes.io/name=thanos-query")
    path = f"/api/v1/namespaces/monitoring/pods/{pod['metadata']['name']}:10902/proxy/api/v1/query"
    return list(json.loads(kube.api(path, **asked))["data"]["result"])


QUERY, COMPACT, S3 = "thanos-query:9090", "thanos-compact:10902", "seaweedfs:8333"
SIDECAR, SIDECAR_HTTP = "prometheus-k8s-thanos-sidecar:10901", "prometheus-k8s-thanos-sidecar:10902"
STORE, STORE_HTTP = "thanos-store:10901", "thanos-store:10902"
PEERS = {QUERY, COMPACT, S3, SIDECAR, SIDECAR_HTTP, STORE, STORE_HTTP}
REACHES: dict[str, set[str]] = {
    "grafana": {QUERY},
    "prometheus": {QUERY, SIDECAR_HTTP, STORE_HTTP, COMPACT, S3},
    "thanos-query": {SIDECAR, STORE},
    "thanos-store": {S3},
    "thanos-compact": {S3},
    "banner": set(),
    "another": set(),
}


@pytest.mark.usefixtures("outage")  # over by then
def test_the_network_policies_open_and_close() -> None:
    assert kube.reached({*REACHES}, PEERS) == REACHES


def test_prometheus_scrapes_each_part_and_takes_the_rules() -> None:
    jobs = {"thanos-sidecar", "thanos-query", "thanos-store", "thanos-compact"}
    until("all are up", 90, lambda: {one["metric"]["job"] for one in kube.series('up{job=~"thanos-.+"} == 1')} == jobs)
    assert "thanos" in {group["name"] for group in kube.prometheus("rules")["groups"]}
    assert kube.series("thanos_compact_halted")[0]["value"][1] == "0"
    resident = kube.series('process_resident_memory_bytes{job=~"thanos-.+"} / 2^20')
    print("MiB resident:", {one["metric"]["container"]: round(float(one["value"][1])) for one in resident})


def test_no_sample_of_the_outage_is_lost(outage: tuple[float, float]) -> None:
    def uploaded() -> bool:
        scraped = samples("prometheus-k8s:9090", *outage)  # anew: the last one may have been on its way
        assert scraped >= 9  # each 30 s
        return scraped == samples("thanos-store", *outage)

    until("the uploads have caught up", 240, uploaded)


def test_a_compactor_killed_in_the_middle_begins_anew_and_the_month_stays_as_it_was(box: str) -> None:
    before = values(30)
    container = "/spec/template/spec/containers/0"
    patch = [
        {"op": "add", "path": f"{container}/args/-", "value": "--consistency-delay=0s"},
        {"op": "replace", "path": f"{container}/resources/limits/cpu", "value": "50m"},  # the middle lasts for seconds
    ]
    monitoring("patch", "statefulset", "thanos-compact", "--type", "json", "--patch", json.dumps(patch))
    until("it compacts", 120, lambda: "downloaded and verified blocks; compacting" in kube.log("thanos-compact-0"))
    killed(box, "thanos compact")
    until("it has done all", 180, lambda: "optional retention apply done" in kube.log("thanos-compact-0"))
    assert "compaction iterations done" not in monitoring("logs", "thanos-compact-0", "--previous")
    assert b"thanos_compact_halted 0\n" in kube.api(f"{kube.service(COMPACT)}/metrics")
    made = re.findall(r'msg="uploaded block" \w+=(\w+)', kube.log("thanos-compact-0"))
    until("the Store has what it made", 120, lambda: made[-1] in monitoring("logs", "deployment/thanos-store"))
    until("the month is as before", 60, lambda: same(before, values(30)))


def test_without_prometheus_volume_the_days_before_are_still_on_the_banner() -> None:
    monitoring("patch", "prometheus", "k8s", "--type", "merge", "--patch", '{"spec": {"replicas": 0}}')
    monitoring("wait", "pod/prometheus-k8s-0", "--for", "delete", "--timeout", "120s")
    empty("prometheus-k8s-db-prometheus-k8s-0")
    monitoring("patch", "prometheus", "k8s", "--type", "merge", "--patch", '{"spec": {"replicas": 1}}')
    until("Prometheus runs", 120, lambda: ready("prometheus-k8s"))
    until("it has the followers", 90, lambda: len(values(0.01)) > 0 and kube.followers())
    assert samples("prometheus-k8s:9090", time.time() - 1800, time.time()) < 10
    assert values(30)[0][1] == "1"
    published("with-an-empty-volume")


def empty(claim: str) -> None:
    """Deletes all that is on a volume."""
    code = "import pathlib, shutil; [shutil.rmtree(one) for one in pathlib.Path('/volume').iterdir()]"
    container: dict[str, Any] = {"name": "empty", "image": "localhost/banner-rehearsal:1.1.0"}
    container |= {"command": ["python", "-c", code]}
    container |= {"securityContext": {"runAsUser": 0}, "volumeMounts": [{"name": "volume", "mountPath": "/volume"}]}
    volume = {"name": "volume", "persistentVolumeClaim": {"claimName": claim}}
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "empty"}, "spec": spec}
    monitoring("create", "--filename", "-", stdin=json.dumps(pod))
    monitoring("wait", "pod/empty", "--for", "jsonpath={.status.phase}=Succeeded", "--timeout", "60s")
    monitoring("delete", "pod", "empty", "--now")
