"""A stand-in for Grafana's image renderer: it wants its token, calls Grafana back, is as busy, and draws nothing."""

import hashlib
import threading
import time
from contextlib import ExitStack
from typing import Self

import requests
from flask import Response, request

from rehearsal.servers import application, serving

BLOCK = bytes(1 << 20)  # for so long a hash lets other threads go on


class Renderer:
    """The image renderer, for as long as a with statement lasts.

    A render takes that many seconds of CPU; more at once than at_once are refused.
    """

    def __init__(
        self, token: str, *, seconds: float = 0, at_once: int = 3, bind: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._token, self._seconds = token, seconds
        self._free = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._renders, self._took, self._in_flight = 0, 0.0, 0  # how many, the seconds of all, and how many now
        self._bind, self._port = bind, port
        self._open = ExitStack()
        self._app = application(
            {"GET /healthz": lambda: "ok", "GET /metrics": self._metrics, "GET /render": self._render}
        )

    def __enter__(self) -> Self:
        self.url = f"http://127.0.0.1:{self._open.enter_context(serving(self._app, self._bind, self._port))}/render"
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _render(self) -> Response:
        """GET /render: 200 when the page at the parameter url could be photographed."""
        if request.headers.get("X-Auth-Token") != self._token:
            return Response("Unauthorized", 401)
        if not self._free.acquire(blocking=False):
            return Response("too many requests", 429)
        began = time.monotonic()
        with self._lock:
            self._in_flight += 1
        try:
            with requests.Session() as session:
                session.trust_env = False
                cookies = {"renderKey": request.args.get("renderKey", "")}
                page = session.get(request.args["url"], cookies=cookies, allow_redirects=False, timeout=10)
            end = time.thread_time() + self._seconds
            while time.thread_time() < end:
                hashlib.sha256(BLOCK)
            return Response("", 200 if page.status_code == 200 else 500)
        except requests.RequestException as error:
            return Response(str(error), 500)
        finally:
            self._free.release()
            with self._lock:
                self._renders, self._took = self._renders + 1, self._took + time.monotonic() - began
                self._in_flight -= 1

    def _metrics(self) -> Response:
        """GET /metrics: of a real one's, the renders' seconds, and how many there are now."""
        sums = {"sum": self._took, "count": self._renders}
        lines = [f'browser_render_duration_{name}{{unit="seconds"}} {value}\n' for name, value in sums.items()]
        lines += [f"http_requests_in_flight {self._in_flight}\n"]
        return Response("".join(lines), content_type="text/plain; version=0.0.4")
