"""What is collected by which Grafana the cluster has, and the pictures that its X took."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from k8s import kube
from k8s.kube import X, objects

# The real renderer can't be told how busy it is, and the stand-ins know no answer to what is asked of the real ones.
collect_ignore = ["test_many_accounts.py"] if kube.REAL_GRAFANA else ["test_real_grafana.py"]
STAND_INS = {"busy_renderer"}
FOLDER = os.environ.get("BANNER_PICTURES")
# Many tests wait for a changed Secret, which a kubelet brings into a pod when it next looks at it. By default, and
# where tests/tools/figures.py measures, it looks once a minute.
os.environ.setdefault("KUBELET_EXTRA", "--sync-frequency=5s")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what sets the stand-in renderer."""
    if kube.REAL_GRAFANA:
        out = [item for item in items if STAND_INS & {*getattr(item, "fixturenames", ())}]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(autouse=True)
def pictures() -> Iterator[None]:
    """Keeps each picture that X took in the folder BANNER_PICTURES; X forgets those before the last hundred."""
    yield
    if FOLDER:
        with suppress(kube.KubectlError, IndexError):  # there is no X yet, or no longer
            pod = objects("pods", "--selector=app.kubernetes.io/name=x")[0]["metadata"]["name"]
            for number in range(1, X().state()["banners"] + 1):
                keep(Path(FOLDER, f"{pod}-{number:03}.png"), number)


def keep(file: Path, number: int) -> None:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(kube.KubectlError):
            file.write_bytes(kube.api(f"{X.path}/banners/{number}.png"))
