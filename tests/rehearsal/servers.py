"""A web application on a socket, for as long as a with statement lasts."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """Logs nothing: a profile page asks each second, and a client that distrusts the CA is no news."""

    timeout = 60  # seconds; a connection that says nothing for so long is closed

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the names are werkzeug's
        pass


def application(routes: Mapping[str, Callable[..., ResponseReturnValue]]) -> Flask:
    """An application of routes like "GET /state"."""
    app = Flask(__name__, static_folder=None, template_folder=".")
    for route, view in routes.items():
        method, path = route.split()
        app.add_url_rule(path, route, view, methods=[method])
    return app


@contextmanager
def serving(app: Flask, bind: str, port: int, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serves app at the address bind, a thread a connection; port 0 is a free one. Yields the real port.

    Raises OSError where that port is taken or not allowed.
    """
    try:
        listener = socket.create_server((bind, port))  # left to werkzeug, a port that is taken ends the program
    except OSError as error:
        raise OSError(f"port {port} cannot be used: {os.strerror(error.errno or 0)}") from None
    with listener:
        server = make_server(bind, port, app, threaded=True, request_handler=Quiet, fd=listener.fileno())
    if tls:
        # Left to werkzeug, the handshake is part of accept, and one silent client keeps all others out.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.ssl_context = tls
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
