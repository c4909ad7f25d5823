"""Told to stop, or out of time: whatever the run is at, it ends at once and in one line, as process 1 too."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.pace import starts
from support.peers import Connection, Handler, Peer, answers, head, paths, silence
from support.script import GOOD, KEYS, RENDER, Run, finish, leaks, one_line, publishing, run, start
from support.tools import PROCESS_1, namespace, tool

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
SIGNALS = pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)

# Runs banner.py where no look-up of a name is answered: in a network of its own, whose name server says nothing.
SILENT_DNS = """
import os, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
server.set_inheritable(True)
os.execv(sys.argv[2], sys.argv[2:])
"""


held = silence()
held_in_body = silence(head(content_length=99999) + GOOD)


@dataclass(frozen=True)
class Stage:
    """Where the run hangs: what it says of that step, and a handler of Grafana or of X that holds it there."""

    says: str
    grafana: Handler
    x: Handler = held
    x_tls: bool = True
    query: bool = False


RENDERED = paths({"/render/": answers(200, GOOD)})
STAGES = {
    "publish_if_url": Stage("waiting for publish_if_url", held, query=True),
    "the dashboard": Stage("waiting for Grafana's dashboard API", paths({"/api/": held, "/render/": held})),
    "the render": Stage("waiting for Grafana's render", paths({"/render/": held})),
    "the render's body": Stage("waiting for Grafana's render", paths({"/render/": held_in_body})),
    "X's TLS": Stage("connecting to ", RENDERED, Connection.hold, x_tls=False),
    "X's answer": Stage("waiting for X's answer at ", RENDERED, held),
}


def at_once() -> float:
    """Seconds: one is what is promised on a machine that has nothing else to do."""
    return 1 + starts(3)


def stopped_in_one_line(done: Run, number: signal.Signals) -> None:
    assert done.status == STATUS[number], done
    assert done.seconds < at_once(), done
    assert done.stdout == ""
    assert one_line(done.stderr), done
    assert not leaks(done.output)


def stop(process: subprocess.Popen[bytes], number: signal.Signals, pid: int | None = None) -> Run:
    """Sends the signal and waits; the seconds are those from the signal on."""
    since = time.monotonic()
    os.kill(pid or process.pid, number)
    return finish(process, since)


def until(come: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Watches until something that has no event of its own has come."""
    while not come():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)  # the processes of others cannot be waited for


@SIGNALS
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_signal_ends_the_run_at_any_stage(
    stage: Stage, number: signal.Signals, tls: ssl.SSLContext, ca_file: str, tmp_path: Path
) -> None:
    with Peer(stage.grafana) as grafana, Peer(stage.x, tls if stage.x_tls else None) as x:
        settings = publishing(grafana, x, ca_file)
        if stage.query:
            settings["publish_if_url"] = grafana.url + "/api/v1/query?query=up"
        process = start(tmp_path, settings)
        assert (x if stage.grafana is RENDERED else grafana).holding.wait(starts(50))
        done = stop(process, number)
    stopped_in_one_line(done, number)
    assert f"while {stage.says}" in done.stderr


@SIGNALS
def test_a_signal_ends_the_run_while_it_loads_its_libraries(number: signal.Signals, tmp_path: Path) -> None:
    with Peer(held) as grafana:
        process = start(tmp_path, {**KEYS, "image_url": grafana.url + RENDER})
        until(lambda: "_ssl." in Path(f"/proc/{process.pid}/maps").read_text(), process)  # requests is being imported
        stopped_in_one_line(stop(process, number), number)


@SIGNALS
def test_a_signal_ends_it_as_process_1(number: signal.Signals, tmp_path: Path) -> None:
    with Peer(held) as grafana:
        process = start(tmp_path, {**KEYS, "image_url": grafana.url + RENDER}, before=namespace(*PROCESS_1))
        assert grafana.holding.wait(starts(50))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        stopped_in_one_line(stop(process, number, int(children[0])), number)


def silent_dns(folder: Path) -> list[str]:
    """The command before banner.py that puts it where no name server answers."""
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    tool("ip", "apt-get install iproute2")
    return [*namespace("--net", "--mount"), sys.executable, "-c", SILENT_DNS, str(folder / "resolv.conf")]


def looks_up(process: subprocess.Popen[bytes]) -> bool:
    """Tells whether it has connected a datagram socket to the name server (0100007F:0035)."""
    return "0100007F:0035 01" in Path(f"/proc/{process.pid}/net/udp").read_text()


@SIGNALS
def test_a_signal_ends_the_look_up_of_a_name(number: signal.Signals, tmp_path: Path) -> None:
    settings = {**KEYS, "image_url": "http://grafana.test" + RENDER}
    process = start(tmp_path, settings, before=silent_dns(tmp_path))
    until(lambda: looks_up(process), process)
    stopped_in_one_line(stop(process, number), number)


@pytest.mark.parametrize("setting", ["image_url", "publish_if_url"])
def test_the_deadline_ends_the_look_up_of_a_name(setting: str, tmp_path: Path) -> None:
    deadline = starts(4)
    settings = {**KEYS, "image_url": "http://grafana.test" + RENDER, "deadline_seconds": f"{deadline:.1f}"}
    done = run(tmp_path, {**settings, setting: "http://monitoring.test" + RENDER}, before=silent_dns(tmp_path))
    assert done.status == 1, done
    assert done.seconds < deadline + at_once()
    assert one_line(done.stderr)
    assert "out of time" in done.stderr
    assert "monitoring.test" in done.stderr
