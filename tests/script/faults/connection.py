"""How the connection to Grafana can go wrong."""

from typing import Any

from support import pictures
from support.paths import BANNER
from support.peers import (
    Connection,
    after,
    answers,
    chunked,
    drip,
    flood,
    gzipped,
    head,
    resets_after,
    resets_early,
    sends,
    silence,
    speaks_plain_http,
)
from support.script import GOOD

from script.faults.fault import Fault, addressed, late, published
from script.faults.lines import (
    BROKE_OFF,
    DAMAGED,
    MISNAMED,
    NO_CA,
    NO_PNG,
    NO_SUCH_HOST,
    NO_TLS,
    NOT_LISTENING,
    RENDERING,
    SAYS_NOTHING,
    TOO_MUCH,
    UNTRUSTED,
)

CHUNKED = head(transfer_encoding="chunked")
NO_LENGTH = head()
TOO_LARGE = f"failed: Grafana's render sent over 5000000 bytes, {TOO_MUCH}"
LARGE = 6_000_000  # bytes, over the limit of 5 MB
AS_LARGE, TOO_LARGE_BY_ONE = (
    GOOD[:-12] + pictures.chunk(b"tEXt", bytes(size - len(GOOD) - 12)) + GOOD[-12:] for size in (5_000_000, 5_000_001)
)
LONG_HOST = "a" * 64 + ".test"  # longer than a name's part may be


def broken(claim: str, **row: Any) -> Fault:
    """No whole answer comes."""
    return Fault(claim, "failed: Grafana's render: " + BROKE_OFF.format("{grafana}"), **row)


