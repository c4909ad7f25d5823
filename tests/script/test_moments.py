"""A signal at any moment of a run's first tenths of a second, and one at any moment of its writing the picture."""

import ast
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import pictures
from support.pace import starts
from support.paths import BANNER
from support.peers import Connection, Peer, answers, paths, silence
from support.script import KEYS, RENDER, finish, one_line, publishing, start
from support.tools import PROCESS_1, namespace

MOMENTS = 100
SIGNALS = (signal.SIGTERM, signal.SIGINT)
QUICK = {"os", "select", "signal", "sys", "threading", "typing"}  # to import: 5 ms together


def script(process: subprocess.Popen[bytes], before: Sequence[str]) -> int:
    """The pid of the script itself, once there is one; 0 where it has ended."""
    if not before:
        return process.pid
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/cmdline").read_bytes().startswith(sys.executable.encode()):
            return int(children[0])
    return 0


def handled(pid: int) -> bool:
    """Whether the script is past the setting of its handlers, SIGTERM's being the last."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("own", [(), PROCESS_1], ids=["a process", "process 1"])
def test_a_signal_in_the_first_moments_ends_the_run_in_one_line(own: tuple[str, ...], tmp_path: Path) -> None:
    before = namespace(*own) if own else []
    too_early = 0  # for Python itself: before the script's first line nothing can be done about it
    with Peer(silence()) as grafana:
        settings = {**KEYS, "image_url": grafana.url + RENDER}
        for turn in range(MOMENTS):
            number, moment = SIGNALS[turn % 2], starts(turn / MOMENTS)
            process = start(tmp_path, settings, before=before)
            pid = script(process, before)
            time.sleep(moment)  # the moment that is tried
            if handled(pid):
                os.kill(pid, number)
                done = finish(process)
                assert (done.status, done.stdout) == (128 + number, ""), (turn, done)
                assert done.stderr.startswith(f"stopped by {number.name} while ")
                assert one_line(done.stderr)
            else:
                too_early += 1
                process.kill()
                finish(process)
    assert too_early < MOMENTS / 2
    assert list(tmp_path.iterdir()) == []


def test_the_handlers_stand_before_what_takes_time_is_imported() -> None:
    imported: set[str | None] = set()
    for statement in ast.parse(BANNER.read_text()).body:
        if isinstance(statement, ast.If):
            break
        if isinstance(statement, ast.Import):
            imported |= {name.name for name in statement.names}
        if isinstance(statement, ast.ImportFrom):
            imported.add(statement.module)
    assert imported == QUICK
    assert "signal.signal(signum, stop)" in ast.unparse(statement)


def test_an_end_in_the_middle_of_writing_leaves_the_old_picture_or_the_new(
    tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    png = pictures.plain(1500, 500)
    large = png[:-12] + pictures.chunk(b"teXt", random.Random(1).randbytes(4_900_000)) + png[-12:]
    with Peer(paths({"/render/": answers(200, large)})) as grafana, Peer(Connection.hold, tls) as x:
        for turn in range(20):
            (tmp_path / "banner.png").write_bytes(b"old")
            process = start(tmp_path, publishing(grafana, x, ca_file, RENDER))
            while process.poll() is None and len(list(tmp_path.iterdir())) == 1:
                if (tmp_path / "banner.png").stat().st_size > 3:
                    break
            time.sleep(turn / 10_000)  # the moment that is tried
            process.send_signal(signal.SIGTERM)
            done = finish(process)
            assert done.status == 143, done
            assert [file.name for file in tmp_path.iterdir()] == ["banner.png"]
            assert (tmp_path / "banner.png").read_bytes() in (b"old", large)


def test_runs_that_share_a_folder_take_nothing_of_each_other(tmp_path: Path, tls: ssl.SSLContext, ca_file: str) -> None:
    pngs = [pictures.png(150, 50, seed=seed) for seed in range(6)]
    before = namespace(*PROCESS_1)  # as in containers, where each is process 1
    with Peer(answers(200, content_type=None), tls) as x, ExitStack() as stack:
        runs = []
        for png in pngs:
            grafana = stack.enter_context(Peer(paths({"/render/": answers(200, png)})))
            runs.append(start(tmp_path, publishing(grafana, x, ca_file), before=before))
        assert [finish(process).status for process in runs] == [0] * len(pngs)
    assert sorted(request.banner or b"" for request in x.requests) == sorted(pngs)
    assert [file.name for file in tmp_path.iterdir()] == ["banner.png"]
    assert (tmp_path / "banner.png").read_bytes() in pngs
