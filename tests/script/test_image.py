"""The job's image, built and run by docker or podman, against the stand-in X and a Grafana on this machine."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rehearsal.x import X
from support.paths import TOP
from support.peers import Connection, Handler, Peer, answers, paths
from support.pictures import plain
from support.renders import FOLDER, NEEDS_RENDERS, PUBLISHED, grafana, rows
from support.script import QUERY, RENDER, one_line
from support.tools import BASE, tool

from script.test_hostile import JSON, PICTURES

IMAGE = "localhost/banner-under-test:1"
LEGAL = {name: png for name, png in PICTURES.items() if name.startswith(("filter 4", "5 MB of pixels"))}
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--user", "12345:12345", "--cap-drop", "ALL", "--memory", "64m")
IMAGE_URL = RENDER + "&width=1500&height=500"
GOOD = plain(1500, 500)
IMPORTS = """if True:
    import time
    began = time.process_time()
    import requests, tweepy
    print(time.process_time() - began)
"""

pytestmark = pytest.mark.xdist_group("image")


@pytest.fixture(scope="session")
def image(engine: str) -> str:
    """The name of the image, built; where its base can't be pulled, tests/tools/base_image makes a stand-in before."""
    built = subprocess.run([engine, "build", "--tag", IMAGE, TOP], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert built.returncode == 0, built.stdout.decode()
    return IMAGE


@pytest.fixture(scope="session")
def added(engine: str, image: str, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The layers, uncompressed tar archives, that the image has and its base has not."""
    archive = tmp_path_factory.mktemp("saved") / "image.tar"
    subprocess.run([engine, "save", "--output", archive, image], check=True, capture_output=True)
    with tarfile.open(archive) as saved:
        [manifest] = json.loads(content(saved, "manifest.json"))
        layers = [content(saved, name) for name in manifest["Layers"]]
    return layers[len(inspect(engine, BASE)["RootFS"]["Layers"]) :]


@pytest.fixture(scope="session")
def files(added: Sequence[bytes]) -> dict[str, tarfile.TarInfo]:
    """Those that the image adds to its base, by their absolute path."""
    found = {}
    for layer in added:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            found.update({f"/{member.name}": member for member in archive})
    return found


@pytest.fixture
def x() -> Iterator[X]:
    with X() as x:
        yield x


def content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file, name
    return file.read()


def inspect(engine: str, image: str) -> dict[str, dict[str, Any]]:
    said = subprocess.run([engine, "image", "inspect", image], check=True, capture_output=True).stdout
    [found] = json.loads(said)
    return dict(found)


def command(engine: str, x: X, image_url: str, options: Sequence[str], **more: str) -> list[str]:
    """The run of a container on this machine's network, with the settings to publish at the stand-in X."""
    settings = {**x.environment(), "REQUESTS_CA_BUNDLE": "/ca.pem", "image_url": image_url, **more}
    environment = [option for pair in settings.items() for option in ("--env", "=".join(pair))]
    world = ("--network", "host", "--volume", f"{x.ca}:/ca.pem:ro")
    return [engine, "run", "--rm", *world, *environment, *options, IMAGE]


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(
    ("render", "sent"),
    [
        pytest.param(answers(body=GOOD), [GOOD], id="good"),
        pytest.param(answers(body=GOOD[:-20]), [], id="cut"),
        pytest.param(answers(body=GOOD, content_type="text/html"), [], id="page"),
    ],
)
def test_any_user_read_only_and_in_64_mb_publishes_a_good_picture_byte_for_byte_and_no_other(
    engine: str, x: X, render: Handler, sent: Sequence[bytes]
) -> None:
    with Peer(paths({"/render/": render})) as server:
        line = command(engine, x, server.url + IMAGE_URL, HARDENED)
        run = subprocess.run(line, capture_output=True, text=True)
    assert x.banners == sent, run.stderr
    assert run.stdout.startswith("published: ") if sent else run.stderr.startswith("failed: ")


@pytest.mark.usefixtures("image")
@NEEDS_RENDERS
@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_any_user_read_only_and_in_64_mb_meets_the_verdict_on_a_real_answer(
    engine: str, x: X, row: dict[str, Any]
) -> None:
    with Peer(grafana(row)) as server:
        query = f"{server.url}{QUERY}?query=x_user_followers_count"
        line = command(engine, x, server.url + row["image_url"], HARDENED, publish_if_url=query)
        run = subprocess.run(line, capture_output=True, text=True)
    sent = [(FOLDER / row["file"]).read_bytes()] if row["verdict"] in PUBLISHED else []
    assert x.banners == sent, run.stderr
    assert re.match("published: " if sent else "skipped: |failed: ", run.stdout + run.stderr)


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("png", LEGAL.values(), ids=LEGAL)
def test_in_64_mb_a_picture_of_each_legal_size_is_published(engine: str, x: X, png: bytes) -> None:
    with Peer(paths({"/render/": answers(body=png)})) as server:
        url = f"{server.url}{RENDER}&width={int.from_bytes(png[16:20])}&height={int.from_bytes(png[20:24])}"
        run = subprocess.run(command(engine, x, url, HARDENED), capture_output=True, text=True)
    assert run.stdout.startswith("published: "), (run.returncode, run.stderr)
    assert x.banners == [png]


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("asked", ["query", "api"])
@pytest.mark.parametrize("body", JSON.values(), ids=JSON)
def test_in_64_mb_the_largest_json_ends_in_one_line(engine: str, x: X, body: bytes, asked: str) -> None:
    render = answers(body=GOOD)
    with Peer(paths({f"/{asked}": answers(200, body, "application/json"), "/render/": render})) as server:
        query = {"publish_if_url": f"{server.url}/query"} if asked == "query" else {}
        line = command(engine, x, server.url + IMAGE_URL, HARDENED, **query)
        run = subprocess.run(line, capture_output=True, text=True)
    assert run.returncode in (0, 1), run
    assert one_line(run.stdout + run.stderr)


def test_the_memory_limit_of_these_tests_holds(engine: str, image: str, tmp_path: Path) -> None:
    greedy = [engine, "run", "--rm", *HARDENED, "--entrypoint", "python", image, "-c", "b'x' * (200 << 20)"]
    # podman's monitor leaves a file named oom where it was started.
    assert subprocess.run(greedy, cwd=tmp_path, capture_output=True).returncode == 137


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize(
    ("told", "status", "said"),
    [
        (["kill", "--signal", "TERM"], 143, "stopped by SIGTERM"),
        (["kill", "--signal", "INT"], 130, "stopped by SIGINT"),
        (["stop"], 143, "stopped by SIGTERM"),  # it kills what has not ended in 10 s, whose status is 137
    ],
)
def test_as_process_1_it_ends_by_itself_when_told(
    engine: str, x: X, told: Sequence[str], status: int, said: str
) -> None:
    name = f"banner-{os.getpid()}"
    with Peer(Connection.hold) as server:
        line = command(engine, x, server.url + IMAGE_URL, ["--name", name])
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            server.holding.wait()
            subprocess.run([engine, *told, name], check=True, capture_output=True)
            stdout, stderr = run.communicate()
    assert (run.returncode, stdout) == (status, "")
    assert stderr.startswith(said)
    assert x.attempts == 0


def test_what_it_adds_to_its_base_is_under_15_mb_compressed(added: Sequence[bytes]) -> None:
    assert 0 < sum(len(gzip.compress(layer)) for layer in added) < 15e6


def test_it_adds_the_script_and_the_two_libraries_with_theirs_and_nothing_else(
    files: dict[str, tarfile.TarInfo],
) -> None:
    packages = {path.split("/")[2].split("-")[0] for path in files if path.endswith("dist-info/METADATA")}
    pinned = set(re.findall("^[a-z0-9_-]+", (TOP / "requirements.txt").read_text(), re.MULTILINE))
    assert {name.lower() for name in packages} == {name.replace("-", "_") for name in pinned}
    modules = {path.split("/")[2] for path in files if re.fullmatch("/banner/[^/]+[.]py", path)}
    assert modules == {"banner.py"}
    outside = [path for path in files if not path.startswith("/banner") and not files[path].isdir()]
    assert outside == []


def test_all_of_it_is_compiled_and_can_be_read_by_anyone_and_written_by_root_alone(
    files: dict[str, tarfile.TarInfo],
) -> None:
    compiled = {path.replace("/__pycache__", "").split(".")[0] for path in files if path.endswith(".pyc")}
    assert {path.removesuffix(".py") for path in files if path.endswith(".py")} == compiled
    ours = [member for path, member in files.items() if path.startswith("/banner")]
    assert [m.name for m in ours if not m.mode & 0o004 or m.mode & 0o022 or m.uid or m.gid] == []


def test_importing_takes_no_longer_inside_than_outside(engine: str, image: str) -> None:
    def fastest(command: Sequence[str]) -> float:
        """CPU seconds."""
        return min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3))

    outside = [sys.executable, "-c", IMPORTS]
    inside = [
        engine,
        "run",
        "--rm",
        *HARDENED,
        "--env",
        "PYTHONPATH=/banner",
        "--entrypoint",
        "python",
        image,
        "-c",
        IMPORTS,
    ]
    assert fastest(inside) < 2 * fastest(outside)


