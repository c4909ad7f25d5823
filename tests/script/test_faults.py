"""What can go wrong between Grafana, Prometheus, X and a proxy, a row each: a process, and peers on real sockets."""

import hashlib
import json
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import pictures
from support.peers import (
    Connection,
    Handler,
    Peer,
    after,
    answers,
    chunked,
    echo,
    gzipped,
    head,
    in_turn,
    paths,
    redirects,
    says,
    sends,
    tunnel,
)
from support.script import KEYS, MEMORY, PASSWORD, RENDER, SLACK, TOKEN, leaks, one_line, run

GOOD = pictures.png(150, 50, idats=3)
SIZE = "&width=150&height=50"
LARGE = 6_000_000  # bytes, over the limit of 5 MB
AS_LARGE, TOO_LARGE = (
    GOOD[:-12] + pictures.chunk(b"tEXt", bytes(size - len(GOOD) - 12)) + GOOD[-12:] for size in (5_000_000, 5_000_001)
)
NO_CA = {"REQUESTS_CA_BUNDLE": "/nonexistent/ca.pem"}
SHORT = 2.5  # seconds for runs that are to run out of time
QUERY = "/api/datasources/proxy/uid/P1809F7CD0C75ACF3/api/v1/query"
PUBLISH_IF = {"publish_if_url": "{grafana}" + QUERY + "?query=x_user_followers_count"}
LOGIN = "http://user:" + "test-password%2Fwith%40signs" + "@"
DASHBOARD = {"meta": {}, "dashboard": {"panels": [{"id": 2}, {"id": 3}, {"id": 4}], "uid": "wR0Yf26Gk"}}
SERIES = {"metric": {"username": "NAME"}, "value": [1795371764.675, "1661"]}
TIME = "out of time"
DAMAGED = "damaged|cut short"

good = answers(200, GOOD)
taken = answers(200, content_type=None)
known = says(DASHBOARD)
found = says({"status": "success", "data": {"resultType": "vector", "result": [SERIES]}})


@dataclass(frozen=True)
class Fault:
    """One way in which a run can go; a peer that is not named here does what it should.

    Settings and advice may name addresses: `{grafana}`, `{x}`, `{other}` of the peers, `{closed}` where nobody listens.
    `advice` are patterns, each of which a person needs to find in the line. `sent` is what X gets, in `posts` requests,
    by default one. A status of -1 stands for 1 or 2; `other_asked` of -1 for any number of requests.
    """

    claim: str
    advice: tuple[str, ...] = ()
    status: int = 1
    sent: bytes | None = None
    posts: int | None = None
    size: str = SIZE
    settings: Mapping[str, str] = field(default_factory=dict)
    render: Handler = good
    dashboard: Handler = known
    query: Handler = found
    x: Handler = taken
    other: Handler = good
    other_asked: int = 0
    grafana: Handler | None = None
    grafana_tls: str = ""
    x_tls: str = "tls"
    deadline: float = 20
    rendered: bool | None = None


def upload(claim: str, *advice: str, x: Handler, status: int = 1, **row: Any) -> Fault:
    """X gets the picture, once, and does not take it."""
    return Fault(claim, advice, status, x=x, **{"sent": GOOD} | row)


def published(claim: str, **row: Any) -> Fault:
    """No fault after all."""
    return Fault(claim, status=0, **{"sent": GOOD} | row)


def with_bad_checksum(kind: bytes) -> bytes:
    """GOOD and a text chunk, with one bit of that chunk's checksum changed."""
    body = bytearray(GOOD[:33] + pictures.chunk(b"tEXt", b"Title\0followers") + GOOD[33:])
    offset, _, data = next(entry for entry in pictures.chunks(bytes(body)) if entry[1] == kind)
    body[offset + 8 + len(data)] ^= 1
    return bytes(body)


def of_pixels(data: bytes) -> bytes:
    """A PNG of right checksums whose pixel data are these."""
    return pictures.assemble(IHDR, pictures.idat(data), IEND)


LINES = pictures.scanlines(150, 50)
IDAT = pictures.idat(LINES)
IHDR = pictures.header(150, 50)
IEND = pictures.chunk(b"IEND")
PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n" + b"0" * 2000
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(2000) + b"\xff\xd9"
BOMB = pictures.zeros(400)


# --- Grafana's answers

GRAFANA = [
    Fault("302 to the login page", ("login", "grafana_token|anonymous"), render=redirects(302, "/login")),
    Fault(
        "302 to a login page elsewhere is not followed",
        ("302|redirect|login",),
        render=redirects(302, "{elsewhere}/login"),
    ),
    Fault("301 elsewhere is not followed", ("redirect|moved", "301"), render=redirects(301, "{elsewhere}/picture.png")),
    Fault("302 elsewhere is not followed", ("redirect|moved", "302"), render=redirects(302, "{elsewhere}/picture.png")),
    Fault("307 elsewhere is not followed", ("redirect|moved", "307"), render=redirects(307, "{elsewhere}/picture.png")),
    Fault(
        "no token goes to where a redirect points",
        ("redirect|moved",),
        settings={"grafana_token": TOKEN},
        render=redirects(302, "{elsewhere}/picture.png"),
    ),
    Fault("302 to itself is asked once", ("redirect|moved",), render=redirects(302, RENDER)),
    Fault("302 without a location", ("302|redirect",), render=redirects(302, None)),
    Fault("302 with a location that is no URL", (), render=redirects(302, "http://[::1")),
    Fault("400", ("400", "width|height|scale|image_url"), render=answers(400, b"<html>", "text/html")),
    Fault("401", ("401", "token|password|credentials"), render=says({"message": "invalid API key"}, 401)),
    Fault("403", ("403", "Viewer|permission|right|may not|role"), render=says({"message": "Forbidden"}, 403)),
    Fault("404", ("404", "image_url|orgId|address|path"), render=answers(404, b"Not found\n", "text/plain")),
    Fault("408", ("408", "time|slow|busy|long"), render=answers(408)),
    Fault("429", ("429", "busy|too many|at once|limit"), render=says({"message": "busy"}, 429)),
    Fault("500", ("500", "renderer"), render=answers(500, b"<html>Rendering failed.", "text/html; charset=UTF-8")),
    Fault("500 and a way to the login page", ("500", "renderer"), render=redirects(500, "/login")),
    Fault("500 for a deleted token", ("500", "token"), render=says({"message": "invalid API key", "traceID": ""}, 500)),
    Fault("299 to the login page", ("299", "no answer"), render=redirects(299, "/login")),
    Fault("418", ("418", "browser"), render=answers(418)),
    Fault("499", ("499", "browser"), render=answers(499)),
    Fault("502", ("502", "down|starting"), render=answers(502, b"", "text/html")),
    Fault("504", ("504", "down|starting"), render=answers(504)),
    Fault("201 with the picture", ("201",), render=answers(201, GOOD)),
    Fault("204", ("204",), render=answers(204)),
    Fault(
        "206 with half of the picture", ("206",), render=answers(206, GOOD[:2000], content_range="bytes 0-1999/9999")
    ),
    published("a 100 Continue before the answer", render=sends(b"HTTP/1.1 100 Continue\r\n\r\n" + head() + GOOD)),
    Fault(
        "103 Early Hints before the answer",
        ("103",),
        render=sends(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + head() + GOOD),
    ),
]

