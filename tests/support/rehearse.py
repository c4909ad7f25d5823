"""How tests/rehearse is run: as a program, and in a terminal."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from support.paths import TESTS

REHEARSE: Final = TESTS / "rehearse"
# Tests that are a background job have Ctrl-C ignored, and hand that on; what a person types has not.
AS_TYPED: Final = ["env", "--default-signal=INT"]
# Where it is installed, once, by whichever test comes first.
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Nothing of this process's own environment, a HOME and a TMPDIR of the test's, and the settings."""
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "XDG_CACHE_HOME": str(CACHE)}
    return {**base, **settings}


def once(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One whole `tests/rehearse --once`."""
    command = [str(REHEARSE), "--once", *arguments]
    return subprocess.run(command, env=environment(folder, **settings), capture_output=True, text=True)


class Terminal:
    """A program in a terminal of its own, where keys can be pressed and its lines be read."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process = process
        self._end = end
        self.shown = ""

    def press(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Reads until that is shown, or fails at the program's end."""
        while not (found := re.search(pattern, self.shown)):
            assert self._read(), self.shown
        return found

    def finish(self) -> int:
        """Reads to the program's end; returns its exit status."""
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        try:
            read = os.read(self._end, 65536).decode()
        except OSError:  # nobody has the terminal's other end any more
            return False
        self.shown += read.replace("\r\n", "\n")
        return read != ""


@contextlib.contextmanager
def terminal(environment: Mapping[str, str], *arguments: str) -> Iterator[Terminal]:
    """tests/rehearse in a terminal, where Ctrl-C reaches what a person's does; ended at the latest at the end."""
    end, other_end = os.openpty()
    command = [*AS_TYPED, "setsid", "--ctty", str(REHEARSE), *arguments]
    with subprocess.Popen(command, env=environment, stdin=other_end, stdout=other_end, stderr=other_end) as process:
        os.close(other_end)
        while os.tcgetpgrp(end) == 0 and process.poll() is None:  # a key that is pressed earlier reaches nobody
            time.sleep(0.001)  # a terminal does not tell who has it
        try:
            yield Terminal(process, end)
        finally:
            os.close(end)
            process.terminate()


def processes(folder: Path) -> list[str]:
    """The command lines of all processes that were started with this folder for temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found
