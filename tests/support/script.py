"""How banner.py is run as a process, with which settings, and what it may never print."""

import base64
import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.pace import known, starts
from support.paths import BANNER

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
MEMORY = ["prlimit", "--data=100000000"]  # bytes; past them Python raises MemoryError, which no run may end in


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