TYPES = [
    Fault(
        f"the type is {content_type}",
        ("image/png", "/render|encoding=png"),
        render=answers(200, body, content_type),
    )
    for content_type, body in {
        "text/html": b"<html><title>Grafana</title>",
        "application/pdf": PDF,
        "text/plain": b"Not found",
        "application/octet-stream": GOOD,
    }.items()
] + [
    Fault("a PDF is told from other types", ("encoding=png",), render=answers(200, PDF, "application/pdf")),
    Fault("no type at all", ("type|image/png",), render=answers(200, GOOD, None)),
    Fault(
        "the dashboard's own address",
        ("image/png", "/render"),
        render=answers(200, b"<html>", "text/html; charset=UTF-8"),
    ),
    Fault("text sent as image/png", ("PNG",), render=answers(200, b"<a href='/login'>Found</a>.")),
    Fault("a PDF sent as image/png", ("PDF", "encoding=png"), render=answers(200, PDF)),
    Fault("a JPEG sent as image/png", ("PNG",), render=answers(200, JPEG)),
    Fault("HTML sent as image/png", ("PNG",), render=answers(200, b"<!doctype html>" + b" " * 9000)),
    Fault("nothing sent as image/png", ("PNG|empty",), render=answers(200, b"")),
    published("the type in capitals", render=answers(200, GOOD, "Image/PNG")),
]

SIZES = (
    [
        Fault(
            f"the canned picture of {width}x{height}",
            (f"{width}x{height} instead of 1500x500", "render"),
            size="&width=1500&height=500",
            render=answers(200, pictures.plain(width, height)),
        )
        for width, height in [(478, 208), (526, 202), (1004, 404), (523, 200), (503, 203)]
    ]
    + [
        Fault(
            f"{got} for {asked}",
            (f"{got} instead of {asked}",),
            size=size,
            render=answers(200, pictures.plain(*map(int, got.split("x")))),
        )
        for got, asked, size in [
            ("1000x500", "800x400", "&width=800&height=400"),
            ("1500x500", "1500x400", "&width=1500&height=400"),
            ("1000x500", "1500x500", "&height=500"),
            ("1500x1125", "1500x500", "&width=1500"),
            ("1500x500", "3000x1000", "&width=1500&height=500&scale=2"),
            ("3000x1000", "1500x500", "&width=1500&height=500"),
            ("1499x500", "1500x500", ""),
            ("500x1500", "1500x500", ""),
        ]
    ]
    + [
        published(f"{size or 'no size in the URL'}", size=size, sent=body, render=answers(200, body))
        for size, body in [
            ("", pictures.plain(1500, 500)),
            ("&width=1500&height=500&scale=2", pictures.plain(3000, 1000)),
            ("&width=1500&height=500&scale=1.5", pictures.plain(2250, 750)),
            ("&height=50&width=150&scale=1", GOOD),
        ]
    ]
)

# --- PNG files that are not whole

DAMAGES = [  # more of them, without a process each, in test_png.py
    *(
        Fault(f"a wrong checksum of {kind.decode()}", (DAMAGED,), render=answers(200, with_bad_checksum(kind)))
        for kind in (b"IHDR", b"tEXt", b"IDAT", b"IEND")
    ),
    *(
        Fault(f"cut {where}", ("PNG",), render=answers(200, GOOD[:length]))
        for where, length in {
            "after the signature": 8,
            "inside IDAT": len(GOOD) // 2,
            "before IEND": len(GOOD) - 12,
            "by one byte": len(GOOD) - 1,
        }.items()
    ),
    Fault("a byte after IEND", (DAMAGED,), render=answers(200, GOOD + b"\n")),
    Fault("a second picture after the first", (DAMAGED,), render=answers(200, GOOD + GOOD)),
    Fault("no pixels", (DAMAGED,), render=answers(200, pictures.assemble(IHDR, IEND))),
    Fault("a line too few", (DAMAGED,), render=answers(200, of_pixels(LINES[:-451]))),
    Fault("a line too many", (DAMAGED,), render=answers(200, of_pixels(LINES + LINES[:451]))),
    Fault("an unknown filter", (DAMAGED,), render=answers(200, of_pixels(b"\x05" + LINES[1:]))),
    Fault("no size at all", ("0x0",), render=answers(200, pictures.assemble(pictures.header(0, 0), IDAT, IEND))),
    Fault(
        "a size of billions",
        ("2147483647x2147483647",),
        render=answers(200, pictures.assemble(pictures.header(2**31 - 1, 2**31 - 1), IDAT, IEND)),
    ),
    Fault(
        "a bomb of 400 MB in a picture of 150x50",
        (DAMAGED,),
        render=answers(200, pictures.assemble(IHDR, pictures.chunk(b"IDAT", BOMB), IEND)),
    ),
    Fault(
        "a bomb in a bomb's size",
        ("instead of",),
        render=answers(200, pictures.assemble(pictures.header(20000, 20971), pictures.chunk(b"IDAT", BOMB), IEND)),
    ),
    *(
        Fault(
            f"one colour, type {colour_type}",
            ("colou?r|blank",),
            render=answers(200, pictures.png(colour_type=colour_type, pixel=pixel, filters=(0, 1, 2, 3, 4))),
        )
        for colour_type, pixel in {0: b"\x80", 2: b"\x10\x20\x30", 3: b"\x07", 6: bytes(4)}.items()
    ),
    *(
        published(f"a whole picture of type {kind}, depth {depth}", sent=body, render=answers(200, body))
        for kind, depth, body in [
            (kind, depth, pictures.png(colour_type=kind, depth=depth, filters=(4, 3, 2, 1, 0), idats=7))
            for kind, depth in [(0, 1), (6, 8)]
        ]
    ),
]

