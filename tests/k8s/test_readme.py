"""The commands of k8s/README.md, word for word, on the cluster with the rehearsal; last those that take all away."""

import json
import re
import shlex
import subprocess

import pytest
import requests
from support.paths import K8S
from support.until import until

from k8s import kube, manifests
from k8s.kube import kubectl

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(900)]

BEFORE, _, AFTER = (K8S / "README.md").read_text().partition("## Beside a Prometheus that runs already\n")
README = BEFORE + AFTER.partition("\n## ")[2]  # test_addon.py runs what is between
BLOCKS = "".join(re.findall("^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)).splitlines()
COMMANDS = sorted({*BLOCKS, *re.findall("`((?:docker|kind|kubectl) [^`]+)`", README)})
OURS = "app.kubernetes.io/part-of in (banner, kube-prometheus)"


def commands(*verbs: str) -> list[str]:
    """Those of kubectl with one of these verbs."""
    return [one for one in COMMANDS if re.match(rf"kubectl (-n monitoring )?({'|'.join(verbs)}) ", one)]


LOOKS, FORWARDS, CHANGES = commands("get", "logs"), commands("port-forward"), commands("patch", "rollout")
DIFFS = commands("diff")
TAKES = [one for one in commands("delete") if "app.kubernetes.io/instance=" in one]
GENERATE = "k8s/components/accounts/generate.py"  # test_static.py runs it
RELEASE = (
    README.partition("## Without a clone")[2].partition("\n## ")[0].splitlines()
)  # tests/test_release.py runs them
DELETES = [one for one in README.partition("## Away again")[2].splitlines() if one in BLOCKS]


@pytest.fixture(scope="module", autouse=True)
def start() -> None:
    kube.started()


def typed(command: str) -> list[str]:
    """A command's arguments, with the folder of a copy whose secrets are filled in."""
    folder = str(manifests.copy())
    return [folder + word.removeprefix("k8s") if word.startswith("k8s") else word for word in shlex.split(command)]


def test_every_command_is_run_by_a_test_or_needs_another_machine() -> None:
    applied = {"k8s" if folder == "." else f"k8s/{folder}" for folder in manifests.APPLIED}
    tested = [one for one in commands("apply", "delete") if shlex.split(one)[-1] in applied]
    elsewhere = [one for one in COMMANDS if one.startswith(("civo ", "docker ", "kind "))]
    released = [one for one in COMMANDS if one in RELEASE]
    assert {*LOOKS, *FORWARDS, *CHANGES, *DIFFS, *TAKES, GENERATE, *tested, *elsewhere, *released} == {*COMMANDS}


@pytest.mark.parametrize("command", LOOKS)
def test_what_looks_at_the_stack_has_an_answer(command: str) -> None:
    until("an answer", 60, lambda: answer(command))


def answer(command: str) -> str:
    """What it prints; "" where a pod that it asks has just come, or goes, as a Job's does after 14 minutes."""
    try:
        return kubectl(*typed(command)[1:]).strip()
    except kube.KubectlError as error:
        if re.search(r"\(NotFound\): pods|ContainerCreating", str(error)):
            return ""
        raise


@pytest.mark.parametrize("command", DIFFS)
def test_what_an_apply_would_change_is_told(command: str) -> None:
    hurried = "--force-conflicts"  # what kube.hurry has patched is no longer the apply's own
    done = subprocess.run([*typed(command), hurried], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # more is an error
    assert (done.returncode == 1) == bool(done.stdout)


@pytest.mark.parametrize("command", FORWARDS)
def test_what_is_forwarded_answers_on_this_machine(command: str) -> None:
    with subprocess.Popen(typed(command), stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout
            ready = re.match(r"Forwarding from 127.0.0.1:(\d+) ", forward.stdout.readline())
            assert ready
            assert requests.get(f"http://localhost:{ready[1]}", timeout=30).ok
        finally:
            forward.terminate()


@pytest.mark.parametrize("command", TAKES)
def test_what_takes_a_component_away_takes_nothing_else(command: str) -> None:
    """Where the component is, kube.take_away runs it."""
    assert kubectl(*typed(command)[1:]).strip() in ("", "No resources found")  # versions of kubectl differ


@pytest.mark.parametrize("command", CHANGES)
def test_what_changes_the_stack_is_taken(command: str) -> None:
    assert re.search("patched|restarted", kubectl(*typed(command)[1:]))


def test_the_deletes_leave_nothing_of_the_applies() -> None:
    assert len(DELETES) == 2
    for command in DELETES:
        kubectl(*typed(command)[1:], "--wait=false")  # a namespace takes minutes at times; it has begun, and goes alone
    until("nothing is left", 120, lambda: not left())


def left() -> list[str]:
    """What is still there of the applies, but for the namespace on its way out and what is in it."""
    kinds = kubectl("api-resources", "--verbs=list", "--output=name").split()
    core = ",".join(kind for kind in kinds if not kind.endswith(".monitoring.coreos.com"))
    ours = json.loads(kubectl("get", core, "--all-namespaces", "--selector", OURS, "--output", "json"))["items"]
    names = [one["metadata"]["name"] for one in ours if one["metadata"].get("namespace") != "monitoring"]
    names += re.findall(r"\S+[.]monitoring[.]coreos[.]com", kubectl("get", "customresourcedefinitions"))
    return names + re.findall("monitoring +Active", kubectl("get", "namespaces"))
