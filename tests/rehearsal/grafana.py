"""A stand-in for Grafana and its renderer, with every bad answer of a real one when it is told so.

It draws the follower count over time, and answers for the dashboard and the data source.
"""

import hashlib
import json
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Self
from zoneinfo import ZoneInfo

import requests
from flask import Response, request

from rehearsal import panel
from rehearsal.servers import application, serving
from rehearsal.x import tell

DASHBOARD = "wR0Yf26Gk"
SLUG = "twitter-followers"
PANELS = {2: "timeseries", 4: "stat"}
DATA_SOURCE = "P1809F7CD0C75ACF3"
SERIES = "x_user_followers_count"
# What both panels ask: the last sample of each step. Without the negative offset that of now would be the one at the
# last multiple of the step. Where a step is shorter than the time between two samples, it is the one before.
PANEL = "last_over_time(SERIES[$__interval] offset -$__interval) or SERIES"
POINTS = 600  # of a picture of that width
SECONDS, MINUTES, HOURS = (15, 20, 30), (1, 2, 5, 10, 15, 20, 30), (1, 2, 3, 6, 12, 24, 48, 168)
STEPS = (*SECONDS, *(60 * step for step in MINUTES), *(3600 * step for step in HOURS))  # between a panel's points
WINDOW = "now-5m"  # what the dashboard shows where the URL does not say
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}
SLOW_SECONDS = 40
RENDER_SECONDS = 30  # for so long Grafana waits for its renderer
SMALLEST = 600, 200  # a picture's width and height as the stack's renderer is set; 1000 and 500 by default

JSON = "application/json; charset=UTF-8"
HTML = "text/html; charset=UTF-8"
ERROR_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"/><title>Grafana - Error</title></head>
<body class="theme-dark"><h1>Grafana / Server Error</h1><p>Sadly something went wrong</p><p>{}</p>
<p>Check the Grafana server logs for the detailed error message.</p></body></html>"""
APP_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"/><title>Grafana</title></head>
<body class="theme-dark"><div id="reactRoot">Loading Grafana</div></body></html>"""


def message(status: int, text: str) -> Response:
    """An error as Grafana's API words it."""
    return Response(f'{{"message":"{text}","traceID":""}}', status, content_type=JSON)


def page(status: int, html: str) -> Response:
    """A page for people."""
    return Response(html, status, content_type=HTML)


def png(body: bytes | str) -> Response:
    """What Grafana takes for a rendered picture."""
    return Response(body, content_type="image/png")


def to_login() -> Response:
    """Where Grafana sends browsers that have not signed in."""
    return Response('<a href="/login">Found</a>.\n\n', 302, {"Location": "/login"}, content_type=HTML)


def canned(width: int, height: int, text: str = "Rendering failed") -> Callable[[panel.Screen], Response]:
    """Grafana's own picture of that size, whatever was asked for."""
    return lambda _: png(panel.canned(width, height, text))


# What Grafana can be told to say to a render, to the dashboard API and to a query, instead of the truth.
RENDER_ANSWERS: dict[str, Callable[[panel.Screen], Response]] = {
    "login-redirect": lambda _: to_login(),
    "bad-parameter": lambda _: page(400, ERROR_PAGE.format("Render parameters error")),
    "token-unknown": lambda _: message(401, "invalid API key"),
    "token-expired": lambda _: message(401, "Expired API key"),
    "token-deleted": lambda _: message(500, "invalid API key"),
    "password": lambda _: message(401, "Invalid username or password"),
    "forbidden": lambda _: message(403, "Access denied"),
    "not-found": lambda _: Response("Not found\n", 404, content_type="text/plain; charset=utf-8"),
    "timeout": lambda _: page(408, ERROR_PAGE.format("Rendering timed out.")),
    "busy": lambda _: message(429, "too many requests"),
    "render-failed": lambda _: page(500, ERROR_PAGE.format("Rendering failed.")),
    "bad-gateway": lambda _: Response("", 502),
    "no-render-in-path": lambda _: page(200, APP_PAGE),
    "text": lambda _: png("Grafana Image Renderer (Go)"),
    "pdf": lambda screen: png(panel.pdf(screen)),
    "no-renderer": canned(478, 208, "No image renderer available/installed"),
    "render-limit": canned(526, 202, "Concurrent server side render limit reached"),
    "canned-1004x404": canned(1004, 404),
    "canned-523x200": canned(523, 200),
    "canned-503x203": canned(503, 203),
    "no-data": lambda screen: png(panel.no_data(screen)),
    "data-source-down": lambda screen: png(panel.no_data(screen, broken=True)),
    "wrong-panel": lambda screen: png(panel.not_found(screen, "999")),
    "wrong-dashboard": lambda screen: png(panel.not_found(screen, "2", dashboard=False)),
    "login-page": lambda screen: png(panel.login(screen)),
}
DASHBOARD_ANSWERS: dict[str, Callable[[], Response]] = {
    "missing": lambda: message(404, "Dashboard not found"),
    "other-404": lambda: Response("404 page not found\n", 404, content_type="text/plain; charset=utf-8"),
    "unauthorized": lambda: message(401, "invalid API key"),
    "forbidden": lambda: message(403, "Access denied to this dashboard"),
    "server-error": lambda: message(500, "Internal server error"),
    "garbled": lambda: Response('{"meta":{"slug":', content_type=JSON),
}
QUERY_ANSWERS: dict[str, Callable[[], tuple[dict[str, Any], int] | Response]] = {
    "empty": lambda: vector([]),
    "bad-query": lambda: (
        {"status": "error", "errorType": "bad_data", "error": 'invalid parameter "query": 1:3: parse error'},
        400,
    ),
    "unauthorized": lambda: message(401, "invalid API key"),
    "server-error": lambda: ({"status": "error", "errorType": "internal", "error": "out of memory"}, 500),
    "down": lambda: Response("", 502),
    "garbled": lambda: Response('{"status":"success","data":{"resu', content_type=JSON),
}
ANSWERS = {
    "render": {"ok", "slow", "silent", *RENDER_ANSWERS},
    "dashboard": {"ok", "elements", "no-panels", *DASHBOARD_ANSWERS},
    "query": {"ok", *QUERY_ANSWERS},
}


