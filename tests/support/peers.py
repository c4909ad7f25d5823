"""Peers on raw sockets that play Grafana, Prometheus, X and a proxy, break the protocol and keep what they received."""

import contextlib
import itertools
import json
import re
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Request:
    """One request as it came: the raw bytes, and what they say. Header names are in lower case."""

    head: bytes
    body: bytes = b""
    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parsed(cls, head: bytes) -> Self:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines)
        return cls(head, b"", method, target, {name.lower(): value.strip() for name, value in pairs})

    @property
    def path(self) -> str:
        return self.target.split("?")[0]

    @property
    def banner(self) -> bytes | None:
        """The content of the multipart field `banner`, None if there is none or it is not closed."""
        boundary = re.search("boundary=([^;]+)", self.headers.get("content-type", ""))
        if not boundary:
            return None
        for part in self.body.split(b"--" + boundary[1].encode())[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            if b'name="banner"' in head:
                return content.removesuffix(b"\r\n")
        return None


class Connection:
    """One accepted connection, in a thread of its own; `request` is what it asked, once `receive` has read it."""

    def __init__(self, peer: "Peer", raw: socket.socket) -> None:
        self.peer = peer
        self.socket = raw
        self.buffer = b""
        self.received: Request | None = None

    def read(self) -> bytes:
        """What comes next; an EOFError if the other side has left."""
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError
        return piece

    def receive(self) -> Request:
        """The request, read on the first call and kept by the peer as soon as its head is there."""
        if self.received is None:
            while b"\r\n\r\n" not in self.buffer:
                self.buffer += self.read()
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            request = Request.parsed(head)
            self.peer.requests.append(request)
            while len(self.buffer) < int(request.headers.get("content-length", 0)):
                self.buffer += self.read()
            request.body, self.buffer = self.buffer, b""
            self.received = request
        return self.received

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def pause(self, seconds: float) -> None:
        """Waits, and ends the connection if the peer is being closed meanwhile."""
        if self.peer.closing.wait(seconds):
            raise EOFError

    def hold(self) -> None:
        """Says nothing more, until the other side leaves or the peer is closed."""
        self.peer.holding.set()
        while True:
            self.read()

    def reset(self) -> None:
        """Ends the connection rudely: the other side gets ECONNRESET, not an end of file."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Goes on in TLS, from the start or as behind a proxy's CONNECT."""
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.peer.open.append(self.socket)  # it has taken the place of the one that was there
        self.pause(0)
        self.socket.do_handshake()
        self.received = None


Handler = Callable[[Connection], None]


class Peer:
    """A server on 127.0.0.1 that hands each connection to `handler`; with `tls` after the handshake.

    `requests` are those received, in order; `connections` counts those accepted, handshakes that failed included.
    A handler's own mistakes are raised when the peer is closed; that the other side leaves is none. What the handlers
    still wait for then is let go of.
    """

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self.tls = tls
        self.elsewhere = ""  # where `redirects` may send to
        self.requests: list[Request] = []
        self.connections = 0
        self.holding = threading.Event()  # a handler has come to where it says nothing more
        self.closing = threading.Event()
        self.threads: list[threading.Thread] = []
        self.open: list[socket.socket] = []
        self.mistakes: list[Exception] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.port: int = self.listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"

    def __enter__(self) -> Self:
        self.threads.append(threading.Thread(target=self.accept))
        self.threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        self.listener.close()
        for raw in self.open:
            with contextlib.suppress(OSError):  # it may have gone by itself
                socket.socket.shutdown(raw, socket.SHUT_RDWR)  # an SSLSocket's own would take TLS off under its thread
        for thread in self.threads[1:]:
            thread.join()
        if self.mistakes:
            raise self.mistakes[0]

    def accept(self) -> None:
        while not self.closing.is_set():
            try:
                raw, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(raw)
            thread = threading.Thread(target=self.serve, args=(raw,))
            self.threads.append(thread)
            thread.start()

    def serve(self, raw: socket.socket) -> None:
        connection = Connection(self, raw)
        try:
            if self.tls:
                connection.encrypt(self.tls)
            self.handler(connection)
        except (OSError, EOFError):
            pass  # the other side has left, or refuses our certificate
        except Exception as mistake:
            self.mistakes.append(mistake)
        finally:
            connection.socket.close()


# --- handlers: each takes a connection


def head(status: int | str = 200, content_type: str | None = "image/png", **headers: object) -> bytes:
    """A response's head; `status` may bring its own reason; `content_length=None` leaves that header out."""
    line = f"{status} What" if isinstance(status, int) else status
    named = {"content_type": content_type, "connection": "close"} | headers
    lines = [f"{name.replace('_', '-').title()}: {value}" for name, value in named.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {line}", *lines, "", ""]).encode("latin-1")


def answers(
    status: int | str = 200, body: bytes = b"", content_type: str | None = "image/png", **headers: object
) -> Handler:
    """Answers every request so, correctly framed unless `content_length` says otherwise."""
    bodiless = str(status)[:3] in ("204", "304")
    response = head(status, content_type, **{"content_length": None if bodiless else len(body)} | headers) + body

    def handler(connection: Connection) -> None:
        connection.receive()
        connection.send(response)

    return handler


def says(data: Any, status: int | str = 200) -> Handler:
    """Answers in JSON."""
    return answers(status, json.dumps(data).encode(), "application/json; charset=UTF-8")


def redirects(status: int, location: str | None) -> Handler:
    """Sends to `location`, in which `{elsewhere}` stands for the address that the test gave the peer."""

    def handler(connection: Connection) -> None:
        target = location and location.replace("{elsewhere}", connection.peer.elsewhere)
        answers(status, b"<a>Found</a>", "text/html; charset=utf-8", location=target)(connection)

    return handler


def sends(data: bytes) -> Handler:
    """Sends these bytes after any request, then closes."""
    return after(lambda connection: connection.send(data))


def after(do: Handler) -> Handler:
    """Does this once the whole request is there."""

    def handler(connection: Connection) -> None:
        connection.receive()
        do(connection)

    return handler


def silence(before: bytes = b"") -> Handler:
    """Sends these bytes after any request, and nothing more."""

    def do(connection: Connection) -> None:
        connection.send(before)
        connection.hold()

    return after(do)


def drip(before: bytes, dripped: bytes) -> Handler:
    """Sends the first bytes at once, then the others one every 0.3 seconds, again and again."""

    def do(connection: Connection) -> None:
        connection.send(before)
        for byte in itertools.cycle(dripped):
            connection.send(bytes([byte]))
            connection.pause(0.3)

    return after(do)


def flood(before: bytes, piece: bytes) -> Handler:
    """Sends the first bytes, then the piece again and again, until the other side has had enough."""

    def do(connection: Connection) -> None:
        connection.send(before)
        while True:
            connection.send(piece)
            connection.pause(0.005)

    return after(do)


def speaks_plain_http(connection: Connection) -> None:
    """What a port for plain HTTP says to the start of TLS."""
    connection.read()
    connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def resets_early(connection: Connection) -> None:
    """Resets the connection while the request still comes in."""
    connection.read()
    connection.reset()


def resets_after(before: bytes) -> Handler:
    """Sends these bytes after any request, waits until they have arrived, and resets the connection."""

    def do(connection: Connection) -> None:
        connection.send(before)
        connection.pause(0.2)
        connection.reset()

    return after(do)


def echo(status: int, template: str, content_type: str = "text/html") -> Handler:
    """Answers with the request's own head, its Authorization included, where the template has `{head}`, as in JSON."""

    def handler(connection: Connection) -> None:
        request = connection.receive()
        body = template.replace("{head}", json.dumps(request.head.decode("latin-1"))[1:-1]).encode()
        connection.send(head(status, content_type, content_length=len(body)) + body)

    return handler


def paths(routes: dict[str, Handler]) -> Handler:
    """Hands a request to the handler of the first prefix of its path, 404 if there is none."""

    def handler(connection: Connection) -> None:
        path = connection.receive().path
        known = (route for prefix, route in routes.items() if path.startswith(prefix))
        next(known, answers(404, b"Not found", "text/plain"))(connection)

    return handler


def in_turn(*handlers: Handler) -> Handler:
    """The first connection to the first handler, and so on; the last one has all the rest."""
    lock, left = threading.Lock(), list(handlers)

    def handler(connection: Connection) -> None:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        chosen(connection)

    return handler


def tunnel(context: ssl.SSLContext, handler: Handler) -> Handler:
    """A proxy that grants CONNECT, and is itself the host at the tunnel's other end."""

    def proxy(connection: Connection) -> None:
        assert connection.receive().method == "CONNECT"
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        connection.encrypt(context)
        handler(connection)

    return proxy


def gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, its end not included."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