FAULTS = [
    # --- an answer that is no right HTTP
    broken("cut body", render=answers(200, GOOD[:9000], content_length=len(GOOD))),
    Fault("a length too short", DAMAGED, render=answers(200, GOOD, content_length=len(GOOD) - 20)),
    Fault("a length that is no number", DAMAGED, render=answers(200, GOOD[:100], content_length="many")),
    broken("two lengths", render=sends(head(content_length=f"{len(GOOD)}\r\nContent-Length: 5") + GOOD)),
    broken("chunks cut", render=sends(CHUNKED + chunked(GOOD[:5000]))),
    broken("a chunk's length is no number", render=sends(CHUNKED + b"zz\r\n" + GOOD)),
    Fault("chunks of a picture that goes on", DAMAGED, render=sends(CHUNKED + chunked(GOOD, b"more") + b"0\r\n\r\n")),
    broken("says gzip, is not", render=answers(200, GOOD, content_encoding="gzip")),
    Fault("gzip cut", DAMAGED, render=answers(200, gzipped(GOOD)[:-500], content_encoding="gzip")),
    Fault(
        "an unknown encoding",
        NO_PNG,
        render=answers(200, b"\x0b\x02\x80" + GOOD, content_encoding="compress"),
    ),
    broken("another protocol", grafana=sends(b"SSH-2.0-OpenSSH_9.2\r\n")),
    broken("the picture without a head", render=sends(GOOD)),
    broken("a status that is no number", render=sends(b"HTTP/1.1 OK\r\n\r\n" + GOOD)),
    broken("a status of four digits", render=sends(b"HTTP/1.1 2000 OK\r\nContent-Type: image/png\r\n\r\n" + GOOD)),
    published("gzip", render=answers(200, gzipped(GOOD), content_encoding="gzip")),
    published("chunks", render=sends(CHUNKED + chunked(GOOD[:100], GOOD[100:]) + b"0\r\n\r\n")),
    published("HTTP/1.0 without a length", render=sends(b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n" + GOOD)),
    # --- too much
    published("of 5 MB", sent=AS_LARGE, render=answers(200, AS_LARGE)),
    Fault("a byte over 5 MB", TOO_LARGE, render=answers(200, TOO_LARGE_BY_ONE)),
    Fault("over 5 MB, and says so", TOO_LARGE, render=answers(200, GOOD + bytes(LARGE))),
    Fault("over 5 MB, without a length", TOO_LARGE, render=sends(NO_LENGTH + GOOD + bytes(LARGE))),
    Fault("over 5 MB in chunks", TOO_LARGE, render=sends(CHUNKED + chunked(GOOD, bytes(LARGE)) + b"0\r\n\r\n")),
    Fault("a gzip bomb", TOO_LARGE, render=answers(200, gzipped(bytes(80_000_000)), content_encoding="gzip")),
    Fault("a promise of 5 TB", TOO_LARGE, render=flood(head(content_length=5 * 10**12), bytes(65536))),
    Fault("endless body", TOO_LARGE, render=flood(NO_LENGTH, bytes(65536))),
    Fault("endless chunks", TOO_LARGE, render=flood(CHUNKED, chunked(bytes(65536)))),
    broken("an endless head in one line", render=flood(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536)),
    broken("an endless head in many lines", render=flood(b"HTTP/1.1 200 OK\r\n", b"X-Filler: x\r\n" * 5000)),
    late("100 Continue for ever", RENDERING, render=flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50)),
    # --- too slow
    late("drip in the status line", RENDERING, render=drip(b"", NO_LENGTH + GOOD)),
    late("drip in the head", RENDERING, render=drip(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 99)),
    late("drip in the body", RENDERING, render=drip(head(content_length=len(GOOD)) + GOOD[:100], GOOD[100:])),
    late("drip in a body without a length", RENDERING, render=drip(NO_LENGTH + GOOD[:-90], GOOD[-90:])),
    late("drip in chunks", RENDERING, render=drip(CHUNKED + chunked(GOOD[:100]), b"1\r\nx\r\n" * 99)),
    late("silence", RENDERING, render=silence()),
    late("silence after the head", RENDERING, render=silence(NO_LENGTH)),
    # --- cut
    broken("reset in the request", grafana=resets_early, renders=0),
    broken("reset after the request", render=after(Connection.reset)),
    broken("reset in the body", render=resets_after(head(content_length=len(GOOD)) + GOOD[:5000])),
    broken("closed without a word", render=sends(b"")),
    # --- none at all
    Fault(
        "silence instead of TLS",
        "failed: Grafana's render: " + SAYS_NOTHING.format("{grafana}"),
        settings=addressed("{grafana}", scheme="https"),
        grafana=Connection.hold,
        renders=0,
    ),
    Fault(
        "plain HTTP where TLS is expected",
        "failed: Grafana's render: " + NO_TLS.format("{grafana}"),
        settings=addressed("{grafana}", scheme="https"),
        grafana=speaks_plain_http,
        renders=0,
    ),
    Fault(
        "TLS where plain HTTP is expected",
        "failed: Grafana's render: " + BROKE_OFF.format("{grafana}"),
        settings=addressed("{grafana}"),
        grafana_tls="tls",
        renders=0,
    ),
    Fault(
        "an untrusted certificate",
        "failed: Grafana's render: " + UNTRUSTED.format("{grafana}"),
        grafana_tls="untrusted",
        renders=0,
    ),
    Fault(
        "a certificate for another host",
        "failed: Grafana's render: " + MISNAMED.format("{grafana}"),
        grafana_tls="misnamed",
        renders=0,
    ),
    Fault(
        "a CA's file that is not there",
        f"failed: Grafana's render: {NO_CA}",
        settings={"REQUESTS_CA_BUNDLE": "/nonexistent/ca.pem"},
        grafana_tls="tls",
        renders=0,
    ),
    Fault(
        "a CA's file that holds no certificate",
        f"failed: Grafana's render: {NO_CA}",
        settings={"REQUESTS_CA_BUNDLE": str(BANNER)},
        grafana_tls="tls",
        renders=0,
    ),
    Fault(
        "nothing listening",
        "failed: Grafana's render: " + NOT_LISTENING.format("{closed}"),
        settings=addressed("{closed}"),
        renders=0,
    ),
    Fault(
        "no such host",
        "failed: Grafana's render: " + NO_SUCH_HOST.format("nowhere.invalid"),
        settings=addressed("nowhere.invalid"),
        renders=0,
    ),
    Fault(
        "a host that no resolver takes",
        "failed: Grafana's render: " + NO_SUCH_HOST.format(LONG_HOST),
        settings=addressed(LONG_HOST),
        renders=0,
    ),
    published("Grafana with https", grafana_tls="tls"),
    published(
        "a URL without a dashboard", settings=addressed("{grafana}", "/render/some/picture.png?width=150&height=50")
    ),
]
