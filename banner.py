#!/usr/bin/env python3
"""Puts a Grafana panel on an X profile as its banner: one picture a run, and never a wrong one.

settings, from the environment (names in any case):
  consumer_key, consumer_secret, access_token, access_token_secret
                    the OAuth 1.0a keys of the app and the account; needed unless --dry-run
  image_url         needed: the panel's render URL, http or https; may carry user:password@
  grafana_token     a service-account token, sent to the origin of image_url alone
  publish_if_url    a Prometheus instant query; nothing is published unless it answers with a series
  image_path        where the PNG is written; default banner.png in the folder for temporary files
  deadline_seconds  the whole run's limit; default 45
  x_host            X's API host, may have a port; default api.twitter.com
  HTTP_PROXY, HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE work as they do for requests.

exit codes:
  0         published, skipped, or dry run
  1         failed this time; the next run may succeed
  2         a person must act: the settings are wrong, or X refuses the keys, the money or the access
  130, 143  told to stop
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

__version__ = "1.0.0"

MAX_BYTES = 5_000_000  # X takes pictures under 5 MB
KEYS = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
SETTINGS = (*KEYS, "image_url", "grafana_token", "publish_if_url", "image_path", "deadline_seconds", "x_host")
PORTS = {"http": 80, "https": 443}
COLOURS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}  # of PNG

# What an HTTP status means and what to do; 3 and 5 stand for the rest of their hundred.
GRAFANA_ADVICE = {
    3: "the URL has moved: set the final address, with its scheme, host and sub-path",
    5: "Grafana, Prometheus or a proxy before them is down or starting: look at their logs",
    400: "a parameter is wrong: check width, height, scale and timeout in image_url, or the syntax in publish_if_url",
    401: "grafana_token or the password is unknown or expired: make a new service-account token",
    403: "no permission: give this token or user the Viewer role on the dashboard",
    404: "nothing is there: check orgId, the sub-path, and /render/d-solo/UID/SLUG or /api/v1/query",
    407: "the proxy wants credentials: put user:password@ into HTTP_PROXY, or the host into NO_PROXY",
    408: "it took too long: the renderer or the data source is slow or overloaded",
    429: "too busy: ask for less at once, or raise the renderer's limit of concurrent renders",
    500: "the renderer or data source is away or slow, its token wrong, or grafana_token deleted: see their logs",
}
X_ADVICE: dict[int | tuple[int, int], str] = {  # of a status, or of a status and X's own code
    5: "X has trouble: nothing to do, the next run tries again",
    401: "wrong keys, of two apps, or older than the app's Read and write: make a new access token; check the clock",
    402: "no credits are left: top up in X's developer console; publish_if_url saves calls",
    403: "X forbids it: check the app's permissions, and the account itself",
    (403, 64): "the account is suspended: sign in to X and appeal",
    (403, 261): "the app may only read: set it to Read and write, then make a new access token",
    (403, 453): "the app's access level is too low for this call: change its plan in X's developer console",
    413: "the picture is too large: ask for a smaller width, height or scale in image_url",
    422: "X could not resize the picture: ask for 1500x500 without scale in image_url",
    429: "too many calls: run less often, or set publish_if_url",
}
BROKEN_ADVICE = {  # by what the text of the exception has in it; the first that fits
    "ProxyError|ProxyURL": "the proxy is away or refuses {}: check HTTP_PROXY, HTTPS_PROXY and its rules, or NO_PROXY",
    "CERTIFICATE_VERIFY": "the certificate of {} is for another name or not trusted: set REQUESTS_CA_BUNDLE to its CA",
    "CA certificate": "REQUESTS_CA_BUNDLE names no file: mount it, or unset the variable",
    "SSLError": "no TLS with {}: a port for plain http, or another version of TLS: check scheme and port",
    "NameResolutionError|ParseError": "no such host: {} has no address, or DNS is away: check the spelling and DNS",
    "NewConnectionError": "nothing is listening at {}, or no way leads there: check host and port and that it runs",
    "": "the connection to {} broke off, or no HTTP came: check scheme and port; the next run tries again",
}
NO_ANSWER = "that is no answer to this request: open the URL in a browser"
DAMAGED = "the PNG is damaged, cut short or interlaced: the renderer or a proxy broke off; the next run tries again"

steps = ["starting"]  # what the run has been at: the last one is said where it is stopped


class Failed(Exception):
    """This run failed, the next may succeed. Its text is the line to print: it quotes no other party."""

    exit_code = 1


class MustAct(Failed):
    """No run will succeed before a person has acted."""

    exit_code = 2


@dataclass(frozen=True, repr=False)  # nothing secret is ever printed
class Settings:
    """The checked settings: keys in the order of KEYS, the picture's size in pixels, the deadline in seconds."""

    keys: tuple[str, ...]
    image: SplitResult
    width: int
    height: int
    token: str
    query: SplitResult | None
    path: Path
    deadline: float
    x_host: str
    dry_run: bool


