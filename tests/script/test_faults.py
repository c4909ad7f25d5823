"""Each row of the tables in faults/: a process of banner.py, and peers on real sockets."""

import hashlib
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.pace import starts
from support.peers import Peer, Request, answers, paths, tunnel
from support.script import MEMORY, QUERY, RENDER, Run, leaks, one_line, publishing, run, world

from script.faults import FAULTS
from script.faults.fault import Fault, good
from script.faults.lines import TOO_MANY_CALLS


@dataclass(frozen=True)
class Outcome:
    """What came of a row: the run, what the peers were asked, and the files left."""

    run: Run
    line: str  # what the row expects, its names filled in
    uploads: list[Request]
    connections: int  # to X
    renders: int
    other_asked: int
    written: dict[str, bytes]


def placed(text: str, places: Mapping[str, object]) -> str:
    """The text with what its names in braces stand for."""
    for name, place in places.items():
        text = text.replace(f"{{{name}}}", str(place))
    return text


def closed_port(stack: ExitStack) -> str:
    """An address where nobody listens, and that nobody else is given meanwhile."""
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{taken.getsockname()[1]}"


def about(sent: bytes | None) -> dict[str, object]:
    """What the line says of a picture."""
    if sent is None:
        return {}
    size = f"{int.from_bytes(sent[16:20])}x{int.from_bytes(sent[20:24])}"
    return {"size": size, "bytes": len(sent), "sha": hashlib.sha256(sent).hexdigest()[:12]}


@pytest.fixture
def contexts(tls: ssl.SSLContext, untrusted: ssl.SSLContext, misnamed: ssl.SSLContext) -> dict[str, ssl.SSLContext]:
    """The certificates that a row names."""
    return {"tls": tls, "untrusted": untrusted, "misnamed": misnamed}


def outcome(fault: Fault, folder: Path, ca_file: str, contexts: Mapping[str, ssl.SSLContext]) -> Outcome:
    """Runs banner.py against the row's peers."""
    routes = paths({"/render/": fault.render, "/api/dashboards/uid/wR0Yf26Gk": fault.dashboard, QUERY: fault.query})
    with ExitStack() as stack:
        other = stack.enter_context(
            Peer(tunnel(contexts["tls"], fault.x) if fault.tunnelled else fault.other, contexts.get(fault.other_tls))
        )
        grafana = stack.enter_context(Peer(fault.grafana or routes, contexts.get(fault.grafana_tls)))
        x = stack.enter_context(Peer(fault.x, contexts.get(fault.x_tls)))
        grafana.elsewhere = x.elsewhere = other.url
        deadline = f"{starts(6 if fault.late else 100):.1f}"
        places = {"grafana": grafana.host, "other": other.host, "x": x.host, "closed": closed_port(stack)}
        settings = publishing(grafana, x, ca_file, RENDER + fault.size) | {"deadline_seconds": deadline}
        settings |= {name: placed(value, places) for name, value in fault.settings.items()}
        done = run(folder, settings, before=MEMORY)
    return Outcome(
        done,
        placed(fault.line, places | about(fault.sent) | {"deadline": deadline}),
        [request for request in (*x.requests, *other.requests) if request.method == "POST"],
        x.connections,
        sum("/render/" in request.path for request in grafana.requests),
        len(other.requests),
        {file.name: file.read_bytes() for file in folder.iterdir()},
    )


def x_got_the_picture_or_nothing(came: Outcome, fault: Fault) -> None:
    assert [request.banner for request in came.uploads] == ([] if fault.sent is None else [fault.sent]), came.run
    assert came.connections <= 1, came.run  # the next minute is the retry


def the_line_is_the_rows(came: Outcome, fault: Fault) -> None:
    measured = re.compile(r"\b(\d+\.\d\d) s\b")
    assert measured.sub("{seconds} s", came.run.output) == came.line + "\n"
    assert came.run.status == fault.status
    assert came.run.stdout == ("" if fault.status else came.run.output)
    assert one_line(came.run.output)
    assert not leaks(came.run.output)
    assert all(float(seconds) <= came.run.seconds for seconds in measured.findall(came.run.output))


def nobody_was_asked_too_much(came: Outcome, fault: Fault) -> None:
    assert (came.renders, came.other_asked) == (fault.renders, fault.other_asked), came.run


def the_files_left_are_the_rows(came: Outcome, fault: Fault) -> None:
    written = fault.written or fault.sent
    assert came.written == ({} if written is None else {"banner.png": written})


@pytest.mark.parametrize("fault", FAULTS.values(), ids=[claim.replace(" ", "-") for claim in FAULTS])
def test_never_a_wrong_picture_and_always_the_right_line(
    fault: Fault, tmp_path: Path, ca_file: str, contexts: Mapping[str, ssl.SSLContext]
) -> None:
    came = outcome(fault, tmp_path, ca_file, contexts)
    x_got_the_picture_or_nothing(came, fault)
    the_line_is_the_rows(came, fault)
    nobody_was_asked_too_much(came, fault)
    the_files_left_are_the_rows(came, fault)


def test_a_rate_limit_says_in_how_many_seconds_x_opens_again(tmp_path: Path, tls: ssl.SSLContext, ca_file: str) -> None:
    opens = int(time.time()) + 100_000
    with world(good, tls, ca_file, x=answers(429, x_rate_limit_reset=opens)) as peers:
        done = run(tmp_path, peers.settings)
    said = re.fullmatch(f"failed: X answered 429, and opens again in ([0-9]+) s: {TOO_MANY_CALLS}\n", done.stderr)
    assert said, done
    assert opens - time.time() <= int(said[1]) <= 100_000
