"""Standard input, output and error that are closed, full or broken: the run ends as it should, and says what it can."""

import fcntl
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.pace import known, starts
from support.paths import BANNER
from support.peers import Connection, Handler, Peer, answers, paths, silence
from support.script import GOOD, RENDER, World, environment, world

ENDS = 20  # starts of the script in which it has to end; it needs one second where nobody takes the line


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe that takes no byte more, and that somebody still could read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return reader, writer


def broken_pipe() -> tuple[int, int]:
    """The end of a pipe that nobody reads any more, twice."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.dup(writer), writer


def full_device() -> tuple[int, int]:
    device = os.open("/dev/full", os.O_WRONLY)
    return os.dup(device), device


def closed() -> tuple[int, int]:
    """Nothing; the shell closes it."""
    return os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)


STREAMS = {"full": full_pipe, "broken": broken_pipe, "on a full disk": full_device, "closed": closed}


@pytest.fixture
def render() -> Handler:
    return answers(200, GOOD)


@pytest.fixture
def peers(render: Handler, tls: ssl.SSLContext, ca_file: str) -> Iterator[World]:
    with world(paths({"/render/": render}), tls, ca_file) as made:
        yield made


@contextmanager
def started(folder: Path, settings: Mapping[str, str], number: int, state: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of banner.py whose standard output (1) or error (2) is in this state; the other one is discarded."""
    other, stream = STREAMS[state]()
    close = f"{number}>&-" if state == "closed" else ""
    try:
        with subprocess.Popen(
            ["sh", "-c", f'exec "$@" {close}', "sh", sys.executable, str(BANNER)],
            env=environment(folder, settings),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream if number == 1 else subprocess.DEVNULL,
            stderr=stream if number == 2 else subprocess.DEVNULL,
        ) as process:
            yield process
            process.kill()  # where it did not end by itself
    finally:
        os.close(stream)
        os.close(other)


@pytest.mark.parametrize("state", STREAMS)
def test_what_is_published_is_a_success_though_nobody_hears_of_it(state: str, peers: World, tmp_path: Path) -> None:
    starts(1)
    with started(tmp_path, peers.settings, 1, state) as process:
        assert process.wait(known(50)) == 0
    assert [request.banner for request in peers.x.requests] == [GOOD]


@pytest.mark.parametrize("render", [silence()], ids=["silent"])
@pytest.mark.parametrize("state", STREAMS)
def test_the_deadline_ends_the_run_though_nobody_hears_of_it(state: str, peers: World, tmp_path: Path) -> None:
    deadline = starts(6)
    with started(tmp_path, {**peers.settings, "deadline_seconds": f"{deadline:.1f}"}, 2, state) as process:
        assert process.wait(deadline + known(ENDS)) == 1
    assert peers.x.connections == 0


@pytest.mark.parametrize("render", [silence()], ids=["silent"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("state", STREAMS)
def test_a_signal_ends_the_run_though_nobody_hears_of_it(
    state: str, number: signal.Signals, peers: World, tmp_path: Path
) -> None:
    starts(1)
    with started(tmp_path, peers.settings, 2, state) as process:
        assert peers.grafana.holding.wait(known(50))
        process.send_signal(number)
        assert process.wait(known(ENDS)) == 128 + number
    assert peers.x.connections == 0


@pytest.mark.parametrize("render", [answers(500)], ids=["500"])
@pytest.mark.parametrize("state", STREAMS)
def test_a_failure_keeps_its_exit_code_though_nobody_hears_of_it(state: str, peers: World, tmp_path: Path) -> None:
    starts(1)
    for settings, code in ((peers.settings, 1), ({}, 2)):
        with started(tmp_path, settings, 2, state) as process:
            assert process.wait(known(50)) == code


@pytest.mark.parametrize("closed", ["0>&-", "1>&-", "2>&-", "0>&- 1>&- 2>&-"])
def test_a_closed_stream_becomes_no_connection(closed: str, tmp_path: Path) -> None:
    heard = []

    def listens(connection: Connection) -> None:
        connection.receive()
        while True:
            heard.append(connection.read())

    with Peer(paths({"/render/": listens})) as grafana:
        settings = {"image_url": grafana.url + RENDER, "deadline_seconds": f"{starts(6):.1f}"}
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, str(BANNER), "--dry-run"]
        run = subprocess.run(command, env=environment(tmp_path, settings), cwd=tmp_path, capture_output=True)
        assert len(grafana.requests) == 2
    assert run.returncode == 1
    assert (run.stderr == b"") == ("2" in closed)
    assert heard == []