# --- the connection to Grafana

CHUNKED = head(transfer_encoding="chunked")
NO_LENGTH = head()


def drip(before: bytes, dripped: bytes) -> Handler:
    """Sends the first bytes at once, the others one every 0.3 seconds."""

    def handler(connection: Connection) -> None:
        connection.receive()
        connection.send(before)
        connection.drip(dripped)

    return handler


def flood(before: bytes, piece: bytes) -> Handler:
    """Sends the first bytes, then the others for ever."""

    def handler(connection: Connection) -> None:
        connection.receive()
        connection.send(before)
        connection.flood(piece)

    return handler


def silence(before: bytes = b"") -> Handler:
    """Sends these, and nothing more."""

    def handler(connection: Connection) -> None:
        connection.receive()
        connection.send(before)
        connection.hold()

    return handler


def answers_in_plain(connection: Connection) -> None:
    """What a port for plain HTTP says to the start of TLS."""
    connection.read()
    connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def resets_early(connection: Connection) -> None:
    """Resets the connection while the request still comes in."""
    connection.read()
    connection.reset()


def resets_after(before: bytes) -> Handler:
    """Sends these, waits until they have arrived, and resets the connection."""

    def handler(connection: Connection) -> None:
        connection.receive()
        connection.send(before)
        connection.pause(0.2)
        connection.reset()

    return handler


def late(claim: str, *advice: str, **row: Any) -> Fault:
    """Only the deadline ends this one; the line says so, and with whom."""
    return Fault(claim, (TIME, *advice), **{"deadline": SHORT} | row)


