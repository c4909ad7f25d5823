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
import base64
import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:  # the run imports requests and tweepy itself: signals and the deadline hold for that time too
    import requests

__version__ = "1.0.0"

MAX_BYTES = 5_000_000  # X takes pictures under 5 MB
RETRY_SECONDS = 1  # before the second try of an upload that found no connection
USUAL_SIZE = {"width": "1500", "height": "500", "scale": "1"}
KEYS = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
SETTINGS = (*KEYS, "image_url", "grafana_token", "publish_if_url", "image_path", "deadline_seconds", "x_host")
HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?")

COLOURS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}  # of PNG
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

# What an HTTP status means here and what to do; 3, 4 and 5 stand for the rest of their hundred.
GRAFANA_ADVICE = {
    3: "the URL has moved: set the final address, with its scheme, host and sub-path",
    4: "it does not take this request: open the URL in a browser",
    5: "Grafana, or what stands before it, is down or starting: look at its log",
    400: "a parameter is wrong: check width, height, scale and timeout in image_url",
    401: "grafana_token or the password is unknown or expired: make a new service-account token",
    403: "no permission: give this token or user the Viewer role on the dashboard",
    404: "nothing is there: check orgId, the sub-path and /render/d-solo/UID/SLUG in image_url",
    407: "the proxy wants credentials: put user:password@ into HTTP_PROXY, or the host into NO_PROXY",
    408: "it took too long: the renderer or the data source is slow or overloaded",
    429: "too busy: ask for less at once, or raise the renderer's limit of concurrent renders",
    500: "rendering failed: the renderer is away or slow, its token wrong, or grafana_token deleted: see their logs",
}
QUERY_ADVICE = GRAFANA_ADVICE | {
    5: "Prometheus is down, or Grafana's data source can't reach it: look at both",
    400: "the query is wrong: check its syntax, and that it is percent-encoded",
    404: "no query is answered there: check the data source's uid and /api/v1/query?query=... in publish_if_url",
    500: "Prometheus or Grafana has trouble, or grafana_token was deleted: see their logs",
}
X_ADVICE: dict[int | tuple[int, int], str] = {
    4: "X does not take this call: check x_host, and look for news of its API",
    5: "X has trouble: nothing to do, the next run tries again",
    400: "X found no picture in the call: a proxy between may have changed it",
    401: "the keys are wrong, of two apps, or older than the app's Read and write permission: make a new access token, "
    "and check the clock",
    402: "no credits are left: top up in X's developer console; publish_if_url saves calls",
    403: "X forbids it: check the app's permissions, and the account itself",
    408: "X took too long: nothing to do, the next run tries again",
    413: "the picture is too large: ask for a smaller width, height or scale in image_url",
    422: "X could not resize the picture: ask for 1500x500 without scale in image_url",
    429: "too many calls: run less often, or set publish_if_url",
    (403, 453): "the app's access level is too low for this call: change its plan in X's developer console",
    (403, 261): "the app may only read: set it to Read and write, then make a new access token",
    (403, 64): "the account is suspended: sign in to X and appeal",
}
BROKEN_ADVICE = {  # by the name of the exception inside that of requests
    "NameResolutionError": "no such host: {host} has no address, or DNS is out of reach: check the spelling and DNS",
    "NewConnectionError": "nothing is listening at {host}, or no way leads there: check host and port and that it runs",
    "ProxyError": "the proxy is away or refuses {host}: check HTTP_PROXY, HTTPS_PROXY and its rules, or set NO_PROXY",
    "CertificateError": "the certificate of {host} is not trusted: set REQUESTS_CA_BUNDLE to its CA's file",
    "NameMismatch": "the certificate of {host} is for another name: use the name that it is for, or renew it",
    "SSLError": "no TLS with {host}: a port for plain http, or another version of TLS: check scheme and port",
    "CABundle": "REQUESTS_CA_BUNDLE names no file: mount it, or unset the variable",
}
DAMAGED = "the PNG is damaged or cut short: the renderer or a proxy broke off; the next run tries again"
BROKEN = "the connection to {host} broke off, or no HTTP came: check scheme and port; the next run tries again"


class Failed(Exception):
    """This run failed, the next may succeed. Its text is the line to print: it quotes no other party."""

    exit_code = 1


