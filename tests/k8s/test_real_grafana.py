"""What only a real Grafana 13 with its renderer answers: the workflow `cluster` asks, each test prints its finding."""

import io
import json
import os
import re
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from PIL import Image, ImageChops
from support.until import until

from k8s import kube, manifests
from k8s.kube import X, kubectl, monitoring, objects

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(5400)]

UID: Final = "wR0Yf26Gk"
BLUE: Final = (0x1D, 0xA1, 0xF2)  # the job's data_color
PROOF: Final = 10  # pixels of it
RENDERS: Final = 100
MINUTES: Final = 60


@dataclass(frozen=True)
class Render:
    """What Grafana answered to a render, and the seconds that it took."""

    status: int
    body: bytes
    seconds: float

    @property
    def picture(self) -> Image.Image:
        return Image.open(io.BytesIO(self.body)).convert("RGB")

    @property
    def proven(self) -> bool:
        """Whether the panel's data is in it, as banner.py sees it."""
        if self.status != 200:
            return False
        colours = self.picture.getcolors(1 << 24) or []
        return sum(count for count, colour in colours if colour == BLUE) >= PROOF


def render(url: str, image_url: str, **parameters: str | None) -> Render:
    """Has the Grafana at this URL render what image_url asks for, with these parameters, and without those of None."""
    asked = dict(parse_qsl(urlsplit(image_url).query)) | parameters
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    began = time.monotonic()
    answer = requests.get(f"{url}{urlsplit(image_url).path}?{query}", timeout=60, allow_redirects=False)
    return Render(answer.status_code, answer.content, time.monotonic() - began)


def differing(one: Render, other: Render) -> int:
    """How many pixels of two pictures are not the same."""
    difference = ImageChops.difference(one.picture, other.picture).convert("L")
    return sum(difference.point(lambda value: value > 0).histogram()[1:])


@pytest.fixture(scope="module")
def grafana() -> Iterator[str]:
    """The URL of the stack's Grafana; the job's own renders stand still."""
    kube.started()
    kube.suspend(True)
    with kube.forwarded("grafana", 3000) as url:
        yield url
    kube.suspend(False)


