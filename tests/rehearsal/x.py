"""A stand-in for X: its API behind TLS, checked as X checks, and a profile page for people."""

import base64
import hashlib
import io
import json
import logging
import math
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import requests
import trustme
from flask import Response, redirect, request
from oauthlib.oauth1 import RequestValidator, SignatureOnlyEndpoint
from PIL import Image, UnidentifiedImageError

from rehearsal.servers import application, serving

LOG = logging.getLogger(__name__)
KEYS = ("consumer_key", "consumer_secret", "access_token", "access_token_secret", "bearer_token")
MAX_BYTES = 5_000_000
CLOCK_SECONDS = 300  # how far a client's clock may be off
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where a pod has it
RATE_SECONDS = 900  # the length of a rate limit's window
KEPT = 100  # banners
REMEMBERED = 10_000  # nonces, and changes of the follower count
ID = "2244994945"  # the account's
MAX_USERS = 100  # in one read


def error(code: int, message: str) -> dict[str, Any]:
    """An error's body as API 1.1 words it."""
    return {"errors": [{"code": code, "message": message}]}


def problem(title: str, detail: str, kind: str = "about:blank", **more: object) -> dict[str, Any]:
    """An error's body as API 2 words it."""
    return {"title": title, "detail": detail, "type": kind, **more}


CREDITS = problem(
    "CreditsDepleted",
    "Your enrolled account [1234567890] does not have any credits to fulfill this request.",
    "https://api.twitter.com/2/problems/credits",
    account_id=1234567890,
)
USAGE_CAP = problem(
    "UsageCapExceeded",
    "Usage cap exceeded: Monthly product cap",
    "https://api.twitter.com/2/problems/usage-capped",
    period="Monthly",
    scope="Product",
)
ACCESS_LEVEL = (
    "You currently have access to a subset of X API V2 endpoints and limited v1.1 endpoints (e.g. media post, oauth) "
    "only. If you need access to this endpoint, you may need a different access level. You can learn more here: "
    "https://developer.x.com/en/portal/product"
)

# What X can be told to say to an upload (status and body) instead of looking at it further.
UPLOAD_ANSWERS: dict[str, tuple[int, dict[str, Any] | None]] = {
    "ok": (200, None),
    "201": (201, None),
    "202": (202, None),
    "no-picture": (400, error(38, "banner parameter is missing.")),
    "keys": (401, error(32, "Could not authenticate you.")),
    "token": (401, error(89, "Invalid or expired token.")),
    "clock": (401, error(135, "Timestamp out of bounds.")),
    "credits": (402, CREDITS),
    "access-level": (403, error(453, ACCESS_LEVEL)),
    "read-only": (403, error(261, "Application cannot perform write actions. Contact Twitter Support.")),
    "suspended": (403, error(64, "Your account is suspended and is not permitted to access this feature.")),
    "not-found": (404, error(34, "Sorry, that page does not exist.")),
    "too-large": (413, None),
    "not-resizable": (422, error(120, "Account update failed: the image could not be resized.")),
    "rate-limit": (429, error(88, "Rate limit exceeded")),
    "usage-cap": (429, USAGE_CAP),
    "server-error": (503, error(130, "Over capacity")),
    "silent": (503, None),
}
USER_ANSWERS: dict[str, tuple[int, dict[str, Any] | None]] = {
    "ok": (200, None),
    "unauthorized": (401, problem("Unauthorized", "Unauthorized", status=401)),
    "credits": (402, CREDITS),
    "rate-limit": (429, problem("Too Many Requests", "Too Many Requests", status=429)),
    "unknown": (200, None),
    "garbled": (200, None),
}
ANSWERS = {"upload": UPLOAD_ANSWERS, "user": USER_ANSWERS}


