"""The programs that some tests need. Where one is missing, a test is skipped, with the reason and the remedy."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

import pytest

from support.paths import TOP

BASE: Final = re.findall("^FROM (docker.io/[^ \n]+)", (TOP / "Dockerfile").read_text(), re.MULTILINE)[-1]
REMEDY: Final = (
    "where limits are refused: CONTAINERS_CONF=.ci/containers.conf; where no image comes: tests/tools/base_image"
)


def tool(name: str, advice: str) -> str:
    """The path of a program."""
    if not (path := shutil.which(name)):
        pytest.skip(f"needs {name}: {advice}")
    return path


def allowed(command: Sequence[str]) -> bool:
    """Tells whether this machine lets us run programs by this command."""
    return bool(shutil.which(command[0])) and subprocess.run([*command, "true"], capture_output=True).returncode == 0


def container_engine() -> str:
    """The program that builds and runs containers here: the first one that really runs one of the image's base."""
    reasons = []
    for name in filter(shutil.which, ("docker", "podman")):
        tried = subprocess.run([name, "run", "--rm", BASE, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return name
        reasons.append(f"{name} cannot run {BASE}: {' '.join(tried.stderr.split())}")
    if not reasons:
        pytest.skip("needs docker, or podman: apt-get install podman")
    pytest.skip(f"{'; '.join(reasons)} ({REMEDY})")
