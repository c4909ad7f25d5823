"""Rehearses: runs the real banner.py against the stand-ins, until Ctrl-C. Nothing is sent to X.

The pictures come from the stand-in Grafana, or from your own where image_url is set in the environment (then
grafana_token, publish_if_url and data_color count as well). Press Follow on the profile page, and the next banner's
line goes up.

What it needs is installed once, into the cache folder: XDG_CACHE_HOME, or ~/.cache where that is not set.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import environment

TOP = Path(__file__).parents[2]
REQUIREMENTS = (TOP / "requirements.txt", TOP / "tests/rehearsal/requirements.txt")
SIZE = "50 MB to download, 190 MB on disk"  # measured, with Python 3.11 on Linux


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line's settings."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="rehearse", description=__doc__, formatter_class=plain)
    parser.add_argument("--once", action="store_true", help="one run, for scripts; its exit status is this one's")
    parser.add_argument("--port", type=port, default=0, help="of the profile page; default: any that is free")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="for the pictures; default: a new one among the temporary files"
    )
    return parser.parse_args(argv)


def port(text: str) -> int:
    """A TCP port. Raises ValueError."""
    if int(text) not in range(65536):
        raise ValueError
    return int(text)


def enter_environment(argv: Sequence[str]) -> None:
    """Starts anew with the environment's Python, and makes it first where need be; returns once that is what runs.

    Raises environment.InstallError and asyncio.CancelledError.
    """
    folder = environment.folder_of("banner-rehearsal", REQUIREMENTS)
    if Path(sys.prefix) == folder:
        return
    note = f"installing what the rehearsal needs into {folder}: once, about {SIZE} ..."
    try:
        environment.make(folder, REQUIREMENTS, note)
    except OSError as error:
        advice = "set XDG_CACHE_HOME to a folder that you can write to"
        raise environment.InstallError(f"cannot install into {folder}: {error.strerror}: {advice}") from None
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    python = str(folder / "bin/python")
    os.execv(python, [python, "-m", "rehearsal.rehearse", *argv])  # noqa: S606 - no shell is wanted


def rehearse(keep: Path | None, page_port: int, once: bool) -> int:
    """Runs until told to end; returns the exit status. Raises OSError."""
    from rehearsal import runs  # what it imports in turn is in the environment alone

    folder = (keep or Path(tempfile.mkdtemp(prefix="banner-rehearsal-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        status: int = asyncio.run(environment.until_told(runs.run(folder, page_port, once)))
        return status
    except asyncio.CancelledError:
        pictures = any(folder.iterdir())
        say_goodbye(f"ended; the pictures are in {folder}" if pictures else "ended before the first picture")
        return 130 if once else 0
    finally:
        if not keep:
            with contextlib.suppress(OSError):  # there are pictures in it
                folder.rmdir()


def say_goodbye(text: str) -> None:
    """Prints a line, if anybody still listens: in `./tests/rehearse | tee log`, Ctrl-C ends tee as well."""
    with contextlib.suppress(OSError):
        os.write(1, f"{text}\n".encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: that of the run with --once, else 0 at Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    settings = parse(arguments)
    try:
        enter_environment(arguments)
        return rehearse(settings.keep, settings.port, settings.once)
    except (environment.InstallError, OSError) as error:
        print(f"rehearse: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        say_goodbye("ended; nothing is installed yet")
        return 130


if __name__ == "__main__":
    # Not by Python's own end, which a thread that still draws a panel does not survive without a word.
    os._exit(main())
