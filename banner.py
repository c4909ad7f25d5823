#!/usr/bin/env python3
"""Puts a Grafana panel on an X profile as its banner: one picture a run, and never a wrong one.

usage: banner.py [--dry-run | --help | --version]; a dry run does all but the upload

settings, from the environment (names in any case):
  consumer_key, consumer_secret, access_token, access_token_secret
                    the OAuth 1.0a keys of the app and the account; needed unless --dry-run
  image_url         needed: the panel's render URL, http or https; may carry user:password@
  data_color        RRGGBB, drawn only where the panel has data: without 10 such pixels, nothing is published
  publish_if_url    a Prometheus instant query; nothing is published unless it returns a series
  grafana_token     a service-account token, sent to the origin of image_url alone
  image_path        where the PNG is written; default banner.png in the folder for temporary files
  deadline_seconds  the whole run's limit; default 45
  x_host            X's API host, may have a port; default api.x.com
  HTTP_PROXY, HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE work as they do for requests.

exit codes:
  0         published, skipped, or dry run
  1         failed this time; the next run may succeed
  2         a person must act: on the settings, or because X rejects keys, permissions, credits or call
  130, 143  told to stop, by Ctrl-C or SIGTERM
"""

import os
import select
import signal
import sys
import threading
from typing import Any, NoReturn

# Where the run is, with what it usually means if it gets no further, and whom it asks for what.
progress = {"step": "starting: this machine is overloaded, or deadline_seconds is too short"}
writing = threading.Lock()  # held while the picture is written, so that no end leaves half of it


