"""The rehearsal on a real Kubernetes: brings it up, asks it, and runs the job."""

import atexit
import functools
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from support.paths import K8S, TESTS
from support.tools import tool
from support.until import until

OURS: Final = "app.kubernetes.io/part-of=banner"
JOB: Final = "app.kubernetes.io/name=banner,batch.kubernetes.io/job-name"
# Whether the cluster pulls Grafana and its renderer, as kind does, or has stand-ins under their names.
REAL_GRAFANA: Final = "BANNER_REAL_GRAFANA" in os.environ
# A patch of one PrometheusRule: to evaluate all of kube-prometheus' so often takes Prometheus twice the CPU time.
EACH_FIVE_SECONDS: Final = json.dumps([{"op": "add", "path": "/spec/groups/0/interval", "value": "5s"}])

PROBE: Final = """
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


@dataclass(frozen=True)
class Start:
    """How the stack came to be: objects and seconds of both applies, and seconds from the second one to a banner."""

    objects: int
    setup: float
    stack: float
    banner: float


@dataclass(frozen=True)
class Run:
    """One run of the job: when its pod was made and ended, its exit code, the message left on its pod, and its log."""

    made: datetime
    ended: datetime
    code: int
    message: str
    log: str


class KubectlError(Exception):
    """What kubectl, or the API server itself, was asked for did not come about."""


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints. Raises KubectlError, with its own words, where it fails."""
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}\n{done.stdout.strip()}")
    return done.stdout


