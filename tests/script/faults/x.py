"""What X says to the upload, or does to its connection."""

import json
from typing import Any

from support.peers import (
    Connection,
    Handler,
    after,
    answers,
    chunked,
    drip,
    echo,
    flood,
    gzipped,
    head,
    in_turn,
    redirects,
    resets_early,
    says,
    sends,
    silence,
    speaks_plain_http,
)
from support.script import GOOD, KEYS

from script.faults.fault import Fault, late, published, taken
from script.faults.lines import (
    ACCESS_LEVEL,
    BROKE_OFF,
    FORBIDDEN,
    MISNAMED,
    NO_CA,
    NO_SUCH_HOST,
    NO_TLS,
    NOT_LISTENING,
    NOT_X,
    SAYS_NOTHING,
    SUSPENDED,
    TOO_MANY_CALLS,
    TROUBLE,
    UNKNOWN_CALL,
    UNTRUSTED,
    UPLOADING,
    WRONG_KEYS,
)

ANSWERED = "failed: X answered "
TOO_LARGE = "X takes no picture of this size: ask for 1500x500 without scale in image_url"
BROKEN = "failed: the upload to X: " + BROKE_OFF.format("{x}")
RESETS: dict[str, Any] = {"x_rate_limit_reset": 4102471380, "x_rate_limit_remaining": 0}  # 2100-01-01 07:23 UTC


def error(code: int, message: str = "Told by X.") -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message}]}


def upload(claim: str, line: str, x: Handler, **row: Any) -> Fault:
    """X gets the picture, once, and does not take it."""
    return Fault(claim, line, x=x, **{"sent": GOOD} | row)


def refused(claim: str, line: str, x: Handler) -> Fault:
    """X gets the picture, once, and a person must act before it takes one."""
    return upload(claim, line, x, status=2)


def unreached(claim: str, line: str, **row: Any) -> Fault:
    """X never gets the picture, which is written by then."""
    return Fault(claim, f"failed: the upload to X: {line}", written=GOOD, **row)