def end(descriptor: int, line: str, code: int) -> NoReturn:
    """Ends the process with a line on standard output (1) or error (2), whatever its threads wait for."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    try:
        if select.select([], [descriptor], [], 1)[1]:  # else nobody reads it
            os.write(descriptor, f"{line}\n".encode())
    finally:  # what is done is done, though its line is lost to a full disk or a broken pipe
        writing.acquire(timeout=1)
        os._exit(code)


def stop(signum: int, _: object) -> None:
    """Ends the run because it was told to."""
    end(2, f"stopped by {signal.Signals(signum).name} while {progress['step']}", 128 + signum)


if __name__ == "__main__":  # before the imports that take a tenth of a second
    spare = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]  # or a closed stream would become a connection
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)

import difflib
import hashlib
import json
import re
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

__version__ = "1.1.0"
Settings = Mapping[str, str]
MAX_PICTURE, MAX_JSON = 5_000_000, 1_000_000  # bytes; X takes pictures under 5 MB, and 64 MB hold it all
MAX_CHUNKS, MAX_AGE, PROOF = 50_000, 300, 10  # chunks and seconds of an answer; pixels of data_color
CONNECT_LIMIT = 5  # seconds for each address of a host, so that a silent one leaves time for the next
KEYS = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
OTHERS = ("image_url", "data_color", "publish_if_url", "grafana_token", "http_proxy", "https_proxy")
DEFAULTS = {"deadline_seconds": "45", "x_host": "api.x.com"}
DEFAULTS["image_path"] = os.environ.get("TMPDIR", "/tmp") + "/banner.png"

# What an answer's status usually means, and what to do: by the first pattern in it; xx are digits.
GRAFANA_ADVICE = {
    "3xx": "it wants a login (check grafana_token, orgId, anonymous access), or has moved (set the new URL)",
    "400": "a parameter is wrong: check width, height, scale and timeout, or the query's syntax",
    "401": "grafana_token or the password is unknown or has expired: make a new service-account token",
    "403": "it may not see this: give the token or user the Viewer role on the dashboard",
    "404": "nothing is there: check orgId, the sub-path, and /render/d-solo/UID/SLUG or /api/v1/query",
    "407": "the proxy asks for a password: put user:password@ into HTTP_PROXY, or the host into NO_PROXY",
    "429": "it is busy: render less at once, or raise the renderer's limit of concurrent renders",
    "408|5xx": "the server, renderer or data source is down, starting or slow, or a token is wrong: see logs",
    "": "this is not an answer to such a request: open the URL in a browser",
}
X_ADVICE = {
    "2xx": "this came from a sign-in page or a proxy instead of X: check x_host and HTTPS_PROXY",
    "401": "wrong keys, or older than the app's Read and write: make a new access token; check the clock",
    "402": "the account has no credits left: buy some in X's developer console; publish_if_url saves calls",
    "403": "X forbids it: check the app's permissions, and the account itself",
    "413|422": "X takes no picture of this size: ask for 1500x500 without scale in image_url",
    "429": "too many calls: run less often, or set publish_if_url",
    "5xx": "X has a problem: nothing to do, the next run tries again",
    "": "X does not take this call: check x_host, and look for news about its API",
}
X_CODES = {
    "403 (code 64)": "the account is suspended: sign in to X and appeal",
    "403 (code 261)": "the app may only read: set it to Read and write, then make a new access token",
    "403 (code 453)": "the app's access level is too low: change its plan in X's developer console",
}
# Why no answer came, by the first pattern in the exception; peer is the host, or the proxy on the way to it.
CONNECTION_ADVICE = {
    "SOCKS support": "SOCKS proxies are not supported: set HTTP_PROXY and HTTPS_PROXY to an http:// one",
    "ProxyError": "the proxy {peer} is down, hangs or refuses {host}: check HTTP_PROXY and NO_PROXY",
    "has expired|not yet valid": "the certificate of {host} is not valid today: renew it, or check the clock",
    "mismatch": "the certificate of {host} is for another name: use the name that it is for",
    "CERTIFICATE_VERIFY": "the certificate of {host} is not trusted: set REQUESTS_CA_BUNDLE to its CA",
    "invalid path|NO_CERT|PEM lib": "REQUESTS_CA_BUNDLE names no certificates: mount the PEM file, or unset",
    "SSLError(?!.*EOF)": "{host} does not speak TLS as it should: check http or https, and the port",
    "NameResolution|ParseError": "there is no host {host}: check the spelling, and DNS",
    "ConnectTimeout": "cannot connect to {peer}: nothing answers: check host, firewall and NetworkPolicy",
    "='(localhost|127).*NewConn": "cannot connect to {peer}: in a container, this is the container itself",
    "NewConn": "cannot connect to {peer}: nothing listens there, or it is unreachable: check host and port",
    "timed out": "{peer} took the connection and said nothing: check http or https, and its log",
    "": "the connection to {host} broke off, or no HTTP came: check http or https, and the port",
}
DAMAGED = "the PNG is damaged or cut short: the renderer or a proxy broke off; the next run tries again"
NO_DATA = "the query fails, or the page still loads or wants a login: open the panel; --dry-run tells colours"


class Failed(Exception):
    """This run failed, the next may succeed. Its text is the line to print: it quotes no other party."""


class MustAct(Failed):
    """No run will succeed before a person has acted."""


# --- Settings: what each has to be, by patterns for name and value or a function, and what a wrong one is
PORT = r":(?!0)(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
URL, PATH, HOST = "(image|publish_if)_url", "image_path", rf"([\w.-]+|\[[\da-fA-F:.]+\])({PORT})?"
NUMBER, QUOTE = r"\d{1,9}(\.\d{1,9})?", "['\"\u2018\u2019\u201c\u201d]"
RULES: tuple[tuple[str, str | Callable[[str], object], str], ...] = (
    ("(?!http).*", "(?s).+", "blank"),
    (".*", f"(?s)(?!{QUOTE}).*(?<!{QUOTE})", "in quotes: leave them out"),
    ("grafana_token", "(?is)(?!bearer).*", "with the word Bearer: give the token alone"),
    (PATH, str.isprintable, "with a line end or another odd character inside"),
    ("(?!image_path).*", "[!-~]*", "with a space, a line end or another odd character inside"),
    ("(consumer|access)_.*", r"(?i)(?!<|x{3,}$|\.{3}|.*\byour[_-]).*", "still a placeholder"),
    (URL, r"[^?@]*@?[^?@]*(\?.*)?", "with an @ too many: in a password, write %40"),
    (URL, f"https?://([^@/?#]*@)?{HOST}([/?#].*)?", "not http:// or https:// with a host"),
    ("image_url", f"(?!.*[?&](width|height|scale)=(?!{NUMBER}(&|$))).*", "with a size that is no number"),
    ("image_url", lambda url: 0 < picture_size(url)[0] <= 3000, "not 1 to 3000 pixels wide: ask for 1500"),
    ("image_url", lambda url: 0 < picture_size(url)[1] <= 1000, "not 1 to 1000 pixels high: ask for 500"),
    ("image_url", lambda url: "/d-solo/" not in url or parameter(url, "panelId"), "without panelId"),
    ("image_url", "(?!.*[?&]to=(?!now)).*", "for a time that stands still: write from=now-4h&to=now"),
    ("data_color", "#?[0-9A-Fa-f]{6}", "not a colour as RRGGBB, such as 1DA1F2"),
    ("deadline_seconds", rf"(?=.*[1-9]){NUMBER}", "not a number of seconds above 0, such as 45"),
    ("x_host", HOST, "not a host alone, such as api.x.com"),
    ("https?_proxy", f"|(https?://|socks.*)?([^@/]*@)?{HOST}/?", "not an http(s) URL"),
    (PATH, lambda at: not os.access(at, os.F_OK) or Path(at).is_file(), "not a regular file"),
    (PATH, lambda at: Path(at).resolve().parent.is_dir(), "in a folder that is not there: make or mount it"),
    (PATH, lambda at: os.access(Path(at).resolve().parent, os.W_OK), "closed to this user: see --user"),
)


def parameter(url: str, name: str, default: str = "") -> str:
    """The value of a URL's parameter; the first, as Grafana takes it, where there are more."""
    return parse_qs(urlsplit(url).query, keep_blank_values=True).get(name, [default])[0]