FETCHING = [
    Fault(
        "cut body",
        (DAMAGED + "|broke off",),
        render=answers(200, GOOD[:9000], content_length=len(GOOD)),
    ),
    Fault("a length too short", ("PNG|" + DAMAGED,), render=answers(200, GOOD, content_length=len(GOOD) - 20)),
    Fault("a length that is no number", (), render=answers(200, GOOD[:100], content_length="many")),
    Fault("two lengths", (), render=sends(head(content_length=f"{len(GOOD)}\r\nContent-Length: 5") + GOOD)),
    Fault("chunks cut", (), render=sends(CHUNKED + chunked(GOOD[:5000]))),
    Fault("a chunk's length is no number", (), render=sends(CHUNKED + b"zz\r\n" + GOOD)),
    Fault(
        "chunks of a picture that goes on",
        ("PNG|" + DAMAGED,),
        render=sends(CHUNKED + chunked(GOOD, b"more") + b"0\r\n\r\n"),
    ),
    Fault("says gzip, is not", (), render=answers(200, GOOD, content_encoding="gzip")),
    Fault("gzip cut", (), render=answers(200, gzipped(GOOD)[:-500], content_encoding="gzip")),
    Fault(
        "a gzip bomb", ("5 ?MB|large|big",), render=answers(200, gzipped(bytes(80_000_000)), content_encoding="gzip")
    ),
    Fault("an unknown encoding", (), render=answers(200, b"\x0b\x02\x80" + GOOD, content_encoding="compress")),
    published("of 5 MB", sent=AS_LARGE, render=answers(200, AS_LARGE)),
    Fault("a byte over 5 MB", ("5 ?MB|large|big",), render=answers(200, TOO_LARGE)),
    Fault("over 5 MB, and says so", ("5 ?MB|large|big",), render=answers(200, GOOD + bytes(LARGE))),
    Fault("over 5 MB, without a length", ("5 ?MB|large|big",), render=sends(NO_LENGTH + GOOD + bytes(LARGE))),
    Fault(
        "over 5 MB in chunks", ("5 ?MB|large|big",), render=sends(CHUNKED + chunked(GOOD, bytes(LARGE)) + b"0\r\n\r\n")
    ),
    Fault("a promise of 5 TB", ("5 ?MB|large|big",), render=flood(head(content_length=5 * 10**12), bytes(65536))),
    Fault("endless body", ("5 ?MB|large|big",), render=flood(NO_LENGTH, bytes(65536))),
    Fault("endless chunks", ("5 ?MB|large|big",), render=flood(CHUNKED, chunked(bytes(65536)))),
    Fault("an endless head in one line", (), render=flood(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536)),
    Fault("an endless head in many lines", (), render=flood(b"HTTP/1.1 200 OK\r\n", b"X-Filler: x\r\n" * 5000)),
    late("100 Continue for ever", "{grafana}", render=flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50)),
    late("drip in the status line", "{grafana}", render=drip(b"", NO_LENGTH + GOOD)),
    late("drip in the head", "{grafana}", render=drip(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 99)),
    late("drip in the body", "{grafana}", render=drip(head(content_length=len(GOOD)) + GOOD[:100], GOOD[100:])),
    late("drip in a body without a length", "{grafana}", render=drip(NO_LENGTH + GOOD[:-90], GOOD[-90:])),
    late("drip in chunks", "{grafana}", render=drip(CHUNKED + chunked(GOOD[:100]), b"1\r\nx\r\n" * 99)),
    late("silence", "{grafana}", render=silence()),
    late("silence after the head", "{grafana}", render=silence(NO_LENGTH)),
    late(
        "silence instead of TLS",
        "{grafana}",
        grafana=Connection.hold,
        settings={"image_url": "https://{grafana_host}" + RENDER},
    ),
    Fault("reset at accept", ("reset|closed|connection",), grafana=Connection.reset),
    Fault("reset after the request", ("reset|closed|connection",), render=after(Connection.reset)),
    Fault(
        "reset in the body",
        ("reset|closed|connection|cut|whole",),
        render=resets_after(head(content_length=len(GOOD)) + GOOD[:5000]),
    ),
    Fault("closed without a word", ("closed|connection|answer|cut",), render=sends(b"")),
    Fault("another protocol", ("HTTP",), grafana=sends(b"SSH-2.0-OpenSSH_9.2\r\n")),
    Fault("the picture without a head", (), render=sends(GOOD)),
    Fault("a status that is no number", ("HTTP",), render=sends(b"HTTP/1.1 OK\r\n\r\n" + GOOD)),
    Fault("a status of four digits", (), render=sends(b"HTTP/1.1 2000 OK\r\nContent-Type: image/png\r\n\r\n" + GOOD)),
    Fault(
        "plain HTTP where TLS is expected",
        ("TLS", "scheme"),
        settings={"image_url": "https://{grafana_host}" + RENDER},
        grafana=answers_in_plain,
    ),
    Fault(
        "TLS where plain HTTP is expected",
        ("http|TLS|connection",),
        settings={"image_url": "http://{grafana_host}" + RENDER},
        grafana_tls="tls",
    ),
    Fault("an untrusted certificate", ("certificate", "REQUESTS_CA_BUNDLE|authority|trust"), grafana_tls="untrusted"),
    Fault("a certificate for another host", ("certificate", "another name"), grafana_tls="misnamed"),
    Fault("a CA's file that is not there", ("REQUESTS_CA_BUNDLE names no file",), settings=NO_CA, grafana_tls="tls"),
    Fault(
        "nothing listening", ("{closed}", "listen|refused|running"), settings={"image_url": "http://{closed}" + RENDER}
    ),
    Fault(
        "no such host", ("nowhere.invalid", "host|name|DNS"), settings={"image_url": "http://nowhere.invalid" + RENDER}
    ),
    Fault(
        "a host that no resolver takes",
        ("no such host",),
        settings={"image_url": "http://" + "a" * 64 + ".test" + RENDER},
    ),
    published("Grafana with https", grafana_tls="tls"),
    published("gzip", render=answers(200, gzipped(GOOD), content_encoding="gzip")),
    published("chunks", render=sends(CHUNKED + chunked(GOOD[:100], GOOD[100:]) + b"0\r\n\r\n")),
    published("HTTP/1.0 without a length", render=sends(b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n" + GOOD)),
    published(
        "a URL without a dashboard", settings={"image_url": "{grafana}/render/some/picture.png?width=150&height=50"}
    ),
]

# --- credentials, and what the other side says

CREDENTIALS = [
    Fault("the token echoed in the body", ("401",), settings={"grafana_token": TOKEN}, render=echo(401, "{head}")),
    Fault(
        "the token echoed as the picture",
        ("PNG",),
        settings={"grafana_token": TOKEN},
        render=echo(200, "{head}", "image/png"),
    ),
    Fault(
        "the token echoed in a redirect",
        ("302|redirect",),
        settings={"grafana_token": TOKEN},
        render=redirects(302, f"/login?authorization=Bearer%20{TOKEN}&password={PASSWORD}"),
    ),
    Fault(
        "the token echoed as the type",
        (),
        settings={"grafana_token": TOKEN},
        render=answers(200, GOOD, f"text/{TOKEN}"),
    ),
    Fault(
        "the token echoed as the reason",
        ("500",),
        settings={"grafana_token": TOKEN},
        render=answers(f"500 Bearer {TOKEN}"),
    ),
    Fault(
        "the token echoed by the dashboard",
        ("dashboard",),
        settings={"grafana_token": TOKEN},
        dashboard=echo(404, '{"message": "Dashboard not found", "head": "{head}"}', "application/json"),
    ),
    Fault(
        "the token echoed in the dashboard's message",
        ("dashboard",),
        settings={"grafana_token": TOKEN},
        dashboard=says({"message": f"Dashboard not found, Authorization: Bearer {TOKEN}"}, 404),
    ),
    Fault(
        "the password of the URL, Grafana refuses it",
        ("401",),
        settings={"image_url": LOGIN + "{grafana_host}" + RENDER},
        render=echo(401, "{head}"),
    ),
    Fault(
        "the password of the URL, nothing listening", ("{closed}",), settings={"image_url": LOGIN + "{closed}" + RENDER}
    ),
    Fault("the password of the URL, no such host", (), settings={"image_url": LOGIN + "nowhere.invalid" + RENDER}),
    Fault(
        "the password of the URL, not HTTP",
        (),
        settings={"image_url": LOGIN + "{grafana_host}" + RENDER},
        grafana=sends(b"\0" * 99),
    ),
    late(
        "the password of the URL, silence",
        settings={"image_url": LOGIN + "{grafana_host}" + RENDER},
        grafana=silence(),
    ),
    Fault(
        "the password of publish_if_url, nothing listening",
        ("{closed}",),
        settings={"publish_if_url": LOGIN + "{closed}/api/v1/query?query=up"},
    ),
    Fault(
        "control characters in the reason",
        ("503",),
        render=sends(b"HTTP/1.1 503 \x1b[31mred\x07\x08\rpublished: forged\r\nContent-Length: 0\r\n\r\n"),
    ),
    Fault("control characters in the type", (), render=answers(200, GOOD, "text/\x1b]0;title\x07\x9b31m\x85forged")),
    Fault("control characters in the location", (), render=redirects(302, "/\x1b[2J\x9bpublished")),
    Fault(
        "control characters in the dashboard's message",
        ("dashboard",),
        dashboard=says({"message": "Dashboard not found\npublished: forged\x1b[31m\u2028\u202e\x9b"}, 404),
    ),
    Fault(
        "control characters in the names of panels",
        ("panel",),
        dashboard=says({"dashboard": {"elements": {"panel-7\npublished: forged\x1b[31m\u2028\u202e": {}}}}),
    ),
    Fault("a type of 9000 characters", (), render=answers(200, GOOD, "text/" + "x" * 9000)),
    Fault("a location of 9000 characters", ("redirect|302",), render=redirects(302, "/" + "x" * 9000)),
    Fault(
        "a message of 9000 characters", ("dashboard",), dashboard=says({"message": "Dashboard not found " * 500}, 404)
    ),
]

# --- a proxy

PROXIED = "http://grafana.test" + RENDER + SIZE
VIA = {"HTTP_PROXY": "http://{other_host}", "image_url": PROXIED}


def proxy(claim: str, *advice: str, **row: Any) -> Fault:
    return Fault(claim, advice, **{"other_asked": -1} | row)


PROXIES = [
    proxy("a proxy that refuses", "403", settings=VIA, other=answers(403, b"<html>", "text/html")),
    proxy(
        "a proxy that wants a password", "407", "HTTP_PROXY", settings=VIA, other=answers(407, b"<html>", "text/html")
    ),
    proxy("nothing listening at the proxy", "proxy", settings={**VIA, "HTTP_PROXY": "http://{closed}"}),
    proxy("the proxy's password, nothing listening", "proxy", settings={**VIA, "HTTP_PROXY": LOGIN + "{closed}"}),
    proxy(
        "the proxy's password, refused",
        settings={**VIA, "HTTP_PROXY": LOGIN + "{other_host}"},
        other=echo(407, "{head}"),
    ),
    proxy(
        "a proxy that refuses the tunnel",
        "proxy",
        settings={"HTTPS_PROXY": "http://{other_host}"},
        other=answers(403),
    ),
    proxy(
        "a proxy that wants a password for the tunnel",
        "proxy",
        settings={"HTTPS_PROXY": "http://{other_host}"},
        other=answers(407),
    ),
    proxy(
        "a proxy that is cut in the tunnel",
        settings={"HTTPS_PROXY": "http://{other_host}"},
        other=sends(b"HTTP/1.1 200 OK\r\n\r\n"),
    ),
    proxy(
        "a proxy that hangs up",
        "proxy|closed|connection",
        settings={"HTTPS_PROXY": "http://{other_host}"},
        other=after(Connection.reset),
    ),
    proxy("the proxy's password for X, nothing listening", "proxy", settings={"HTTPS_PROXY": LOGIN + "{closed}"}),
    published("HTTP_PROXY is used", settings=VIA, other=paths({"http://grafana.test/render/": good}), other_asked=-1),
    published(
        "NO_PROXY is heeded",
        settings={"HTTP_PROXY": "http://{closed}", "HTTPS_PROXY": "http://{closed}", "NO_PROXY": "127.0.0.1"},
    ),
]

# --- the dashboard's word


def board(claim: str, *advice: str, **row: Any) -> Fault:
    return Fault(claim, ("dashboard|panel", *advice), **row)


DASHBOARDS = [
    board("no such dashboard", "wR0Yf26Gk|uid", dashboard=says({"message": "Dashboard not found", "traceID": ""}, 404)),
    Fault(
        "the dashboard's API says 401",
        ("401", "token|password|credentials"),
        dashboard=says({"message": "invalid API key"}, 401),
    ),
    Fault(
        "the dashboard's API says 403", ("403",), dashboard=says({"message": "Access denied to this dashboard"}, 403)
    ),
    board(
        "no such panel",
        "2.+3.+4",
        "999",
        settings={"image_url": "{grafana}" + RENDER.replace("panelId=2", "panelId=999")},
    ),
    board(
        "no such panel in rows",
        "12",
        dashboard=says({"dashboard": {"panels": [{"id": 11, "type": "row", "panels": [{"id": 12}]}]}}),
    ),
    board("no such element", "are 3", dashboard=says({"dashboard": {"elements": {"panel-3": {"kind": "Panel"}}}})),
    board(
        "a thousand other panels",
        "are 1000, .+, 1011: set",
        dashboard=says({"dashboard": {"panels": [{"id": number} for number in range(1000, 2000)]}}),
    ),
    board("no panel at all", dashboard=says({"dashboard": {"panels": []}})),
    board(
        "Grafana below a path",
        grafana=paths(
            {
                "/grafana/api/dashboards/uid/wR0Yf26Gk": says({"message": "Dashboard not found"}, 404),
                "/grafana/render/": good,
            }
        ),
        settings={"image_url": "{grafana}/grafana" + RENDER},
    ),
    board(
        "no such dashboard for /render/d/",
        settings={"image_url": "{grafana}/render/d/wR0Yf26Gk/twitter-followers?orgId=1&width=150&height=50"},
        dashboard=says({"message": "Dashboard not found"}, 404),
    ),
    *(
        published(
            f"/render/d/ {claim}",
            settings={"image_url": "{grafana}" + RENDER.replace("/d-solo/", "/d/").replace("panelId=2", panel) + SIZE},
        )
        for claim, panel in [("of a whole dashboard", "kiosk"), ("of a panel", "viewPanel=panel-2")]
    ),
    board(
        "/render/d/ of no such panel",
        "999",
        settings={"image_url": "{grafana}" + RENDER.replace("/d-solo/", "/d/").replace("panelId=2", "viewPanel=999")},
    ),
    published("panelId and width twice", size="&panelId=9" + SIZE + "&width=151"),
    published(
        "the panel is in a row",
        dashboard=says({"dashboard": {"panels": [{"id": 9, "type": "row", "panels": [{"id": 2}]}]}}),
    ),
    published("the panel is an element", dashboard=says({"dashboard": {"elements": {"panel-2": {}}}})),
    published(
        "panelId=panel-2",
        settings={"image_url": "{grafana}" + RENDER.replace("=2", "=panel-2") + SIZE},
    ),
    published("404 of another text", dashboard=answers(404, b"404 page not found", "text/plain")),
    published("404 of another message", dashboard=says({"message": "Not found"}, 404)),
    published("500", dashboard=answers(500)),
    published("a redirect is not followed", dashboard=redirects(302, "{elsewhere}/login")),
    published("garbage", dashboard=sends(b"\0\1\2" * 500)),
    published("not JSON", dashboard=answers(200, b"<html>", "text/html")),
    published("a reset", dashboard=after(Connection.reset)),
    published("a list", dashboard=says([{"panels": []}])),
    published("null", dashboard=says(None)),
    published("dashboard: a list", dashboard=says({"dashboard": [1]})),
    published("panels: null", dashboard=says({"dashboard": {"panels": None}})),
    published(
        "panels of all kinds",
        dashboard=says({"dashboard": {"panels": [None, 1, "x", [], {}, {"id": None}, {"panels": 5}, {"id": 2}]}}),
    ),
    published("deep", dashboard=answers(200, b"[" * 200_000, "application/json")),
    late("silence", "{grafana}", dashboard=silence()),
    published("20 MB", dashboard=answers(200, b" " * 20_000_000 + b"{}", "application/json")),
    published(
        "a gzip bomb", dashboard=answers(200, gzipped(b" " * 60_000_000), "application/json", content_encoding="gzip")
    ),
    published(
        "a number of 9000 digits",
        dashboard=answers(200, b'{"dashboard":{"panels":[{"id":' + b"9" * 9000 + b"}]}}", "application/json"),
    ),
]

# --- is there something to show?


def doubt(claim: str, *advice: str, **row: Any) -> Fault:
    """Prometheus does not clearly say that there is something: nothing is rendered."""
    nothing: dict[str, Any] = {"settings": PUBLISH_IF, "rendered": False}
    return Fault(claim, advice, **nothing | row)


def vector(*series: object, kind: str = "vector") -> Handler:
    return says({"status": "success", "data": {"resultType": kind, "result": list(series)}})


PROMETHEUS = [
    doubt("no series", "^skipped:", status=0, query=vector()),
    doubt("a scalar", query=vector(1795371764.675, "0", kind="scalar")),
    doubt(
        "an error",
        "publish_if_url|Prometheus|query",
        query=says({"status": "error", "errorType": "timeout", "error": "took too long"}),
    ),
    doubt("no status", query=says({"data": {"resultType": "vector", "result": [SERIES]}})),
    *(
        doubt(f"{status} of {kind}", query=says({"status": status, "data": {"resultType": kind, "result": [SERIES]}}))
        for status, kind in [("error", "vector"), ("warning", "vector"), ("success", "streams"), ("error", "streams")]
    ),
    doubt("no data", query=says({"status": "success"})),
    doubt("data: null", query=says({"status": "success", "data": None})),
    doubt("no result", query=says({"status": "success", "data": {"resultType": "vector"}})),
    doubt("result: null", query=says({"status": "success", "data": {"resultType": "vector", "result": None}})),
    doubt("result: an object", query=says({"status": "success", "data": {"resultType": "vector", "result": SERIES}})),
    doubt("a list", query=says([SERIES])),
    doubt("null", query=says(None)),
    doubt("a page", "publish_if_url|Prometheus|query", query=answers(200, b"<html>", "text/html")),
    doubt("204", query=answers(204)),
    doubt(
        "400",
        "400",
        "syntax",
        query=says({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400),
    ),
    doubt("401", "401", "token|password|credentials", query=says({"message": "invalid API key"}, 401)),
    doubt("404", "404", "/api/v1/query", query=answers(404, b"404 page not found", "text/plain")),
    doubt(
        "500 with a series",
        "500",
        "data source",
        query=says({"status": "success", "data": {"resultType": "vector", "result": [SERIES]}}, 500),
    ),
    doubt("103", "103", query=sends(b"HTTP/1.1 103 Hints\r\n\r\n")),
    doubt("418", "418", "browser", query=answers(418)),
    doubt("502 with nothing", "502", "Prometheus|data source", "down|starting", query=answers(502, b"")),
    doubt("a redirect to the login page", "302|redirect|login", query=redirects(302, "/login")),
    doubt("a redirect elsewhere", "302|redirect", query=redirects(302, "{elsewhere}/api/v1/query")),
    doubt("deep", query=answers(200, b'{"status":"success","data":' + b"[" * 200_000, "application/json")),
    doubt(
        "cut by its length",
        query=answers(200, json.dumps({"status": "success"}).encode(), "application/json", content_length=900),
    ),
    doubt(
        "a bomb", query=answers(200, gzipped(b" " * 60_000_000 + b"{}"), "application/json", content_encoding="gzip")
    ),
    doubt("endless", query=flood(head(content_type="application/json"), b" " * 65536)),
    doubt(
        "control characters in the error",
        query=says({"status": "error", "error": "\n\x1b[31mskipped: forged\u2028"}, 400),
    ),
    doubt("a reset", query=after(Connection.reset)),
    doubt("nothing listening", "{closed}", settings={"publish_if_url": "http://{closed}/api/v1/query?query=up"}),
    doubt(
        "no such host", "nowhere.invalid", settings={"publish_if_url": "http://nowhere.invalid/api/v1/query?query=up"}
    ),
    doubt(
        "the token echoed",
        "400",
        settings={**PUBLISH_IF, "grafana_token": TOKEN},
        query=echo(400, '{"status": "error", "error": "{head}"}'),
    ),
    doubt("silence", TIME, "{grafana}", query=silence(), deadline=SHORT),
    doubt("a drip", TIME, "{grafana}", query=drip(head(), b" " * 99), deadline=SHORT),
    published("one series", settings=PUBLISH_IF),
    published(
        "Prometheus itself",
        settings={"publish_if_url": "{other}/api/v1/query?query=up"},
        other=vector(SERIES),
        other_asked=1,
    ),
]

# --- X


def error(code: int, message: str = "Told by X.") -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message}]}