@pytest.fixture(scope="module")
def image_url() -> str:
    """What the job asks for, with all settings in it."""
    settings: dict[str, str] = objects("configmap", "banner-settings")[0]["data"]
    [container] = objects("cronjob", "banner")[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    [value] = [one["value"] for one in container["env"] if one["name"] == "image_url"]
    return manifests.expanded(value, settings)


@pytest.fixture(scope="module")
def fixed() -> dict[str, str]:
    """Ten minutes that stand still, so that two pictures differ by what is asked alone."""
    now = int(time.time() * 1000)
    return {"from": str(now - 600_000), "to": str(now)}


def test_it_is_grafana_13(grafana: str) -> None:
    version = requests.get(f"{grafana}/api/health", timeout=30).json()["version"]
    print("Grafana", version)
    assert version.startswith("13.")


def test_the_dashboard_api_tells_a_viewer_of_both_panels(grafana: str) -> None:
    answer = requests.get(f"{grafana}/api/dashboards/uid/{UID}", timeout=30)
    assert answer.status_code == 200
    dashboard = answer.json()["dashboard"]
    print("the dashboard API has", sorted(dashboard), "and", sorted(answer.json()["meta"]))
    ids = [panel["id"] for panel in dashboard.get("panels", [])]
    ids += [element["spec"]["id"] for element in dashboard.get("elements", {}).values()]
    assert {2, 4} <= {*ids}
    missing = requests.get(f"{grafana}/api/dashboards/uid/nothing", timeout=30)
    print("of a dashboard that is not there it says", missing.status_code, missing.json())
    assert missing.status_code == 404


@pytest.mark.parametrize("panel", ["2", "4"])
def test_the_same_question_twice_is_the_same_picture(
    grafana: str, image_url: str, fixed: dict[str, str], panel: str
) -> None:
    one, other = (render(grafana, image_url, panelId=panel, **fixed) for _ in range(2))
    print(f"panel {panel} twice:", differing(one, other), "pixels differ")
    assert one.picture.size == other.picture.size == (1500, 500)
    assert one.proven
    assert differing(one, other) == 0


@pytest.mark.parametrize(
    ("panel", "parameters"),
    [
        ("2", {"timezone": "Asia/Tokyo", "tz": "Asia/Tokyo"}),
        ("2", {"timezone": "Asia/Tokyo"}),
        ("4", {"hideLogo": None}),
        ("2", {"hideLogo": None}),
    ],
    ids=str,
)
def test_a_parameter_changes_the_picture_and_leaves_the_data(
    grafana: str,
    image_url: str,
    fixed: dict[str, str],
    panel: str,
    parameters: dict[str, str | None],
) -> None:
    usual = render(grafana, image_url, panelId=panel, **fixed)
    other = render(grafana, image_url, panelId=panel, **(fixed | parameters))
    print(f"panel {panel} with {parameters}:", differing(usual, other), "pixels differ")
    assert other.proven
    assert differing(usual, other) > 0


def test_the_picture_is_of_the_account_that_is_asked_for(grafana: str, image_url: str, fixed: dict[str, str]) -> None:
    nobody = render(grafana, image_url, **(fixed | {"var-account": "nobody"}))
    print("var-account=nobody:", nobody.status, "proven" if nobody.proven else "no data in it")
    assert nobody.status == 200
    assert not nobody.proven


@pytest.mark.parametrize(
    "parameters", [{"orgId": None, "targetOrgId": "1"}, {"orgId": None}, {"orgId": "1", "targetOrgId": "2"}], ids=str
)
def test_an_organisation_is_asked_for_by_either_name_and_another_is_not_shown(
    grafana: str, image_url: str, parameters: dict[str, str | None]
) -> None:
    answer = render(grafana, image_url, **parameters)
    print(f"{parameters}:", answer.status, "proven" if answer.proven else "no data in it")
    assert answer.proven == ("2" not in parameters.values())


@dataclass(frozen=True)
class Use:
    """What a Deployment's pods have used: seconds of CPU since their start, and bytes of memory now."""

    cpu: float
    memory: int
    restarts: int


def use(deployment: str) -> Use:
    """As the kubelet counts it, which looks every ten seconds or so: asked until it has looked once more."""
    began = datetime.now(UTC)
    pods = {pod["metadata"]["name"]: pod for pod in objects("pods", f"--selector=app.kubernetes.io/name={deployment}")}
    [node] = {pod["spec"]["nodeName"] for pod in pods.values()}

    def counted() -> list[Any]:
        summary = json.loads(kube.api(f"/api/v1/nodes/{node}/proxy/stats/summary"))
        found = [one for one in summary["pods"] if one["podRef"]["name"] in pods and "time" in one.get("cpu", {})]
        fresh = [one for one in found if datetime.fromisoformat(one["cpu"]["time"]) > began]
        return fresh if len(fresh) == len(pods) else []

    seen = until(f"the kubelet has counted {deployment}", 120, counted)
    statuses = [status for pod in pods.values() for status in pod["status"]["containerStatuses"]]
    return Use(
        sum(one["cpu"]["usageCoreNanoSeconds"] for one in seen) / 1e9,
        sum(one["memory"]["workingSetBytes"] for one in seen),
        sum(status["restartCount"] for status in statuses),
    )


NAMES = ("GIVE_UP_ON_FIRST_QUERY", "PRIOR_WAIT", "WAIT_FOR_N_QUERY_CYCLES")
WAITS = [("100ms", "100ms", "10"), ("100ms", "100ms", "1"), ("3s", "1s", "1")]


@pytest.fixture(params=WAITS, ids=" ".join)
def waits(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The renderer waits as we set it, without the idle looks, or as it does by itself; and then as we set it."""
    wait(request.param)
    yield request.param
    wait(WAITS[0])


def wait(values: tuple[str, ...]) -> None:
    settings = [f"BROWSER_READINESS_{name}={value}" for name, value in zip(NAMES, values, strict=True)]
    monitoring("set", "env", "deployment/image-renderer", *settings)
    monitoring("rollout", "status", "deployment/image-renderer", "--timeout", "180s")
    gone = [pod for pod in objects("pods", RENDERER) if "deletionTimestamp" in pod["metadata"]]
    for pod in gone:
        monitoring("wait", f"pod/{pod['metadata']['name']}", "--for", "delete", "--timeout", "120s")


RENDERER = "--selector=app.kubernetes.io/name=image-renderer"


def test_what_a_render_takes_by_the_renderers_waits(grafana: str, image_url: str, waits: tuple[str, ...]) -> None:
    until("a first render, which fills Chromium's cache", 120, lambda: render(grafana, image_url).status == 200)
    before = use("image-renderer").cpu
    renders = [render(grafana, image_url) for _ in range(20)]
    cpu = (use("image-renderer").cpu - before) / len(renders)
    seconds = sorted(one.seconds for one in renders)
    wrong = sum(not one.proven for one in renders)
    print(
        f"waits {' '.join(waits)}: {statistics.median(seconds):.1f} s a render, {seconds[0]:.1f} to {seconds[-1]:.1f};",
        f"{cpu:.1f} s of CPU each; {wrong} of {len(renders)} without data",
    )
    assert wrong == 0 or waits != WAITS[0]


def test_of_a_hundred_renders_two_at_once_none_is_a_picture_of_loading(grafana: str, image_url: str) -> None:
    with ThreadPoolExecutor(2) as two:  # as many as the renderer takes
        renders = list(two.map(lambda _: render(grafana, image_url), range(RENDERS)))
    wrong = [one for one in renders if not one.proven]
    statuses = sorted({one.status for one in wrong})
    print(f"{len(wrong)} of {len(renders)} renders show no data; their statuses: {statuses}")
    if folder := os.environ.get("BANNER_PICTURES"):
        for number, one in enumerate(wrong):
            Path(folder).mkdir(parents=True, exist_ok=True)
            Path(folder, f"without-data-{number}").write_bytes(one.body)
    assert [one for one in wrong if one.status == 200] == []


def test_prometheus_knows_from_kube_state_metrics_what_the_job_does() -> None:
    until("the CronJob's series", 120, lambda: kube.series('kube_cronjob_created{cronjob="banner"}'))
    alerts = [one["labels"]["alertname"] for one in kube.prometheus("alerts")["alerts"]]
    assert "BannerUnwatched" not in alerts


RECEIVER = """
import http.server, sys

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer(("", 8000), Receiver).serve_forever()
"""


@pytest.fixture
def receiver() -> Iterator[None]:
    """A pod `receiver` that prints what is POSTed to it, and components/notify with its address."""
    image = objects("deployment", "x")[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    container = {"name": "receiver", "image": image, "command": ["python", "-c", RECEIVER]}
    metadata = {"name": "receiver", "namespace": "monitoring", "labels": {"app": "receiver"}}
    notify = manifests.build(manifests.NOTIFY)
    address = {"data": {}, "stringData": {"webhook_url": "http://receiver.monitoring.svc:8000/"}}
    items = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": "receiver"}, "ports": [{"port": 8000}]},
        },
        manifests.find(notify, "AlertmanagerConfig", "banner-webhook"),
        manifests.find(notify, "Secret", "banner-notify") | address,
    ]
    everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl("apply", "--server-side", "--filename", "-", stdin=everything)
    monitoring("wait", "pod/receiver", "--for", "condition=Ready", "--timeout", "120s")
    yield
    kubectl("delete", "--wait=false", "--filename", "-", stdin=everything)


@pytest.mark.usefixtures("grafana", "receiver")
def test_an_alert_goes_through_alertmanager_to_a_webhook() -> None:
    kube.hurry()
    X().answers(user="credits")
    began = time.monotonic()
    try:
        said = until(
            "the webhook is told", 1200, lambda: re.findall('.*"XUserSourceRefuses".*', monitoring("logs", "receiver"))
        )
    finally:
        X().answers(user="ok")
    [alert] = [one for one in json.loads(said[0])["alerts"] if one["labels"]["alertname"] == "XUserSourceRefuses"]
    print(f"the webhook was told after {time.monotonic() - began:.0f} s:", alert)
    assert alert["status"] == "firing"
    assert alert["annotations"].keys() >= {"summary", "description"}


@pytest.mark.usefixtures("grafana")
def test_grafana_keeps_within_its_memory_for_an_hour() -> None:
    [container] = objects("deployment", "grafana")[0]["spec"]["template"]["spec"]["containers"]
    kube.publish("always")
    kube.suspend(False)
    began, seen = time.monotonic(), [use("grafana")]
    while time.monotonic() < began + 60 * MINUTES:
        time.sleep(60)  # an hour is what it asks for
        seen.append(use("grafana"))
    kube.suspend(True)
    kube.publish("news")
    mebibytes = [one.memory >> 20 for one in seen]
    print(f"MiB of Grafana, each minute, with a banner each minute: {mebibytes}; it has {container['resources']}")
    assert {one.restarts for one in seen} == {seen[0].restarts}