def picture_size(url: str) -> tuple[int, int]:
    """Width and height, in pixels, of the picture that image_url asks for."""
    defaults = {"width": "1500", "height": "500", "scale": "1"}
    width, height, scale = (float(parameter(url, *pair)) for pair in defaults.items())
    return round(width * scale), round(height * scale)


def read_settings(environ: Mapping[str, str], dry_run: bool) -> dict[str, str]:
    """The settings given, or their defaults. Raises MustAct that names all that is wrong, and no value."""
    names = {name.lower().replace("colour", "color"): name for name in sorted(environ) if name.isidentifier()}
    given = {name: environ[names[name]].strip() for name in (*KEYS, *OTHERS, *DEFAULTS) if name in names}
    settings = DEFAULTS | given
    wrong: dict[str, list[str]] = {}
    for name in ("image_url",) if dry_run else (*KEYS, "image_url"):
        if name not in given:
            like = difflib.get_close_matches(name, names.keys() - given.keys(), 1, 0.65)
            wrong.setdefault(f"missing; there is {names[like[0]]}" if like else "missing", []).append(name)
    for name, value in settings.items():
        for which, good, problem in RULES:
            fits = good if callable(good) else re.compile(good).fullmatch
            if re.fullmatch(which, name) and not fits(value):
                wrong.setdefault(problem, []).append(name)
                break
    if len({given.get(key) or key for key in KEYS}) < len(KEYS):
        wrong["not all different: X gives four"] = [*KEYS]
    if wrong:
        said = [f"{', '.join(which)} {'are' if which[1:] else 'is'} {what}" for what, which in wrong.items()]
        raise MustAct(f"settings: {'; '.join(said)}")
    if "image_path" in given:
        settings["image_path"] = str(Path(given["image_path"]).resolve())  # what a link leads to
    return settings


