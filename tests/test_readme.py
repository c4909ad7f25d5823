"""The commands of README.md, word for word, as somebody types them who has just cloned it."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from rehearsal.x import X
from support.paths import TOP
from support.peers import Peer, answers, paths
from support.pictures import plain

README = (TOP / "README.md").read_text()
GOOD = plain(1500, 500)
REHEARSE, TESTS, BUILD, DRY_RUN, PUBLISH = COMMANDS = [
    "./tests/rehearse",
    "./tests/run",
    "docker build -t localhost/banner:1.0.0 .",
    'docker run --rm -e image_url="$image_url" -e image_path=/out/banner.png -v "$PWD:/out" '
    "localhost/banner:1.0.0 --dry-run",
    "docker run --rm --env-file .env localhost/banner:1.0.0",
]


def test_every_command_of_the_readme_is_run_here() -> None:
    blocks = re.findall("^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert [line for block in blocks for line in block.splitlines()] == COMMANDS


def test_what_the_readme_says_of_settings_and_exit_codes_is_what_help_says() -> None:
    told = subprocess.run([TOP / "banner.py", "--help"], capture_output=True, text=True, check=True).stdout
    settings = re.findall(r"^  ((?:[a-z_]+(?:, )?)+)$|^  ([a-z_]+) {2,}", told.partition("exit codes")[0], re.MULTILINE)
    names = {name for pair in settings for name in ", ".join(pair).split(", ") if name}
    assert len(names) == 11
    assert names <= set(re.findall("`([a-z_]+)`", README))
    codes = re.findall("^  ([0-9, ]+?)  ", told.partition("exit codes")[2], re.MULTILINE)
    assert codes == re.findall(r"^\| ([0-9, ]+) \|", README, re.MULTILINE)


ALIKE = ("missing", "blank", "Grafana's render", "no such dashboard", "out of time", "waiting for ")
SAID = {
    ("README.md", "## When it fails"): (
        *("in quotes", "login page", "no such panel", "a PDF came as image/png", "the picture is", "instead of"),
        *("the picture shows no data", "connecting to", "looking up", "cannot connect to", "there is no host"),
        *("data source is down", "sent an answer over 5 minutes old", "opens again in"),
    ),
    ("k8s/README.md", "## It does not"): ("skipped: ",),
}


@pytest.mark.parametrize(("readme", "heading"), SAID)
def test_every_message_that_a_readme_explains_is_one_of_the_scripts(readme: str, heading: str) -> None:
    script = (TOP / "banner.py").read_text()
    table = (TOP / readme).read_text().partition(heading)[2].partition("\n## ")[0]
    assert [said for said in ALIKE + SAID[readme, heading] if said not in table or said not in script] == []


def test_the_rehearsal_shows_a_profile_publishes_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    typed_in = ["bash", "-c", f"exec {REHEARSE}"]
    lines = []
    with subprocess.Popen(typed_in, cwd=TOP, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if line.startswith("published:"):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert any(line.startswith("profile:") and "http://127.0.0.1:" in line for line in lines)
    assert any(line.startswith("published:") for line in lines)


def test_the_tests_are_found() -> None:
    listing = ["bash", "-c", f"{TESTS} --collect-only --quiet tests/test_readme.py"]
    run = subprocess.run(listing, cwd=TOP, capture_output=True, text=True, timeout=100)
    assert (run.returncode, run.stderr) == (0, "")
    assert "test_the_tests_are_found" in run.stdout


@pytest.fixture
def docker(engine: str, tmp_path: Path) -> Path:
    """A folder for PATH: its `docker` runs containers on this machine's network, with the stand-in X's CA."""
    folder = tmp_path / "bin"
    folder.mkdir()
    file = folder / "docker"
    near = 'run) exec "$engine" run --network host --volume "$ca:/ca.pem:ro" "${@:2}" ;;'
    file.write_text(f'#!/usr/bin/env bash\nengine={engine}\ncase $1 in {near} esac\nexec "$engine" "$@"\n')
    file.chmod(0o755)
    return folder


def typed(command: str, docker: Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = os.environ | {"PATH": f"{docker}:{os.environ['PATH']}"} | variables
    return subprocess.run(["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.xdist_group("image")
def test_the_image_is_built_looks_and_publishes(docker: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)  # the image's user may be another than this one
    built = typed(BUILD, docker, TOP)
    assert built.returncode == 0, built.stderr
    with X() as x, Peer(paths({"/render/": answers(body=GOOD)})) as grafana:
        image_url = grafana.url + "/render/d-solo/wR0Yf26Gk/twitter-followers?orgId=1&panelId=2&width=1500&height=500"
        looked = typed(DRY_RUN, docker, out, image_url=image_url, ca=str(x.ca))
        assert looked.returncode == 0, looked.stderr
        assert (out / "banner.png").read_bytes() == GOOD
        assert x.attempts == 0
        settings = {**x.environment(), "image_url": image_url, "REQUESTS_CA_BUNDLE": "/ca.pem"}
        (out / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        published = typed(PUBLISH, docker, out, ca=str(x.ca))
        assert published.returncode == 0, published.stderr
        assert x.banners == [GOOD]
    assert shlex.split(PUBLISH)[-1] == shlex.split(BUILD)[3]