@dataclass(frozen=True)
class Link:
    """Grafana's settings of its renderer: where that is, how it reaches Grafana, and the token."""

    server_url: str
    callback_url: str
    token: str

    def render(self, path: str, key: str) -> str:
        """Sends it for a page of ours; the name of Grafana's answer where it fails, or ""."""
        asked = {"url": self.callback_url + path, "renderKey": key}
        try:
            answer = get(self.server_url, asked, RENDER_SECONDS, {"X-Auth-Token": self.token})
        except requests.RequestException:
            return "render-failed"
        return {200: "", 429: "busy"}.get(answer.status_code, "render-failed")


class SourceError(Exception):
    """The data source did not answer with what was asked for."""


@dataclass(frozen=True)
class Asked:
    """A render URL's parameters, as Grafana reads them."""

    screen: panel.Screen
    panel: str
    start: float
    end: float
    zone: tzinfo | None

    @classmethod
    def of(cls, arguments: dict[str, str]) -> Self:
        """Raises ValueError for what Grafana answers with 400."""
        height = whole(arguments.get("height", "500"))
        scale = float(arguments.get("scale") or 1)
        if not 0 < scale <= 4:  # false for nan too; a scale above that is only a way to fill the memory
            raise ValueError("scale")
        whole(arguments.get("timeout", "60"))
        now = time.time()
        start, end = moment(arguments.get("from", WINDOW), now), moment(arguments.get("to", "now"), now)
        screen = panel.Screen(
            width=min(max(whole(arguments.get("width", "1000")), SMALLEST[0]), 3000),
            height=1125 if height == -1 else min(max(height, SMALLEST[1]), 3000),  # -1 is the whole page
            scale=scale,
            light=arguments.get("theme") == "light",
        )
        number = arguments.get("panelId", "0").removeprefix("panel-")
        clock = arguments.get("timezone", "browser")
        if clock == "browser":
            clock = arguments.get("tz", "")
        return cls(screen, number, min(start, end - 1), end, zone(clock))