class Keys(RequestValidator):
    """The keys of the app and the account, as oauthlib asks for them."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self.keys = keys
        self.seen: dict[tuple[str, str, str], None] = {}  # the oldest first
        self._lock = threading.Lock()

    @property
    def allowed_signature_methods(self) -> tuple[str, ...]:
        return ("HMAC-SHA1",)

    @property
    def timestamp_lifetime(self) -> int:
        return CLOCK_SECONDS

    @property
    def dummy_client(self) -> str:
        return "nobody"

    def check_client_key(self, client_key: str) -> bool:
        return bool(client_key)

    def check_nonce(self, nonce: str) -> bool:
        return bool(nonce)

    def validate_timestamp_and_nonce(self, client_key: str, timestamp: str, nonce: str, *_: Any, **__: Any) -> bool:
        """A nonce counts once."""
        once = (client_key, timestamp, nonce)
        with self._lock:
            new = once not in self.seen
            self.seen[once] = None
            if len(self.seen) > REMEMBERED:
                del self.seen[next(iter(self.seen))]
        return new

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return (client_key, request.resource_owner_key) == (self.keys["consumer_key"], self.keys["access_token"])

    def get_client_secret(self, *_: object) -> str:
        return self.keys["consumer_secret"]

    def get_access_token_secret(self, *_: object) -> str:
        return self.keys["access_token_secret"]


class X:
    """X, for as long as a with statement lasts.

    The account is called name; more names, after commas, are more accounts alike, with the same followers, keys and
    banner. hosts are the names that the certificate is good for beside this machine's own.
    Both listeners are bound to the address bind; port 0 is a free one. The keys that count are in keys, by the
    names of KEYS; one that is missing there is test-consumer-key and so on.

    >>> with X() as x:
    ...     x.host, x.page, x.ca      # 127.0.0.1:PORT of the API, http://127.0.0.1:PORT of the page, the CA's file
    """

    def __init__(
        self,
        name: str = "NAME",
        *,
        hosts: Sequence[str] = (),
        bind: str = "127.0.0.1",
        tls_port: int = 0,
        page_port: int = 0,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.names = name.split(",")
        self.name = self.names[0]
        self.keys = {key: (keys or {}).get(key, "test-" + key.replace("_", "-")) for key in KEYS}
        self.answers = {"upload": "ok", "user": "ok"}
        self.attempts = 0
        self.published = 0
        self.banners: list[bytes] = []  # the last of them
        self.changed = 0  # the Unix time in the address of the banner
        self.history = youth(time.time())
        self._bind, self._ports = bind, (tls_port, page_port)
        self._oauth = SignatureOnlyEndpoint(Keys(self.keys))
        self._lock = threading.Lock()
        self._ended = threading.Event()

        authority = trustme.CA(organization_name="Rehearsal", organization_unit_name="no real X")
        self.ca_pem = authority.cert_pem.bytes().decode()
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "localhost", *hosts).configure_cert(self._tls)

        self._api = application(
            {
                "POST /1.1/account/update_profile_banner.json": self._upload,
                "GET /2/users/by": self._users,
            }
        )
        self._api.config["MAX_CONTENT_LENGTH"] = 4 * MAX_BYTES
        self._page = application(
            {
                "GET /": lambda: redirect("/" + self.name),
                f"GET /{self.name}": lambda: self.profile("banner.png" if self.banners else ""),
                "GET /banner.png": self._banner,
                "GET /banners/<int:number>.png": self._kept,
                "GET /state": self.state,
                "GET /history": lambda: {"name": self.name, "history": self.history},
                "POST /follow": self.follow,
                "PUT /answers": lambda: tell(self.answers, ANSWERS),
                "GET /ca.pem": lambda: Response(self.ca_pem, content_type="application/x-pem-file"),
            }
        )

    def __enter__(self) -> Self:
        with ExitStack() as opened:  # undone where a port is taken
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="x-")))
            self.ca = str(folder / "ca.pem")
            Path(self.ca).write_text(self.ca_pem)
            tls_port = opened.enter_context(serving(self._api, self._bind, self._ports[0], self._tls))
            page_port = opened.enter_context(serving(self._page, self._bind, self._ports[1]))
            opened.callback(self._ended.set)
            self._open = opened.pop_all()
        self.host, self.page = f"127.0.0.1:{tls_port}", f"http://127.0.0.1:{page_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def followers(self) -> int:
        return self.history[-1][1]

    def environment(self) -> dict[str, str]:
        """The settings with which banner.py publishes here."""
        keys = {key: value for key, value in self.keys.items() if key != "bearer_token"}
        return {**keys, "x_host": self.host, "REQUESTS_CA_BUNDLE": self.ca}

    def state(self) -> dict[str, Any]:
        """All that is to be known about the account, as JSON takes it."""
        return {
            "name": self.name,
            "followers": self.followers,
            "banners": self.published,
            "attempts": self.attempts,
            "sha256": hashlib.sha256(self.banners[-1]).hexdigest() if self.banners else None,
            "answers": self.answers,
        }

    def follow(self) -> dict[str, Any]:
        """One more follower."""
        with self._lock:
            self.history.append((time.time(), self.followers + 1))
            del self.history[:-REMEMBERED]
        return self.state()

    def publish(self, picture: bytes) -> None:
        """The picture becomes the banner."""
        with self._lock:
            self.published += 1
            self.banners.append(picture)
            del self.banners[:-KEPT]
            self.changed = max(int(time.time()), self.changed + 1)  # another address for each

    def preview(self) -> str:
        """The profile as one HTML page that needs no server."""
        banner = base64.b64encode(self.banners[-1]).decode() if self.banners else ""
        return self.profile(f"data:image/png;base64,{banner}" if banner else "", live=False)

    def profile(self, banner: str, live: bool = True) -> str:
        """The profile page with the banner at that URL; live, it keeps itself up to date."""
        template = self._page.jinja_env.get_template("profile.html")
        return template.render(banner=banner, live=live, **self.state())

    def _upload(self) -> Response:
        """POST /1.1/account/update_profile_banner.json."""
        with self._lock:
            self.attempts += 1
        uploaded = request.files.get("banner")
        picture = uploaded.read() if uploaded else b""
        name = self._refuses_signature() or self.answers["upload"]
        if name == "silent":
            self._ended.wait()
        status, body = UPLOAD_ANSWERS[name]
        if status < 300 and not uploaded:
            status, body = UPLOAD_ANSWERS["no-picture"]
        elif status < 300 and len(picture) > MAX_BYTES:
            status, body = UPLOAD_ANSWERS["too-large"]
        elif status < 300 and not is_picture(picture):
            status, body = UPLOAD_ANSWERS["not-resizable"]
        elif status < 300:
            self.publish(picture)
        LOG.info("upload of %d bytes: %d", len(picture), status)
        return answer(status, body)

    def _refuses_signature(self) -> str | None:
        """What is wrong with the request's OAuth signature: the name of an answer, or None."""
        valid, signed = self._oauth.validate_request(request.url, request.method, None, dict(request.headers))
        if valid:
            return None
        stamp = (signed and signed.timestamp) or ""
        late = stamp.isdecimal() and abs(time.time() - int(stamp)) > CLOCK_SECONDS
        return "clock" if late else "keys"

    def _users(self) -> Response:
        """GET /2/users/by?usernames=A,B: those that there are, and an error for each other."""
        if request.headers.get("Authorization") != "Bearer " + self.keys["bearer_token"]:
            return answer(*USER_ANSWERS["unauthorized"])
        asked = request.args.get("usernames", "").split(",")
        if len(asked) > MAX_USERS:
            return answer(400, problem("Invalid Request", "One or more parameters to your request was invalid."))
        name = self.answers["user"]
        if name == "garbled":
            return Response('{"data":[{"id":"2244994945","public_metrics":{"follow', content_type="application/json")
        if name not in ("ok", "unknown"):
            return answer(*USER_ANSWERS[name])
        known = {one.lower(): one for one in self.names} if name == "ok" else {}
        found = [self._user(known[one.lower()]) for one in asked if one.lower() in known]
        lost = [not_found(one) for one in asked if one.lower() not in known]
        return answer(200, ({"data": found} if found else {}) | ({"errors": lost} if lost else {}))

    def _user(self, name: str) -> dict[str, Any]:
        """What X tells of one account, of the fields that were asked for."""
        user: dict[str, Any] = {"id": ID, "name": name, "username": name}
        fields = request.args.get("user.fields", "").split(",")
        if "profile_banner_url" in fields and self.banners:
            user["profile_banner_url"] = f"https://pbs.twimg.com/profile_banners/{ID}/{self.changed}"
        if "public_metrics" in fields:
            rest = {"following_count": 12, "post_count": 345, "listed_count": 6, "like_count": 78, "media_count": 9}
            user["public_metrics"] = {"followers_count": self.followers, **rest}
        return user

    def _banner(self) -> Response:
        """GET /banner.png: the last banner that was taken."""
        if not self.banners:
            return Response("no banner yet\n", 404, content_type="text/plain")
        return Response(self.banners[-1], content_type="image/png", headers={"Cache-Control": "no-store"})

    def _kept(self, number: int) -> Response:
        """GET /banners/NUMBER.png: of the banners that were taken, counted from 1 on, one that is still kept."""
        with self._lock:
            kept = dict(zip(range(self.published, 0, -1), reversed(self.banners), strict=False))
        if number not in kept:
            return Response("no such banner is kept\n", 404, content_type="text/plain")
        return Response(kept[number], content_type="image/png")


