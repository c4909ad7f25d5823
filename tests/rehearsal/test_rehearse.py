"""tests/rehearse as people run it: a program, its output, its files, its exit status."""

import base64
import json
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import trustme
from flask import Response, request
from support import pictures
from support.rehearse import AS_TYPED, REHEARSE, environment, once, processes, terminal

from rehearsal import runs
from rehearsal.servers import application, serving
from rehearsal.x import X

CTRL_C = b"\x03"
PNG = pictures.plain(1500, 500)
REAL_KEYS = {
    "CONSUMER_KEY": "test-real-consumer-key",
    "consumer_secret": "test-real-consumer-secret",
    "access_token": "test-real-access-token",
    "Access_Token_Secret": "test-real-access-token-secret",
}


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
    png = PNG
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


def test_it_goes_on_until_told_to_end_and_ends_cleanly(tmp_path: Path) -> None:
    with terminal(environment(tmp_path)) as shown:
        page = shown.wait_for(r"profile: +(http://127\.0\.0\.1:\d+)/your_name")[1]
        shown.wait_for(r"published: .*\n")
        with urlopen(Request(page + "/follow", method="POST")) as answer:
            followers = json.load(answer)["followers"]
        shown.wait_for(r"published: .*\n(?s:.*)published: .*\n")
        shown.press(CTRL_C)
        status = shown.finish()
    (kept,) = tmp_path.glob("banner-rehearsal-*")
    assert (status, shown.shown.rpartition("^C\n")[2]) == (0, f"ended; the pictures are in {kept}\n")
    assert {"banner-0001.png", "banner-0002.png", "profile.html"} == {file.name for file in kept.iterdir()}
    assert f">{followers}</b> Followers" in (kept / "profile.html").read_text()
    assert list(tmp_path.iterdir()) == [kept]


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    with subprocess.Popen([REHEARSE], env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert next(line for line in process.stdout if line.startswith("published:"))
        process.terminate()
        rest = process.stdout.read()
    (kept,) = tmp_path.glob("banner-rehearsal-*")
    assert (process.returncode, rest) == (0, f"\nended; the pictures are in {kept}\n")
    assert processes(tmp_path) == []


def test_ctrl_c_at_any_moment_of_the_first_runs_ends_it_quietly(tmp_path: Path) -> None:
    moments = 22
    began = time.monotonic()
    with terminal(environment(tmp_path)) as shown:
        shown.wait_for(r"published: .*\n(?s:.*)published: .*\n")
    two_runs = time.monotonic() - began
    for moment in range(moments):
        folder = tmp_path / str(moment)
        folder.mkdir()
        with terminal(environment(folder)) as shown:
            time.sleep(two_runs * moment / moments)  # the moment that is tried
            shown.press(CTRL_C * (1 + moment % 2))  # some press it twice
            shown.finish()
        rest = shown.shown.rpartition("^C")[2].strip("\n")
        # What it was about to say when the key was pressed, and its end.
        assert re.fullmatch(r"(profile: .*\n)?(pictures: .*\n)?(published: .*\n)?(ended.*)?", rest), shown.shown
        assert "Traceback" not in shown.shown
        assert processes(folder) == []
        assert [file.name for file in folder.iterdir() if not file.name.startswith("banner-rehearsal-")] == []


def test_ctrl_c_is_quiet_where_the_reader_has_ended(tmp_path: Path) -> None:
    """As in `./tests/rehearse | tee log`."""
    command = [*AS_TYPED, str(REHEARSE)]
    with subprocess.Popen(
        command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert next(line for line in process.stdout if line.startswith("published:"))
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        assert (process.wait(), process.stderr.read()) == (0, "")


def test_the_profile_page_is_at_the_port_that_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    run = once(tmp_path, "--port", str(free))
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(f"profile:  http://127.0.0.1:{free}/your_name\n")


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        run = once(tmp_path, "--port", str(taken))
    expected = f"rehearse: port {taken} cannot be used: Address already in use\n"
    assert (run.returncode, run.stdout, run.stderr) == (1, "", expected)
    assert list(tmp_path.iterdir()) == []


def test_the_last_hundred_pictures_are_kept(tmp_path: Path) -> None:
    with X() as x:
        kept = 0
        for number in range(103):
            x.publish(b"picture %d" % number)
            kept = runs.keep(x, kept, tmp_path)
    names = [f"banner-{number:04}.png" for number in range(4, 104)]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*names, "profile.html"]
    assert (tmp_path / "banner-0004.png").read_bytes() == b"picture 3"
    assert (tmp_path / "banner-0103.png").read_bytes() == b"picture 102"


@pytest.mark.parametrize("as_folder", [False, True])
def test_own_authorities_count_for_the_own_grafana(
    tmp_path: Path, authority: trustme.CA, tls: ssl.SSLContext, as_folder: bool
) -> None:
    app = application({"GET /render/d-solo/own/panel": lambda: Response(PNG, content_type="image/png")})
    trusted = tmp_path / "authorities"
    trusted.mkdir()
    authority.cert_pem.write_to_path(str(trusted / "0a1b2c3d.0"))
    with serving(app, "127.0.0.1", 0, tls) as port:
        run = once(
            tmp_path,
            IMAGE_URL=f"https://127.0.0.1:{port}/render/d-solo/own/panel?panelId=7",
            REQUESTS_CA_BUNDLE=str(trusted if as_folder else trusted / "0a1b2c3d.0"),
        )
    assert (run.returncode, run.stderr) == (0, "")


def test_authorities_that_are_nowhere_are_one_line(tmp_path: Path) -> None:
    run = once(tmp_path, REQUESTS_CA_BUNDLE=str(tmp_path / "nowhere"))
    assert (run.returncode, run.stdout) == (1, "")
    assert (
        run.stderr == f"rehearse: REQUESTS_CA_BUNDLE: cannot read {tmp_path / 'nowhere'}: No such file or directory\n"
    )


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = once(tmp_path, "--keep", str(tmp_path / "file"))
    assert (run.returncode, run.stderr.count("\n"), "Traceback" in run.stderr) == (1, 1, False)