class MustAct(Failed):
    """No run will succeed before a person has acted."""

    exit_code = 2


@dataclass(frozen=True)
class Address:
    """Where to GET from: the URL without credentials, and the value of the Authorization header."""

    url: str
    host: str
    origin: tuple[str, str | None, int]
    authorization: str | None = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """The checked settings: keys in the order of KEYS, the picture's size in pixels, the deadline in seconds."""

    keys: tuple[str, ...] = field(repr=False)
    image: Address
    width: int
    height: int
    query: Address | None
    path: Path
    deadline: float
    x_host: str
    dry_run: bool


def read_settings(environ: Mapping[str, str], dry_run: bool) -> Settings:
    """Checks the environment. Raises MustAct that names all that is wrong, and no value."""
    given = {name.lower(): value.strip() for name, value in sorted(environ.items()) if name.lower() in SETTINGS}
    wrong: dict[str, list[str]] = {}

    def check(name: str, good: bool, problem: str) -> None:
        if not good:
            wrong.setdefault(problem, []).append(name)

    for name in ("image_url",) if dry_run else (*KEYS, "image_url"):
        check(name, name in given, "missing")
    for name, value in given.items():
        check(name, value != "", "blank")
        check(name, not {value[:1], value[-1:]} & {"'", '"'}, "in quotes")
        check(name, value.isprintable() and (name == "image_path" or " " not in value), "with white space inside")
        check(name, value.isascii() or name not in (*KEYS, "grafana_token"), "not ASCII")
    deadline = number(given.get("deadline_seconds", "45"))
    check("deadline_seconds", 0 < deadline <= 86400, "not a number above 0 and up to 86400")
    x_host = given.get("x_host", "api.twitter.com")  # tweepy's own default
    at_x = read_address("https://" + x_host)
    check("x_host", at_x is not None and at_x.host == x_host, "not a host or host:port")
    image, query = (read_address(given.get(name, "")) for name in ("image_url", "publish_if_url"))
    check("image_url", image is not None or "image_url" not in given, "not an http(s) URL with a host")
    check("publish_if_url", query is not None or "publish_if_url" not in given, "not an http(s) URL with a host")
    asked = parse_qs(urlsplit(image.url).query, keep_blank_values=True) if image else {}
    size = {name: number(asked.get(name, [usual])[0]) for name, usual in USUAL_SIZE.items()}
    for name, extent in size.items():
        check(name, 0 < extent < 1e9, "not a positive number in image_url")
    solo = image is not None and "/render/d-solo/" in urlsplit(image.url).path
    check("panelId", not solo or asked.get("panelId", [""])[0] != "", "missing in image_url")
    if wrong or not image:
        raise MustAct("settings: " + "; ".join(f"{', '.join(names)} {problem}" for problem, names in wrong.items()))
    if "grafana_token" in given:
        image = replace(image, authorization="Bearer " + given["grafana_token"])
        if query and query.origin == image.origin:
            query = replace(query, authorization=image.authorization)
    path = Path(given["image_path"]) if "image_path" in given else Path(tempfile.gettempdir(), "banner.png")
    width, height = (round(size[side] * size["scale"]) for side in ("width", "height"))
    keys = tuple(given.get(name, "") for name in KEYS)
    return Settings(keys, image, width, height, query, path, deadline, x_host, dry_run)


def number(text: str) -> float:
    """The number that the text is, or 0."""
    try:
        return float(text)
    except ValueError:
        return 0