def read_settings(environ: Mapping[str, str], dry_run: bool) -> Settings:
    """Checks the environment. Raises MustAct that names all that is wrong, and no value."""
    given = {name.lower(): value.strip() for name, value in sorted(environ.items()) if name.lower() in SETTINGS}
    wrong: dict[str, list[str]] = {}

    def check(name: str, good: object, problem: str) -> None:
        if not good:
            wrong.setdefault(problem, []).append(name)

    for name in ("image_url",) if dry_run else (*KEYS, "image_url"):
        check(name, name in given, "missing")
    for name, value in given.items():
        check(name, value, "blank")
        check(name, not {value[:1], value[-1:]} & {"'", '"'}, "in quotes")
        plain = value.isprintable() if name == "image_path" else re.fullmatch("[!-~]*", value)
        check(name, plain, "with a line end, a space or another odd character inside")
    urls = {name: read_url(given[name]) for name in ("image_url", "publish_if_url") if name in given}
    for name, url in urls.items():
        check(name, url, "not an http(s) URL with a host")
    image = urls.get("image_url") or urlsplit("")
    usual = {"width": "1500", "height": "500", "scale": "1"}
    size = {name: number(parameter(image, name, usual[name])) for name in usual}
    for name in size:
        check(name, size[name], "not a positive number in image_url")
    check("panelId", "/render/d-solo/" not in image.path or parameter(image, "panelId"), "missing in image_url")
    deadline = number(given.get("deadline_seconds", "45"))
    check("deadline_seconds", deadline, "not a number above 0")
    x_host = given.get("x_host", "api.twitter.com")  # tweepy's own default
    at_x = "@" not in x_host and read_url("https://" + x_host)
    check("x_host", at_x == ("https", x_host, "", "", ""), "not a host or host:port")
    if wrong:
        raise MustAct("settings: " + "; ".join(f"{', '.join(names)} {problem}" for problem, names in wrong.items()))
    keys = tuple(given.get(name, "") for name in KEYS)
    token, query = given.get("grafana_token", ""), urls.get("publish_if_url")
    width, height = (round(size[side] * size["scale"]) for side in ("width", "height"))
    path = Path(given.get("image_path", Path(tempfile.gettempdir(), "banner.png")))
    return Settings(keys, image, width, height, token, query, path, deadline, x_host, dry_run)


def read_url(text: str) -> SplitResult | None:
    """The parts of an http(s) URL; None where the text is no such URL with a host."""
    try:
        url = urlsplit(text)
        host = re.fullmatch(r"([^@]*@)?([\w.-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?", url.netloc)
        return url if host and url.scheme in PORTS and url.port != 0 else None
    except ValueError:
        return None


def parameter(url: SplitResult, name: str, usual: str = "") -> str:
    """The value of a URL's parameter; the first, as Grafana takes it, where there are more."""
    return parse_qs(url.query, keep_blank_values=True).get(name, [usual])[0]


def number(text: str) -> float:
    """The number that the text is, or 0."""
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else 0