def test_its_user_is_a_number_and_not_root(engine: str, image: str) -> None:
    assert re.fullmatch("[1-9][0-9]*:[1-9][0-9]*", inspect(engine, image)["Config"]["User"])


def test_its_labels_say_what_it_is_and_the_version_of_the_script(engine: str, image: str) -> None:
    labels = inspect(engine, image)["Config"]["Labels"]
    said = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert said["title"] == "banner"
    assert said["licenses"] == "MIT"
    assert said["base.name"] == BASE
    version = subprocess.run([engine, "run", "--rm", image, "--version"], check=True, capture_output=True, text=True)
    assert version.stdout == f"banner {said['version']}\n"


def test_two_builds_of_one_commit_are_the_same_image_to_the_last_bit(tmp_path: Path) -> None:
    podman = tool("podman", "apt-get install podman")
    again = tmp_path / "another checkout"  # whose files are of another time
    again.mkdir()
    for name in ("Dockerfile", ".dockerignore", "banner.py", "requirements.txt"):
        shutil.copy(TOP / name, again)
    digests = []
    for folder in (TOP, again):
        build = [podman, "build", "--no-cache", "--timestamp", "1000000000", "--tag", f"{IMAGE}-again", str(folder)]
        built = subprocess.run(build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert built.returncode == 0, built.stdout.decode()
        digests.append(inspect(podman, f"{IMAGE}-again")["Digest"])
    assert digests[0] == digests[1]