def read_address(url: str) -> Address | None:
    """Takes an http(s) URL and its user:password@ apart; None where it is no such URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    credentials, _, host = parts.netloc.rpartition("@")
    if not HOST.fullmatch(host):
        return None
    user, _, password = credentials.partition(":")
    basic = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    origin = (parts.scheme, parts.hostname, port)
    return Address(urlunsplit(parts._replace(netloc=host)), host, origin, f"Basic {basic}" if credentials else None)


def run(settings: Settings, steps: list[str], ends_at: float) -> str:
    """One run; returns the line that says what was done. Adds to steps what it is at. Raises Failed."""
    if settings.query and not has_series(settings.query, steps):
        return "skipped: publish_if_url answers without a series: nothing to show, nothing published"
    check_dashboard(settings.image, steps)
    if not settings.dry_run:  # tweepy takes 0.2 s to load, which pass while Grafana renders
        threading.Thread(target=importlib.import_module, args=("tweepy",)).start()
    began = time.monotonic()
    png = fetch(settings.image, steps)
    evidence = f"{settings.width}x{settings.height}, {len(png)} bytes, sha256 {hashlib.sha256(png).hexdigest()[:12]}"
    evidence += f", rendered in {time.monotonic() - began:.2f} s"
    check_png(png, settings.width, settings.height)
    write(png, settings.path)
    if settings.dry_run:
        return f"dry run: {evidence}, written to {str(settings.path)!a}; nothing was sent to X"
    began = time.monotonic()
    status = publish(png, settings, steps, ends_at)
    return f"published: {evidence}, uploaded in {time.monotonic() - began:.2f} s, X answered {status}"


def has_series(query: Address, steps: list[str]) -> bool:
    """Whether the instant query answers with a series. Raises Failed unless it is a well-formed success."""
    steps.append(f"asking publish_if_url at {query.host}")
    response, body = get(query)
    if response.status_code != 200:
        raise Failed(refusal("publish_if_url", response, QUERY_ADVICE))
    try:
        answer = json.loads(body)
        kind, series = answer["data"]["resultType"], answer["data"]["result"]
        if answer["status"] == "success" and kind in ("vector", "matrix") and isinstance(series, list):
            return len([one["metric"] for one in series]) > 0
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise Failed("publish_if_url answered no list of series: it must be an instant query, /api/v1/query?query=...")


def check_dashboard(image: Address, steps: list[str]) -> None:
    """Raises Failed where Grafana's API says that the dashboard or the panel is not to be had: the render would be a
    picture of an error message, in the right size. Any other answer says nothing either way.
    """
    parts = urlsplit(image.url)
    path = re.match(r"(.*?)/render/d(?:-solo)?/([^/]+)", parts.path)
    if not path:
        return
    steps.append(f"asking Grafana for the dashboard at {image.host}")
    asked = parse_qs(parts.query)
    api = urlunsplit((parts.scheme, parts.netloc, f"{path[1]}/api/dashboards/uid/{path[2]}", "", ""))
    organisation = {"X-Grafana-Org-Id": asked["orgId"][0]} if asked.get("orgId", [""])[0].isdecimal() else {}
    try:
        response, body = get(replace(image, url=api), (200, 404), **organisation)
    except Failed:
        return  # the fetch that follows says it
    if response.status_code in (401, 403):
        raise Failed(refusal("Grafana's dashboard API", response, GRAFANA_ADVICE))
    try:
        answer = json.loads(body)
        if response.status_code == 404 and "dashboard" in answer["message"].lower():
            raise Failed("no such dashboard, or not for this token or user: check the UID and orgId in image_url")
        panels = panel_ids(answer["dashboard"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    panel = (asked.get("panelId") or asked.get("viewPanel") or [""])[0]
    if panel and panel.removeprefix("panel-").partition("-clone-")[0] not in panels:
        some = sorted((i for i in panels if re.fullmatch("[0-9A-Za-z_-]{1,20}", i)), key=lambda i: (len(i), i))[:12]
        raise Failed(f"no such panel as {panel!a:.30}: there are {', '.join(some) or 'none'}: set panelId in image_url")


def panel_ids(dashboard: Any) -> set[str]:
    """The ids of all panels of a dashboard, as text. Raises an error of Python's where it does not say them."""
    if "elements" in dashboard:  # schema v2: {"panel-2": {"spec": {"id": 2}}}
        elements = [(key.removeprefix("panel-"), one) for key, one in dashboard["elements"].items()]
        return {str(name) for key, one in elements for name in (key, one.get("spec", {}).get("id", key))}
    panels = [panel for outer in dashboard["panels"] for panel in (outer, *(outer.get("panels") or []))]
    return {str(int(panel["id"])) for panel in panels if panel.get("type") != "row"}