def run(settings: Settings) -> str:
    """One run; returns the line that says what was done. Raises Failed."""
    if settings.query and not has_series(settings, settings.query):
        return "skipped: publish_if_url answers without a series: nothing to show, nothing published"
    check_dashboard(settings)
    if not settings.dry_run:  # tweepy takes 0.2 s to load, which pass while Grafana renders
        ThreadPoolExecutor().submit(__import__, "tweepy")
    began = time.monotonic()
    _, kind, png = get(settings, settings.image, "Grafana's render")
    if kind != "image/png":
        raise Failed("Grafana sent no image/png: a page means that /render is missing in image_url, a PDF encoding=png")
    evidence = f"{settings.width}x{settings.height}, {len(png)} bytes, sha256 {hashlib.sha256(png).hexdigest()[:12]}"
    evidence += f", rendered in {time.monotonic() - began:.2f} s"
    check_png(png, settings.width, settings.height)
    write(png, settings.path)
    if settings.dry_run:
        return f"dry run: {evidence}, written to {str(settings.path)!a}; nothing was sent to X"
    began = time.monotonic()
    status = publish(png, settings)
    return f"published: {evidence}, uploaded in {time.monotonic() - began:.2f} s, X answered {status}"


def has_series(settings: Settings, query: SplitResult) -> bool:
    """Whether the instant query answers with a series. Raises Failed unless it is a well-formed success."""
    _, _, body = get(settings, query, "publish_if_url")
    with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
        answer = json.loads(body)
        kind, series = answer["data"]["resultType"], answer["data"]["result"]
        if answer["status"] == "success" and kind in ("vector", "matrix") and isinstance(series, list):
            return len([one["metric"] for one in series]) > 0
    raise Failed("publish_if_url answered no list of series: it must be an instant query, /api/v1/query?query=...")


def check_dashboard(settings: Settings) -> None:
    """Raises Failed where Grafana's API says that the dashboard or the panel is not to be had: the render would be a
    picture of an error message, in the right size. Any other answer says nothing either way.
    """
    image = settings.image
    path = re.match(r"(.*?)/render/d(?:-solo)?/([^/]+)", image.path)
    if not path:
        return
    organisation = image.query.replace("orgId", "targetOrgId")  # the API's name for it
    api = image._replace(path=f"{path[1]}/api/dashboards/uid/{path[2]}", query=organisation)
    try:
        status, _, body = get(settings, api, "Grafana's dashboard API", 401, 403, 404)
    except Failed:
        return  # the render that follows says it
    if status in (401, 403):
        raise Failed(f"Grafana's dashboard API answered {status}: {GRAFANA_ADVICE[status]}")
    asked = (parameter(image, "panelId") or parameter(image, "viewPanel")).removeprefix("panel-")
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        answer = json.loads(body)
        if status == 404 and "dashboard" in answer["message"].lower():
            raise Failed("no such dashboard, or not for this token or user: check the UID and orgId in image_url")
        dashboard = answer["dashboard"]
        if "elements" in dashboard:  # the newer schema: {"panel-2": {"spec": {"id": 2}}}
            elements = dashboard["elements"].items()
            ids = [one for key, panel in elements for one in (key, panel.get("spec", {}).get("id"))]
        else:
            panels = [panel for outer in dashboard["panels"] for panel in (outer, *(outer.get("panels") or []))]
            ids = [panel["id"] for panel in panels if panel.get("type") != "row"]
        there = {str(one).removeprefix("panel-") for one in ids}
        if asked and asked.partition("-clone-")[0] not in there:
            some = ", ".join(sorted((one for one in there if re.fullmatch("[0-9]{1,9}", one)), key=int)[:12])
            raise Failed(f"no such panel as {asked!a:.30}: there are {some or 'none'}: set panelId in image_url")


