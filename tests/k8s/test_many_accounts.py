"""Ten accounts on a real Kubernetes, each published each minute, with renders that take as much CPU as real ones."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from support.paths import K8S

from k8s import kube, manifests
from k8s.kube import kubectl, monitoring, objects, until

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(900)]

NAMES: Final = [f"account_{number}" for number in range(2, 11)]
RENDER: Final = 4.5  # seconds of CPU
MINUTES: Final = 2
SCHEDULED: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def overlay(folder: Path) -> Path:
    """The rehearsal with nine accounts more, who publish each minute, and a renderer as busy as a real one."""
    k8s = shutil.copytree(manifests.copy(), folder / "k8s")
    (k8s / "components/accounts/accounts").write_text("\n".join(NAMES))
    subprocess.run([sys.executable, k8s / "components/accounts/generate.py"], check=True)
    where = {"namespace": "monitoring", "behavior": "merge"}
    keys = [f"access_token_{name}=test-access-token" for name in NAMES]
    keys += [f"access_token_secret_{name}=test-access-token-secret" for name in NAMES]
    known = ",".join(["YOUR_ACCOUNT_NAME", *NAMES])
    busy = {"name": "RENDER_SECONDS", "value": str(RENDER)}
    manifests.overlay(
        "many",
        k8s,
        resources=["../rehearsal"],
        components=["../components/accounts", "../components/replacements"],
        configMapGenerator=[where | {"name": "banner-settings", "literals": ["publish=always"]}],
        secretGenerator=[where | {"name": "banner-keys", "literals": keys}],
        patches=[
            replaced("x", "replace", "/spec/template/spec/containers/0/args/1", f"--name={known}"),
            replaced("image-renderer", "add", "/spec/template/spec/containers/0/env/-", busy),
        ],
    )
    return k8s / "many"


def replaced(deployment: str, what: str, path: str, value: object) -> dict[str, Any]:
    """A patch of a Deployment, of one operation."""
    patch = yaml.safe_dump([{"op": what, "path": path, "value": value}])
    return {"target": {"kind": "Deployment", "name": deployment}, "patch": patch}


def apply(folder: Path) -> None:
    """Applies it, though what a test has set is another's; X forgets itself, and json_exporter has to trust it anew."""
    kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(folder))
    for deployment in ("x", "image-renderer"):
        monitoring("rollout", "status", f"deployment/{deployment}", "--timeout", "120s")
    monitoring("rollout", "restart", "deployment/json-exporter")
    monitoring("rollout", "status", "deployment/json-exporter", "--timeout", "120s")
    kube.hurry.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    kube.started()
    apply(overlay(tmp_path_factory.mktemp("accounts")))
    until("a series of each account", 150, lambda: len(kube.series('banner:publish{publish="always"}')) == 10)
    yield
    monitoring("delete", "cronjobs", *[f"banner-{name.replace('_', '-')}" for name in NAMES])
    apply(K8S / "rehearsal")


def test_none_of_ten_accounts_is_late() -> None:
    begin = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    end = begin + timedelta(minutes=MINUTES)
    until("the end of the last minute", 60 * (MINUTES + 1) + 10, lambda: datetime.now(UTC) > end)
    jobs = {job["metadata"]["name"]: job for job in objects("jobs") if begin <= scheduled(job) < end}
    took = {name: (completed(job) - scheduled(job)).total_seconds() for name, job in jobs.items()}
    print("seconds from the minute's begin to a run's end:", sorted(took.values()))
    assert len(jobs) == 10 * MINUTES
    assert {name: seconds for name, seconds in took.items() if seconds >= 60} == {}
    logs = {name: monitoring("logs", f"job/{name}") for name in jobs}
    assert {name: log for name, log in logs.items() if not log.startswith("published: ")} == {}


def scheduled(job: Any) -> datetime:
    """The minute that a Job is for; one that a test has made is for none."""
    return datetime.fromisoformat(job["metadata"].get("annotations", {}).get(SCHEDULED, "1970-01-01T00:00:00Z"))


def completed(job: Any) -> datetime:
    """When it succeeded; one that has not yet does so in the future."""
    return datetime.fromisoformat(job["status"].get("completionTime", "9999-01-01T00:00:00Z"))
