"""The tools that read the project's files, each with nothing to say."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.paths import TOP
from support.tools import IN_REQUIREMENTS, files, tool


def finds_nothing(command: Sequence[str | Path], advice: str) -> None:
    tool(str(command[0]), advice)
    run = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_python(command: str) -> None:
    finds_nothing(command.split(), IN_REQUIREMENTS)


def test_shell() -> None:
    def is_script(file: Path) -> bool:
        first = (TOP / file).read_bytes().partition(b"\n")[0]
        return file.suffix == ".sh" or (first.startswith(b"#!") and first.endswith((b"bash", b"/sh", b" sh")))

    scripts = [file for file in files() if is_script(file)]
    assert Path("tests/run") in scripts
    finds_nothing(["shellcheck", "--external-sources", *scripts], "apt-get install shellcheck")


def test_dockerfiles() -> None:
    found = [file for file in files() if file.name == "Dockerfile"]
    assert Path("Dockerfile") in found
    finds_nothing(["hadolint", *found], IN_REQUIREMENTS)


def test_yaml() -> None:
    found = [file for file in files() if file.suffix in (".yaml", ".yml")]
    assert found
    finds_nothing(["yamllint", "--strict", *found], IN_REQUIREMENTS)


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ("renovate", ".github/renovate.json"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/*.yaml"),
    ],
)
def test_settings_of_github_and_renovate(schema: str, names: str) -> None:
    found = [file for file in files() if file.match(names)]
    assert found
    finds_nothing(["check-jsonschema", "--builtin-schema", f"vendor.{schema}", *found], IN_REQUIREMENTS)


def test_workflows() -> None:
    found = [file for file in files() if file.parent == Path(".github/workflows")]
    assert found
    finds_nothing(["actionlint", *found], ".ci/programs actionlint")
    finds_nothing(["zizmor", "--offline", "--no-progress", ".github"], IN_REQUIREMENTS)