# --- Fetching
def run(settings: Settings, dry_run: bool) -> str:
    """One run; returns the line that says what was done. Raises Failed."""
    sys.addaudithook(follow)
    if "publish_if_url" in settings and not has_series(settings):
        return "skipped: publish_if_url returned no series, so nothing was published"
    check_dashboard(settings)
    if not dry_run:  # tweepy takes 0.2 s to load, which pass while Grafana renders
        ThreadPoolExecutor().submit(__import__, "tweepy")
    answer, png = get(settings, settings["image_url"], "Grafana's render", MAX_PICTURE)
    if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "image/png":
        raise Failed("Grafana sent no image/png: a page lacks /render in image_url, a PDF encoding=png")
    width, height = picture_size(settings["image_url"])
    facts = f"{width}x{height}, {len(png)} bytes, sha256 {hashlib.sha256(png).hexdigest()[:12]}"
    facts += f", rendered in {answer.elapsed.total_seconds():.2f} s"
    check_png(png, width, height, bytes.fromhex(settings.get("data_color", "").removeprefix("#")))
    write(png, Path(settings["image_path"]))
    if dry_run:
        written = f"written to {settings['image_path']!a}; nothing was sent to X"
        return f"dry run: {facts}, {written}; colours for data_color: {strong_colors(png, width, height)}"
    return f"published: {facts}, {publish(png, settings)}"


def follow(event: str, arguments: tuple[Any, ...]) -> None:
    """Keeps progress by Python's audit events, which tell a slow answer from a connection that never came."""
    if event == "socket.getaddrinfo":  # of the host, or of the proxy on the way there
        progress["peer"] = f"{arguments[0]}:{arguments[1]}"
        meaning = "DNS or the host does not answer: check DNS, host, port, firewall and NetworkPolicy"
        progress["step"] = f"connecting to {progress['peer']} for {progress['what']}: {meaning}"
    elif event == "http.client.send":
        proxy = f" through the proxy {progress['peer']}" if arguments[0].proxy else ""
        progress["step"] = f"waiting for {progress['what']} at {progress['host']}{proxy}: {progress['slow']}"


def has_series(settings: Settings) -> bool:
    """Whether the instant query returns a series. Raises Failed unless it is a well-formed success."""
    _, body = get(settings, settings["publish_if_url"], "publish_if_url", MAX_JSON)
    with suppress(ValueError, RecursionError):
        match json.loads(body):
            case {"status": "success", "data": {"resultType": "vector" | "matrix", "result": [*series]}}:
                return bool(series)
    raise Failed("publish_if_url returned no list of series: write /api/v1/query?query=...")


