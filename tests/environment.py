"""Makes a virtual environment of pinned requirements in the cache folder, once for all clones, and prints its path.

python3 tests/environment.py NAME REQUIREMENTS...

The cache folder is XDG_CACHE_HOME, or ~/.cache where that is not set.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PIP = [
    *("-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes"),
    "--no-compile",  # Python compiles what it imports, which is a small part
]
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
NO_VENV = "python3 cannot make virtual environments: on Debian and Ubuntu, apt-get install python3-venv"
NO_PACKAGES = "pip could not install what is needed, and says why above; this once, it needs the network"


class InstallError(Exception):
    """There is no environment; the text says why and what to do."""


def folder_of(name: str, requirements: Sequence[Path]) -> Path:
    """Where the environment of that name is that this Python makes of these requirements."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / name
    made_of = "\n".join([sys.version, *(file.read_text() for file in requirements)])
    return cache / hashlib.sha256(made_of.encode()).hexdigest()[:12]


def make(folder: Path, requirements: Sequence[Path], note: str) -> None:
    """Makes the environment unless it is there, and says the note before; what is half made goes away again.

    Raises InstallError, OSError, and asyncio.CancelledError where it was told to end.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - an older one is here to be told so
        raise InstallError(f"this needs Python 3.11 or newer: {sys.executable} is {sys.version.split()[0]}")
    mark = folder / "is-whole"
    if mark.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.parent):
        if mark.exists():  # made by whoever held the lock
            return
        print(note, flush=True)
        try:
            asyncio.run(until_told(install(folder, requirements)))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        mark.touch()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks a folder, so that of two who start at once one makes the environment, and the other waits for it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another installation into {folder} is under way: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


async def install(folder: Path, requirements: Sequence[Path]) -> None:
    """Makes the environment from nothing. Raises InstallError."""
    with tempfile.TemporaryDirectory(prefix="installing-", ignore_cleanup_errors=True) as temporary:
        ours = {**os.environ, "TMPDIR": temporary}  # where what is ended leaves its files
        if await run(sys.executable, "-I", "-m", "venv", "--clear", str(folder), environment=ours):
            raise InstallError(NO_VENV)
        listed = [f"--requirement={file}" for file in requirements]
        if await run(str(folder / "bin/python"), *PIP, *listed, environment=ours):
            raise InstallError(NO_PACKAGES)


async def run(*command: str, environment: Mapping[str, str] | None = None) -> int:
    """Runs a program, which ends with this task at the latest; returns its exit status.

    A session of its own keeps a terminal's Ctrl-C away from it: Python may answer that with a traceback.
    """
    process = await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def until_told(work: Coroutine[Any, Any, Any]) -> Any:
    """Does the work, and cancels it when a signal says so. Raises asyncio.CancelledError then."""
    task, told = asyncio.ensure_future(work), asyncio.Event()

    def end() -> None:
        if not told.is_set():  # one Ctrl-C can bring several signals: the work's own end is not to be cancelled
            told.set()
            task.cancel()

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, end)
    result = await task
    if told.is_set():
        raise asyncio.CancelledError
    return result


def main(argv: Sequence[str]) -> int:
    """Returns the exit status."""
    name, *files = argv
    requirements = [Path(file) for file in files]
    folder = folder_of(name, requirements)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            make(folder, requirements, f"installing into {folder}: once, a few minutes")
    except (InstallError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    print(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