def youth(now: float) -> list[tuple[float, int]]:
    """A young account's last five minutes, for a graph to begin with: Unix time and follower count of each change."""
    steps = 14
    return [(now - 300 * (1 - (step + 0.8 * math.sin(step) ** 2) / steps), 28 + step) for step in range(steps)]


def is_picture(body: bytes) -> bool:
    """Whether it is a PNG, JPEG or GIF that can be decoded to its end."""
    try:
        with Image.open(io.BytesIO(body), formats=("PNG", "JPEG", "GIF")) as picture:
            picture.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


def answer(status: int, body: dict[str, Any] | None) -> Response:
    """An answer as X words it; a 429 says when X opens again."""
    text = "" if body is None else json.dumps(body)
    response = Response(text, status, content_type="application/json; charset=utf-8")
    if status == 429:
        response.headers["x-rate-limit-limit"] = "30"
        response.headers["x-rate-limit-remaining"] = "0"
        response.headers["x-rate-limit-reset"] = str(int(time.time()) + RATE_SECONDS)
    return response


def not_found(username: str) -> dict[str, Any]:
    """The error of API 2 for an account that there isn't."""
    said = {"value": username, "resource_type": "user", "resource_id": username, "parameter": "usernames"}
    detail, kind = f"Could not find user with usernames: [{username}].", "resource-not-found"
    return problem("Not Found Error", detail, f"https://api.twitter.com/2/problems/{kind}", **said)


