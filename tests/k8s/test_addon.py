"""All of ours beside a Prometheus that runs already, and away again, by the commands of k8s/README.md."""

import base64
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from support.paths import K8S, TESTS
from support.tools import tool
from support.until import until

from k8s import kube, manifests
from k8s.kube import kubectl, monitoring, objects
from k8s.manifests import KUBE_PROMETHEUS

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(900)]

CHART: Final = "prometheus-community/kube-prometheus-stack"


@dataclass(frozen=True)
class Theirs:
    """What runs already, as its own README says, and whether all of it is still as it was then."""

    name: str
    install: Callable[[Path], None]
    changes: Callable[[Path], str]
    prometheus: str
    service: str


def install_kube_prometheus(folder: Path) -> None:
    if not manifests.reachable(KUBE_PROMETHEUS):
        pytest.skip(f"needs {KUBE_PROMETHEUS}: a network, or a copy by git's insteadOf")
    clone = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--depth=1", "--branch=v0.18.0"]
    subprocess.run([*clone, KUBE_PROMETHEUS, folder], check=True)
    kubectl("apply", "--server-side", "--filename", f"{folder}/manifests/setup")
    kubectl("wait", "--for", "condition=Established", "--all", "CustomResourceDefinition")
    kubectl("apply", "--server-side", "--filename", f"{folder}/manifests")


def changes_of_kube_prometheus(folder: Path) -> str:
    return kubectl("diff", "--server-side", "--filename", f"{folder}/manifests")


def helm(*arguments: str) -> str:
    """What Helm prints."""
    program = tool("helm", "go install helm.sh/helm/v3/cmd/helm@v3.22.0")
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def chart() -> str:
    if not (archive := os.environ.get("BANNER_CHART")):
        pytest.skip("needs the chart kube-prometheus-stack: set BANNER_CHART to its archive")
    return archive


def install_the_chart(_: Path) -> None:
    values = str(TESTS / "k8s/cluster/chart.yaml")
    where = ("--namespace", "monitoring", "--create-namespace")
    helm("install", "kube-prometheus-stack", chart(), *where, "--values", values)


def changes_of_the_chart(_: Path) -> str:
    return kubectl(
        "diff", "--filename", "-", stdin=helm("get", "manifest", "kube-prometheus-stack", "-n", "monitoring")
    )


THEIRS = [
    Theirs(
        "kube-prometheus", install_kube_prometheus, changes_of_kube_prometheus, "prometheus-k8s", "prometheus-k8s:9090"
    ),
    Theirs(
        "kube-prometheus-stack",
        install_the_chart,
        changes_of_the_chart,
        "prometheus-kube-prometheus-stack-prometheus",
        "kube-prometheus-stack-prometheus:9090",
    ),
]


def overlay(name: str) -> Path:
    """The addon with the stand-in for X, and with the sign-in that the stand-in Grafana of the chart wants."""
    folder = manifests.copy() / f"rehearsal-of-{name}"
    if not folder.exists():
        token = [f"grafana_token={grafana_token()}"] if name.endswith("stack") else []
        keys = {"name": "banner-keys", "namespace": "monitoring", "behavior": "merge"}
        manifests.overlay(
            folder.name,
            manifests.copy(),
            resources=[f"../addon/{name}"],
            components=["../components/rehearsal", "../components/replacements"],
            secretGenerator=[keys | {"literals": token}],
        )
    return folder


def grafana_token() -> str:
    """The token of a service account of the chart's Grafana, which is a Viewer; the stand-in knows one."""
    if not kube.REAL_GRAFANA:
        return "test-grafana-token"
    name = "kube-prometheus-stack-grafana"
    monitoring("rollout", "status", f"deployment/{name}", "--timeout", "300s")
    secret = objects("secret", name)[0]["data"]
    admin, password = (base64.b64decode(secret[f"admin-{what}"]).decode() for what in ("user", "password"))
    with kube.forwarded(name, 80) as url, requests.Session() as session:
        session.auth = (admin, password)
        account = session.post(f"{url}/api/serviceaccounts", json={"name": "banner", "role": "Viewer"})
        assert account.ok, account.text
        token = session.post(f"{url}/api/serviceaccounts/{account.json()['id']}/tokens", json={"name": "banner"})
        assert token.ok, token.text
        return str(token.json()["key"])


