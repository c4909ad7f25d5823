"""Rehearses: runs the real banner.py against the stand-ins, until Ctrl-C. Nothing is sent to X.

The pictures come from the stand-in Grafana, or from your own where image_url is set in the environment (then
grafana_token and publish_if_url count as well). Press Follow on the profile page, and the next banner's line goes up.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from rehearsal.grafana import Grafana
from rehearsal.x import X

BANNER = Path(__file__).parents[2] / "banner.py"
NAME = "your_name"
PAUSE_SECONDS = 3
# What is set for banner.py here, and so must not come from outside, in whatever case.
OURS = {"consumer_key", "consumer_secret", "access_token", "access_token_secret", "x_host", "image_path"}
GRAFANA = {"image_url", "grafana_token", "publish_if_url"}


def environment(outside: Mapping[str, str], x: X, grafana: Grafana, folder: Path) -> dict[str, str]:
    """banner.py's environment: the one outside, with X always the stand-in, and Grafana where none is named."""
    own = any(name.lower() == "image_url" for name in outside)
    ours = OURS if own else OURS | GRAFANA
    settings = {name: value for name, value in outside.items() if name.lower() not in ours}
    if not own:
        settings |= {"image_url": grafana.image_url, "publish_if_url": grafana.publish_if_url}
    trusted = outside.get("REQUESTS_CA_BUNDLE") or outside.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    bundle = folder / "ca.pem"
    bundle.write_text(Path(trusted).read_text() + x.ca_pem)
    direct = ",".join(filter(None, [outside.get("no_proxy") or outside.get("NO_PROXY"), "127.0.0.1"]))
    near = {"REQUESTS_CA_BUNDLE": str(bundle), "no_proxy": direct, "NO_PROXY": direct}
    return settings | x.environment() | near | {"image_path": str(folder / "banner.png")}


def keep(x: X, kept: int, folder: Path) -> int:
    """Writes the banners since the first `kept` of them, and the preview; returns how many there are now."""
    for number, png in enumerate(x.banners[kept:], kept + 1):
        (folder / f"banner-{number:04}.png").write_bytes(png)
    if len(x.banners) > kept:
        (folder / "profile.html").write_text(x.preview())
    return len(x.banners)


def rehearse(folder: Path, once: bool) -> int:
    """Runs banner.py once, or every few seconds; returns the last run's exit status."""
    with X(NAME) as x, Grafana(x=x.page) as grafana, tempfile.TemporaryDirectory(prefix="rehearsal-") as own:
        settings = environment(os.environ, x, grafana, Path(own))
        print(f"profile:  {x.page}/{x.name}{'' if once else ' (press Follow there; Ctrl-C ends this)'}")
        print(f"pictures: {folder} (profile.html is a preview that needs no server)", flush=True)
        kept = 0
        while True:
            try:
                status = subprocess.run([sys.executable, str(BANNER)], env=settings, check=False).returncode
            finally:
                kept = keep(x, kept, folder)
            if once:
                return status
            threading.Event().wait(PAUSE_SECONDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: that of the run with --once, else 0 at Ctrl-C."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="rehearse", description=__doc__, formatter_class=plain)
    parser.add_argument("--once", action="store_true", help="one run, for scripts; its exit status is this one's")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="for the pictures; default: a new one among the temporary files"
    )
    settings = parser.parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background job would ignore the second
        signal.signal(number, signal.default_int_handler)
    folder: Path = settings.keep or Path(tempfile.mkdtemp(prefix="banner-rehearsal-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return rehearse(folder.resolve(), settings.once)
    except KeyboardInterrupt:
        print(f"\nended; the pictures are in {folder}", flush=True)
        return 130 if settings.once else 0


if __name__ == "__main__":
    raise SystemExit(main())