class Grafana:
    """Grafana, for as long as a with statement lasts.

    Draws the history of the stand-in X whose page is at the URL x, or what the Prometheus at that URL knows, as the
    data source of that uid; data_sources has the URLs of more by their uids. With a link to a renderer, each picture
    also takes what that one says to it.
    With a password only the user admin is let in, with a token only its bearer; with neither, everybody.

    >>> with X() as x, Grafana(x=x.page) as grafana:
    ...     grafana.image_url, grafana.publish_if_url
    """

    def __init__(
        self,
        *,
        x: str | None = None,
        prometheus: str | None = None,
        password: str | None = None,
        token: str | None = None,
        data_source: str = DATA_SOURCE,
        data_sources: Mapping[str, str] | None = None,
        link: Link | None = None,
        bind: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.answers = {"render": "ok", "dashboard": "ok", "query": "ok"}
        self._x = (x or "").rstrip("/")
        self._sources = {data_source: (prometheus or "").rstrip("/")} | dict(data_sources or {})
        self._password, self._token = password, token
        self._data_source, self._link = data_source, link
        self._render_key = secrets.token_hex()
        self._bind, self._port = bind, port
        self._ended = threading.Event()
        self._open = ExitStack()

        query = "/api/datasources/proxy/uid/<uid>/api/v1/query"
        self._app = application(
            {
                "GET /render/d-solo/<uid>": self._render,
                "GET /render/d-solo/<uid>/<_>": self._render,
                "GET /api/dashboards/uid/<uid>": self._dashboard,
                f"GET {query}": self._query,
                f"POST {query}": self._query,
                "GET /api/health": lambda: {"database": "ok", "version": "13.0.2"},
                "GET /": lambda: page(200, APP_PAGE),
                "GET /login": lambda: page(200, APP_PAGE),
                "GET /d/<path:_>": lambda _: page(200, APP_PAGE),
                "GET /d-solo/<path:_>": lambda _: page(200, APP_PAGE),
                "PUT /answers": lambda: tell(self.answers, ANSWERS),
            }
        )
        self._app.before_request(self._refuses_credentials)

    def __enter__(self) -> Self:
        self.url = f"http://127.0.0.1:{self._open.enter_context(serving(self._app, self._bind, self._port))}"
        self._open.callback(self._ended.set)
        asked = "orgId=1&panelId=2&from=now-5m&to=now&width=600&height=200&scale=2.5&hideLogo=true"
        self.image_url = f"{self.url}/render/d-solo/{DASHBOARD}/{SLUG}?{asked}"
        self.publish_if_url = f"{self.url}/api/datasources/proxy/uid/{self._data_source}/api/v1/query?query={SERIES}"
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def environment(self) -> dict[str, str]:
        """The settings with which banner.py takes its pictures here."""
        colour = panel.BLUE.removeprefix("#")
        return {"image_url": self.image_url, "publish_if_url": self.publish_if_url, "data_color": colour}

    def _refuses_credentials(self) -> Response | None:
        """Grafana's answer to who may not come in, or None."""
        if (
            request.path in ("/login", "/api/health", "/answers")
            or request.cookies.get("renderKey") == self._render_key
        ):
            return None
        given = request.headers.get("Authorization", "")
        if given.startswith("Bearer "):
            return None if given == f"Bearer {self._token}" else message(401, "invalid API key")
        if request.authorization:
            known = ("admin", self._password) == (request.authorization.username, request.authorization.password)
            return None if known else message(401, "Invalid username or password")
        if self._password is None and self._token is None:
            return None
        return message(401, "Unauthorized") if request.path.startswith("/api/") else to_login()

    def _render(self, uid: str, _: str = "") -> Response:
        """GET /render/d-solo/UID/SLUG."""
        try:
            asked = Asked.of(request.args.to_dict())
        except ValueError:
            return RENDER_ANSWERS["bad-parameter"](panel.Screen(1000, 500))
        name = self.answers["render"]
        if name in ("slow", "silent"):
            self._ended.wait(SLOW_SECONDS if name == "slow" else None)
        if name in RENDER_ANSWERS:
            return RENDER_ANSWERS[name](asked.screen)
        path = f"d-solo/{uid}/{SLUG}?{request.query_string.decode()}"
        if failed := self._link and self._link.render(path, self._render_key):
            return RENDER_ANSWERS[failed](asked.screen)
        if uid != DASHBOARD or asked.panel not in map(str, PANELS):
            return png(panel.not_found(asked.screen, asked.panel, uid == DASHBOARD))
        try:
            series = self._series(asked.start, asked.end)
        except SourceError:
            return RENDER_ANSWERS["data-source-down"](asked.screen)
        if not series:
            return RENDER_ANSWERS["no-data"](asked.screen)
        if asked.panel == "4":
            return png(panel.stat(asked.screen, series[0], asked.start, asked.end))
        return png(panel.time_series(asked.screen, series, asked.start, asked.end, asked.zone))

    def _series(self, start: float, end: float) -> list[panel.Samples]:
        """The samples of each series in that time. Raises SourceError."""
        prometheus = self._sources.get(request.args.get("var-datasource", ""), self._sources[self._data_source])
        if not prometheus:
            known = fetch(f"{self._x}/history", {})
            return [resample(known["history"], start, end, max(1.0, (end - start) / 300))]
        account = request.args.get("var-account")
        series = f'{SERIES}{{username="{account}"}}' if account else SERIES
        # Both ends are multiples of the step, as Grafana makes them: of 30 days the last is up to an hour ago.
        step = rounded((end - start) / POINTS)
        query = PANEL.replace("SERIES", series).replace("$__interval", f"{step}s")
        edges = {name: str(math.floor(edge / step) * step) for name, edge in (("start", start), ("end", end))}
        found = fetch(f"{prometheus}/api/v1/query_range", {"query": query, "step": str(step)} | edges)["data"]["result"]
        return [[(at, float(value)) for at, value in one["values"]] for one in found]

    def _dashboard(self, uid: str) -> Response | dict[str, Any]:
        """GET /api/dashboards/uid/UID."""
        name = self.answers["dashboard"]
        if name in DASHBOARD_ANSWERS:
            return DASHBOARD_ANSWERS[name]()
        if uid != DASHBOARD:
            return DASHBOARD_ANSWERS["missing"]()
        source = {"type": "prometheus", "uid": self._data_source}
        target = {"datasource": source, "expr": SERIES, "legendFormat": "{{username}}", "refId": "A"}
        panels = [
            {"id": number, "type": kind, "title": "Twitter followers", "datasource": source, "targets": [target]}
            for number, kind in PANELS.items()
        ]
        dashboard: dict[str, Any] = {"uid": uid, "title": "Twitter followers", "time": {"from": WINDOW, "to": "now"}}
        if name == "elements":
            dashboard["elements"] = {f"panel-{number}": {"kind": "Panel", "spec": {"id": number}} for number in PANELS}
        else:
            dashboard["panels"] = [] if name == "no-panels" else panels
        return {"meta": {"slug": SLUG, "url": f"/d/{uid}/{SLUG}", "provisioned": True}, "dashboard": dashboard}

    def _query(self, uid: str) -> Response | tuple[dict[str, Any], int]:
        """The data source proxy: Prometheus' own answer; with X, one series for a query that names it (no PromQL)."""
        name = self.answers["query"]
        if name in QUERY_ANSWERS:
            return QUERY_ANSWERS[name]()
        if uid not in self._sources:
            return message(404, "Data source not found")
        query = request.values.get("query", "")
        try:
            if prometheus := self._sources[uid]:
                answer = get(f"{prometheus}/api/v1/query", {"query": query})
                return Response(answer.content, answer.status_code, content_type=answer.headers.get("Content-Type"))
            if SERIES not in query:
                return vector([])
            known = fetch(f"{self._x}/history", {})
        except (requests.RequestException, SourceError):
            return Response("", 502)
        metric = {"__name__": SERIES, "job": "x_user", "username": known["name"]}
        return vector([{"metric": metric, "value": [time.time(), str(known["history"][-1][1])]}])


def get(
    url: str, params: dict[str, str], timeout: float = 10, headers: dict[str, str] | None = None
) -> requests.Response:
    """An answer of a peer that is always near: no proxy stands between. Raises requests.RequestException."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, params=params, timeout=timeout, headers=headers)


def fetch(url: str, params: dict[str, str]) -> Any:
    """The JSON at a URL. Raises SourceError."""
    try:
        answer = get(url, params)
        answer.raise_for_status()
        return answer.json()
    except requests.RequestException as error:
        raise SourceError from error


def vector(result: list[dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """Prometheus' answer to an instant query."""
    return {"status": "success", "data": {"resultType": "vector", "result": result}}, 200


def resample(history: list[tuple[float, float]], start: float, end: float, step: float) -> list[tuple[float, float]]:
    """What a scrape each step would have seen of the history's changes; before the first of them, nothing."""
    samples = []
    for number in range(math.floor((end - start) / step) + 1):
        at = start + number * step
        values = [value for changed, value in history if changed <= at]
        samples += [(at, values[-1])] if values else []
    return [*samples, (end, history[-1][1])]


def whole(text: str) -> int:
    """An integer. Raises ValueError."""
    return int(text, 10)


def rounded(seconds: float) -> int:
    """The step that Grafana makes of the time between two points."""
    return min(STEPS, key=lambda step: abs(step - seconds))


def provisioned(text: str) -> dict[str, str]:
    """The URL of each data source in a provisioning file of JSON, by its uid."""
    sources = json.loads(text)["datasources"]
    return {source.get("uid") or uid_of(source["name"]): source["url"] for source in sources}


def uid_of(name: str) -> str:
    """The uid that Grafana gives a provisioned data source without one."""
    return "P" + hashlib.sha256(name.encode()).hexdigest()[:16].upper()


def moment(text: str, now: float) -> float:
    """Unix time of Grafana's now, now-15m, or milliseconds. Raises ValueError."""
    relative = re.fullmatch(r"now(?:-(\d+)([smhdwMy]))?", text)
    if not relative:
        return int(text) / 1000
    return now - (int(relative[1]) * UNITS[relative[2]] if relative[1] else 0)


def zone(name: str) -> tzinfo | None:
    """The zone of that name; UTC, as a browser does, for one that is not known, and None for the machine's own."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return UTC
