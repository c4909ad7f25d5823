"""How banner.py is run as a process, with which settings, and what it may never print."""

import base64
import os
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import pictures
from support.pace import known, starts
from support.paths import BANNER
from support.peers import Handler, Peer, answers

KEYS = {
    "consumer_key": "test-consumer-key",
    "consumer_secret": "test-consumer-secret/with+signs=",
    "access_token": "1234567890-test-access-token",
    "access_token_secret": "test-access-token-secret~&%",
}
TOKEN = "glsa_test-grafana-token_0a1b2c3d"
PASSWORD = "test-password/with@signs"
SECRETS = [*KEYS.values(), TOKEN, PASSWORD]
RENDER = "/render/d-solo/wR0Yf26Gk/twitter-followers?orgId=1&panelId=2"
QUERY = "/api/datasources/proxy/uid/P1809F7CD0C75ACF3/api/v1/query"
SIZE = "&width=150&height=50"
GOOD = pictures.png(150, 50, idats=3)  # of that size
# The packages of requirements.txt, as Python imports them.
LIBRARIES = {"certifi", "charset_normalizer", "idna", "oauthlib", "requests", "requests_oauthlib", "tweepy", "urllib3"}
MEMORY = ["prlimit", "--data=100000000"]  # bytes; past them Python raises MemoryError, which no run may end in


@dataclass
class World:
    """A Grafana and an X, and the settings of a run against them."""

    grafana: Peer
    x: Peer
    settings: dict[str, str]

    @property
    def untouched(self) -> bool:
        return self.grafana.connections == self.x.connections == 0


@contextmanager
def world(grafana: Handler, tls: ssl.SSLContext, ca_file: str, x: Handler | None = None) -> Iterator[World]:
    """Peers of which X takes the picture unless it is to do something else."""
    with Peer(grafana) as server, Peer(x or answers(200, content_type=None), tls) as upload:
        yield World(server, upload, publishing(server, upload, ca_file))


def publishing(grafana: Peer, x: Peer, ca_file: str, render: str = RENDER + SIZE) -> dict[str, str]:
    """The settings of a run that publishes at x what grafana renders at that address."""
    return {**KEYS, "image_url": grafana.url + render, "x_host": x.host, "REQUESTS_CA_BUNDLE": ca_file}


@dataclass(frozen=True)
class Run:
    """How one process of banner.py ended; a status of 128 and more stands for a signal, as in a shell."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this process's own environment, a HOME and a TMPDIR of the test's, and the settings."""
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "TZ": "UTC"}
    return {**base, "PYTHONDONTWRITEBYTECODE": "1", **settings}


def start(
    folder: Path, settings: Mapping[str, str], *arguments: str, before: Sequence[str] = (), cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """A process of banner.py in `folder`, which is also its temporary directory; `before` is a command to run it by."""
    starts(1)  # for the limit in `finish`
    return subprocess.Popen(
        [*before, sys.executable, str(BANNER), *arguments],
        env=environment(folder, settings),
        cwd=cwd or folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes], since: float | None = None) -> Run:
    """Waits for its end; one that does not end is killed, and has status 137."""
    since = time.monotonic() if since is None else since
    try:
        stdout, stderr = process.communicate(timeout=known(100))
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Run(status, stdout.decode(), stderr.decode(), time.monotonic() - since)


def run(
    folder: Path, settings: Mapping[str, str], *arguments: str, before: Sequence[str] = (), cwd: Path | None = None
) -> Run:
    """One whole run of banner.py."""
    return finish(start(folder, settings, *arguments, before=before, cwd=cwd))


def leaks(output: str, secrets: Sequence[str] = SECRETS) -> list[str]:
    """The secrets that can be read in an output: as they are, percent-encoded, or in base64, alone or after "user:"."""
    found = []
    for secret in secrets:
        forms = {secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote(secret), repr(secret)[1:-1]}
        # base64 in its three alignments, without the characters at the edges: what stands before it may be anything
        for shift in range(3):
            forms.add(base64.b64encode(b"x" * shift + secret.encode()).decode().rstrip("=")[4:-2])
        found += [secret for form in forms if form in output]
    return found


def one_line(text: str) -> bool:
    """Tells whether it is one whole line, under 400 characters, that neither forges another nor drives the terminal."""
    return text.endswith("\n") and len(text) < 400 and text[:-1].strip() != "" and text[:-1].isprintable()
