"""What a rehearsal does once its environment is there: runs of banner.py against the stand-ins, and what they leave."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import environment
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from rehearsal.grafana import Grafana
from rehearsal.x import KEPT, X

BANNER = Path(__file__).parents[2] / "banner.py"
NAME = "your_name"
PAUSE_SECONDS = 3
# What is set for banner.py here, and so must not come from outside, in whatever case.
OURS = {"consumer_key", "consumer_secret", "access_token", "access_token_secret", "x_host", "image_path", "pythonpath"}
GRAFANA = {"image_url", "grafana_token", "publish_if_url", "data_color"}


async def run(folder: Path, page_port: int, once: bool) -> int:
    """Runs banner.py once, or every few seconds; returns the last run's exit status. Keeps the pictures in the folder.

    Raises OSError.
    """
    own = tempfile.TemporaryDirectory(prefix="rehearsal-")
    with own, X(NAME, page_port=page_port) as x, Grafana(x=x.page) as grafana:
        settings = settings_for_banner(os.environ, x, grafana, Path(own.name))
        print(f"profile:  {x.page}/{x.name}{'' if once else ' (press Follow there; Ctrl-C ends this)'}")
        print(f"pictures: {folder} (profile.html is a preview that needs no server)", flush=True)
        kept = 0
        while True:
            try:
                status = await environment.run(sys.executable, str(BANNER), environment=settings)
            finally:
                kept = keep(x, kept, folder)
            if once:
                return status
            await asyncio.sleep(PAUSE_SECONDS)


def settings_for_banner(outside: Mapping[str, str], x: X, grafana: Grafana, folder: Path) -> dict[str, str]:
    """banner.py's environment: the one outside, with X always the stand-in, and Grafana where none is named.

    Raises OSError.
    """
    own = any(name.lower() == "image_url" for name in outside)
    ours = OURS if own else OURS | GRAFANA
    settings = {name: value for name, value in outside.items() if name.lower() not in ours}
    if not own:
        settings |= grafana.environment()
    trusted = Path(outside.get("REQUESTS_CA_BUNDLE") or outside.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH)
    # A folder has them as OpenSSL wants it: a file for each, named by a hash and a number.
    files = sorted(trusted.glob("*.[0-9]")) if trusted.is_dir() else [trusted]
    try:
        authorities = [file.read_bytes() for file in files]
    except OSError as error:
        raise OSError(f"REQUESTS_CA_BUNDLE: cannot read {trusted}: {error.strerror}") from None
    bundle = folder / "ca.pem"
    bundle.write_bytes(b"\n".join([*authorities, x.ca_pem.encode()]))
    direct = ",".join(filter(None, [outside.get("no_proxy") or outside.get("NO_PROXY"), "127.0.0.1"]))
    near = {"REQUESTS_CA_BUNDLE": str(bundle), "no_proxy": direct, "NO_PROXY": direct}
    return settings | x.environment() | near | {"image_path": str(folder / "banner.png")}


def keep(x: X, kept: int, folder: Path) -> int:
    """Writes the banners since the first `kept` of them, and the preview; returns how many there have been.

    The folder keeps the last ones, as many as X does.
    """
    new = x.published - kept
    for number, png in enumerate(x.banners[-new:] if new else [], kept + 1):
        (folder / f"banner-{number:04}.png").write_bytes(png)
        (folder / f"banner-{number - KEPT:04}.png").unlink(missing_ok=True)
    if new:
        (folder / "profile.html").write_text(x.preview())
    return x.published
