"""What Grafana's API says of the dashboard: a clear no ends the run before the render, all else says nothing."""

from typing import Any

from support.peers import Connection, after, answers, gzipped, paths, redirects, says, sends, silence
from support.script import RENDER, SIZE

from script.faults.fault import Fault, addressed, good, late, published
from script.faults.lines import ASKING_FOR_DASHBOARD, NO_DASHBOARD, NO_PERMISSION, TOKEN_UNKNOWN

WHOLE = RENDER.replace("/d-solo/", "/d/")  # the address of the whole dashboard's picture


def no_panel(claim: str, panel: str, there: str, **row: Any) -> Fault:
    """The dashboard has other panels."""
    line = f"failed: no such panel as '{panel}' among [{there}]: set panelId in image_url"
    return Fault(claim, line, renders=0, **row)


FAULTS = [
    Fault(
        "no such dashboard",
        NO_DASHBOARD,
        dashboard=says({"message": "Dashboard not found", "traceID": ""}, 404),
        renders=0,
    ),
    Fault(
        "no such dashboard for /render/d/",
        NO_DASHBOARD,
        settings=addressed("{grafana}", "/render/d/wR0Yf26Gk/twitter-followers?orgId=1&width=150&height=50"),
        dashboard=says({"message": "Dashboard not found"}, 404),
        renders=0,
    ),
    Fault(
        "no such dashboard, Grafana below a path",
        NO_DASHBOARD,
        grafana=paths(
            {
                "/grafana/api/dashboards/uid/wR0Yf26Gk": says({"message": "Dashboard not found"}, 404),
                "/grafana/render/": good,
            }
        ),
        settings=addressed("{grafana}", "/grafana" + RENDER),
        renders=0,
    ),
    Fault(
        "401",
        f"failed: Grafana's dashboard API answered 401: {TOKEN_UNKNOWN}",
        dashboard=says({"message": "invalid API key"}, 401),
        renders=0,
    ),
    Fault(
        "403",
        f"failed: Grafana's dashboard API answered 403: {NO_PERMISSION}",
        dashboard=says({"message": "Access denied to this dashboard"}, 403),
        renders=0,
    ),
    no_panel("no such panel", "999", "2, 3, 4", settings=addressed("{grafana}", RENDER.replace("=2", "=999"))),
    no_panel(
        "/render/d/ of no such panel",
        "999",
        "2, 3, 4",
        settings=addressed("{grafana}", WHOLE.replace("panelId=2", "viewPanel=999")),
    ),
    no_panel(
        "no such panel in rows",
        "2",
        "12",
        dashboard=says({"dashboard": {"panels": [{"id": 11, "type": "row", "panels": [{"id": 12}]}]}}),
    ),
    no_panel(
        "no such element",
        "2",
        "3",
        dashboard=says({"dashboard": {"elements": {"panel-3": {"kind": "Panel", "spec": {"id": 3}}}}}),
    ),
    no_panel(
        "a thousand other panels",
        "2",
        "1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011",
        dashboard=says({"dashboard": {"panels": [{"id": number} for number in range(1000, 2000)]}}),
    ),
    no_panel("no panel at all", "2", "", dashboard=says({"dashboard": {"panels": []}})),
    *(
        published(f"/render/d/ {claim}", settings=addressed("{grafana}", WHOLE.replace("panelId=2", panel) + SIZE))
        for claim, panel in {"of a whole dashboard": "kiosk", "of a panel": "viewPanel=panel-2"}.items()
    ),
    published("panelId and width twice", size="&panelId=9" + SIZE + "&width=151"),
    published(
        "the panel is in a row",
        dashboard=says({"dashboard": {"panels": [{"id": 9, "type": "row", "panels": [{"id": 2}]}]}}),
    ),
    published("the panel is an element", dashboard=says({"dashboard": {"elements": {"panel-2": {"spec": {"id": 2}}}}})),
    published("panelId=panel-2", settings=addressed("{grafana}", RENDER.replace("=2", "=panel-2") + SIZE)),
    published("404 of another text", dashboard=answers(404, b"404 page not found", "text/plain")),
    published("404 of another message", dashboard=says({"message": "Not found"}, 404)),
    published("500", dashboard=answers(500)),
    published("a redirect is not followed", dashboard=redirects(302, "{elsewhere}/login")),
    published("garbage", dashboard=sends(b"\0\1\2" * 500)),
    published("not JSON", dashboard=answers(200, b"<html>", "text/html")),
    published("a reset", dashboard=after(Connection.reset)),
    published("a list", dashboard=says([{"panels": []}])),
    published("null", dashboard=says(None)),
    published("elements of another kind", dashboard=says({"dashboard": {"elements": {"panel-2": {}}}})),
    published("a number that is endless", dashboard=answers(200, b'{"dashboard":{"panels":[{"id":1e999}]}}')),
    published("dashboard: a list", dashboard=says({"dashboard": [1]})),
    published("panels: null", dashboard=says({"dashboard": {"panels": None}})),
    published(
        "panels of all kinds",
        dashboard=says({"dashboard": {"panels": [None, 1, "x", [], {}, {"id": None}, {"panels": 5}, {"id": 2}]}}),
    ),
    published("deep", dashboard=answers(200, b"[" * 200_000, "application/json")),
    published("20 MB", dashboard=answers(200, b" " * 20_000_000 + b"{}", "application/json")),
    published(
        "a gzip bomb", dashboard=answers(200, gzipped(b" " * 60_000_000), "application/json", content_encoding="gzip")
    ),
    published(
        "a number of 9000 digits",
        dashboard=answers(200, b'{"dashboard":{"panels":[{"id":' + b"9" * 9000 + b"}]}}", "application/json"),
    ),
    late("silence", ASKING_FOR_DASHBOARD, dashboard=silence(), renders=0),
]
