"""What kubectl's own kustomize makes of k8s/, and what it says about the objects."""

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from support.paths import K8S
from support.tools import tool

# What people apply; "." is the stack. The others are parts of these.
ADDONS: Final = ("addon/kube-prometheus", "addon/kube-prometheus-stack")
APPLIED: Final = ("setup", "admission", ".", "banner", "rehearsal", *ADDONS)
SMALL: Final = "with-small"  # the stack with a component
ACCOUNTS: Final = "with-accounts"
MANAGED: Final = "with-managed-cluster"
LONG_TERM: Final = "with-long-term"
LONG_TERM_SMALL: Final = "with-long-term-small"
LONG_TERM_REHEARSAL: Final = "rehearsal-with-long-term"
NOTIFY: Final = "with-notify"  # the rehearsal with all ways of components/notify
WORKLOADS: Final = ("CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet")
KUBE_PROMETHEUS: Final = "https://github.com/prometheus-operator/kube-prometheus"

Object = dict[str, Any]


class Loader(yaml.CSafeLoader):
    """Of YAML as kubectl writes it, where a lone "=" is text."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)


@functools.cache
def copy() -> Path:
    """A copy of k8s/ whose .env files are filled in with the keys that the stand-in X takes."""
    folder = Path(tempfile.mkdtemp(prefix="banner-k8s-"))
    shutil.copytree(K8S, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".env"))
    for example in folder.rglob(".env.example"):
        lines = [
            line + test_value(line[:-1]) if line.endswith("=") else line for line in example.read_text().splitlines()
        ]
        example.with_name(".env").write_text("\n".join(lines))
    with (folder / "components/secrets/.env").open("a") as keys:
        for account in ("YOUR_SECOND_ACCOUNT", "YOUR_THIRD_ACCOUNT"):
            keys.write(
                f"\naccess_token_{account}=test-access-token\naccess_token_secret_{account}=test-access-token-secret"
            )
    for name in (SMALL, ACCOUNTS, MANAGED, LONG_TERM, LONG_TERM_SMALL):
        components = ["secrets", name.removeprefix("with-"), "replacements"]
        overlay(name, folder, resources=["../stack"], components=[f"../components/{one}" for one in components])
    notify = folder / "components/notify/kustomization.yaml"
    notify.write_text(notify.read_text().replace("  # - ", "  - "))  # all of its ways
    components = [f"../components/{name}" for name in ("rehearsal", "notify", "replacements")]
    overlay(NOTIFY, folder, resources=["../stack"], components=components)
    components = ["../components/rehearsal/long-term"]
    overlay(LONG_TERM_REHEARSAL, folder, resources=["../rehearsal"], components=components)
    return folder


def test_value(name: str) -> str:
    """What a name in a .env file is set to; the keys are those that the stand-in X takes."""
    value = "test-" + name.replace("_", "-")
    return f"https://{value}.example/" if name.endswith("_url") else value


def overlay(name: str, folder: Path, **kustomization: Any) -> None:
    """Writes a kustomization of that name into a copy of k8s/."""
    (folder / name).mkdir()
    (folder / name / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


@functools.cache
def reachable(repository: str) -> bool:
    """Whether git can fetch from there."""
    git = tool("git", "apt-get install git")
    return subprocess.run([git, "ls-remote", "--quiet", repository], capture_output=True).returncode == 0


@functools.cache
def kustomized(folder: str) -> subprocess.CompletedProcess[str]:
    """What `kubectl kustomize` says of a folder of k8s/, or of an overlay in its copy."""
    kubectl = tool("kubectl", "https://kubernetes.io/docs/tasks/tools")
    return subprocess.run([kubectl, "kustomize", copy() / folder], capture_output=True, text=True)


@functools.cache
def build(folder: str) -> tuple[Object, ...]:
    """The objects of such a folder, or of one elsewhere; skips the test where only kube-prometheus is missing to it."""
    done = kustomized(folder)
    if KUBE_PROMETHEUS in done.stderr and not reachable(KUBE_PROMETHEUS):
        pytest.skip(f"needs {KUBE_PROMETHEUS}: a network, or a copy by git's insteadOf")
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.load_all(done.stdout, Loader) if one)


def ours(objects: tuple[Object, ...]) -> list[Object]:
    """Those that are not kube-prometheus' own."""
    return [one for one in objects if one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") == "banner"]


def find(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    [found] = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pod(one: Object) -> Object | None:
    """The pod template of a workload, with metadata and spec; None of another object."""
    spec: Object = one.get("spec", {})
    template: Object | None = spec.get("jobTemplate", {"spec": spec})["spec"].get("template")
    return template if one["kind"] in WORKLOADS else None


def containers(objects: tuple[Object, ...]) -> Iterator[tuple[Object, Object]]:
    """Each workload with each of its containers."""
    for one in objects:
        for container in (pod(one) or {"spec": {"containers": []}})["spec"]["containers"]:
            yield one, container


def expanded(value: str, variables: dict[str, str]) -> str:
    """An environment variable's value as the kubelet makes it: $(...) is one of those before it."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), value)


def called(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"
