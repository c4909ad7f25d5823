"""The commands of README.md, word for word, as somebody types them who has just cloned it."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from PIL import Image
from rehearsal.grafana import Grafana
from rehearsal.x import X
from support import rehearse
from support.paths import TOP
from support.tools import IN_REQUIREMENTS, a_clone, tool

README = (TOP / "README.md").read_text()
REHEARSE, IMAGE_URL, REHEARSE_OWN, BUILD, DRY_RUN, PUBLISH, TOKEN, PULL, TESTS = HERE = [
    "./tests/rehearse",
    "image_url='http://grafana:3000/render/d-solo/wR0Yf26Gk/twitter-followers?orgId=1&from=now-4h&to=now"
    "&timezone=Europe%2FAmsterdam&panelId=panel-2&width=1500&height=500&hideLogo=true'",
    'image_url="$image_url" ./tests/rehearse',
    "docker build -t localhost/banner:1.1.0 .",
    'docker run --rm -e image_url="$image_url" -e image_path=/out/banner.png -v "$PWD:/out" '
    "localhost/banner:1.1.0 --dry-run",
    "docker run --rm --env-file .env localhost/banner:1.1.0",
    'echo "RENDERER_TOKEN=$(openssl rand -hex 32)" >>.env',
    "git pull",
    "./tests/run",
]
SIGNED = "needs an image that the workflow `release` has signed"
ELSEWHERE = [  # by tests/test_release.py
    "docker pull ghcr.io/OWNER/banner:1.1.0",
    "docker tag ghcr.io/OWNER/banner:1.1.0 localhost/banner:1.1.0",
]
NOT_RUN = {
    "cosign verify ghcr.io/OWNER/banner:1.1.0 --certificate-oidc-issuer https://token.actions.githubusercontent.com "
    "--certificate-identity https://github.com/OWNER/banner/.github/workflows/release.yaml@refs/tags/v1.1.0": SIGNED,
    "gh attestation verify oci://ghcr.io/OWNER/banner:1.1.0 --repo OWNER/banner": SIGNED,
    "gh attestation verify oci://ghcr.io/OWNER/banner:1.1.0 --repo OWNER/banner "
    "--predicate-type https://spdx.dev/Document/v2.3 --format json": SIGNED,
    "sudo systemctl enable --now banner.timer": "would change this machine's systemd; the units are verified by it",
    "docker compose up -d": "needs Grafana's images; the file is checked against the compose specification",
}


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(f"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_command_of_the_readme_is_run_here_or_has_its_reason() -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert set(commands) == {*HERE, *ELSEWHERE, *NOT_RUN}


def test_every_address_of_a_picture_moves_with_the_time() -> None:
    addresses = re.findall(r"\S+/(?:d|d-solo)/\S+", README)
    assert len(addresses) > 2
    assert [address for address in addresses if "?" in address and "from=now-4h&to=now" not in address] == []


def test_every_link_within_the_project_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https:)([^)#]*)(#[^)]*)?\)", README)
    titles = re.findall("^#+ (.*)$", README, re.MULTILINE)
    headings = {"#" + re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    assert links
    files = [re.sub(r"^../../actions/(workflows/\w+[.]yaml)(/badge.svg)?$", r".github/\1", path) for path, _ in links]
    assert [path for path in files if not (TOP / path).exists()] == []
    assert [anchor for path, anchor in links if anchor and not path and anchor not in headings] == []


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
        *("in quotes", "wants a login", "no such panel", "no PNG came as image/png", "the picture is", "instead of"),
        *("the picture shows no data", "connecting to", "cannot connect to", "there is no host"),
        *("is down, starting or slow", "sent an answer over 5 minutes old", "opens again in"),
    ),
    ("k8s/README.md", "## It does not"): (
        *("skipped: ", "stopped by ", "connecting to ", "is down, starting or slow"),
        "the picture shows no data",
    ),
}


@pytest.mark.parametrize(("readme", "heading"), SAID)
def test_every_message_that_a_readme_explains_is_one_of_the_scripts(readme: str, heading: str) -> None:
    script = (TOP / "banner.py").read_text()
    table = (TOP / readme).read_text().partition(heading)[2].partition("\n## ")[0]
    assert [said for said in ALIKE + SAID[readme, heading] if said not in table or said not in script] == []


def test_the_moving_picture_is_small_and_moves() -> None:
    file = TOP / "tests/readme/follow.gif"
    assert f"]({file.relative_to(TOP)})" in README
    assert file.stat().st_size < 2_000_000
    with Image.open(file) as picture:
        assert picture.n_frames > 10  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [REHEARSE, REHEARSE_OWN])
def test_the_rehearsal_shows_a_profile_publishes_and_ends_at_ctrl_c(tmp_path: Path, command: str) -> None:
    with X() as x, Grafana(x=x.page) as own:
        own.answers["render"] = "ok" if command == REHEARSE_OWN else "render-failed"
        typed_in = [
            *rehearse.AS_TYPED,
            "bash",
            "-c",
            IMAGE_URL.replace("http://grafana:3000", own.url) + "\n" + command,
        ]
        lines = []
        with subprocess.Popen(
            typed_in,
            cwd=TOP,
            env=rehearse.environment(tmp_path),
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # as a terminal would have it
        ) as process:
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                if line.startswith("published:"):
                    os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 0
    assert any(line.startswith("profile:") and "http://127.0.0.1:" in line for line in lines)
    assert any(line.startswith("published:") for line in lines)


def test_the_tests_are_found() -> None:
    listing = ["bash", "-c", f"{TESTS} --collect-only --quiet tests/test_readme.py"]
    run = subprocess.run(listing, cwd=TOP, capture_output=True, text=True)
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
    with X() as x, Grafana(x=x.page) as grafana:
        here = IMAGE_URL.replace("http://grafana:3000", grafana.url)
        looked = typed(f"{here}\n{DRY_RUN}", docker, out, ca=str(x.ca))
        assert (looked.returncode, looked.stderr) == (0, "")
        assert "; colours for data_color: 1DA1F2 (" in looked.stdout
        assert (out / "banner.png").read_bytes().startswith(b"\x89PNG")
        assert x.attempts == 0
        settings = {**grafana.environment(), **x.environment(), "REQUESTS_CA_BUNDLE": "/ca.pem"}
        assert dotenv().keys() == settings.keys() - {"REQUESTS_CA_BUNDLE", "x_host"}
        (out / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        published = typed(PUBLISH, docker, out, ca=str(x.ca))
        assert published.returncode == 0, published.stderr
        assert x.published == 1
    assert shlex.split(PUBLISH)[-1] == shlex.split(BUILD)[3]


def dotenv() -> dict[str, str]:
    """The settings that the README would have in a file."""
    shown = README.partition("chmod 600 .env")[2].partition("```")[0]
    return dict(re.findall(r"^    (\w+)=(.*)$", shown, re.MULTILINE))


def test_the_crontabs_line_runs_the_job_and_never_two_at_once(tmp_path: Path) -> None:
    (line,) = blocks("crontab")
    entry = re.fullmatch(r"(\* \* \* \* \*) ([^%\n]+)\n", line)  # cron takes a % for a line end
    assert entry
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, does in {
        "docker": 'echo "$*" >>~/started && cat ~/hold && echo "published: what it says"',
        "logger": 'cat >>~/logged && echo "$*" >>~/logged',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    os.mkfifo(tmp_path / "hold")
    as_cron_does = {"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin", "SHELL": "/bin/sh"}
    first = subprocess.Popen(["/bin/sh", "-c", entry[2]], env=as_cron_does, cwd=tmp_path)
    with (tmp_path / "hold").open("w"):  # opens once the first has its docker running
        second = subprocess.run(["/bin/sh", "-c", entry[2]], env=as_cron_does, cwd=tmp_path, capture_output=True)
        assert (second.stdout, second.stderr) == (b"", b"")
        started = (tmp_path / "started").read_text()
    assert first.wait() == 0
    assert started == f"run --rm --env-file {tmp_path}/.env localhost/banner:1.1.0\n"
    assert (tmp_path / "started").read_text() == started
    assert (tmp_path / "logged").read_text().splitlines() == ["-t banner", "published: what it says", "-t banner"]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "apt-get install systemd")
    units = {Path(block.splitlines()[0].removeprefix("# ")): block for block in blocks("ini")}
    assert [unit.name for unit in units] == ["banner.service", "banner.timer"]
    assert units[Path("/etc/systemd/system/banner.service")].count(PUBLISH.replace(".env", "/etc/banner.env")) == 1
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    program = tmp_path / "usr/bin/docker"
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    for unit, text in units.items():
        file = tmp_path / unit.relative_to("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    verify = [analyze, f"--root={tmp_path}", "verify", "banner.timer", "banner.service"]
    run = subprocess.run(verify, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_compose_file_is_one_and_shares_a_token(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    check = [tool("check-jsonschema", IN_REQUIREMENTS), "--builtin-schema", "vendor.compose-spec"]
    good, bad = tmp_path / "compose.override.yaml", tmp_path / "bad.yaml"
    good.write_text(text)
    bad.write_text(text.replace("mem_limit", "memory_limit"))
    run = subprocess.run([*check, good], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert subprocess.run([*check, bad], capture_output=True).returncode == 1
    services = yaml.safe_load(text)["services"]
    shared = services["renderer"]["environment"]["AUTH_TOKEN"]
    assert services["grafana"]["environment"]["GF_RENDERING_RENDERER_TOKEN"] == shared == "${RENDERER_TOKEN:?}"
    renderer = yaml.safe_load((TOP / "k8s/image-renderer/deployment-image-renderer.yaml").read_text())
    assert services["renderer"]["image"] == renderer["spec"]["template"]["spec"]["containers"][0]["image"]


def test_the_renderers_token_is_made(tmp_path: Path) -> None:
    tool("openssl", "apt-get install openssl")
    (tmp_path / ".env").write_text("GRAFANA_VERSION=13\n")
    subprocess.run(["bash", "-c", TOKEN], cwd=tmp_path, check=True)
    assert re.fullmatch("GRAFANA_VERSION=13\nRENDERER_TOKEN=[0-9a-f]{64}\n", (tmp_path / ".env").read_text())


def test_a_pull_brings_what_is_new(tmp_path: Path) -> None:
    a_clone()
    there, here = tmp_path / "there", tmp_path / "here"
    subprocess.run(["git", "clone", "--quiet", TOP, there], check=True)
    subprocess.run(["git", "clone", "--quiet", there, here], check=True)
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *author, "commit", "--quiet", "--allow-empty", "--message", "new"], cwd=there, check=True)
    subprocess.run(["bash", "-c", PULL], cwd=here, check=True, capture_output=True)
    last = subprocess.run(["git", "log", "-1", "--format=%s"], cwd=here, check=True, capture_output=True, text=True)
    assert last.stdout == "new\n"
