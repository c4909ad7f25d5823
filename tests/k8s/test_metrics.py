"""The follower count on a real Kubernetes: X, json_exporter, the operator's configuration, Prometheus, its alerts."""

import base64
import json
import re
from collections.abc import Iterator

import pytest
from support.paths import K8S
from support.until import until

from k8s import kube
from k8s.kube import X, kubectl, monitoring, objects, prometheus

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def start() -> None:
    kube.started()
    kube.hurry()
    until("no series but ours, where there were more accounts before", 150, lambda: len(kube.followers()) == 1)


def test_the_follower_series_is_the_count_on_the_profile_with_its_labels() -> None:
    [series] = kube.followers()
    state = X().state()
    assert series["metric"].items() >= {"__name__": "x_user_followers_count", "username": state["name"]}.items()
    assert series["value"][1] == str(state["followers"])


def test_every_target_of_ours_is_scraped() -> None:
    def up() -> bool:
        health = {one["labels"]["job"]: one["health"] for one in prometheus("targets", state="active")["activeTargets"]}
        return {health.get(job) for job in ("x-user", "static", "image-renderer")} == {"up"}

    until("all are up, which may have been restarted", 60, up)


def test_x_s_own_word_for_a_new_banner_is_another_address() -> None:
    def addresses() -> set[str]:
        """Those of the last five minutes, where Prometheus has started anew."""
        return {one["metric"]["url"] for one in kube.series("x_user_banner_info")}

    X().follow()
    before = until("an address of the banner", 150, addresses)
    X().follow()
    until("another address", 150, lambda: addresses() - before)


def queries() -> list[str]:
    """Those of the dashboard that says whether all is well."""
    dashboard = json.loads((K8S / "dashboards/banner-is-it-well.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_prometheus_answers_each_query_of_the_dashboard() -> None:
    answers = {query: kube.series(query) for query in queries()}
    empty = {query for query, answer in answers.items() if not answer}
    # The cluster under test has no image of kube-state-metrics, no Chromium, and no alert fires.
    away = re.compile("kube_job|container_memory|process_peak_memory|ALERTS|banner:publish|rate")
    assert {query for query in empty if not away.search(query)} == set()


@pytest.fixture
def well() -> Iterator[None]:
    """X answers well again after the test, and no alert of the one before is left at its start."""
    until("no alert", 60, lambda: not kube.alerts())
    yield
    X().answers(user="ok")


@pytest.mark.usefixtures("well")
@pytest.mark.parametrize(
    ("answer", "alert"),
    [
        ("credits", "XUserSourceRefuses"),
        ("rate-limit", "XUserSourceRefuses"),
        ("unknown", "XUserSeriesAbsent"),
        ("garbled", "XUserSeriesAbsent"),
    ],
)
def test_what_x_answers_instead_of_a_count_raises_the_right_alert(answer: str, alert: str) -> None:
    X().answers(user=answer)
    until(f"{alert} alone", 60, lambda: kube.alerts() == {alert})


def test_the_token_is_in_no_log_no_config_map_and_no_pod() -> None:
    token = base64.b64decode(objects("secret", "banner-keys")[0]["data"]["bearer_token"]).decode()
    pods = objects("pods", "--selector", "!batch.kubernetes.io/job-name")  # the job's come and go, without it
    assert len(token) > 8
    for pod in pods:
        assert token not in str(pod["spec"]), pod["metadata"]["name"]
        for container in pod["status"].get("containerStatuses", []):
            if container["started"] or "terminated" in container["state"]:
                log = monitoring("logs", pod["metadata"]["name"], "--container", container["name"])
                assert token not in log, pod["metadata"]["name"]
    for config in objects("configmaps"):
        assert token not in str(config), config["metadata"]["name"]


# A host that keeps what it is asked with, in plain text or with a certificate by an authority of its own.
CURIOUS = """
import http.server, pathlib, ssl, sys, trustme

class Curious(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked with", self.headers["Authorization"], flush=True)
        self.send_error(404)

class Server(http.server.ThreadingHTTPServer):
    def get_request(self):
        print("connected", flush=True)
        return super().get_request()

server = Server(("", 443), Curious)
if sys.argv[1] == "https":
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("https.elsewhere.svc").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(authority.cert_pem.bytes().decode(), flush=True)
server.serve_forever()
"""


PEM = "-----BEGIN.+-----\n"


def curious(scheme: str) -> list[object]:
    """A pod and a Service of that name in the namespace elsewhere."""
    command = ["python", "-c", CURIOUS, scheme]
    container = {"name": scheme, "image": "localhost/banner-rehearsal:1.1.0", "command": command}
    spec = {"containers": [container | {"securityContext": {"runAsUser": 0}}], "terminationGracePeriodSeconds": 0}
    metadata = {"name": scheme, "namespace": "elsewhere", "labels": {"app": scheme}}
    service = {"selector": {"app": scheme}, "ports": [{"port": 443}]}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Two curious hosts in another namespace; json_exporter trusts the authority of the one with a certificate."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}}
    everything = {"apiVersion": "v1", "kind": "List", "items": [namespace, *curious("http"), *curious("https")]}
    kubectl("apply", "--filename", "-", stdin=json.dumps(everything))
    there = ("--namespace", "elsewhere")
    kubectl(*there, "wait", "pods", "--all", "--for", "condition=Ready", "--timeout", "60s")
    authority = until("its authority", 30, lambda: re.findall(PEM, kubectl(*there, "logs", "https"), re.S))
    known = objects("configmap", "x-ca")[0]["data"]["ca.crt"]
    trust(known + authority[0])
    yield
    trust(known)
    kubectl("delete", "namespace", "elsewhere", "--wait=false")


def trust(authorities: str) -> None:
    """Lets json_exporter trust these, in PEM, and waits until it is there again."""
    monitoring("patch", "configmap", "x-ca", "--patch", json.dumps({"data": {"ca.crt": authorities}}))
    monitoring("rollout", "restart", "deployment/json-exporter")
    monitoring("rollout", "status", "deployment/json-exporter", "--timeout", "90s")


@pytest.mark.usefixtures("elsewhere")
def test_a_probe_of_another_namespace_takes_the_token_to_no_host_but_x() -> None:
    targets = ["https://https.elsewhere.svc/", "http://http.elsewhere.svc:443/"]
    spec = {
        "jobName": "elsewhere",
        "interval": "5s",
        "scrapeTimeout": "5s",
        "module": "x_user",
        "prober": {"url": "json-exporter.monitoring.svc:7979", "path": "/probe"},
        "targets": {"staticConfig": {"static": targets}},
    }
    metadata = {"name": "elsewhere", "namespace": "elsewhere"}
    probe = {"apiVersion": "monitoring.coreos.com/v1", "kind": "Probe", "metadata": metadata, "spec": spec}
    kubectl("apply", "--filename", "-", stdin=json.dumps(probe))
    asked = 'count_over_time(up{job="elsewhere"}[5m]) >= 3'
    until("each was asked for three times", 150, lambda: len(kube.series(asked)) == 2)
    assert {one["value"][1] for one in kube.series('up{job="elsewhere"}')} == {"0"}
    logs = {scheme: kubectl("--namespace", "elsewhere", "logs", scheme) for scheme in ("http", "https")}
    assert "connected" in logs["https"]  # and left, for want of X's name
    assert "Bearer" not in str(logs)
    until("the follower series", 60, kube.followers)
