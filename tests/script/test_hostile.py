"""The largest answers that the script takes, made to be slow: 2 seconds are enough for each on an idle machine."""

import random
import resource
import ssl
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from requests.cookies import RequestsCookieJar
from support import pictures
from support.pace import starts
from support.peers import Handler, Peer, answers, chunked, head, paths, sends
from support.script import GOOD, Run, one_line, run, world

import banner

IEND = pictures.chunk(b"IEND")
COLOR = bytes.fromhex("1DA1F2")
LITTLE = 20  # starts of the script, of a fifth of a second each; the slowest picture takes nine


def filtered(kind: int, colour_type: int) -> bytes:
    """The largest picture there may be, of one filter and of values that change all the time, in few packed bytes."""
    length = 3000 * pictures.CHANNELS[colour_type]
    noise = random.Random(1).randbytes(997) * 14
    lines = b"".join(bytes([kind]) + noise[row % 997 : row % 997 + length] for row in range(1000))
    return pictures.assemble(pictures.header(3000, 1000, colour_type), pictures.idat(lines), IEND)


def many(kind: bytes) -> bytes:
    """As many empty chunks as fit into 5 MB."""
    return pictures.assemble(pictures.header(1500, 500), pictures.chunk(kind) * 416_000, IEND)


def incompressible() -> bytes:
    """5 MB of pixels."""
    lines = b"".join(b"\0" + random.Random(row).randbytes(9000) for row in range(550)) + bytes(9001 * 450)
    packed = zlib.compress(lines, 1)
    assert 4_800_000 < len(packed) < 5_000_000
    return pictures.assemble(pictures.header(3000, 1000), pictures.chunk(b"IDAT", packed), IEND)


PICTURES = {
    **{f"filter {kind}, type {colour}": filtered(kind, colour) for kind in range(5) for colour in (2, 6)},
    "tiny chunks and no pixels": many(b"teXt"),
    "tiny chunks of no pixels": many(b"IDAT"),
    "5 MB of pixels": incompressible(),
    "a bomb of 4 GB": pictures.assemble(
        pictures.header(3000, 1000), pictures.chunk(b"IDAT", pictures.zeros(4000)), IEND
    ),
    "a chunk of 5 MB": pictures.assemble(pictures.header(1500, 500), pictures.chunk(b"teXt", bytes(4_999_900)), IEND),
}


@pytest.mark.parametrize("png", PICTURES.values(), ids=PICTURES)
def test_a_picture_is_judged_in_little_time(png: bytes) -> None:
    assert len(png) <= banner.MAX_PICTURE
    limit = starts(LITTLE)
    size = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    began = time.process_time()  # CPU alone: what else runs here may change in between
    with pytest.raises(banner.Failed):
        banner.check_png(png, *size, COLOR)
    assert time.process_time() - began < limit


def test_tiny_chunks_take_little_memory() -> None:
    png = pictures.assemble(pictures.header(1500, 500), pictures.chunk(b"IDAT") * 40_000, IEND)
    tracemalloc.start()
    try:
        with pytest.raises(banner.Failed, match="damaged"):
            banner.check_png(png, 1500, 500, COLOR)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(png)
    finally:
        tracemalloc.stop()


def filled(begin: bytes, piece: bytes, end: bytes = b"", size: int = banner.MAX_JSON) -> bytes:
    """The piece again and again between the two, in so many bytes."""
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