RESETS: dict[str, Any] = {"x_rate_limit_reset": 4102471380, "x_rate_limit_remaining": 0}  # 2100-01-01 07:23 UTC

UPLOADS = [
    *(published(f"{status}", x=answers(status, content_type=None)) for status in (200, 201, 202)),
    published("200 with a page", x=answers(200, b"<html>", "text/html")),
    published("200 with an endless body", x=flood(head(), b"x" * 65536)),
    published("200 with a body that drips", x=drip(head(content_length=99), b"x" * 99)),
    published("200 in chunks", x=sends(CHUNKED + chunked(b"{}") + b"0\r\n\r\n")),
    upload("204", "204", "news", x=answers(204)),
    upload("302 elsewhere is not followed", "302|redirect", x=redirects(302, "{elsewhere}/login")),
    upload("307 elsewhere is not followed", "307|redirect", x=redirects(307, "{elsewhere}/1.1/upload")),
    upload("307 to itself is asked once", "307|redirect", x=redirects(307, "/1.1/account/update_profile_banner.json")),
    upload("400, code 38", r"400 \(code 38\)", "news", x=says(error(38, "banner parameter is missing."), 400)),
    upload(
        "401, code 32",
        "401",
        "key|consumer|token",
        "clock|time",
        status=2,
        x=says(error(32, "Could not authenticate you."), 401),
    ),
    upload("401, code 89", "401", "access_token|token", status=2, x=says(error(89, "Invalid or expired token."), 401)),
    upload("402", "402", "credit", status=2, x=says({"title": "CreditsDepleted", "detail": "no credits"}, 402)),
    upload("403, code 453", "403|453", "access level|plan|tier|level", status=2, x=says(error(453), 403)),
    upload("403, code 261", "403|261", "write", status=2, x=says(error(261, "Application cannot perform."), 403)),
    upload("403, code 64", "403|64", "suspended", status=2, x=says(error(64, "Account"), 403)),
    upload("403, an unknown code", r"403 \(code 999\): X forbids", status=2, x=says(error(999), 403)),
    upload(
        "403, three unknown codes and a fourth",
        r"\(code 996, 997, 998\): X forbids",
        status=2,
        x=says({"errors": [{"code": code} for code in range(996, 1000)]}, 403),
    ),
    upload("403, no body", "answered 403: ", status=2, x=answers(403)),
    upload(
        "403, code 453, gzipped",
        "access level",
        status=2,
        x=answers(403, gzipped(json.dumps(error(453)).encode()), "application/json", content_encoding="gzip"),
    ),
    *(
        upload(f"{status} and a rate limit's header", f"answered {status}: ", status=code, x=answers(status, **RESETS))
        for status, code in [(403, 2), (503, 1)]
    ),
    upload("404", "404", "x_host", x=says(error(34), 404)),
    upload("413", "413", "large|big|5 ?MB|size", x=answers(413)),
    *(upload(f"{status}", f"{status}", "news", x=answers(status)) for status in (408, 499)),
    upload("422", "422", "resize|size|large", x=answers(422)),
    upload("429 says when it opens again", "429", "in 2[0-9]{9} s", x=answers(429, **RESETS)),
    upload("429, no header", "429", "less often", x=says(error(88), 429)),
    upload("429, UsageCapExceeded", "429", x=says({"title": "UsageCapExceeded", "detail": "Usage cap exceeded"}, 429)),
    upload("429, a garbled header", "429", x=answers(429, x_rate_limit_reset="soon")),
    upload("429, a header of 30 digits", "429", x=answers(429, x_rate_limit_reset="9" * 30)),
    upload("429, a header of 9000 digits", "429", x=answers(429, x_rate_limit_reset="9" * 9000)),
    upload("429, open since 2001", "429", "opens again in 0 s", x=answers(429, x_rate_limit_reset=1_000_000_000)),
    upload("429, a header below zero", "429", x=answers(429, x_rate_limit_reset="-62135596801")),
    upload("500", "500", "trouble", x=answers(500)),
    upload("502, a page", "502", "trouble", x=answers(502, b"<html>", "text/html")),
    upload("503 is not tried again", "503", x=in_turn(says(error(130), 503), taken)),
    upload("a garbled rate limit with 401", "401", status=2, x=answers(401, x_rate_limit_reset="soon")),
    *(
        upload(
            f"{status}, the body is {body[:20]!r}",
            str(status),
            status=2 if status == 403 else 1,
            x=answers(status, body, "application/json"),
        )
        for status, body in [
            (403, b"[]"),
            (503, b"null"),
            (403, b'{"errors": null}'),
            (403, b'{"errors": [7]}'),
            (403, b'{"errors": [{"code": {}, "message": null}]}'),
            (403, b'{"detail": null}'),
            (500, b"[" * 200_000),
            (403, b"\xff\xfe\x00"),
            (503, b"<html>" * 9000),
            (403, b"9" * 9000),
        ]
    ),
    upload(
        "says gzip, is not",
        "403|gzip|decod|X",
        status=2,
        x=answers(403, b"{}", "application/json", content_encoding="gzip"),
    ),
    upload(
        "control characters in the message",
        "403|64",
        status=2,
        x=says(error(64, "\npublished: forged\x1b[31m\u2028\u202e\x9b"), 403),
    ),
    upload(
        "control characters in the reason",
        "503",
        x=sends(b"HTTP/1.1 503 \x1b[31m\x07\rpublished\r\nContent-Length: 0\r\n\r\n"),
    ),
    upload("a message of 9000 characters", "403", status=2, x=says(error(999, "word " * 9000), 403)),
    upload("the Authorization header echoed", "403", status=2, x=echo(403, '{"detail": "{head}"}', "application/json")),
    upload(
        "the keys echoed",
        "403",
        status=2,
        x=says(error(999, " ".join([*KEYS.values(), "Authorization: OAuth oauth_token=" + KEYS["access_token"]])), 403),
    ),
    upload("reset after the request", "X|{x}", x=after(Connection.reset)),
    upload("closed after the request", "X|{x}", x=sends(b"")),
    upload("closed after the request is not tried again", x=in_turn(sends(b""), taken)),
    upload("garbage", "X|{x}", x=sends(bytes(range(256)))),
    upload("silence", TIME, "{x}", x=silence(), deadline=SHORT),
    upload(
        "a drip in the head", TIME, "{x}", x=drip(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 99), deadline=SHORT
    ),
    upload(
        "a drip in a refusal's body",
        "403|" + TIME,
        x=drip(head(403, content_length=99), b"x" * 99),
        deadline=SHORT,
        status=-1,
    ),
    upload("100 Continue for ever", TIME, "{x}", x=flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50), deadline=SHORT),
    upload("an endless refusal", x=flood(head(403), b"x" * 65536), deadline=SHORT, status=-1),
    upload("an endless head", x=flood(b"HTTP/1.1 200 OK\r\n", b"X-Filler: x\r\n" * 5000)),
    Fault("reset at accept", ("X|{x}",), x=Connection.reset, x_tls=""),
    Fault("nothing said at accept", (TIME, "{x}"), x=Connection.hold, x_tls="", deadline=SHORT),
    Fault("reset in the request", ("X|{x}",), x=resets_early, posts=0),
    Fault("not TLS", ("X|{x}", "TLS|https|certificate|SSL"), x=answers_in_plain, x_tls=""),
    Fault("an untrusted certificate", ("certificate",), x_tls="untrusted"),
    Fault("a certificate for another host", ("certificate", "another name"), x_tls="misnamed"),
    Fault("a CA's file that is not there", ("REQUESTS_CA_BUNDLE names no file",), settings=NO_CA),
    Fault("nothing listening", ("{closed}", "listen|refused|running|reach"), settings={"x_host": "{closed}"}),
    Fault("no such host", ("nowhere.invalid", "host|name|DNS"), settings={"x_host": "nowhere.invalid"}),
    published(
        "behind a proxy",
        settings={"HTTPS_PROXY": "http://{other_host}", "x_host": "x.test"},
        other_asked=-1,
        x_tls="tunnel",
    ),
]

