"""What surrounds the run: a host of two addresses, a wrong clock, no libraries, no threads, a mistake of our own."""

import os
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
import trustme
from support.paths import BANNER, TOP
from support.peers import Peer, answers, paths
from support.script import GOOD, KEYS, LIBRARIES, RENDER, SIZE, environment, one_line, publishing, run
from support.tools import namespace, tool

grafana_handler = paths({"/render/": answers(200, GOOD)})


@pytest.mark.parametrize("order", [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")], ids=" ".join)
def test_a_hosts_second_address_is_tried_where_the_first_is_silent(order: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("".join(f"{address} grafana.test\n" for address in order))
    own_hosts = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    with Peer(grafana_handler) as grafana, socket.socket() as silent, socket.socket() as first:
        silent.bind(("127.0.0.2", grafana.port))
        silent.listen(0)
        first.connect(silent.getsockname())  # it waits to be accepted, and leaves no room for another
        settings = {"image_url": f"http://grafana.test:{grafana.port}{RENDER}{SIZE}"}
        before = [*namespace("--mount"), "sh", "-c", own_hosts, "sh", str(tmp_path / "hosts")]
        done = run(tmp_path, settings, "--dry-run", before=before)
    assert done.status == 0, done
    assert len(grafana.requests) == 2


def test_a_clock_that_is_off_by_decades_adds_no_line(tmp_path: Path, tls: ssl.SSLContext, ca_file: str) -> None:
    with Peer(grafana_handler, tls) as grafana:  # its certificate is good from 2000 on
        settings = {"image_url": grafana.url + RENDER + SIZE, "REQUESTS_CA_BUNDLE": ca_file}
        done = run(tmp_path, settings, "--dry-run", before=[tool("faketime", "apt-get install faketime"), "2001-01-01"])
    assert (done.status, done.stderr) == (0, "")
    assert one_line(done.stdout)


@pytest.mark.parametrize(("begins", "ends"), [(2000, 2001), (2998, 2999)], ids=["expired", "early"])
def test_a_certificate_that_is_out_of_date_is_told_from_others(
    begins: int, ends: int, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    first, last = (datetime(year, 1, 1, tzinfo=UTC) for year in (begins, ends))
    authority.issue_cert("127.0.0.1", not_before=first, not_after=last).configure_cert(context)
    with Peer(grafana_handler, context) as grafana:
        settings = {"image_url": grafana.url + RENDER + SIZE, "REQUESTS_CA_BUNDLE": ca_file}
        done = run(tmp_path, settings, "--dry-run")
    assert (done.status, done.stdout) == (1, "")
    problem = "is not valid today: renew it, or check the clock"
    assert done.stderr == f"failed: Grafana's render: the certificate of {grafana.host} {problem}\n"


@pytest.mark.parametrize("missing", ["requests", "tweepy"])
def test_a_library_that_is_not_installed_is_named(
    missing: str, tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    if missing == "tweepy":
        for name in LIBRARIES - {"tweepy"}:
            (libraries / name).symlink_to(Path(requests.__file__).parents[1] / name)
    with Peer(grafana_handler) as grafana, Peer(answers(200), tls) as x:
        settings = publishing(grafana, x, ca_file)
        command = [tmp_path / "venv/bin/python", BANNER]
        own = environment(tmp_path, {**settings, "PYTHONPATH": str(libraries)})
        done = subprocess.run(command, env=own, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"failed: Python lacks {missing}: pip install -r requirements.txt, or run the image\n"
    assert x.connections == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for a user who may have no thread more")
def test_without_a_thread_the_last_line_is_the_scripts(tmp_path: Path) -> None:
    before = ["prlimit", "--nproc=1", "setpriv", "--reuid=54322", "--regid=54322", "--clear-groups"]
    settings = {"image_url": "http://127.0.0.1:9" + RENDER + SIZE, "TMPDIR": "/tmp", "HOME": "/"}
    done = run(tmp_path, settings, "--dry-run", before=before, cwd=Path("/"))
    assert (done.status, done.stdout) == (1, "")
    assert one_line(done.stderr)
    assert done.stderr.startswith("failed: RuntimeError at line ")


UNFORESEEN = """
import banner
def broken(settings, dry_run):
    raise KeyError("a secret value")
banner.run = broken
banner.main()
"""


def test_of_what_is_unforeseen_the_kind_and_the_line_are_told_and_no_value(tmp_path: Path) -> None:
    own = environment(tmp_path, {**KEYS, "image_url": "http://127.0.0.1:9" + RENDER, "PYTHONPATH": str(TOP)})
    done = subprocess.run([sys.executable, "-c", UNFORESEEN], env=own, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    kind, _, rest = done.stderr.removeprefix("failed: ").partition(" at line ")
    number, _, advice = rest.partition(" of banner.py: ")
    assert (kind, advice) == ("KeyError", "please report this as a bug\n")
    assert "job.result()" in BANNER.read_text().splitlines()[int(number) - 1]