def fetch(image: Address, steps: list[str]) -> bytes:
    """Returns the rendered picture. Raises Failed for any answer but 200 with image/png."""
    steps.append(f"waiting for Grafana's render at {image.host}")
    response, picture = get(image)
    if response.status_code != 200:
        raise Failed(refusal("Grafana", response, GRAFANA_ADVICE))
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "image/png":
        raise Failed("Grafana sent no image/png: a page means that /render is missing in image_url, a PDF encoding=png")
    return picture


def get(address: Address, read: Sequence[int] = (200,), **headers: str) -> tuple[requests.Response, bytes]:
    """GETs an address, following no redirect; returns the answer and, if its status is one to read, the body.

    At most MAX_BYTES, counted as they stream and are decompressed. Raises Failed where no whole answer comes.
    """
    import requests

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:  # without it, .netrc would
        if address.authorization:
            request.headers["Authorization"] = address.authorization
        return request

    body = bytearray()
    try:  # without a timeout: main watches over the time
        response = requests.get(address.url, headers=headers, auth=authorize, allow_redirects=False, stream=True)
        for part in response.iter_content(65536) if response.status_code in read else ():
            body += part
            if len(body) > MAX_BYTES:
                raise Failed(f"more than 5 MB came from {address.host}: ask for a smaller picture in image_url")
    except (OSError, ValueError) as error:  # ValueError is for odd URLs
        raise Failed(BROKEN_ADVICE.get(cause(error), BROKEN).format(host=address.host)) from None
    return response, bytes(body)


def cause(error: BaseException | None) -> str:
    """The key in BROKEN_ADVICE of an exception that requests raised, if it is there."""
    reason = getattr(error.args[0], "reason", None) if error and error.args else None
    name = type(reason or error).__name__
    if "CA certificate bundle" in str(error):
        return "CABundle"
    if name == "SSLError" and "CERTIFICATE_VERIFY_FAILED" in str(reason):
        return "NameMismatch" if "mismatch" in str(reason) else "CertificateError"
    return {"LocationParseError": "NameResolutionError", "InvalidProxyURL": "ProxyError"}.get(name, name)


