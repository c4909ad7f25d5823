"""Grafana and X for tests/tools/bench, in a process of their own: bench_peers.py FOLDER RENDER_SECONDS.

Writes FOLDER/ca.pem and prints Grafana's URL and X's host:port. GET /busy answers the seconds that both took since
it was last asked.
"""

import io
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme
from PIL import Image, ImageDraw


def draw() -> bytes:
    """A PNG of 1500x500 pixels as a panel is: dark, with a grid, and a line in 1DA1F2 above a gradient."""
    image = Image.new("RGB", (1500, 500), "#111217")
    pen = ImageDraw.Draw(image)
    for x in range(0, 1500, 100):
        pen.line((x, 0, x, 480), "#24272e")
    for x in range(1500):
        top = 300 - x // 10
        for y in range(top, 480):
            pen.point((x, y), (17, 18 + 60 * (480 - y) // 480, 23 + 120 * (480 - y) // 480))
    pen.line((0, 300, 1500, 150), "#1DA1F2", 5)
    png = io.BytesIO()
    image.save(png, "PNG")
    return png.getvalue()


class Peer(BaseHTTPRequestHandler):
    """Both at once: the picture after the render's seconds, and 200 for an upload."""

    picture = draw()
    busy = 0.0

    def do_GET(self) -> None:
        began = time.monotonic()
        if self.path == "/busy":
            self.answer("text/plain", str(Peer.busy).encode())
            Peer.busy = 0.0
            return
        if self.path.startswith("/render/"):
            threading.Event().wait(float(sys.argv[2]))
            self.answer("image/png", Peer.picture)
        else:
            self.answer("application/json", json.dumps({"dashboard": {"panels": [{"id": 2}]}}).encode())
        Peer.busy += time.monotonic() - began

    def do_POST(self) -> None:
        began = time.monotonic()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer("application/json", b"")
        Peer.busy += time.monotonic() - began

    def answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


authority = trustme.CA()
authority.cert_pem.write_to_path(f"{sys.argv[1]}/ca.pem")
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("127.0.0.1").configure_cert(tls)
grafana, x = (ThreadingHTTPServer(("127.0.0.1", 0), Peer) for _ in range(2))
x.socket = tls.wrap_socket(x.socket, server_side=True)
threading.Thread(target=x.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{grafana.server_port} 127.0.0.1:{x.server_port}", flush=True)
grafana.serve_forever()