def get(settings: Settings, url: SplitResult, what: str, *read: int) -> tuple[int, str, bytes]:
    """GETs a URL, following no redirect; returns the status, the content type and the body, MAX_BYTES at most.

    Raises Failed where no whole answer comes, and at any status but 200 and those to read.
    """
    import requests  # here, for signals and the deadline to hold for the time that it takes

    host = url.netloc.rpartition("@")[2]
    steps.append(f"waiting for {what} at {host}")
    session = requests.Session()
    session.auth = lambda request: request  # without one, requests takes that of .netrc
    origins = {(one.scheme, one.hostname, one.port or PORTS[one.scheme]) for one in (url, settings.image)}
    if settings.token and len(origins) == 1:
        session.headers["Authorization"] = "Bearer " + settings.token
    elif url.username is not None:
        login = (unquote(part or "").encode() for part in (url.username, url.password))
        session.auth = requests.auth.HTTPBasicAuth(*login)
    body = bytearray()
    try:  # without a timeout: main watches over the time
        response = session.get(url._replace(netloc=host).geturl(), allow_redirects=False, stream=True)
        status = response.status_code
        for part in response.iter_content(65536) if status in (200, *read) else ():
            body += part
            if len(body) > MAX_BYTES:
                raise Failed(f"more than 5 MB came from {host}: ask for a smaller picture in image_url")
    except (OSError, ValueError) as error:  # ValueError is for odd URLs
        raise Failed(broken(error, host)) from None
    if status not in (200, *read):
        meaning = GRAFANA_ADVICE.get(status) or GRAFANA_ADVICE.get(status // 100) or NO_ANSWER
        if status // 100 == 3 and re.match(r"[^?#]*/login([?#]|$)", response.headers.get("Location", "")):
            meaning = "the way to its login page: set grafana_token, or allow anonymous access, and check orgId"
        raise Failed(f"{what} answered {status}: {meaning}")
    return status, response.headers.get("Content-Type", "").partition(";")[0].strip().lower(), bytes(body)


def broken(error: Exception, host: str) -> str:
    """Says why no answer came from a host, by the exception of requests or tweepy."""
    return next(advice for sign, advice in BROKEN_ADVICE.items() if re.search(sign, repr(error))).format(host)


def check_png(body: bytes, width: int, height: int) -> None:
    """Raises Failed unless body is one whole PNG of width x height pixels and more than one colour.

    Chunks, filters and colour types: https://www.w3.org/TR/png-3/
    """
    if body.startswith(b"%PDF"):
        raise Failed("a PDF came as image/png: add encoding=png to image_url, or set API_DEFAULT_ENCODING=png there")
    if not body.startswith(b"\x89PNG\r\n\x1a\n"):
        raise Failed("no PNG came as image/png: GF_RENDERING_SERVER_URL must end with /render; see the renderer's log")
    chunks: list[tuple[bytes, bytes]] = []
    position = 8
    while position < len(body):
        end = position + 8 + int.from_bytes(body[position : position + 4])
        if len(body) < end + 4 or zlib.crc32(body[position + 4 : end]) != int.from_bytes(body[end : end + 4]):
            raise Failed(DAMAGED)
        chunks.append((body[position + 4 : position + 8], body[position + 8 : end]))
        position = end + 4
    more = b"(?: [a-z][A-Za-z]{3})*"  # the chunks that may be passed over begin with a small letter
    order = b"IHDR" + more + b"( PLTE)?" + more + b"(?: IDAT)+" + more + b" IEND"
    layout = re.fullmatch(order, b" ".join(kind for kind, _ in chunks))
    if not layout or len(chunks[0][1]) != 13 or chunks[-1][1]:
        raise Failed(DAMAGED)
    header = chunks[0][1]
    size = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    if size != (width, height):
        why = "Grafana renders 1000 to 3000 wide and 500 high at least: set such a width and height in image_url"
        if size[0] < 1000 or size[1] < 500:
            why = "Grafana's own notice: no renderer is set (GF_RENDERING_SERVER_URL), or too many renders at once"
        raise Failed(f"{size[0]}x{size[1]} instead of {width}x{height}: {why}")
    depth, colour, *methods = header[8:]
    channels, depths = COLOURS.get(colour, (0, ()))
    if depth not in depths or any(methods) or (colour == 3 and not layout[1]):
        raise Failed(DAMAGED)
    check_pixels(b"".join(data for kind, data in chunks if kind == b"IDAT"), width, height, depth * channels)


def check_pixels(packed: bytes, width: int, height: int, bits: int) -> None:
    """Raises Failed unless packed are width x height pixels of so many bits each, and of more than one colour."""
    stride = 1 + (width * bits + 7) // 8
    inflate = zlib.decompressobj()
    pixels = b""
    with contextlib.suppress(zlib.error):
        pixels = inflate.decompress(packed, stride * height + 1)
    if len(pixels) != stride * height or not inflate.eof or inflate.unused_data or max(pixels[::stride], default=5) > 4:
        raise Failed(DAMAGED)
    # Filters turn a picture of one colour into rows that are known beforehand: by filter, the first pixel and the rest.
    pixel = pixels[1 : 1 + max(1, bits // 8)]
    zero, half = bytes(len(pixel)), bytes(value - value // 2 for value in pixel)
    top = ((pixel, pixel), (pixel, zero), (pixel, pixel), (pixel, half), (pixel, zero))
    below = ((pixel, pixel), (pixel, zero), (zero, zero), (half, zero), (zero, zero))
    whole = width * bits // 8  # bytes: the bits that fill up the last one may be any
    for start in range(0, len(pixels), stride):
        first, others = (below if start else top)[pixels[start]]
        if pixels[start + 1 : start + 1 + whole] != (first + others * width)[:whole]:
            return
    raise Failed("the picture is blank, of one colour: it was taken too early: raise BROWSER_READINESS_* there")


def write(png: bytes, path: Path) -> None:
    """Writes the file whole or not at all. Raises Failed."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        part.write_bytes(png)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise Failed(f"cannot write image_path ({error.strerror}): name a writable folder with room left") from None


def publish(png: bytes, settings: Settings) -> int:
    """Uploads the picture; returns X's status, 200, 201 or 202. Raises Failed."""
    steps.append(f"sending the picture, which may have arrived, to X at {settings.x_host}")
    import tweepy

    answers = []

    def keep(answer: Any, **_: object) -> None:
        """Keeps X's answer, whatever tweepy makes of it, and reads no endless body."""
        answers.append(answer)
        raw, answer.raw = answer.raw, io.BytesIO()
        if not answer.ok:
            answer.raw = io.BytesIO(raw.read(65536, decode_content=True))

    api = tweepy.API(tweepy.OAuth1UserHandler(*settings.keys), host=settings.x_host, timeout=None)
    api.session.hooks["response"].append(keep)
    api.session.max_redirects = 0  # a redirected upload would count as done
    try:
        api.update_profile_banner("banner.png", file=png)
    except Exception as error:  # tweepy raises AttributeError, TypeError and ValueError too, as X's answer wants it
        if not answers:
            raise Failed("upload: " + broken(error, settings.x_host)) from None
    status: int = answers[0].status_code
    if status not in (200, 201, 202):
        raise (MustAct if status in (401, 402, 403) else Failed)(x_refusal(answers[0]))
    return status


def x_refusal(answer: Any) -> str:
    """Says what X's status and error codes mean, and at 429 when X opens again. Quotes numbers alone."""
    status: int = answer.status_code
    codes = [int(code) for code in re.findall(rb'"code"\s*:\s*(\d{1,4})\b', answer.content)][:3]
    said = f"X answered {status}" + (f" (code {', '.join(map(str, codes))})" if codes else "")
    reset = answer.headers.get("x-rate-limit-reset", "")
    if status == 429 and re.fullmatch("[0-9]{1,11}", reset):
        said += f", and opens again in {max(0, int(reset) - int(time.time()))} s"
    known = [X_ADVICE[key] for key in (*((status, code) for code in codes), status, status // 100) if key in X_ADVICE]
    return f"{said}: {known[0] if known else 'X does not take this call: check x_host, and look for news of its API'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs once and returns the exit code. The run has its own thread: nothing that it waits for delays the end."""
    began = time.monotonic() - time.process_time()  # Python's own start counts

    def stop(number: int, _: object) -> None:
        os.write(2, f"stopped by {signal.Signals(number).name} while {steps[-1]}\n".encode())
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="all but the upload: ask, fetch, check, write the PNG")
    parser.add_argument("--version", action="version", version=f"banner {__version__}")
    arguments = parser.parse_args(argv)
    try:
        settings = read_settings(os.environ, arguments.dry_run)
        job = ThreadPoolExecutor().submit(run, settings)
        if wait([job], began + settings.deadline - time.monotonic()).not_done:
            late = "try that host from here (DNS, firewall, NetworkPolicy), or raise deadline_seconds"
            os.write(2, f"failed: out of time after {settings.deadline:g} s, {steps[-1]}: {late}\n".encode())
            os._exit(1)
        print(job.result())
    except Failed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return failure.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