def refusal(who: str, response: requests.Response, advice: Mapping[int, str]) -> str:
    """Says what a status means. Quotes the number alone."""
    status = response.status_code
    meaning = advice.get(status) or advice.get(status // 100, "that is no answer to a GET")
    if status // 100 == 3 and urlsplit(response.headers.get("Location", "")).path.endswith("/login"):
        meaning = "the way to its login page: set grafana_token, or allow anonymous access, and check orgId"
    return f"{who} answered {status}: {meaning}"


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
    header = chunks[0][1] if chunks else b""
    if not layout or len(header) != 13 or chunks[-1][1]:
        raise Failed(DAMAGED)
    size = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    if size != (width, height):
        why = "Grafana renders 1000 to 3000 wide and 500 high at least: set such a width and height in image_url"
        if size[0] < 1000 or size[1] < 500:
            why = "Grafana's own notice: no renderer is set (GF_RENDERING_SERVER_URL), or too many renders at once"
        raise Failed(f"{size[0]}x{size[1]} instead of {width}x{height}: {why}")
    check_pixels(header, bool(layout[1]), b"".join(data for kind, data in chunks if kind == b"IDAT"))


def check_pixels(header: bytes, palette: bool, packed: bytes) -> None:
    """Raises Failed unless the packed pixels are what an IHDR chunk's 13 bytes promise, and of more than one colour."""
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    depth, colour, compression, filtering, interlace = header[8:]
    channels, depths = COLOURS.get(colour, (0, ()))
    if depth not in depths or (colour == 3 and not palette) or compression or filtering or interlace > 1:
        raise Failed(DAMAGED)
    bits = depth * channels
    rows: list[tuple[int, bool]] = []  # the bits of each, and whether another stands above it
    for x, y, right, down in ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, lines = (width - x + right - 1) // right, (height - y + down - 1) // down
        rows += [(columns * bits, line > 0) for line in range(lines) if columns > 0]
    promised = sum(1 + (row_bits + 7) // 8 for row_bits, _ in rows)
    inflate = zlib.decompressobj()
    try:
        pixels = inflate.decompress(packed, promised + 1)
    except zlib.error:
        raise Failed(DAMAGED) from None
    if len(pixels) != promised or not inflate.eof or inflate.unused_data:
        raise Failed(DAMAGED)
    # Filters turn a picture of one colour into rows that are known beforehand: by filter, the first pixel and the rest.
    pixel = pixels[1 : 1 + max(1, bits // 8)]
    zero, half = bytes(len(pixel)), bytes(value - value // 2 for value in pixel)
    top = ((pixel, pixel), (pixel, zero), (pixel, pixel), (pixel, half), (pixel, zero))
    below = ((pixel, pixel), (pixel, zero), (zero, zero), (half, zero), (zero, zero))
    blank, start = True, 0
    for row_bits, has_above in rows:
        if pixels[start] >= len(top):
            raise Failed(DAMAGED)
        first, others = (below if has_above else top)[pixels[start]]
        row = pixels[start + 1 : start + 1 + row_bits // 8]
        blank = blank and row == (first + others * (len(row) // len(pixel)))[: len(row)]
        start += 1 + (row_bits + 7) // 8
    if blank:
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
        why = error.strerror
        raise Failed(f"cannot write image_path ({why}): name a file in a writable folder with room left") from None


def publish(png: bytes, settings: Settings, steps: list[str], ends_at: float) -> int:
    """Uploads the picture; returns X's status, 200, 201 or 202. Raises Failed.

    Tries a second time only where no connection came about: then X took nothing for certain.
    """
    steps.append(f"sending the picture, which may have arrived, to X at {settings.x_host}")
    import tweepy

    answers: list[requests.Response] = []

    def keep(response: requests.Response, **_: object) -> None:
        """Keeps X's status, whatever tweepy makes of the rest, and reads no endless body."""
        answers.append(response)
        body = b""
        if not response.ok:
            with contextlib.suppress(Exception):  # a damaged explanation must not hide the status
                body = response.raw.read(65536, decode_content=True)
        response.raw = io.BytesIO(body)

    api = tweepy.API(tweepy.OAuth1UserHandler(*settings.keys), host=settings.x_host, timeout=settings.deadline)
    api.session.hooks["response"].append(keep)
    api.session.max_redirects = 0  # a redirected upload would count as done
    for pause in (RETRY_SECONDS, None):
        try:
            api.update_profile_banner("banner.png", file=png)  # bytes: a file would be at its end at the second try
        except Exception as error:  # tweepy raises AttributeError, TypeError and ValueError too, as X's answer wants it
            reason = cause(error.__context__)
            not_taken = not answers and reason in ("NewConnectionError", "NameResolutionError")
            if pause and not_taken and time.monotonic() + pause < ends_at:
                time.sleep(pause)
                continue
            if not answers:
                raise Failed("upload: " + BROKEN_ADVICE.get(reason, BROKEN).format(host=settings.x_host)) from None
        break
    status = answers[0].status_code
    if status not in (200, 201, 202):
        raise (MustAct if status in (401, 402, 403) else Failed)(x_refusal(answers[0]))
    return status


def x_refusal(response: requests.Response) -> str:
    """Says what X's status and error code mean, and at 429 when X opens again. Quotes numbers alone."""
    status = response.status_code
    codes = [int(code) for code in re.findall(rb'"code"\s*:\s*(\d{1,4})\b', response.content)]
    code = next((code for code in codes if (status, code) in X_ADVICE), codes[0] if codes else 0)
    said = f"X answered {status}" + (f" (code {code})" if code else "")
    reset = response.headers.get("x-rate-limit-reset", "")
    if status == 429 and re.fullmatch("[0-9]{1,11}", reset):
        said += f", and opens again in {max(0, int(reset) - int(time.time()))} s"
    known = [X_ADVICE[key] for key in ((status, code), status, status // 100) if key in X_ADVICE]
    return f"{said}: {known[0] if known else 'that is no answer to an upload: check x_host'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs once and returns the exit code. The run has a thread of its own, so that this one can end it at any time: no
    signal interrupts the look-up of a name.
    """
    began = time.monotonic() - time.process_time()  # Python's own start counts
    steps = ["starting"]

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
        ends_at = began + settings.deadline
        job = ThreadPoolExecutor().submit(run, settings, steps, ends_at)
        if wait([job], timeout=max(0, ends_at - time.monotonic())).not_done:
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