SERIES = b'{"metric":{"__name__":"up"},"value":[1,"2"]}'
JSON = {
    "deep lists": filled(b"", b"["),
    "deep objects": filled(b"", b'{"":'),
    "empty objects": filled(b"[", b"{},", b"{}]"),
    "small objects": filled(b"[", b'{"":0},', b"{}]"),
    "numbers of 4000 digits": filled(b"[", b"9" * 4000 + b",", b"9]"),
    "one number": filled(b"", b"9"),
    "escapes": filled(b'"', rb"\ud800", b'"'),
    "white space": filled(b"", b" ", b"{}"),
    "panels": filled(b'{"dashboard":{"panels":[', b'{"id":1},', b"{}]}}"),
    "elements": filled(b'{"dashboard":{"elements":{', b'"":{},', b'"":{}}}}'),
    "series": filled(b'{"status":"success","data":{"resultType":"vector","result":[', SERIES + b",", SERIES + b"]}}"),
    "codes": filled(b"", b'"code"  :', size=65536),
    "codes and much white space": filled(b'"code"', b" ", size=65536),
}
COOKIES = [
    b"Set-Cookie: a=b; expires=Wednesday, 09 Nov %s 23:12:40 GMT\r\n" % (b"9" * 5000),
    b"Set-Cookie: a=b; expires=%s\r\n" % (b" " * 60000 + b"x"),
    b"Set-Cookie: a=b; expires=%s\r\n" % (b"1-1-1 " * 10000),
    b"Set-Cookie: %s\r\n" % (b"a=b;" * 16000),
    b"Set-Cookie2: %s\r\n" % (b'a="' * 20000),
]
HEADERS = {
    "cookies": b"".join(COOKIES) * 18,
    "cookies of many parts": b"Set-Cookie: %s\r\n" % (b"a=b;" * 16000) * 98,
    "a type": b"Content-Type: " + b"image/png;a=" * 5000 + b"\r\n",
    "a date": b"Date: " + b"1 " * 32000 + b"\r\n",
    "a date of brackets": b"Date: " + b"(" * 64000 + b"\r\n",
    "an age": b"Age: " + b"9" * 64000 + b"\r\n",
    "a location": b"Location: " + b"/login" * 10000 + b"\r\n",
    "a limit": b"X-Rate-Limit-Reset: " + b"9" * 60000 + b"\r\n",
}


CHUNKED = head(transfer_encoding="chunked")
FRAMES = {
    "chunks of one byte": CHUNKED + chunked(b" ") * banner.MAX_PICTURE + b"0\r\n\r\n",
    "lines after the last chunk": filled(CHUNKED + b"0\r\n", b"a\r\n", b"\r\n", banner.MAX_PICTURE),
    "answers before the answer": filled(b"", b"HTTP/1.1 100 \r\n\r\n", CHUNKED + b"0\r\n\r\n", banner.MAX_PICTURE),
}


def judged(
    folder: Path, tls: ssl.SSLContext, ca_file: str, *, x: Handler | None = None, **grafana: Handler
) -> tuple[Run, float, float]:
    """A run against these answers, the seconds of CPU that it took, and those that it may take."""
    routes = {"/render/": answers(200, GOOD)} | {f"/{name}": handler for name, handler in grafana.items()}
    with world(paths(routes), tls, ca_file, x) as peers:
        if "query" in grafana:
            peers.settings["publish_if_url"] = f"{peers.grafana.url}/query"
        limit = starts(LITTLE)
        began = time_of_children()
        done = run(folder, peers.settings)
        return done, time_of_children() - began, limit


def time_of_children() -> float:
    """The seconds of CPU that the processes begun here have taken, up to their ends."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("asked", ["query", "api", "x"])
@pytest.mark.parametrize("body", JSON.values(), ids=JSON)
def test_json_is_judged_in_little_time(
    body: bytes, asked: str, tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    assert len(body) <= banner.MAX_JSON
    answer = answers(403 if asked == "x" else 200, body, "application/json")
    done, seconds, limit = judged(tmp_path, tls, ca_file, **{asked: answer})
    assert seconds < limit
    assert one_line(done.output)


@pytest.mark.parametrize("asked", ["query", "api", "x"])
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_headers_are_judged_in_little_time(
    headers: bytes, asked: str, tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    answer = sends(b"HTTP/1.1 429 What\r\n" + headers + b"Content-Length: 2\r\n\r\n{}")
    done, seconds, limit = judged(tmp_path, tls, ca_file, **{asked: answer})
    assert seconds < limit
    assert one_line(done.output)


def test_no_cookie_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestsCookieJar, "extract_cookies", RequestsCookieJar.extract_cookies)  # for other tests
    with Peer(sends(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}")) as peer:
        answer, body = banner.get({"image_url": peer.url}, peer.url, "the answer", 2)
    assert (body, answer.headers["Set-Cookie"], dict(answer.cookies)) == (b"{}", "a=b", {})


@pytest.mark.parametrize("asked", ["query", "api", "render/"])
@pytest.mark.parametrize("answer", FRAMES.values(), ids=FRAMES)
def test_what_surrounds_a_body_is_judged_in_little_time(
    answer: bytes, asked: str, tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    done, seconds, limit = judged(tmp_path, tls, ca_file, **{asked: sends(answer)})
    assert seconds < limit
    assert one_line(done.output)
