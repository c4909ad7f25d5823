"""tests/rehearse as people run it: a program, its output, its files, its exit status."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from flask import Response, request
from support import pictures
from support.paths import TESTS

from rehearsal.servers import application, serving

REHEARSE = TESTS / "rehearse"
REAL_KEYS = {
    "CONSUMER_KEY": "test-real-consumer-key",
    "consumer_secret": "test-real-consumer-secret",
    "access_token": "test-real-access-token",
    "Access_Token_Secret": "test-real-access-token-secret",
}


def environment(folder: Path, **settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), **settings}


def once(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [str(REHEARSE), "--once", *arguments]
    return subprocess.run(command, env=environment(folder, **settings), capture_output=True, text=True)


@contextmanager
def trap() -> Iterator[socket.socket]:
    """A port where nobody must knock; afterwards nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


def address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_once_publishes_and_keeps_the_picture_and_a_preview(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    run = once(tmp_path, "--keep", str(kept))
    assert (run.returncode, run.stderr) == (0, "")
    assert re.search(r"^profile: +http://127\.0\.0\.1:\d+/your_name$", run.stdout, re.MULTILINE)
    assert re.search(r"^published: 1500x500, .* X answered 200$", run.stdout, re.MULTILINE)
    assert str(kept) in run.stdout
    assert sorted(file.name for file in kept.iterdir()) == ["banner-0001.png", "profile.html"]
    png = (kept / "banner-0001.png").read_bytes()
    page = (kept / "profile.html").read_text()
    assert base64.b64encode(png).decode() in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)


def test_the_pictures_go_to_a_new_folder_among_the_temporary_files(tmp_path: Path) -> None:
    run = once(tmp_path)
    (kept,) = tmp_path.glob("banner-rehearsal-*")
    assert run.returncode == 0
    assert str(kept) in run.stdout
    assert (kept / "banner-0001.png").read_bytes().startswith(b"\x89PNG")


def test_own_pictures_come_from_image_url_and_nothing_goes_to_x(tmp_path: Path) -> None:
    png = pictures.plain(1500, 500)
    asked: list[str | None] = []

    def render() -> Response:
        asked.append(request.headers.get("Authorization"))
        return Response(png, content_type="image/png")

    def query() -> dict[str, Any]:
        asked.append(request.headers.get("Authorization"))
        return {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "1"]}]}}

    own = application({"GET /render/d-solo/own/panel": render, "GET /api/v1/query": query})
    with serving(own, "127.0.0.1", 0) as port, trap() as x, trap() as proxy:
        run = once(
            tmp_path,
            **REAL_KEYS,
            X_HOST=address(x),
            HTTPS_PROXY=f"http://{address(proxy)}",
            IMAGE_URL=f"http://127.0.0.1:{port}/render/d-solo/own/panel?panelId=7&width=1500&height=500",
            grafana_token="test-grafana-token",
            publish_if_url=f"http://127.0.0.1:{port}/api/v1/query?query=up",
        )
    assert (run.returncode, run.stderr) == (0, "")
    (kept,) = tmp_path.glob("banner-rehearsal-*")
    assert (kept / "banner-0001.png").read_bytes() == png
    assert base64.b64encode(png).decode() in (kept / "profile.html").read_text()
    assert asked == ["Bearer test-grafana-token"] * 2


def test_a_proxy_for_the_rest_of_the_world_is_not_asked(tmp_path: Path) -> None:
    with trap() as proxy:
        url = f"http://{address(proxy)}"
        assert once(tmp_path, HTTP_PROXY=url, http_proxy=url, HTTPS_PROXY=url, no_proxy="example.org").returncode == 0


def test_a_failed_run_is_the_exit_status(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = address(listener)
    run = once(tmp_path, image_url=f"http://{nobody}/render/d-solo/own/panel?panelId=7", deadline_seconds="10")
    assert (run.returncode, run.stderr.startswith("failed: ")) == (1, True)
    assert not list(tmp_path.glob("banner-rehearsal-*/*"))


def test_wrong_settings_are_the_exit_status(tmp_path: Path) -> None:
    run = once(tmp_path, image_url="grafana:3000")
    assert (run.returncode, "image_url" in run.stderr) == (2, True)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_until_told_to_end_and_ends_cleanly(tmp_path: Path, stop: signal.Signals) -> None:
    process = subprocess.Popen(
        [REHEARSE],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # its own, so that Ctrl-C reaches it and its children as in a terminal
    )
    with process:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        page = next(line for line in lines if line.startswith("profile:")).split()[1].removesuffix("/your_name")
        assert next(line for line in lines if line.startswith("published:"))
        with urlopen(Request(page + "/follow", method="POST")) as answer:
            followers = json.load(answer)["followers"]
        assert next(line for line in lines if line.startswith("published:"))
        os.killpg(process.pid, stop)
        rest = process.stdout.read()
        status = process.wait()
    (kept,) = tmp_path.glob("banner-rehearsal-*")
    assert (status, "Traceback" in rest, str(kept) in rest) == (0, False, True)
    assert {"banner-0001.png", "banner-0002.png", "profile.html"} == {file.name for file in kept.iterdir()}
    assert f">{followers}</b> Followers" in (kept / "profile.html").read_text()
    assert not list(tmp_path.glob("rehearsal-*"))