FAULTS = [
    *(published(f"{status}", status, x=answers(status, content_type=None)) for status in (200, 201, 202)),
    published("200 with JSON", x=answers(200, b' {"id": 1}\n', "application/json")),
    published("200 in chunks", x=sends(head(transfer_encoding="chunked") + chunked(b"{}") + b"0\r\n\r\n")),
    # --- statuses that are no success
    upload("200 with a page", f"{ANSWERED}200: {NOT_X}", answers(200, b"<html>", "text/html")),
    upload("200 with an endless body", f"{ANSWERED}200: {NOT_X}", flood(head(), b"x" * 65536)),
    upload("204", f"{ANSWERED}204: {NOT_X}", answers(204)),
    upload("302 elsewhere is not followed", f"{ANSWERED}302: {UNKNOWN_CALL}", redirects(302, "{elsewhere}/login")),
    upload("307 elsewhere is not followed", f"{ANSWERED}307: {UNKNOWN_CALL}", redirects(307, "{elsewhere}/upload")),
    upload(
        "307 to itself is asked once",
        f"{ANSWERED}307: {UNKNOWN_CALL}",
        redirects(307, "/1.1/account/update_profile_banner.json"),
    ),
    upload(
        "400, code 38",
        f"{ANSWERED}400 (code 38): {UNKNOWN_CALL}",
        says(error(38, "banner parameter is missing."), 400),
    ),
    refused(
        "401, code 32",
        f"{ANSWERED}401 (code 32): {WRONG_KEYS}",
        says(error(32, "Could not authenticate you."), 401),
    ),
    refused(
        "401, code 89",
        f"{ANSWERED}401 (code 89): {WRONG_KEYS}",
        says(error(89, "Invalid or expired token."), 401),
    ),
    refused(
        "402",
        f"{ANSWERED}402: the account has no credits left: buy some in X's developer console; "
        "publish_if_url saves calls",
        says({"title": "CreditsDepleted", "detail": "no credits"}, 402),
    ),
    refused("403, no body", f"{ANSWERED}403: {FORBIDDEN}", answers(403)),
    refused("403, code 64", f"{ANSWERED}403 (code 64): {SUSPENDED}", says(error(64, "Account"), 403)),
    refused(
        "403, code 261",
        f"{ANSWERED}403 (code 261): the app may only read: set it to Read and write, then make a new access token",
        says(error(261, "Application cannot perform."), 403),
    ),
    refused("403, code 453", f"{ANSWERED}403 (code 453): {ACCESS_LEVEL}", says(error(453), 403)),
    refused(
        "403, code 453, gzipped",
        f"{ANSWERED}403 (code 453): {ACCESS_LEVEL}",
        answers(403, gzipped(json.dumps(error(453)).encode()), "application/json", content_encoding="gzip"),
    ),
    refused("403, an unknown code", f"{ANSWERED}403 (code 999): {FORBIDDEN}", says(error(999), 403)),
    refused(
        "403, a known code behind an unknown one",
        f"{ANSWERED}403 (code 996): {FORBIDDEN}",
        says({"errors": [{"code": 996}, {"code": 64}]}, 403),
    ),
    refused("404", f"{ANSWERED}404 (code 34): {UNKNOWN_CALL}", says(error(34), 404)),
    refused("410", f"{ANSWERED}410: {UNKNOWN_CALL}", answers(410)),
    *(upload(f"{status}", f"{ANSWERED}{status}: {UNKNOWN_CALL}", answers(status)) for status in (408, 499)),
    *(upload(f"{status}", f"{ANSWERED}{status}: {TOO_LARGE}", answers(status)) for status in (413, 422)),
    upload("429, no header", f"{ANSWERED}429 (code 88): {TOO_MANY_CALLS}", says(error(88), 429)),
    upload(
        "429, UsageCapExceeded",
        f"{ANSWERED}429: {TOO_MANY_CALLS}",
        says({"title": "UsageCapExceeded", "detail": "Usage cap exceeded"}, 429),
    ),
    upload(
        "429, open since 2001",
        f"{ANSWERED}429, and opens again in 0 s: {TOO_MANY_CALLS}",
        answers(429, x_rate_limit_reset=1_000_000_000),
    ),
    *(
        upload(f"429, a header that {what}", f"{ANSWERED}429: {TOO_MANY_CALLS}", answers(429, x_rate_limit_reset=value))
        for what, value in {
            "is no number": "soon",
            "has 30 digits": "9" * 30,
            "has 9000 digits": "9" * 9000,
            "is below zero": "-62135596801",
        }.items()
    ),
    refused("401 and a rate limit's header", f"{ANSWERED}401: {WRONG_KEYS}", answers(401, **RESETS)),
    refused("403 and a rate limit's header", f"{ANSWERED}403: {FORBIDDEN}", answers(403, **RESETS)),
    upload("503 and a rate limit's header", f"{ANSWERED}503: {TROUBLE}", answers(503, **RESETS)),
    upload("500", f"{ANSWERED}500: {TROUBLE}", answers(500)),
    upload("502, a page", f"{ANSWERED}502: {TROUBLE}", answers(502, b"<html>", "text/html")),
    upload("503 is not tried again", f"{ANSWERED}503 (code 130): {TROUBLE}", in_turn(says(error(130), 503), taken)),
    # --- bodies that tweepy, or a reader of the line, could stumble over
    *(
        refused(
            f"403, the body is {body[:20]!r}", f"{ANSWERED}403: {FORBIDDEN}", answers(403, body, "application/json")
        )
        for body in [
            b"[]",
            b'{"errors": null}',
            b'{"errors": [7]}',
            b'{"errors": [{"code": {}, "message": null}]}',
            b'{"detail": null}',
            b"\xff\xfe\x00",
            b"9" * 9000,
        ]
    ),
    *(
        upload(f"503, the body is {body[:20]!r}", f"{ANSWERED}503: {TROUBLE}", answers(503, body, "application/json"))
        for body in [b"null", b"[" * 200_000, b"<html>" * 9000]
    ),
    refused(
        "403, says gzip, is not",
        f"{ANSWERED}403: {FORBIDDEN}",
        answers(403, b"{}", "application/json", content_encoding="gzip"),
    ),
    refused(
        "control characters in the message",
        f"{ANSWERED}403 (code 64): {SUSPENDED}",
        says(error(64, "\npublished: forged\x1b[31m\u2028\u202e\x9b"), 403),
    ),
    upload(
        "control characters in the reason",
        f"{ANSWERED}503: {TROUBLE}",
        sends(b"HTTP/1.1 503 \x1b[31m\x07\rpublished\r\nContent-Length: 0\r\n\r\n"),
    ),
    refused(
        "a message of 9000 characters",
        f"{ANSWERED}403 (code 999): {FORBIDDEN}",
        says(error(999, "word " * 9000), 403),
    ),
    refused(
        "the Authorization header echoed",
        f"{ANSWERED}403: {FORBIDDEN}",
        echo(403, '{"detail": "{head}"}', "application/json"),
    ),
    refused(
        "the keys echoed",
        f"{ANSWERED}403 (code 999): {FORBIDDEN}",
        says(error(999, " ".join([*KEYS.values(), "Authorization: OAuth oauth_token=" + KEYS["access_token"]])), 403),
    ),
    refused("an endless refusal", f"{ANSWERED}403: {FORBIDDEN}", flood(head(403), b"x" * 65536)),
    upload("an endless head", BROKEN, flood(b"HTTP/1.1 200 OK\r\n", b"X-Filler: x\r\n" * 5000)),
    # --- no answer
    upload("reset after the request", BROKEN, after(Connection.reset)),
    upload("closed after the request", BROKEN, sends(b"")),
    upload("closed after the request is not tried again", BROKEN, in_turn(sends(b""), taken)),
    upload("garbage", BROKEN, sends(bytes(range(256)))),
    late("silence", UPLOADING, x=silence(), sent=GOOD),
    late("a drip in the head", UPLOADING, x=drip(b"HTTP/1.1 200 OK\r\n", b"X-Filler: x"), sent=GOOD),
    late("a drip in a success's body", UPLOADING, x=drip(head(content_length=9999), b"x"), sent=GOOD),
    late("a drip in a refusal's body", UPLOADING, x=drip(head(403, content_length=9999), b"x"), sent=GOOD),
    late("100 Continue for ever", UPLOADING, x=flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50), sent=GOOD),
    # --- no connection
    unreached("silence instead of TLS", SAYS_NOTHING.format("{x}"), x=Connection.hold, x_tls=""),
    unreached("reset instead of TLS", BROKE_OFF.format("{x}"), x=resets_early, x_tls=""),
    unreached("reset in the request", BROKE_OFF.format("{x}"), x=resets_early),
    unreached("not TLS", NO_TLS.format("{x}"), x=speaks_plain_http, x_tls=""),
    unreached("an untrusted certificate", UNTRUSTED.format("{x}"), x_tls="untrusted"),
    unreached("a certificate for another host", MISNAMED.format("{x}"), x_tls="misnamed"),
    unreached("a CA's file that is not there", NO_CA, settings={"REQUESTS_CA_BUNDLE": "/nonexistent/ca.pem"}),
    unreached("nothing listening", NOT_LISTENING.format("{closed}"), settings={"x_host": "{closed}"}),
    unreached("no such host", NO_SUCH_HOST.format("nowhere.invalid"), settings={"x_host": "nowhere.invalid"}),
    published(
        "behind a proxy",
        settings={"HTTPS_PROXY": "http://{other}", "x_host": "x.test"},
        other_asked=2,
        tunnelled=True,
    ),
]