def tell(answers: dict[str, str], known: Mapping[str, Collection[str]]) -> tuple[dict[str, Any], int]:
    """Takes {what: name of an answer} out of the request's JSON; all or, with status 400, nothing."""
    wanted = request.get_json(force=True)  # `kubectl replace --raw` sends no Content-Type
    if not isinstance(wanted, dict) or any(name not in known.get(what, ()) for what, name in wanted.items()):
        return {"error": "unknown", "known": {what: sorted(names) for what, names in known.items()}}, 400
    answers.update(wanted)
    return dict(answers), 200


def write_ca_config_map(ca_pem: str, namespace: str, name: str, account: Path = SERVICE_ACCOUNT) -> None:
    """In a pod: writes the CA's certificate into a ConfigMap as ca.crt, as the pod's service account.

    Needs the verbs create and patch on it. Raises requests.RequestException and OSError.
    """
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": ca_pem}}
    requests.patch(
        f"https://{host}:{port}/api/v1/namespaces/{namespace}/configmaps/{name}",
        params={"fieldManager": "x", "force": "true"},
        json=config_map,
        headers={
            "Authorization": "Bearer " + (account / "token").read_text().strip(),
            "Content-Type": "application/apply-patch+yaml",  # JSON is YAML
        },
        verify=str(account / "ca.crt"),
        timeout=30,
    ).raise_for_status()
