"""The peers do what their names say, or else no row against them proves anything."""

import gzip
import http.client
import socket
import ssl
import time
from contextlib import closing

import pytest
import requests

from support.peers import (
    Connection,
    Handler,
    Peer,
    after,
    answers,
    chunked,
    drip,
    echo,
    flood,
    gzipped,
    head,
    in_turn,
    paths,
    redirects,
    resets_after,
    resets_early,
    says,
    sends,
    silence,
    speaks_plain_http,
    tunnel,
)

ASK = b"GET /picture?width=3 HTTP/1.1\r\nHost: peer\r\nX-Name:  value \r\n\r\n"
ANSWER = b"HTTP/1.1 200 What\r\nContent-Type: image/png\r\nConnection: close\r\n"


def connected(peer: Peer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", peer.port))


def received(client: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where the other side ends."""
    data = b""
    while len(data) < size and (piece := client.recv(size - len(data))):
        data += piece
    return data


def exchange(handler: Handler, ask: bytes = ASK) -> bytes:
    """All that a peer says to this."""
    with Peer(handler) as peer, connected(peer) as client:
        client.sendall(ask)
        return received(client, 1 << 30)


# --- what is kept of a request


def test_a_request_is_kept_as_it_came_and_as_what_it_says() -> None:
    with Peer(answers(200)) as peer:
        requests.post(peer.url + "/upload/banner?a=b", data=b"body", headers={"X-Name": "value"})
    (request,) = peer.requests
    assert request.head.startswith(b"POST /upload/banner?a=b HTTP/1.1\r\n")
    assert (request.method, request.target, request.path) == ("POST", "/upload/banner?a=b", "/upload/banner")
    assert (request.headers["x-name"], request.body, peer.connections) == ("value", b"body", 1)


def test_a_request_in_pieces_is_whole_before_it_is_answered() -> None:
    with Peer(answers(200, b"done")) as peer, connected(peer) as client:
        for byte in b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell":
            client.sendall(bytes([byte]))
        assert peer.requests == [] or peer.requests[0].body == b""
        client.sendall(b"o")
        assert received(client, 1000).endswith(b"\r\n\r\ndone")
    assert peer.requests[0].body == b"hello"


@pytest.mark.parametrize("picture", [b"", b"\x89PNG\r\n\x1a\n", b"--\r\n\r\n--not-the-boundary\r\n", bytes(range(256))])
def test_banner_is_what_the_multipart_field_of_that_name_holds(picture: bytes) -> None:
    with Peer(answers(200)) as peer:
        files = {"other": ("other.png", b"another"), "banner": ("banner.png", picture)}
        requests.post(peer.url, files=files)
    assert peer.requests[0].banner == picture


def test_a_body_without_that_field_has_no_banner() -> None:
    with Peer(answers(200)) as peer:
        requests.post(peer.url, files={"other": ("banner.png", b"another")})
        requests.post(peer.url, data={"banner": "value"})
    assert [request.banner for request in peer.requests] == [None, None]


def test_a_banner_whose_end_is_missing_is_none() -> None:
    with Peer(answers(200)) as peer, connected(peer) as client:
        part = b'--x\r\nContent-Disposition: form-data; name="banner"\r\n\r\npicture'
        client.sendall(b"POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(part), part))
        received(client, 1000)
    assert (peer.requests[0].body, peer.requests[0].banner) == (part, None)


# --- answers


def test_an_answer_is_framed_by_its_length() -> None:
    assert exchange(answers(200, b"picture")) == ANSWER + b"Content-Length: 7\r\n\r\npicture"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_has_no_length(status: int) -> None:
    assert b"Length" not in exchange(answers(status))


def test_headers_can_be_added_changed_and_left_out() -> None:
    said = exchange(answers("503 Own Reason", b"x", None, content_length=9, x_rate_limit_reset=5))
    assert (
        said == b"HTTP/1.1 503 Own Reason\r\nConnection: close\r\nContent-Length: 9\r\nX-Rate-Limit-Reset: 5\r\n\r\nx"
    )


def test_says_is_json() -> None:
    with Peer(says({"status": "success"}, 201)) as peer:
        answer = requests.get(peer.url)
    assert (answer.status_code, answer.json()) == (201, {"status": "success"})
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("location", "said"), [("{elsewhere}/login", "http://peer.test/login"), ("/login", "/login"), (None, None)]
)
def test_a_redirect_goes_to_its_location(location: str | None, said: str | None) -> None:
    with Peer(redirects(307, location)) as peer:
        peer.elsewhere = "http://peer.test"
        answer = requests.get(peer.url, allow_redirects=False)
    assert (answer.status_code, answer.headers.get("Location")) == (307, said)


def test_sends_sends_these_bytes_after_the_request_and_closes() -> None:
    assert exchange(sends(b"\0anything")) == b"\0anything"


def test_echo_shows_the_head_with_its_secrets_so_that_json_can_hold_it() -> None:
    with Peer(echo(403, '{"detail": "{head}"}', "application/json")) as peer:
        answer = requests.get(peer.url, headers={"Authorization": "Bearer test-secret"})
    assert "\r\nAuthorization: Bearer test-secret" in answer.json()["detail"]
    assert answer.status_code == 403


def test_paths_go_to_the_first_prefix_that_fits() -> None:
    with Peer(paths({"/render/": answers(201), "/": answers(202)})) as peer, Peer(paths({"/a": answers()})) as other:
        assert [requests.get(peer.url + path).status_code for path in ("/render/d", "/api")] == [201, 202]
        assert requests.get(other.url + "/b").status_code == 404


def test_in_turn_gives_each_connection_its_own_and_the_last_one_the_rest() -> None:
    with Peer(in_turn(answers(201), answers(202), answers(203))) as peer:
        assert [requests.get(peer.url).status_code for _ in range(4)] == [201, 202, 203, 203]
    assert peer.connections == 4


def test_chunks_and_gzip_can_be_read_by_others() -> None:
    packed = gzipped(b"picture")
    said = head(transfer_encoding="chunked") + chunked(packed[:5], packed[5:]) + b"0\r\n\r\n"
    with Peer(sends(said)) as peer, closing(http.client.HTTPConnection(peer.host)) as connection:
        connection.request("GET", "/")
        assert gzip.decompress(connection.getresponse().read()) == b"picture"


# --- slow, endless and rude


def test_a_drip_is_a_byte_every_0_3_seconds_and_begins_again_at_its_end() -> None:
    with Peer(drip(b"at once", b"abc")) as peer, connected(peer) as client:
        client.sendall(ASK)
        assert received(client, 8) == b"at oncea"
        began = time.monotonic()
        assert received(client, 4) == b"bcab"
        assert time.monotonic() - began > 3 * 0.3


def test_a_flood_goes_on_until_the_other_side_leaves() -> None:
    with Peer(flood(b"head", b"x" * 65536)) as peer:
        with connected(peer) as client:
            client.sendall(ASK)
            assert received(client, 1_000_004) == b"head" + b"x" * 1_000_000
        peer.threads[1].join()


def test_a_flood_ends_with_its_peer() -> None:
    with Peer(flood(b"", b"x" * 65536)) as peer:
        client = connected(peer)
        client.sendall(ASK)
        received(client, 1)
    with client:
        assert not peer.threads[1].is_alive()


def test_silence_is_said_to_have_come_and_is_let_go_of_when_the_peer_is_closed() -> None:
    with Peer(silence(b"head")) as peer:
        client = connected(peer)
        client.sendall(ASK)
        assert received(client, 4) == b"head"
        peer.holding.wait()
    with client:
        assert received(client, 1) == b""


def test_silence_ends_when_the_other_side_leaves() -> None:
    with Peer(silence()) as peer:
        with connected(peer) as client:
            client.sendall(ASK)
            peer.holding.wait()
        peer.threads[1].join()


def test_a_reset_is_no_end_of_file() -> None:
    with Peer(after(Connection.reset)) as peer, connected(peer) as client:
        client.sendall(ASK)
        with pytest.raises(ConnectionResetError):
            received(client, 1)


def test_a_reset_can_come_before_the_end_of_the_request_or_in_the_middle_of_the_answer() -> None:
    with Peer(resets_early) as peer, connected(peer) as client:
        client.sendall(b"GET / HT")
        with pytest.raises(ConnectionResetError):
            received(client, 1)
    with Peer(resets_after(b"head")) as peer, connected(peer) as client:
        client.sendall(ASK)
        assert received(client, 4) == b"head"
        with pytest.raises(ConnectionResetError):
            received(client, 1)


def test_a_port_for_plain_http_answers_the_start_of_tls_with_400(ca_file: str) -> None:
    with Peer(speaks_plain_http) as peer, connected(peer) as client:
        client.sendall(b"\x16\x03\x01")
        assert received(client, 1000).startswith(b"HTTP/1.1 400 ")
    with Peer(speaks_plain_http) as peer, connected(peer) as client, pytest.raises(ssl.SSLError):
        ssl.create_default_context(cafile=ca_file).wrap_socket(client, server_hostname="x.test")


# --- mistakes


def test_a_mistake_of_a_handler_is_raised_when_the_peer_is_closed() -> None:
    def mistaken(connection: Connection) -> None:
        raise ValueError(connection.receive().path)

    with pytest.raises(ValueError, match="/picture"):
        exchange(mistaken)


def test_a_request_that_is_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="unpack"):
        exchange(answers(200), b"nonsense\r\n\r\n")


def test_that_the_other_side_leaves_is_no_mistake() -> None:
    with Peer(answers(200)) as peer, connected(peer) as client:
        client.sendall(b"GET / HT")
        client.shutdown(socket.SHUT_WR)
        assert received(client, 1) == b""
    assert (peer.requests, peer.connections) == ([], 1)


# --- TLS


def test_with_tls_the_certificate_is_shown_before_anything_is_asked(tls: ssl.SSLContext, ca_file: str) -> None:
    with Peer(answers(200, b"picture"), tls) as peer:
        assert peer.url.startswith("https://")
        assert requests.get(peer.url, verify=ca_file).content == b"picture"


def test_a_client_that_distrusts_the_certificate_asks_nothing(untrusted: ssl.SSLContext, ca_file: str) -> None:
    with Peer(answers(200), untrusted) as peer, pytest.raises(requests.exceptions.SSLError):
        requests.get(peer.url, verify=ca_file)
    assert (peer.requests, peer.connections) == ([], 1)


def test_a_handshake_that_never_comes_ends_with_its_peer(tls: ssl.SSLContext) -> None:
    with Peer(answers(200), tls) as peer:
        client = connected(peer)
        while peer.connections < 1:
            time.sleep(0.01)  # a peer counts its connections, and tells nobody
    with client:
        assert received(client, 1) == b""


def test_a_tunnel_is_a_proxy_and_the_host_at_its_other_end(tls: ssl.SSLContext, ca_file: str) -> None:
    with Peer(tunnel(tls, answers(200, b"picture"))) as peer:
        answer = requests.get("https://x.test/upload", proxies={"https": peer.url}, verify=ca_file)
    assert answer.content == b"picture"
    assert [(request.method, request.target) for request in peer.requests] == [
        ("CONNECT", "x.test:443"),
        ("GET", "/upload"),
    ]


def test_a_tunnel_that_is_silent_ends_with_its_peer(tls: ssl.SSLContext, ca_file: str) -> None:
    granted = b"HTTP/1.1 200 Connection established\r\n\r\n"
    with Peer(tunnel(tls, Connection.hold)) as peer:
        client = connected(peer)
        client.sendall(b"CONNECT x.test:443 HTTP/1.1\r\n\r\n")
        assert received(client, len(granted)) == granted
        inner = ssl.create_default_context(cafile=ca_file).wrap_socket(client, server_hostname="x.test")
        peer.holding.wait()
    with inner:
        assert received(inner, 1) == b""
