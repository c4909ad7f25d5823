"""Is there something to show? Where Prometheus does not clearly say so, nothing is rendered."""

import json
from typing import Any

from support.peers import (
    Connection,
    Handler,
    after,
    answers,
    drip,
    echo,
    flood,
    gzipped,
    head,
    redirects,
    says,
    sends,
    silence,
)
from support.script import QUERY, TOKEN

from script.faults.fault import SERIES, Fault, late, published, vector
from script.faults.lines import (
    BROKE_OFF,
    DOWN,
    ELSEWHERE,
    NO_ANSWER,
    NO_SERIES_LIST,
    NO_SUCH_HOST,
    NOT_LISTENING,
    NOT_THERE,
    PARAMETER,
    QUERYING,
    TOKEN_UNKNOWN,
    TOO_MUCH,
)

TOO_LARGE = f"failed: publish_if_url sent over 1000000 bytes, {TOO_MUCH}"
ANSWERED = "failed: publish_if_url answered "
PUBLISH_IF = {"publish_if_url": f"http://{{grafana}}{QUERY}?query=x_user_followers_count"}


def doubt(claim: str, line: str, query: Handler, **row: Any) -> Fault:
    """Prometheus does not clearly say that there is something."""
    return Fault(claim, line, query=query, renders=0, **{"settings": PUBLISH_IF} | row)


def no_list(claim: str, query: Handler) -> Fault:
    """The answer is no list of series."""
    return doubt(claim, NO_SERIES_LIST, query)


FAULTS = [
    doubt(
        "no series",
        "skipped: publish_if_url returned no series, so nothing was published",
        vector(),
        status=0,
    ),
    published("one series", settings=PUBLISH_IF),
    published(
        "Prometheus itself",
        settings={"publish_if_url": "http://{other}/api/v1/query?query=up"},
        other=vector(SERIES),
        other_asked=1,
    ),
    # --- no list of series
    no_list("a scalar", vector(1795371764.675, "0", kind="scalar")),
    no_list("an error", says({"status": "error", "errorType": "timeout", "error": "took too long"})),
    no_list("no status", says({"data": {"resultType": "vector", "result": [SERIES]}})),
    *(
        no_list(f"{status} of {kind}", says({"status": status, "data": {"resultType": kind, "result": [SERIES]}}))
        for status, kind in [("error", "vector"), ("warning", "vector"), ("success", "streams"), ("error", "streams")]
    ),
    no_list("no data", says({"status": "success"})),
    no_list("data: null", says({"status": "success", "data": None})),
    no_list("no result", says({"status": "success", "data": {"resultType": "vector"}})),
    no_list("result: null", says({"status": "success", "data": {"resultType": "vector", "result": None}})),
    no_list("result: an object", says({"status": "success", "data": {"resultType": "vector", "result": SERIES}})),
    no_list("a list", says([SERIES])),
    no_list("null", says(None)),
    no_list("a page", answers(200, b"<html>", "text/html")),
    no_list("deep", answers(200, b'{"status":"success","data":' + b"[" * 200_000, "application/json")),
    # --- no success
    doubt("103", f"{ANSWERED}103: {NO_ANSWER}", sends(b"HTTP/1.1 103 Hints\r\n\r\n")),
    doubt("204", f"{ANSWERED}204: {NO_ANSWER}", answers(204)),
    doubt("302 to the login page", f"{ANSWERED}302: {ELSEWHERE}", redirects(302, "/login")),
    doubt("302 elsewhere is not followed", f"{ANSWERED}302: {ELSEWHERE}", redirects(302, "{elsewhere}/api/v1/query")),
    doubt(
        "400",
        f"{ANSWERED}400: {PARAMETER}",
        says({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400),
    ),
    doubt("401", f"{ANSWERED}401: {TOKEN_UNKNOWN}", says({"message": "invalid API key"}, 401)),
    doubt("404", f"{ANSWERED}404: {NOT_THERE}", answers(404, b"404 page not found", "text/plain")),
    doubt("418", f"{ANSWERED}418: {NO_ANSWER}", answers(418)),
    doubt("425", f"{ANSWERED}425: {NO_ANSWER}", answers(425)),
    doubt(
        "500 with a series",
        f"{ANSWERED}500: {DOWN}",
        says({"status": "success", "data": {"resultType": "vector", "result": [SERIES]}}, 500),
    ),
    doubt("502 with nothing", f"{ANSWERED}502: {DOWN}", answers(502, b"")),
    doubt(
        "control characters in the error",
        f"{ANSWERED}400: {PARAMETER}",
        says({"status": "error", "error": "\n\x1b[31mskipped: forged\u2028"}, 400),
    ),
    doubt(
        "the token echoed",
        f"{ANSWERED}400: {PARAMETER}",
        echo(400, '{"status": "error", "error": "{head}"}'),
        settings={**PUBLISH_IF, "grafana_token": TOKEN},
    ),
    # --- no answer
    doubt(
        "cut by its length",
        "failed: publish_if_url: " + BROKE_OFF.format("{grafana}"),
        answers(200, json.dumps({"status": "success"}).encode(), "application/json", content_length=900),
    ),
    doubt(
        "a bomb",
        TOO_LARGE,
        answers(200, gzipped(b" " * 60_000_000 + b"{}"), "application/json", content_encoding="gzip"),
    ),
    doubt("endless", TOO_LARGE, flood(head(content_type="application/json"), b" " * 65536)),
    doubt("a reset", "failed: publish_if_url: " + BROKE_OFF.format("{grafana}"), after(Connection.reset)),
    Fault(
        "nothing listening",
        "failed: publish_if_url: " + NOT_LISTENING.format("{closed}"),
        settings={"publish_if_url": "http://{closed}/api/v1/query?query=up"},
        renders=0,
    ),
    Fault(
        "no such host",
        "failed: publish_if_url: " + NO_SUCH_HOST.format("nowhere.invalid"),
        settings={"publish_if_url": "http://nowhere.invalid/api/v1/query?query=up"},
        renders=0,
    ),
    late("silence", QUERYING, settings=PUBLISH_IF, query=silence(), renders=0),
    late("a drip", QUERYING, settings=PUBLISH_IF, query=drip(head(), b" "), renders=0),
]