def check_dashboard(settings: Settings) -> None:
    """Raises Failed where Grafana's API has no such dashboard or panel: the picture would be an error."""
    url = re.fullmatch(r"([^?]*?)/render/d(?:-solo)?/([^/?]+)[^?]*(.*)", settings["image_url"])
    if not url:
        return
    api = f"{url[1]}/api/dashboards/uid/{url[2]}{url[3].replace('orgId', 'targetOrgId')}"
    try:
        answer, body = get(settings, api, "Grafana's dashboard API", MAX_JSON, accept=(401, 403, 404))
    except Failed:
        return  # the render that follows says it
    if (status := answer.status_code) in (401, 403):
        raise Failed(f"Grafana's dashboard API answered {status}: {advice_for(status, GRAFANA_ADVICE)}")
    with suppress(ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        told = json.loads(body)
        if status == 404 and "dashboard" in told["message"].lower():
            raise Failed("no such dashboard, or the token may not see it: check UID and orgId in image_url")
        dashboard, elements = told["dashboard"], told["dashboard"].get("elements")  # newer ones have these
        panels = dashboard["panels"] if elements is None else [each["spec"] for each in elements.values()]
        panels = panels + [inner for panel in panels for inner in panel.get("panels") or []]  # of closed rows
        ids = sorted(int(panel["id"]) for panel in panels if panel.get("type") != "row")
        wanted = (parameter(url[0], "panelId") or parameter(url[0], "viewPanel")).removeprefix("panel-")
        if wanted and wanted.partition("-clone-")[0] not in map(str, ids):
            raise Failed(f"no such panel as {wanted!a:.30} among {ids[:12]!s:.99}: set panelId in image_url")


def get(settings: Settings, url: str, what: str, limit: int, accept: Sequence[int] = ()) -> tuple[Any, bytes]:
    """GETs a URL, no redirect: answer and body. Raises Failed unless whole, recent, 200 or to accept."""
    import requests  # here, for signals and the deadline to hold for the time that it takes

    parts = urlsplit(url.replace("GMT+", "GMT%2B"))  # a plus would be a space
    host = parts.netloc.rpartition("@")[2]
    progress.update(what=what, host=host, peer=host, slow="probably slow: add CPU, or raise deadline_seconds")
    session: Any = requests.Session()
    session.get_redirect_target = lambda _: None  # or requests would read a redirect's body
    type(session.cookies).extract_cookies = lambda *_: None  # or cookies, X's too, could take 4 s to read
    session.headers.update({"Cache-Control": "no-cache", "Accept-Encoding": "identity"})
    session.auth = lambda request: request  # without one, requests takes that of .netrc
    if "grafana_token" in settings and origin(url) == origin(settings["image_url"]):
        session.headers["Authorization"] = f"Bearer {settings['grafana_token']}"
    elif parts.username is not None:
        session.auth = (unquote(parts.username).encode(), unquote(parts.password or "").encode())
    body = bytearray()
    try:  # without a limit for reading: main watches over the time
        answer = session.get(parts._replace(netloc=host).geturl(), stream=True, timeout=(CONNECT_LIMIT, None))
        if (status := answer.status_code) not in (200, *accept):
            raise Failed(f"{what} answered {status}: {advice_for(status, GRAFANA_ADVICE)}")
        for number, part in enumerate(answer.iter_content(65536)):
            body += part
            if len(body) > limit or number > MAX_CHUNKS:  # a chunk takes time, however small it is
                less = "ask for a smaller picture, or fewer series"
                raise Failed(f"{what} sent over {limit} bytes, or over {MAX_CHUNKS} chunks: {less}")
    except (OSError, ValueError) as error:  # ValueError is for odd URLs
        raise Failed(f"{what}: {advice_for(error, CONNECTION_ADVICE)}") from None
    age = float(answer.headers["Age"]) if re.fullmatch("[0-9]+", answer.headers.get("Age", "")) else 0.0
    with suppress(KeyError, ValueError, OverflowError):
        age = max(age, time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp())
    if age > MAX_AGE:
        raise Failed(f"{what} sent an answer over 5 minutes old: a cache kept it, or a clock is wrong")
    return answer, bytes(body)


def origin(url: str) -> tuple[str, str | None, int]:
    """Scheme, host and port: who gets what is sent to a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def advice_for(seen: object, table: Mapping[str, str]) -> str:
    """What a table has for a status, or for an exception of requests or tweepy at what was asked last."""
    pattern = next(pattern for pattern in table if re.search(pattern.replace("xx", r"\d\d"), repr(seen)))
    return table[pattern].format(**progress)


# --- Checking: https://www.w3.org/TR/png-3/
def check_png(png: bytes, width: int, height: int, color: bytes) -> None:
    """Raises Failed unless png is whole, of this size, not blank, and shows enough of color: RGB or empty."""
    lines = scan_lines(png, width, height)
    first, drawn, proof = b"", False, 0
    for row in rows(lines, width):
        step = len(row) // width
        first = first or row[:step]
        drawn = drawn or (row != first * width and (step == 3 or any(row[3::4])))
        opaque = color + b"\xff" * (step - 3)
        if color and opaque in row:
            proof += [row[at : at + step] for at in range(0, len(row), step)].count(opaque)
        if drawn and (proof >= PROOF or not color):
            break
    all(lines)  # the rest has to be whole, too
    if not drawn:
        raise Failed("the picture is blank, of one colour: it was taken too early: raise BROWSER_READINESS_*")
    if color and proof < PROOF:
        raise Failed(f"the picture shows no data, only {proof} pixels of data_color: {NO_DATA}")


def strong_colors(png: bytes, width: int, height: int) -> str:
    """The saturated colours that a picture has most of, at most three, with their numbers of pixels."""
    picture = rows(scan_lines(png, width, height), width)
    counts = Counter(row[at : at + 3] for row in picture for at in range(0, len(row), len(row) // width))
    strong = [rgb for rgb, count in counts.most_common() if count >= PROOF and max(rgb) - min(rgb) >= 100]
    return ", ".join(f"{rgb.hex().upper()} ({counts[rgb]} pixels)" for rgb in strong[:3]) or "none stands out"


def scan_lines(png: bytes, width: int, height: int) -> Iterator[bytes]:
    """Yields the lines, filtered. Raises Failed unless png is whole, a still, of this size, RGB or RGBA."""
    if not png.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"):
        raise Failed("no PNG came as image/png: set encoding=png, or add /render to GF_RENDERING_SERVER_URL")
    size = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    if size != (width, height):
        why = "Grafana renders from 1000x500 up to 3000 wide: set such a width and height in image_url"
        if size[0] < 1000 or size[1] < 500:
            why = "a notice: Grafana has no renderer (GF_RENDERING_SERVER_URL), or too many renders at once"
        raise Failed(f"the picture is {size[0]}x{size[1]} instead of {width}x{height}: {why}")
    packed, order, position = bytearray(), bytearray(), 8
    while position < len(png):
        end = position + 8 + int.from_bytes(png[position : position + 4])
        kind, data = png[position + 4 : position + 8], png[position + 8 : end]
        order += b"o" if kind[:1].islower() and kind not in (b"acTL", b"tRNS") else kind
        order += b"" if zlib.crc32(kind + data).to_bytes(4) == png[end : end + 4] else b"!"  # fits nowhere
        packed += data if kind == b"IDAT" else b""
        position = end + 4
    if not re.fullmatch(b"IHDRo*(IDAT)++o*IEND", order) or data:  # ++ never goes back, and so keeps nothing
        raise Failed(DAMAGED)
    channels = {b"\x08\x02\0\0\0": 3, b"\x08\x06\0\0\0": 4}.get(png[24:29])
    if not channels:
        raise Failed("the PNG is not 8-bit RGB or RGBA, as renderers send it: look at what is in between")
    inflate, rest, packed = zlib.decompressobj(), bytes(packed), bytearray()  # one copy is enough
    with suppress(zlib.error):
        for _ in range(height):
            line = inflate.decompress(rest, 1 + width * channels)
            rest = inflate.unconsumed_tail
            if len(line) <= width * channels or line[0] > 4:
                raise Failed(DAMAGED)
            yield line
        if not inflate.decompress(rest, 1) and inflate.eof and not inflate.unused_data:
            return
    raise Failed(DAMAGED)


def rows(lines: Iterator[bytes], width: int) -> Iterator[bytes]:
    """Yields the pixels of each line as they are in the picture, its filter undone."""
    above = b""
    for line in lines:
        kind, row, above = line[0], bytearray(line[1:]), above or bytes(len(line) - 1)
        if kind in (2, 4) and not row.strip(b"\0"):
            row[:] = above  # to both, zeros say that nothing differs
        elif kind:
            step = len(row) // width
            for channel in range(step):
                row[channel::step] = unfiltered(kind, line[1 + channel :: step], above[channel::step])
        above = bytes(row)
        yield above


def unfiltered(kind: int, values: bytes, above: bytes) -> bytes:
    """One channel of a row: each value plus what its filter makes of the neighbours known by then."""
    above = above if kind > 1 else bytes(len(above))  # Sub (1) is Paeth (4) with nothing above
    left, corner, pairs = 0, 0, zip(values, above, strict=True)
    if kind == 2:
        return bytes([value + up & 255 for value, up in pairs])
    if kind == 3:
        return bytes([left := (left + up) // 2 + value & 255 for value, up in pairs])
    result = []
    for value, up in pairs:
        low, high = left, up
        if left > up:
            low, high = up, left
        if corner >= high or 2 * (high - corner) <= corner - low:  # the nearest to left + up - corner
            left = low
        else:
            left = high if corner <= low or 2 * (corner - low) <= high - corner else corner
        left, corner = left + value & 255, up
        result.append(left)
    return bytes(result)


# --- Publishing
def write(png: bytes, path: Path) -> None:
    """Writes the file whole or not at all. Raises Failed."""
    part = path.with_name(f".banner-{os.urandom(8).hex()}")  # other runs may write into this folder
    with writing:
        try:
            part.write_bytes(png)
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise Failed(f"cannot write image_path: {error.strerror}: name a folder with room left") from None


def publish(png: bytes, settings: Settings) -> str:
    """Uploads the picture; returns what to say of it. Raises Failed, which quotes X's numbers alone."""
    import tweepy

    host, slow = settings["x_host"], "X may have the picture: nothing to do, the next run makes sure"
    progress.update(what="X's answer", host=host, peer=host, slow=slow)
    answers: list[Any] = []

    def keep(answer: Any, **_: object) -> NoReturn:  # from tweepy, which reads without end
        answers.append(answer)
        raise EOFError

    user = tweepy.OAuth1UserHandler(*(settings[key] for key in KEYS))
    api = tweepy.API(user, host=host, timeout=(CONNECT_LIMIT, None))
    api.session.hooks["response"].append(keep)
    try:
        api.update_profile_banner("banner.png", file=png)
    except tweepy.TweepyException as error:
        if not answers:
            raise Failed(f"the upload to X: {advice_for(error, CONNECTION_ADVICE)}") from None
    answer, status, body = answers[0], answers[0].status_code, b""
    with suppress(Exception):  # where it is cut or garbled, the status says enough
        body = answer.raw.read(65536, decode_content=True)
    if status in (200, 201, 202):
        with suppress(ValueError, RecursionError):
            json.loads(body.strip() or b"{}")  # what X says to an upload that it took: nothing, or JSON
            return f"uploaded in {answer.elapsed.total_seconds():.2f} s, X answered {status}"
    code = re.search(rb'"code"\s*:\s*(\d{1,4})\b', body)
    said = f"{status} (code {int(code[1])})" if code else f"{status}"
    advice = X_CODES.get(said) or advice_for(status, X_ADVICE)
    reset = answer.headers.get("x-rate-limit-reset", "")
    if status == 429 and re.fullmatch("[0-9]{1,11}", reset):
        said += f", and opens again in {max(0, int(reset) - int(time.time()))} s"
    refused = MustAct if status in (401, 402, 403, 404, 410) else Failed
    raise refused(f"X answered {said}: {advice}")


def main() -> NoReturn:
    """Runs once and ends the process. The run has a thread of its own, so that nothing delays the end."""
    warnings.simplefilter("ignore")  # a library's would stand before our line
    options, dry_run, began = sys.argv[1:], len(sys.argv) > 1, time.monotonic() - time.process_time()
    try:
        if options in (["--help"], ["-h"], ["--version"]):
            end(1, f"banner {__version__}" if options == ["--version"] else str(__doc__).rstrip(), 0)
        if wrong := [option for option in options if option != "--dry-run"]:
            raise MustAct(f"no such option as {wrong[0]!a:.30}: there are --dry-run, --help and --version")
        settings = read_settings(os.environ, dry_run)
        job = ThreadPoolExecutor().submit(run, settings, dry_run)  # the deadline counts from Python's start
        if wait([job], began + float(settings["deadline_seconds"]) - time.monotonic()).not_done:
            end(2, f"failed: out of time after {settings['deadline_seconds']} s, {progress['step']}", 1)
        end(1, job.result(), 0)
    except Failed as failure:
        end(2, f"failed: {failure}", 2 if isinstance(failure, MustAct) else 1)
    except ImportError as error:
        end(2, f"failed: Python lacks {error.name}: pip install -r requirements.txt, or run the image", 1)
    except Exception as error:
        *_, line = (at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == __file__)
        end(2, f"failed: {type(error).__name__} at line {line} of banner.py: please report this as a bug", 1)


if __name__ == "__main__":
    main()
