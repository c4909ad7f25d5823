"""A test whose program is missing, or does not work, is skipped and says what to do."""

from pathlib import Path

import pytest

from support.tools import BASE, container_engine, namespace, tool

BROKEN = "echo 'Error: runc create failed:' >&2; echo '  operation not permitted' >&2; exit 126"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def write(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_a_tool_is_found_or_the_way_to_get_it_is_said(programs: Path) -> None:
    write(programs, "here", "")
    assert tool("here", "nothing to do") == str(programs / "here")
    with pytest.raises(pytest.skip.Exception, match=r"^needs gone: apt-get install gone$"):
        tool("gone", "apt-get install gone")


@pytest.mark.usefixtures("programs")
def test_without_the_right_to_namespaces_the_way_to_it_is_said() -> None:
    with pytest.raises(pytest.skip.Exception, match="run the tests as root, with util-linux"):
        namespace("--mount")


@pytest.mark.usefixtures("programs")
def test_without_an_engine_the_way_to_get_one_is_said() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^needs docker, or podman: apt-get install podman$"):
        container_engine()


def test_an_engine_that_starts_no_container_is_none_and_its_words_and_the_remedies_are_said(programs: Path) -> None:
    write(programs, "podman", BROKEN)
    said = (
        f"^podman cannot run {BASE}: Error: runc create failed: operation not permitted .*containers.conf.*base_image"
    )
    with pytest.raises(pytest.skip.Exception, match=said):
        container_engine()


def test_the_engine_is_the_first_that_starts_a_container_of_the_images_base(programs: Path) -> None:
    write(programs, "docker", BROKEN)
    write(programs, "podman", f'[ "$*" = "run --rm {BASE} true" ]')
    assert container_engine() == "podman"