def commands(name: str) -> tuple[list[str], list[str]]:
    """The README's commands that add ours to theirs, and those that take it away."""
    part = (K8S / "README.md").read_text().partition(f"**{name}**")[2]
    add, away = re.findall("^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)[:2]
    return add.splitlines(), away.splitlines()


def run(command: str, name: str) -> str:
    """Runs a command of the README, with the overlay for the addon and the archive for the chart."""
    program, *words = shlex.split(command)
    real = {f"k8s/addon/{name}": overlay(name), CHART: chart() if program == "helm" else ""}
    typed = [str(real.get(word, re.sub("^k8s(?=/)", str(K8S), word))) for word in words]
    return helm(*typed) if program == "helm" else kubectl(*typed)


@dataclass(frozen=True)
class Added:
    """Ours beside theirs: what it took, and where theirs are."""

    theirs: Theirs
    folder: Path
    objects: int
    apply: float
    banner: float


@pytest.fixture(scope="module", params=THEIRS, ids=lambda theirs: theirs.name)
def added(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Added:
    theirs: Theirs = request.param
    folder = tmp_path_factory.mktemp("theirs")
    kube.empty()
    theirs.install(folder)
    monitoring("wait", f"pod/{theirs.prometheus}-0", "--for", "create", "--timeout", "120s")
    monitoring("wait", f"pod/{theirs.prometheus}-0", "--for", "condition=Ready", "--timeout", "180s")
    assert theirs.changes(folder) == ""

    began = time.monotonic()
    said = [run(command, theirs.name) for command in commands(theirs.name)[0]]
    applied = time.monotonic()
    until("a banner on the profile", 300, lambda: kube.banners() > 0)
    lines = [line for line in "".join(said).splitlines() if "serverside-applied" in line]
    return Added(theirs, folder, len(lines), applied - began, time.monotonic() - began)


def test_a_banner_is_on_the_profile_within_five_minutes(added: Added) -> None:
    print(added)
    assert added.banner < 300


def test_their_prometheus_takes_our_rules_and_scrapes_our_exporter_and_the_renderer(added: Added) -> None:
    def ask(path: str, **parameters: str) -> Any:
        return kube.prometheus(path, added.theirs.service, **parameters)

    def up() -> bool:
        targets = ask("query", query='up{job=~"x-user|.*image-renderer"} == 1')["result"]
        return len({target["metric"]["job"] for target in targets}) == 2

    until("both are up", 90, up)
    assert {"banner", "banner-publish"} <= {group["name"] for group in ask("rules")["groups"]}
    # What the first seconds lacked is over at the next evaluation.
    until("no alert", 90, lambda: not kube.alerts(added.theirs.service))


def test_their_grafana_has_our_dashboards(added: Added) -> None:
    if added.theirs.name == "kube-prometheus":
        mounts = objects("deployment", "grafana")[0]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert "/grafana-dashboard-definitions/0/twitter-followers" in {mount["mountPath"] for mount in mounts}
        return
    # The sidecar itself is not here, but who it is and what it asks for.
    spec = objects("deployment", "kube-prometheus-stack-grafana")[0]["spec"]["template"]["spec"]
    [sidecar] = [one for one in spec["containers"] if one["name"] == "grafana-sc-dashboard"]
    asks = {variable["name"]: variable.get("value") for variable in sidecar["env"]}
    assert (asks["RESOURCE"], asks["NAMESPACE"]) == ("both", "ALL")
    who = f"--as=system:serviceaccount:monitoring:{spec['serviceAccountName']}"
    selector = f"--selector={asks['LABEL']}={asks['LABEL_VALUE']}"
    assert "grafana-dashboard-twitter-followers" in kubectl("get", "configmaps", "--all-namespaces", selector, who)


def test_taking_it_away_leaves_theirs_as_it_was(added: Added) -> None:
    for command in commands(added.theirs.name)[1]:
        run(command, added.theirs.name)
    assert added.theirs.changes(added.folder) == ""
    kinds = ",".join(kubectl("api-resources", "--verbs=list", "--output=name").split())
    assert kubectl("get", kinds, "--all-namespaces", "--selector", kube.OURS, "--ignore-not-found") == ""