def monitoring(*arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints about the stack's own namespace."""
    return kubectl("--namespace", "monitoring", *arguments, stdin=stdin)


def objects(*arguments: str) -> list[Any]:
    """The objects that `kubectl get` with these arguments finds."""
    found = json.loads(monitoring("get", *arguments, "--output", "json"))
    items: list[Any] = found.get("items", [found])
    return items


@functools.cache
def _proxy() -> str:
    """The URL on this machine of the API server, through a `kubectl proxy` that ends with this process."""
    proxy = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    atexit.register(proxy.kill)
    assert proxy.stdout
    ready = re.match(r"Starting to serve on (\S+)", proxy.stdout.readline())
    assert ready, "no proxy to the API server"
    return f"http://{ready[1]}"


def api(path: str, method: str = "GET", body: object = None, **query: str) -> bytes:
    """What the API server answers, as `kubectl get --raw` would, which takes thirty times the CPU time.

    `body` goes to it as JSON. A Service without a pod is asked for five seconds, as it knows a new one a moment after
    that is ready. Raises KubectlError where the answer is an error.
    """
    end = time.monotonic() + 5
    while not (answer := requests.request(method, _proxy() + path, params=query, json=body, timeout=60)).ok:
        if "no endpoints available" not in answer.text or time.monotonic() > end:
            raise KubectlError(f"{method} {path}: {answer.status_code} {answer.text.strip()}")
        time.sleep(0.2)  # a Service tells nobody that it knows a pod
    return answer.content


@contextmanager
def forwarded(service: str, port: int) -> Iterator[str]:
    """The URL on this machine of a port of a Service, for as long as a with statement lasts."""
    command = ["kubectl", "--namespace", "monitoring", "port-forward", f"service/{service}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout
            ready = re.match(r"Forwarding from 127.0.0.1:(\d+) ", forward.stdout.readline())
            assert ready, f"no port-forward to {service}"
            yield f"http://127.0.0.1:{ready[1]}"
        finally:
            forward.terminate()


def service(name: str) -> str:
    """The path on the API server that leads to a Service, NAME:PORT."""
    return f"/api/v1/namespaces/monitoring/services/{name}/proxy"


class X:
    """The stand-in X in the cluster."""

    path: Final = service("x:80")

    def state(self) -> dict[str, Any]:
        """What it knows: followers, banners accepted, attempts received."""
        state: dict[str, Any] = json.loads(api(f"{self.path}/state"))
        return state

    def answers(self, **answers: str) -> None:
        """Makes it answer uploads (`upload=`) or the question for the user (`user=`) so; "ok" is good again."""
        api(f"{self.path}/answers", "PUT", answers)

    def follow(self) -> None:
        """Presses Follow."""
        api(f"{self.path}/follow", "POST", {})


def prometheus(path: str, of: str = "prometheus-k8s:9090", **parameters: str) -> Any:
    """The data of the answer of that Service's Prometheus, of its HTTP API."""
    answer = json.loads(api(f"{service(of)}/api/v1/{path}", **parameters))
    return answer["data"]


def series(query: str) -> list[Any]:
    """What Prometheus answers to a query now."""
    result: list[Any] = prometheus("query", query=query)["result"]
    return result


def followers() -> list[Any]:
    """The follower series that Prometheus has now."""
    return series("x_user_followers_count")


def alerts(of: str = "prometheus-k8s:9090") -> set[str]:
    """The names of our alerts that that Service's Prometheus holds, their patience still running or over.

    BannerUnwatched aside: the cluster under test has no image of kube-state-metrics.
    """
    labels = [one["labels"] for one in prometheus("alerts", of)["alerts"]]
    ours = [one for one in labels if one.get("part_of") == "banner"]
    assert {one["namespace"] for one in ours} <= {"monitoring"}, "an AlertmanagerConfig's routes ask for it"
    return {one["alertname"] for one in ours} - {"BannerUnwatched"}


def opens(name: str, peers: set[str]) -> set[str]:
    """Which of these, SERVICE:PORT, a pod reaches that has this name as its label."""
    command = ["python", "-c", PROBE, *sorted(peers)]
    container: dict[str, Any] = {"name": "probe", "image": "localhost/banner-rehearsal:1.1.0", "command": command}
    container["readinessProbe"] = {"tcpSocket": {"port": 1}}  # never, so that no Service of that name leads to it
    spec = {"restartPolicy": "Never", "containers": [container]}
    metadata = {"name": f"probe-{name}", "labels": {"app.kubernetes.io/name": name}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    monitoring("create", "--filename", "-", stdin=json.dumps(pod))
    try:
        monitoring("wait", f"pod/probe-{name}", "--for", "jsonpath={.status.phase}=Succeeded", "--timeout", "120s")
        answer: dict[str, bool] = json.loads(monitoring("logs", f"probe-{name}"))
    finally:
        monitoring("delete", "pod", f"probe-{name}", "--now", "--wait=false")
    return {peer for peer, open_ in answer.items() if open_}


def reached(names: set[str], peers: set[str]) -> dict[str, set[str]]:
    """Which of the peers each of such pods reaches, all pods at once."""
    with ThreadPoolExecutor(len(names)) as at_once:
        return dict(zip(names, at_once.map(lambda name: opens(name, peers), names), strict=True))


def look(pod: Any) -> Run:
    """The run that this pod was; it has ended."""
    name, made = pod["metadata"]["name"], pod["metadata"]["creationTimestamp"]
    end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    times = datetime.fromisoformat(made), datetime.fromisoformat(end["finishedAt"])
    return Run(*times, end["exitCode"], end.get("message", ""), monitoring("logs", name))


def publish(what: str) -> None:
    """Lets runs publish "always", or only "news"."""
    monitoring("patch", "configmap", "banner-settings", "--patch", json.dumps({"data": {"publish": what}}))


def run(name: str) -> Run:
    """Runs the job now, beside its schedule, and waits for its end."""
    begin(name)
    return finished(name)


def begin(name: str) -> None:
    """Makes a Job of the CronJob, beside its schedule."""
    monitoring("create", "job", "--from", "cronjob/banner", name)


def finished(job: str) -> Run:
    """Waits for the end of a Job of one pod."""
    pod = f"--selector=batch.kubernetes.io/job-name={job}"
    monitoring("wait", "pod", pod, "--for", "create", "--timeout", "30s")
    end = "jsonpath={.status.containerStatuses[0].state.terminated}"
    monitoring("wait", "pod", pod, "--for", end, "--timeout", "90s")
    return look(objects("pods", pod)[0])


def log(of: str, *arguments: str) -> str:
    """What a pod or a Job has said so far; "" where it is not there yet, or no more."""
    try:
        return monitoring("logs", of, *arguments)
    except KubectlError:
        return ""


def scale(deployment: str, replicas: int) -> None:
    """Gives a Deployment one pod, or none, and waits for it."""
    monitoring("scale", f"deployment/{deployment}", f"--replicas={replicas}")
    if replicas:
        monitoring("rollout", "status", f"deployment/{deployment}", "--timeout", "120s")
    else:
        name = f"app.kubernetes.io/name={deployment}"
        monitoring("wait", "pods", "--for", "delete", "--selector", name, "--timeout", "120s")


def take_away(component: str) -> None:
    """Takes a component away, by the README's command; what is told to go may still be there for a while."""
    [command] = [one for one in (K8S / "README.md").read_text().splitlines() if one.endswith(f"/instance={component}")]
    kubectl(*shlex.split(command)[1:], "--wait=false")


def suspend(still: bool) -> None:
    """Stops the schedule, and waits for the run under way; or lets it go on."""
    monitoring("patch", "cronjob", "banner", "--patch", json.dumps({"spec": {"suspend": still}}))
    if still:
        # kubectl wait fails where one of the older Jobs goes meanwhile.
        until("all runs have ended", 90, lambda: all(ended(job) for job in objects("jobs")))


def ended(job: Any) -> bool:
    """Whether this Job has, well or not."""
    return any(one["type"] in ("Complete", "Failed") for one in job["status"].get("conditions", []))


def scheduled() -> Run:
    """The next run on schedule; returns when it has ended."""
    seen = {pod["metadata"]["name"] for pod in objects("pods", "--selector", JOB)}
    line = "{.metadata.name} {.status.containerStatuses[0].state.terminated.finishedAt}{'\\n'}"
    command = ["kubectl", "--namespace", "monitoring", "get", "pods", "--selector", JOB, "--watch-only"]
    command += ["--output", f"jsonpath={line}", "--request-timeout", "150s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout
        ended = (event.split()[0] for event in watch.stdout if len(event.split()) == 2)
        name = next(name for name in ended if name not in seen)
        watch.terminate()
    return look(objects("pod", name)[0])


def follow_to_banner() -> float:
    """Presses Follow; returns the seconds until a run has published with the new count in Prometheus."""
    began = time.monotonic()
    X().follow()
    state = X().state()
    until("Prometheus has the new count", 120, lambda: followers()[0]["value"][1] == str(state["followers"]))
    banners = X().state()["banners"]
    until("a new banner", 120, lambda: X().state()["banners"] > banners)
    return time.monotonic() - began


@functools.cache
def hurry() -> None:
    """Lets Prometheus ask X and look at our alerts every five seconds, so that faults are seen soon."""
    quick = '{"spec": {"interval": "5s", "scrapeTimeout": "5s"}}'
    monitoring("patch", "probe", "x-user", "--type", "merge", "--patch", quick)
    monitoring("patch", "prometheusrule", "banner", "--type", "json", "--patch", EACH_FIVE_SECONDS)
    until("Prometheus hurries", 150, _hurries)
    # A series that the new configuration has not seen yet would stay for five minutes after its end.
    until("X is asked each five seconds", 60, lambda: series("count_over_time(x_user_followers_count[20s]) >= 3"))


def _hurries() -> bool:
    intervals = {group["name"]: group["interval"] for group in prometheus("rules")["groups"]}
    return intervals.get("banner") == 5 and "scrape_interval: 5s" in prometheus("status/config")["yaml"]


@functools.cache
def started() -> Start:
    """The rehearsal on an empty cluster, with its first banner published; made once for all tests of a process."""
    empty()
    began = time.monotonic()
    applied = kubectl("apply", "--server-side", "--kustomize", str(K8S / "setup"))
    between = time.monotonic()
    applied += kubectl("apply", "--server-side", "--kustomize", str(K8S / "rehearsal"))
    after = time.monotonic()
    until("a banner on the profile", 300 - (after - between), lambda: banners() > 0)
    return Start(len(applied.splitlines()), between - began, after - between, time.monotonic() - between)


def banners() -> int:
    """How many banners X has taken."""
    try:
        return int(X().state()["banners"])
    except KubectlError:  # the stand-in is not there yet
        return 0


def empty() -> None:
    """A cluster with nothing in it but a volume.

    It is the one of `BANNER_CLUSTER`, which is emptied, or else the empty one of `KUBECONFIG`, with the images of
    tests/k8s/cluster/images on its node.
    """
    if folder := os.environ.get("BANNER_CLUSTER"):
        _emptied(Path(folder))
    elif "KUBECONFIG" not in os.environ:
        pytest.skip("needs a Kubernetes: set KUBECONFIG to an empty one (kind, k3d) that has tests/k8s/cluster/images")
    elif "monitoring" in kubectl("get", "namespaces,customresourcedefinitions", "--output", "name"):
        pytest.fail("the cluster of KUBECONFIG has a kube-prometheus, which the tests take away: use an empty one")
    _proxy.cache_clear()  # the one to the cluster before has other keys
    kubectl("apply", "--server-side", "--filename", str(TESTS / "k8s/cluster/storage"))


@functools.cache
def _images(cluster: Path) -> None:
    """Brings the images to the cluster's node, once for all: those of the archive `BANNER_IMAGES`, or new ones."""
    with tempfile.TemporaryDirectory() as folder:
        archive = os.environ.get("BANNER_IMAGES", f"{folder}/rehearsal.tar")
        if not Path(archive).exists():
            subprocess.run([TESTS / "k8s/cluster/images", archive], check=True)
        subprocess.run([cluster / "load", archive], check=True, stdout=subprocess.DEVNULL)


def switched_on(cluster: Path) -> bool:
    """Starts what of the node does not run. On a busy machine its kubelet may be there before its containerd, and
    give up, while the API server still takes the node for ready: so it is asked again until all is there.
    """
    return subprocess.run([cluster / "up"], stdout=subprocess.DEVNULL).returncode == 0


def _emptied(cluster: Path) -> None:
    tool("podman", "apt-get install podman, for the cluster's images")
    tool("go", "https://go.dev/dl, for the cluster's images")
    subprocess.run([cluster / "down", "--wipe"], check=True, stdout=subprocess.DEVNULL)
    _images(cluster)
    until("the cluster is up", 300, lambda: switched_on(cluster))
    shell = ["bash", "-c", f'eval "$("{cluster}/env")" && env -0']
    said = subprocess.run(shell, check=True, capture_output=True, text=True).stdout
    os.environ.update(dict(pair.split("=", 1) for pair in said.split("\0") if pair))
