"""A proxy on the way to Grafana or to X."""

from support.peers import Connection, after, answers, echo, paths, sends, silence
from support.script import GOOD, RENDER, SIZE

from script.faults.fault import LOGIN, Fault, addressed, good, late, published
from script.faults.lines import BROKE_OFF, NO_PERMISSION, PROXY, PROXY_PASSWORD, SAYS_NOTHING, SLOW
from script.faults.render import ANSWERED

VIA = {"HTTP_PROXY": "http://{other}", "image_url": "http://grafana.test" + RENDER + SIZE}
TUNNEL = {"HTTPS_PROXY": "http://{other}"}

FAULTS = [
    Fault(
        "a proxy that refuses",
        f"failed: Grafana's dashboard API answered 403: {NO_PERMISSION}",
        settings=VIA,
        other=answers(403, b"<html>", "text/html"),
        other_asked=1,
        renders=0,
    ),
    Fault(
        "a proxy that wants a password",
        f"{ANSWERED}407: {PROXY_PASSWORD}",
        settings=VIA,
        other=answers(407, b"<html>", "text/html"),
        other_asked=2,
        renders=0,
    ),
    Fault(
        "nothing listening at the proxy",
        "failed: Grafana's render: " + PROXY.format("{closed}", "grafana.test"),
        settings={**VIA, "HTTP_PROXY": "http://{closed}"},
        renders=0,
    ),
    Fault(
        "the proxy's password, nothing listening",
        "failed: Grafana's render: " + PROXY.format("{closed}", "grafana.test"),
        settings={**VIA, "HTTP_PROXY": f"http://{LOGIN}{{closed}}"},
        renders=0,
    ),
    Fault(
        "the proxy's password, refused",
        f"{ANSWERED}407: {PROXY_PASSWORD}",
        settings={**VIA, "HTTP_PROXY": f"http://{LOGIN}{{other}}"},
        other=echo(407, "{head}"),
        other_asked=2,
        renders=0,
    ),
    *(
        Fault(
            claim,
            "failed: the upload to X: " + PROXY.format("{other}", "{x}"),
            written=GOOD,
            settings=TUNNEL,
            other=answers(status),
            other_asked=1,
        )
        for claim, status in {
            "a proxy that refuses the tunnel": 403,
            "a proxy that wants a password for the tunnel": 407,
        }.items()
    ),
    Fault(
        "a proxy that is cut in the tunnel",
        "failed: the upload to X: " + BROKE_OFF.format("{x}"),
        written=GOOD,
        settings=TUNNEL,
        other=sends(b"HTTP/1.1 200 OK\r\n\r\n"),
        other_asked=1,
    ),
    Fault(
        "a proxy that hangs up",
        "failed: the upload to X: " + BROKE_OFF.format("{x}"),
        written=GOOD,
        settings=TUNNEL,
        other=after(Connection.reset),
        other_asked=1,
    ),
    Fault(
        "the proxy's password for X, nothing listening",
        "failed: the upload to X: " + PROXY.format("{closed}", "{x}"),
        written=GOOD,
        settings={"HTTPS_PROXY": f"http://{LOGIN}{{closed}}"},
    ),
    Fault(
        "a proxy's certificate that is not trusted",
        "failed: Grafana's render: " + PROXY.format("{other}", "grafana.test"),
        settings={**addressed("grafana.test", scheme="https"), "HTTPS_PROXY": "https://{other}"},
        other_tls="untrusted",
        renders=0,
    ),
    Fault(
        "a SOCKS proxy",
        "failed: Grafana's render: SOCKS proxies are not supported: set HTTP_PROXY and HTTPS_PROXY to an http:// one",
        settings={**VIA, "HTTP_PROXY": "socks5://{other}"},
        renders=0,
    ),
    late(
        "a proxy that says nothing",
        f"waiting for Grafana's dashboard API at grafana.test through the proxy {{other}}: {SLOW}",
        settings=VIA,
        other=silence(),
        other_asked=1,
        renders=0,
    ),
    Fault(
        "a proxy that says nothing to the tunnel",
        "failed: the upload to X: " + SAYS_NOTHING.format("{other}"),
        written=GOOD,
        settings=TUNNEL,
        other=silence(),
        other_asked=1,
    ),
    published(
        "HTTP_PROXY is used",
        settings=VIA,
        other=paths({"http://grafana.test/render/": good}),
        other_asked=2,
        renders=0,
    ),
    published(
        "NO_PROXY is heeded",
        settings={"HTTP_PROXY": "http://{closed}", "HTTPS_PROXY": "http://{closed}", "NO_PROXY": "127.0.0.1"},
    ),
]
