"""The programs that some tests need. Where one is missing, a test is skipped, with the reason and the remedy."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from support.paths import BANNER, TOP

VERSION: Final = re.findall('^__version__ = "(.+)"$', BANNER.read_text(), re.MULTILINE)[0]
BASE: Final = re.findall("^FROM (docker.io/[^ \n]+)", (TOP / "Dockerfile").read_text(), re.MULTILINE)[-1]
PROCESS_1: Final = ("--pid", "--fork", "--mount-proc", "--kill-child")  # namespaces in which a command is process 1
IN_REQUIREMENTS: Final = "it is in tests/requirements.txt: start the tests by tests/run"
REMEDY: Final = (
    "where limits are refused: CONTAINERS_CONF=.ci/containers.conf; where no image comes: tests/tools/base_image"
)


def tool(name: str, advice: str) -> str:
    """The path of a program."""
    if not (path := shutil.which(name)):
        pytest.skip(f"needs {name}: {advice}")
    return path


def a_clone() -> str:
    """The path of git, where this is a clone: what git does not know is no part of the project."""
    if not (TOP / ".git").exists():
        pytest.skip("needs a clone: git clone")
    return tool("git", "apt-get install git")


def files() -> list[Path]:
    """The project's own, by their path from the top: all that git knows or would take."""
    command = [a_clone(), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in listed.split("\0") if (TOP / name).is_file()]


def namespace(*options: str) -> list[str]:
    """What to put before a command that is to run in namespaces of its own."""
    command = ["unshare", *options]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make namespaces: run the tests as root, with util-linux")
    return command


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
