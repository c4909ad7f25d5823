"""The first start of tests/rehearse on a machine: it installs what it needs, or says why it can't."""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.paths import TOP
from support.rehearse import CACHE, REHEARSE, environment, once, processes, terminal
from support.tools import namespace, tool

pytestmark = pytest.mark.xdist_group("first-start")
DOWNLOADS = str(CACHE / "pip")  # pip's own, which a test that installs need not empty


@dataclass(frozen=True)
class Installation:
    """Two first starts at once: what each said, in the alphabet's order, how long the installing took, what it made."""

    said: list[str]
    seconds: float
    folder: Path


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installation")
    ours = environment(folder, XDG_CACHE_HOME=str(folder / "cache"), PIP_CACHE_DIR=DOWNLOADS)
    began = time.time()
    command = [str(REHEARSE), "--once"]
    both = [subprocess.Popen(command, env=ours, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    (made,) = (folder / "cache/banner-rehearsal").iterdir()
    seconds = (made / "is-whole").stat().st_mtime - began
    return Installation(sorted(said), seconds, made)


def megabytes(folder: Path) -> float:
    """What a folder's files take on disk."""
    return sum(512 * file.lstat().st_blocks for file in folder.rglob("*")) / 1_000_000


def test_the_first_start_says_what_it_installs_and_the_second_has_nothing_to_say(
    installation: Installation, tmp_path: Path
) -> None:
    told = re.fullmatch(
        r"installing what the rehearsal needs into (.+): once, about (\d+) MB to download, (\d+) MB on disk \.\.\.",
        installation.said[1].partition("\n")[0],
    )
    assert told
    assert told[1] == str(installation.folder)
    assert int(told[3]) == pytest.approx(megabytes(installation.folder), rel=0.15)
    again = once(tmp_path, XDG_CACHE_HOME=str(installation.folder.parents[1]))
    assert again.stdout.startswith("profile:")


def test_of_two_that_start_at_once_one_installs_and_the_other_waits_for_it(installation: Installation) -> None:
    waited, installed = installation.said
    assert waited.startswith(f"another installation into {installation.folder.parent} is under way: waiting for it\n")
    assert installed.startswith("installing ")
    assert all("\npublished: " in text for text in installation.said)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--help"], 0), (["--port", "http"], 2), (["--port", "65536"], 2), (["--port=-1"], 2), (["--twice"], 2)],
)
def test_questions_and_slips_are_answered_before_anything_is_installed(
    tmp_path: Path, arguments: list[str], status: int
) -> None:
    with_none = environment(tmp_path, XDG_CACHE_HOME=str(tmp_path))
    run = subprocess.run([REHEARSE, *arguments], env=with_none, capture_output=True, text=True)
    assert run.returncode == status
    assert (run.stderr or run.stdout).startswith("usage: rehearse ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", [[], ["sh"], ["dash"], ["bash"], ["busybox", "sh"]])
def test_any_shell_and_a_symbolic_link_start_it(tmp_path: Path, shell: list[str]) -> None:
    if shell:
        tool(shell[0], f"apt-get install {shell[0]}")
    link = tmp_path / "link"
    link.symlink_to(REHEARSE)
    command = [*shell, str(link), "--once"]
    run = subprocess.run(command, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert "\npublished: " in run.stdout


def test_a_checkout_that_cannot_be_written_to_works(tmp_path: Path) -> None:
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && ! touch "$0/file" 2>/dev/null && exec "$@"'
    within = namespace("--map-root-user", "--mount")
    command = [*within, "sh", "-c", read_only, str(TOP), str(REHEARSE), "--once"]
    run = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_cache_that_cannot_be_written_to_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = once(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    said = r"rehearse: cannot install into .*: Not a directory: set XDG_CACHE_HOME to a folder that you can write to\n"
    assert (run.returncode, run.stdout) == (1, "")
    assert re.fullmatch(said, run.stderr)


def test_without_a_network_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    run = once(tmp_path, XDG_CACHE_HOME=str(tmp_path), **nowhere)
    *_, last = run.stderr.splitlines()
    said = "rehearse: pip could not install what is needed, and says why above; this once, it needs the network"
    assert (run.returncode, last, "Traceback" in run.stderr) == (1, said, False)
    assert list((tmp_path / "banner-rehearsal").iterdir()) == []


@pytest.mark.timeout(1800)
def test_ctrl_c_at_any_moment_of_the_installation_ends_it_quietly_and_the_next_start_works(
    installation: Installation, tmp_path: Path
) -> None:
    moments = 8
    cache = tmp_path / "cache"
    ours = {"XDG_CACHE_HOME": str(cache), "PIP_CACHE_DIR": DOWNLOADS, "HOME": str(tmp_path)}
    for moment in range(moments):
        folder = tmp_path / str(moment)
        folder.mkdir()
        with terminal(environment(folder, **ours)) as shown:
            time.sleep(installation.seconds * moment / moments)  # the moment that is tried
            shown.press(b"\x03" * (1 + moment % 2))  # some press it twice
            shown.finish()
        rest = shown.shown.rpartition("^C")[2].strip("\n")
        assert re.fullmatch(r"(published: .*\n)?(ended.*)?", rest), shown.shown
        assert "Traceback" not in shown.shown
        assert processes(folder) == []
        assert [file.name for file in folder.iterdir() if not file.name.startswith("banner-rehearsal-")] == []
    half_made = cache / "banner-rehearsal" / installation.folder.name / "bin"
    shutil.rmtree(half_made.parent, ignore_errors=True)
    half_made.mkdir(parents=True)
    (half_made / "python").write_text("a disk that was full")
    run = once(tmp_path, **ours)
    assert (run.returncode, run.stderr) == (0, "")
    assert "\npublished: " in run.stdout