FAULTS = {
    f"{step}: {fault.claim}": fault
    for step, faults in {
        "render": GRAFANA,
        "type": TYPES,
        "size": SIZES,
        "png": DAMAGES,
        "fetch": FETCHING,
        "secrets": CREDENTIALS,
        "proxy": PROXIES,
        "dashboard": DASHBOARDS,
        "query": PROMETHEUS,
        "x": UPLOADS,
    }.items()
    for fault in faults
}


def closed_port(stack: ExitStack) -> str:
    """An address where nothing listens, and that nobody else is given meanwhile."""
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=[claim.replace(" ", "-") for claim in FAULTS])
def test_never_a_wrong_picture_and_always_one_line(
    fault: Fault,
    tmp_path: Path,
    ca_file: str,
    tls: ssl.SSLContext,
    untrusted: ssl.SSLContext,
    misnamed: ssl.SSLContext,
) -> None:
    contexts = {"": None, "tls": tls, "untrusted": untrusted, "misnamed": misnamed, "tunnel": None}
    routes = paths({"/render/": fault.render, "/api/dashboards/uid/wR0Yf26Gk": fault.dashboard, QUERY: fault.query})
    with ExitStack() as stack:
        other = stack.enter_context(Peer(tunnel(tls, fault.x) if fault.x_tls == "tunnel" else fault.other))
        grafana = stack.enter_context(Peer(fault.grafana or routes, contexts[fault.grafana_tls]))
        x = stack.enter_context(Peer(fault.x, contexts[fault.x_tls]))
        grafana.elsewhere = x.elsewhere = other.url
        places = {
            "{grafana}": grafana.url,
            "{grafana_host}": grafana.host,
            "{other}": other.url,
            "{other_host}": other.host,
            "{x}": x.host,
            "{closed}": closed_port(stack),
        }

        def placed(text: str) -> str:
            for name, place in places.items():
                text = text.replace(name, place)
            return text

        settings = {
            **KEYS,
            "image_url": grafana.url + RENDER + fault.size,
            "x_host": x.host,
            "REQUESTS_CA_BUNDLE": ca_file,
            "deadline_seconds": str(fault.deadline),
        } | {name: placed(value) for name, value in fault.settings.items()}
        done = run(tmp_path, settings, before=MEMORY)

    uploads = [request for request in (other if fault.x_tls == "tunnel" else x).requests if request.method == "POST"]
    banners = [request.banner for request in uploads if request.banner is not None]
    assert banners == ([] if fault.sent is None else [fault.sent]), done
    assert len(uploads) == (len(banners) if fault.posts is None else fault.posts), done
    assert x.connections <= 1  # the next minute is the retry
    assert sum("/render/" in request.path for request in grafana.requests) <= (fault.rendered is not False)
    assert fault.other_asked in (-1, len(other.requests))
    assert fault.status == done.status or (fault.status == -1 and done.status in (1, 2)), done
    assert done.seconds < fault.deadline + SLACK, done
    assert one_line(done.stderr or done.stdout), done
    assert not (done.stdout and done.stderr), done
    assert bool(done.stdout) == (done.status == 0), done
    assert not leaks(done.output), done
    places["{grafana}"] = grafana.host  # lines name hosts, never URLs: those can carry a password
    for pattern in fault.advice:
        assert re.search(placed(pattern), done.output, re.IGNORECASE), f"{pattern} is not in: {done.output}"
    if done.status == 0 and fault.sent is not None:
        assert f"sha256 {hashlib.sha256(fault.sent).hexdigest()[:12]}, " in done.stdout
        for seconds in re.findall(r"in ([\d.]+) s\b", done.stdout):
            assert float(seconds) <= done.seconds
        assert str(len(fault.sent)) in done.stdout.replace(",", "").replace("_", "")
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    if fault.sent is None:
        assert written in ({}, {"banner.png": GOOD}), sorted(written)
    else:
        assert written == {"banner.png": fault.sent}


def test_the_certificate_of_a_proxy_is_the_proxys_fault(tmp_path: Path, untrusted: ssl.SSLContext) -> None:
    with Peer(good, untrusted) as proxy:
        settings = {"image_url": "https://grafana.test" + RENDER, "HTTPS_PROXY": f"https://{proxy.host}"}
        done = run(tmp_path, settings, "--dry-run")
    assert done.status == 1
    assert "the proxy is away or refuses grafana.test" in done.stderr


def test_the_table_is_long() -> None:
    assert len(FAULTS) >= 120
