"""What Grafana answers to the request for a picture: status, type and size."""

from support import pictures
from support.peers import answers, flood, head, redirects, says, sends
from support.script import GOOD, RENDER, TOKEN

from script.faults.fault import Fault, published
from script.faults.lines import (
    DOWN,
    ELSEWHERE,
    NO_ANSWER,
    NO_PERMISSION,
    NO_PNG,
    NO_PNG_TYPE,
    NOT_THERE,
    PARAMETER,
    TOKEN_UNKNOWN,
)

ANSWERED = "failed: Grafana's render answered "
TOO_OLD = "failed: Grafana's render sent an answer over 5 minutes old: a cache kept it, or a clock is wrong"
PDF = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n" + b"0" * 2000
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(2000) + b"\xff\xd9"
PAGE = "text/html; charset=UTF-8"

FAULTS = [
    Fault("302 to the login page", f"{ANSWERED}302: {ELSEWHERE}", render=redirects(302, "/login")),
    Fault(
        "302 to a login page elsewhere is not followed",
        f"{ANSWERED}302: {ELSEWHERE}",
        render=redirects(302, "{elsewhere}/login"),
    ),
    *(
        Fault(
            f"{status} elsewhere is not followed",
            f"{ANSWERED}{status}: {ELSEWHERE}",
            render=redirects(status, "{elsewhere}/picture.png"),
        )
        for status in (301, 302, 307)
    ),
    Fault(
        "no token goes to where a redirect points",
        f"{ANSWERED}302: {ELSEWHERE}",
        settings={"grafana_token": TOKEN},
        render=redirects(302, "{elsewhere}/picture.png"),
    ),
    Fault("302 to itself is asked once", f"{ANSWERED}302: {ELSEWHERE}", render=redirects(302, RENDER)),
    Fault("302 without a location", f"{ANSWERED}302: {ELSEWHERE}", render=redirects(302, None)),
    Fault("302 with a location that is no URL", f"{ANSWERED}302: {ELSEWHERE}", render=redirects(302, "http://[::1")),
    Fault("400", f"{ANSWERED}400: {PARAMETER}", render=answers(400, b"<html>", PAGE)),
    Fault("401", f"{ANSWERED}401: {TOKEN_UNKNOWN}", render=says({"message": "invalid API key"}, 401)),
    Fault("403", f"{ANSWERED}403: {NO_PERMISSION}", render=says({"message": "Forbidden"}, 403)),
    Fault("404", f"{ANSWERED}404: {NOT_THERE}", render=answers(404, b"Not found\n", "text/plain")),
    Fault("408", f"{ANSWERED}408: {DOWN}", render=answers(408)),
    Fault(
        "429",
        f"{ANSWERED}429: it is busy: render less at once, or raise the renderer's limit of concurrent renders",
        render=says({"message": "busy"}, 429),
    ),
    Fault("500", f"{ANSWERED}500: {DOWN}", render=answers(500, b"<html>Rendering failed.", PAGE)),
    Fault(
        "500 for a deleted token",
        f"{ANSWERED}500: {DOWN}",
        render=says({"message": "invalid API key", "traceID": ""}, 500),
    ),
    Fault("502", f"{ANSWERED}502: {DOWN}", render=answers(502, b"", "text/html")),
    Fault("504", f"{ANSWERED}504: {DOWN}", render=answers(504)),
    Fault("201 with the picture", f"{ANSWERED}201: {NO_ANSWER}", render=answers(201, GOOD)),
    Fault("204", f"{ANSWERED}204: {NO_ANSWER}", render=answers(204)),
    Fault(
        "206 with half of the picture",
        f"{ANSWERED}206: {NO_ANSWER}",
        render=answers(206, GOOD[:2000], content_range="bytes 0-1999/9999"),
    ),
    Fault("299", f"{ANSWERED}299: {NO_ANSWER}", render=answers(299, GOOD)),
    Fault("418", f"{ANSWERED}418: {NO_ANSWER}", render=answers(418)),
    Fault("499", f"{ANSWERED}499: {NO_ANSWER}", render=answers(499)),
    Fault(
        "103 Early Hints before the answer",
        f"{ANSWERED}103: {NO_ANSWER}",
        render=sends(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + head() + GOOD),
    ),
    published("a 100 Continue before the answer", render=sends(b"HTTP/1.1 100 Continue\r\n\r\n" + head() + GOOD)),
    Fault("a redirect whose body never ends", f"{ANSWERED}302: {ELSEWHERE}", render=flood(head(302), bytes(65536))),
    # --- the age
    Fault("kept by a cache for 301 seconds", TOO_OLD, render=answers(200, GOOD, age=301)),
    Fault("sent in 2001 by its own date", TOO_OLD, render=answers(200, GOOD, date="Sat, 01 Sep 2001 00:00:00 GMT")),
    published("kept by a cache for 300 seconds", render=answers(200, GOOD, age=300)),
    published("an age and a date that are none", render=answers(200, GOOD, age="old", date="yesterday")),
    published("sent in 2100 by its own date", render=answers(200, GOOD, date="Wed, 01 Sep 2100 00:00:00 GMT")),
    # --- the type
    *(
        Fault(f"the type is {content_type}", NO_PNG_TYPE, render=answers(200, body, content_type))
        for content_type, body in {
            PAGE: b"<html><title>Grafana</title>",
            "application/pdf": PDF,
            "text/plain": b"Not found",
            "application/octet-stream": GOOD,
        }.items()
    ),
    Fault("no type at all", NO_PNG_TYPE, render=answers(200, GOOD, None)),
    published("the type in capitals", render=answers(200, GOOD, "Image/PNG")),
    *(
        Fault(f"{what} sent as image/png", NO_PNG, render=answers(200, body))
        for what, body in {
            "nothing": b"",
            "text": b"<a href='/login'>Found</a>.",
            "a page": b"<!doctype html>" + b" " * 9000,
            "a JPEG": JPEG,
            "a PDF": PDF,
        }.items()
    ),
    # --- the size; more of them, without a process each, in test_png.py
    Fault(
        "a canned picture",
        "failed: the picture is 478x208 instead of 1500x500: "
        "a notice: Grafana has no renderer (GF_RENDERING_SERVER_URL), or too many renders at once",
        size="&width=1500&height=500",
        render=answers(200, pictures.plain(478, 208)),
    ),
    Fault(
        "no width in the URL, as Grafana takes it",
        "failed: the picture is 1000x500 instead of 1500x500: "
        "Grafana renders from 1000x500 up to 3000 wide: set such a width and height in image_url",
        size="&height=500",
        render=answers(200, pictures.plain(1000, 500)),
    ),
    *(
        published(size or "no size in the URL", size=size, sent=body, render=answers(200, body))
        for size, body in {
            "": pictures.plain(1500, 500),
            "&width=1500&height=500&scale=2": pictures.plain(3000, 1000),
            "&width=1500&height=500&scale=1.5": pictures.plain(2250, 750),
            "&height=50&width=150&scale=1": GOOD,
        }.items()
    ),
]
