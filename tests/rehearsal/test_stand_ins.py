"""The stand-ins answer as X and Grafana do, or else what is tried against them proves nothing."""

import ctypes
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tweepy
from flask import request
from oauthlib.oauth1 import Client
from PIL import Image
from support import pictures
from support.pace import starts
from support.paths import TESTS
from support.thanos import free_port
from support.tools import namespace

from rehearsal import panel
from rehearsal.grafana import ANSWERS as GRAFANA_ANSWERS
from rehearsal.grafana import Grafana, Link
from rehearsal.renderer import Renderer
from rehearsal.servers import application, serving
from rehearsal.x import (
    KEPT,
    REMEMBERED,
    SERVICE_ACCOUNT,
    UPLOAD_ANSWERS,
    USER_ANSWERS,
    Keys,
    X,
    write_ca_config_map,
)

PNG = pictures.plain(1500, 500)
UPLOAD = "/1.1/account/update_profile_banner.json"
USERS = "/2/users/by"
BEARER = {"Authorization": "Bearer test-bearer-token"}


@pytest.fixture
def x() -> Iterator[X]:
    with X() as stand_in:
        yield stand_in


@pytest.fixture
def grafana(x: X) -> Iterator[Grafana]:
    with Grafana(x=x.page) as stand_in:
        yield stand_in


@pytest.fixture
def linked(x: X) -> Iterator[tuple[Grafana, Renderer]]:
    """Grafana, which lets nobody in without a token, with a renderer that is busy with one render."""
    port = free_port()
    with Renderer("test-renderer-token", seconds=0.5, at_once=1) as renderer:
        link = Link(renderer.url, f"http://127.0.0.1:{port}/", "test-renderer-token")
        with Grafana(x=x.page, token="test-grafana-token", link=link, port=port) as grafana:
            yield grafana, renderer


def sign(x: X, url: str, timestamp: str | None = None, **keys: str) -> dict[str, str]:
    """The headers of a signed POST, with other keys than the right ones where given."""
    right = {key: value for key, value in x.keys.items() if key != "bearer_token"} | keys
    client = Client(
        right["consumer_key"],
        right["consumer_secret"],
        right["access_token"] or None,
        right["access_token_secret"],
        timestamp=timestamp,
    )
    _, headers, _ = client.sign(url, "POST")
    return dict(headers)


def post(x: X, body: bytes = PNG, field: str = "banner", headers: dict[str, str] | None = None) -> requests.Response:
    url = f"https://{x.host}{UPLOAD}"
    signed = sign(x, url) if headers is None else headers
    return requests.post(url, files={field: ("banner.png", body)}, headers=signed, verify=x.ca)


def user(
    x: X, name: str = "NAME", fields: str = "public_metrics", headers: dict[str, str] = BEARER
) -> requests.Response:
    url, params = f"https://{x.host}{USERS}", {"usernames": name, "user.fields": fields}
    return requests.get(url, params=params, headers=headers, verify=x.ca)


def size(body: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(body), formats=("PNG",)) as picture:
        picture.load()
        return picture.size


def test_an_upload_by_tweepy_becomes_the_banner(x: X, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", x.ca)
    auth = tweepy.OAuth1UserHandler(*(x.keys[key] for key in list(x.keys)[:4]))
    tweepy.API(auth, host=x.host).update_profile_banner("banner.png", file=PNG)
    assert x.banners == [PNG]
    assert requests.get(x.page + "/banner.png").content == PNG
    digest = hashlib.sha256(PNG).hexdigest()
    expected = {"name": "NAME", "followers": x.followers, "banners": 1, "attempts": 1, "sha256": digest}
    assert requests.get(x.page + "/state").json() == expected | {"answers": {"upload": "ok", "user": "ok"}}


def test_success_has_an_empty_body(x: X) -> None:
    answer = post(x)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("key", ["consumer_key", "consumer_secret", "access_token", "access_token_secret"])
@pytest.mark.parametrize("wrong", ["wrong", "test-consumer-key\n", ""])
def test_a_wrong_key_is_401_with_code_32(x: X, key: str, wrong: str) -> None:
    answer = post(x, headers=sign(x, f"https://{x.host}{UPLOAD}", **{key: wrong}))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 32)
    assert (x.attempts, x.banners) == (1, [])


def test_a_request_without_a_signature_is_401(x: X) -> None:
    assert post(x, headers={}).status_code == 401


def test_a_signature_for_another_path_is_401(x: X) -> None:
    assert post(x, headers=sign(x, f"https://{x.host}/1.1/account/settings.json")).status_code == 401


def test_a_signature_counts_once(x: X) -> None:
    headers = sign(x, f"https://{x.host}{UPLOAD}")
    assert [post(x, headers=headers).status_code for _ in range(2)] == [200, 401]


def test_what_x_remembers_has_a_limit(x: X) -> None:
    for number in range(105):
        assert post(x, pictures.plain(150, 50 + number)).status_code == 200
    assert x.banners == [pictures.plain(150, 50 + number) for number in range(5, 105)]
    assert x.state()["banners"] == 105
    nonces = Keys(x.keys)
    assert all(nonces.validate_timestamp_and_nonce("key", "0", str(number)) for number in range(REMEMBERED + 5))
    assert not nonces.validate_timestamp_and_nonce("key", "0", str(REMEMBERED + 4))
    for _ in range(REMEMBERED + 5 - len(x.history)):
        x.follow()
    assert (len(nonces.seen), len(x.history)) == (REMEMBERED, REMEMBERED)


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_off_is_401_with_code_135(x: X, seconds: int) -> None:
    answer = post(x, headers=sign(x, f"https://{x.host}{UPLOAD}", timestamp=str(int(time.time()) + seconds)))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 135)


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (150, 50), "navy").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        pytest.param(PNG, "banner", 200, id="PNG"),
        pytest.param(picture("JPEG"), "banner", 200, id="JPEG"),
        pytest.param(picture("GIF"), "banner", 200, id="GIF"),
        pytest.param(picture("BMP"), "banner", 422, id="BMP"),
        pytest.param(b"", "banner", 422, id="empty"),
        pytest.param(b"<!doctype html><title>Grafana</title>", "banner", 422, id="HTML"),
        pytest.param(PNG[: len(PNG) // 2], "banner", 422, id="half a PNG"),
        pytest.param(PNG, "picture", 400, id="another field"),
        pytest.param(bytes(5_000_001), "banner", 413, id="over 5 MB"),
        pytest.param(bytes(5_000_000), "banner", 422, id="5 MB"),
    ],
)
def test_x_takes_pictures_alone(x: X, body: bytes, field: str, status: int) -> None:
    answer = post(x, body, field)
    assert answer.status_code == status
    assert x.banners == ([body] if status == 200 else [])
    if status == 400:
        assert answer.json()["errors"][0]["code"] == 38


UPLOAD_TABLE: dict[str, tuple[int, int | None]] = {
    "ok": (200, None),
    "201": (201, None),
    "202": (202, None),
    "no-picture": (400, 38),
    "keys": (401, 32),
    "token": (401, 89),
    "clock": (401, 135),
    "credits": (402, None),
    "access-level": (403, 453),
    "read-only": (403, 261),
    "suspended": (403, 64),
    "not-found": (404, 34),
    "too-large": (413, None),
    "not-resizable": (422, 120),
    "rate-limit": (429, 88),
    "usage-cap": (429, None),
    "server-error": (503, 130),
}


@pytest.mark.parametrize("name", sorted(UPLOAD_ANSWERS.keys() - {"silent"}))
def test_x_says_what_it_is_told_to_an_upload(x: X, name: str) -> None:
    told = requests.put(x.page + "/answers", json={"upload": name})
    assert (told.status_code, told.json()["upload"]) == (200, name)
    answer = post(x)
    codes = [error["code"] for error in answer.json().get("errors", [])] if answer.content else []
    status, code = UPLOAD_TABLE[name]
    assert (answer.status_code, codes) == (status, [code] if code else [])
    assert len(x.banners) == (status < 300)
    if status == 402:
        assert answer.json()["title"] == "CreditsDepleted"
    if status == 429:
        assert 0 < int(answer.headers["x-rate-limit-reset"]) - time.time() <= 900


def test_a_silent_x_answers_nothing_until_it_ends() -> None:
    with X() as x:
        x.answers["upload"] = "silent"
        url = f"https://{x.host}{UPLOAD}"
        with pytest.raises(requests.ReadTimeout):
            requests.post(url, files={"banner": PNG}, headers=sign(x, url), verify=x.ca, timeout=(None, 1))
        began = time.monotonic()
    assert time.monotonic() - began < starts(10)
    assert x.banners == []


@pytest.mark.parametrize("said", [{"upload": "nonsense"}, {"nonsense": "ok"}, {"user": "ok", "upload": 1}, ["ok"]])
def test_an_unknown_answer_is_refused_and_changes_nothing(x: X, said: Any) -> None:
    told = requests.put(x.page + "/answers", json=said)
    assert (told.status_code, x.answers) == (400, {"upload": "ok", "user": "ok"})
    assert "credits" in told.json()["known"]["upload"]


def test_the_follower_count_is_where_x_has_it_and_follow_raises_it(x: X) -> None:
    before = user(x).json()["data"][0]["public_metrics"]["followers_count"]
    assert requests.post(x.page + "/follow").json()["followers"] == before + 1
    assert user(x, "name").json()["data"][0]["public_metrics"]["followers_count"] == before + 1


def test_public_metrics_come_only_when_asked_for(x: X) -> None:
    [data] = user(x, fields="").json()["data"]
    assert (data["username"], "public_metrics" in data) == ("NAME", False)


def test_the_banner_has_a_new_address_after_each_upload_that_is_taken(x: X) -> None:
    def address() -> str | None:
        [data] = user(x, fields="public_metrics,profile_banner_url").json()["data"]
        url: str | None = data.get("profile_banner_url")
        return url

    addresses = [address()]
    for status, body in ((200, PNG), (422, b"no picture"), (200, PNG)):
        assert post(x, body).status_code == status
        addresses.append(address())
    none, first, after_a_refusal, second = addresses
    assert none is None
    assert first
    assert first == after_a_refusal
    assert second not in (None, first)
    assert "profile_banner_url" not in user(x).json()["data"][0]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dGVzdDp0ZXN0"}])
def test_a_user_is_told_to_nobody_without_the_bearer_token(x: X, headers: dict[str, str]) -> None:
    answer = user(x, headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (401, "Unauthorized")


def test_an_unknown_user_is_200_with_errors_and_no_data(x: X) -> None:
    answer = user(x, "NOSUCH")
    assert (answer.status_code, answer.json().keys()) == (200, {"errors"})


def test_many_users_come_in_one_answer_up_to_a_hundred_and_who_is_unknown_in_its_errors() -> None:
    with X("NAME,alice,bob") as x:
        answer = user(x, "bob,NOSUCH,name").json()
        assert [one["username"] for one in answer["data"]] == ["bob", "NAME"]
        assert [one["value"] for one in answer["errors"]] == ["NOSUCH"]
        assert user(x, ",".join(["bob"] * 100)).status_code == 200
        assert user(x, ",".join(["bob"] * 101)).status_code == 400


@pytest.mark.parametrize("name", USER_ANSWERS)
def test_x_says_what_it_is_told_about_a_user(x: X, name: str) -> None:
    x.answers["user"] = name
    answer = user(x)
    expected = {"ok": 200, "unauthorized": 401, "credits": 402, "rate-limit": 429, "unknown": 200, "garbled": 200}
    assert answer.status_code == expected[name]
    if name == "garbled":
        with pytest.raises(requests.JSONDecodeError):
            answer.json()
    else:
        assert ("data" in answer.json()) == (name == "ok")


def test_the_certificate_is_good_for_the_names_given_and_by_the_ca_told() -> None:
    with X(hosts=["x.monitoring.svc"]) as x:
        authority = requests.get(x.page + "/ca.pem").text
        assert authority == Path(x.ca).read_text()
        context = ssl.create_default_context(cadata=authority)
        host, port = x.host.split(":")
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname="x.monitoring.svc") as tls,
        ):
            assert tls.getpeercert() is not None


@contextmanager
def api_server(
    account: Path, tls: ssl.SSLContext, ca_file: str, patch: Callable[[], dict[str, Any]]
) -> Iterator[dict[str, str]]:
    """Kubernetes' API, of one ConfigMap, for the service account that it writes; yields its pod's environment."""
    shutil.copy(ca_file, account / "ca.crt")
    (account / "token").write_text("test-service-account\n")
    app = application({"PATCH /api/v1/namespaces/monitoring/configmaps/x-ca": patch})
    with serving(app, "127.0.0.1", 0, tls) as port:
        yield {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": f"{port}"}


def test_a_pod_writes_its_ca_into_a_config_map(
    tmp_path: Path, tls: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None, dict[str, Any]]] = []

    def patch() -> dict[str, Any]:
        asked.append((request.content_type or "", request.headers.get("Authorization"), json.loads(request.data)))
        return {}

    with api_server(tmp_path, tls, ca_file, patch) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        write_ca_config_map("the CA", "monitoring", "x-ca", account=tmp_path)
        with pytest.raises(requests.HTTPError):
            write_ca_config_map("the CA", "elsewhere", "x-ca", account=tmp_path)
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x-ca"}, "data": {"ca.crt": "the CA"}}
    assert asked == [("application/apply-patch+yaml", "Bearer test-service-account", config_map)]


def test_a_pod_is_not_ready_before_its_ca_is_written(tmp_path: Path, tls: ssl.SSLContext, ca_file: str) -> None:
    port = free_port()
    listens: list[bool] = []

    def patch() -> dict[str, Any]:
        with socket.socket() as client:
            listens.append(client.connect_ex(("127.0.0.1", port)) == 0)
        return {}

    in_place = f'mount -t tmpfs none /run && mkdir -p {SERVICE_ACCOUNT} && cp "$0"/* {SERVICE_ACCOUNT} && exec "$@"'
    before = [*namespace("--map-root-user", "--mount"), "sh", "-c", in_place, str(tmp_path)]
    stand_in = ["x", "--tls-port", "0", "--page-port", f"{port}", "--ca-config-map", "monitoring/x-ca"]
    with api_server(tmp_path, tls, ca_file, patch) as environment:
        environment |= {"PYTHONPATH": str(TESTS), "PATH": os.environ["PATH"]}
        command = [*before, sys.executable, "-m", "rehearsal", *stand_in]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            ready = process.stdout.readline()
            process.terminate()
    assert ("X's API at" in ready, listens) == (True, [False])


def test_a_client_that_never_shakes_hands_keeps_nobody_out(x: X) -> None:
    host, port = x.host.split(":")
    with socket.create_connection((host, int(port))):
        assert post(x).status_code == 200


def test_the_stand_ins_image_has_the_very_packages_that_are_tested_here() -> None:
    packages = [
        set(re.findall(r"^([\w.-]+==[^ \\]+)", file.read_text(), re.MULTILINE))
        for file in (TESTS / "rehearsal/requirements.txt", TESTS / "requirements.txt")
    ]
    assert packages[0]
    assert packages[0] <= packages[1]


def test_without_a_banner_there_is_none(x: X) -> None:
    assert requests.get(x.page + "/banner.png").status_code == 404
    assert requests.get(x.page + "/banners/1.png").status_code == 404


def test_the_last_hundred_banners_are_kept_by_their_number(x: X) -> None:
    for number in range(1, KEPT + 3):
        x.publish(b"%d" % number)
    answers = [requests.get(f"{x.page}/banners/{number}.png") for number in (2, 3, KEPT + 2, KEPT + 3)]
    assert [answer.status_code for answer in answers] == [404, 200, 200, 404]
    assert [answer.content for answer in answers[1:3]] == [b"3", b"%d" % (KEPT + 2)]


def test_the_page_is_at_the_name(x: X) -> None:
    answer = requests.get(x.page)
    assert (answer.url, answer.status_code) == (x.page + "/NAME", 200)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("width=1500&height=500", (1500, 500)),
        ("width=1500&height=500&scale=2", (3000, 1000)),
        ("width=1500&height=500&scale=1.5", (2250, 750)),
        ("width=1501&height=501&scale=1.1", (1651, 551)),
        ("height=500", (1000, 500)),
        ("width=1500", (1500, 500)),
        ("width=600&height=200&scale=2.5", (1500, 500)),
        ("width=599&height=199", (600, 200)),
        ("width=9000&height=700", (3000, 700)),
        ("width=1500&height=-1", (1500, 1125)),
        ("width=1500&height=500&theme=light&from=now-30d&to=now&tz=Europe%2FAmsterdam", (1500, 500)),
        ("width=1500&height=500&from=1700000000000&to=1700000060000&timezone=No%2FWhere", (1500, 500)),
    ],
)
def test_a_panel_has_the_size_that_grafana_gives_it(grafana: Grafana, asked: str, expected: tuple[int, int]) -> None:
    answer = requests.get(f"{grafana.image_url.partition('?')[0]}?orgId=1&panelId=2&{asked}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert size(answer.content) == expected


def test_there_are_two_panels_of_one_size(grafana: Grafana) -> None:
    shown = {
        panel: requests.get(grafana.image_url.replace("panelId=2", f"panelId={panel}")).content
        for panel in ("2", "panel-2", "4")
    }
    assert {size(picture) for picture in shown.values()} == {(1500, 500)}
    assert ink(shown["4"]) != ink(shown["2"])


def ink(body: bytes) -> int:
    """How many pixels have exactly the colour that data are drawn in, and nothing else is."""
    with Image.open(io.BytesIO(body)) as shown:
        return int((np.asarray(shown.convert("RGB")) == (0x1D, 0xA1, 0xF2)).all(axis=2).sum())


NOW = 1_764_158_400.0
SERIES = {
    "a single sample": [(NOW, 5.0)],
    "two a second apart": [(NOW - 1, 5.0), (NOW, 5.0)],
    "a flat line": [(NOW - second, 5.0) for second in range(300, -1, -1)],
    "a rising line": [(NOW - second, 300.0 - second) for second in range(300, -1, -1)],
}


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("scale", [1, 1.1, 2])
@pytest.mark.parametrize("window", [300, 14400])
@pytest.mark.parametrize("samples", SERIES.values(), ids=SERIES)
def test_data_are_drawn_in_exactly_their_colour(
    samples: list[tuple[float, float]], window: int, scale: float, light: bool
) -> None:
    screen = panel.Screen(1500, 500, scale, light)
    assert ink(panel.time_series(screen, [samples], NOW - window, NOW, UTC)) >= 10
    assert ink(panel.stat(screen, samples, NOW - window, NOW)) >= 10


@pytest.mark.parametrize("name", ["no-data", "data-source-down", "wrong-panel", "wrong-dashboard", "login-page"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_without_data_nothing_has_their_colour(grafana: Grafana, name: str, theme: str) -> None:
    grafana.answers["render"] = name
    assert ink(requests.get(f"{grafana.image_url}&theme={theme}").content) == 0


def test_the_settings_for_the_script_name_the_datas_colour(grafana: Grafana) -> None:
    settings = grafana.environment()
    assert settings == {
        "image_url": grafana.image_url,
        "publish_if_url": grafana.publish_if_url,
        "data_color": "1DA1F2",
    }
    assert ink(requests.get(grafana.image_url).content) >= 10


@pytest.mark.parametrize("told_by", ["TZ", "/etc/localtime"])
def test_the_axis_shows_the_zone_that_is_asked_for_or_else_the_machines_own(x: X, tmp_path: Path, told_by: str) -> None:
    kolkata, greenwich = "timezone=Asia%2FKolkata", "timezone=Africa%2FAbidjan"
    expected = {
        "": kolkata,
        "timezone=browser": kolkata,
        "tz=Africa%2FAbidjan": greenwich,
        "timezone=browser&tz=Africa%2FAbidjan": greenwich,
        "timezone=Asia%2FKolkata&tz=Africa%2FAbidjan": kolkata,
        "tz=No%2FWhere": greenwich,
    }
    window = f"panelId=2&from={int(x.history[0][0]) * 1000}&to={int(x.history[-1][0]) * 1000}"
    with grafana_in("Asia/Kolkata", told_by, x, tmp_path) as url:
        shown = {
            asked: requests.get(f"{url}/render/d-solo/wR0Yf26Gk/twitter-followers?{window}&{asked}").content
            for asked in {*expected, *expected.values()}
        }
    assert shown[kolkata] != shown[greenwich]
    assert [asked for asked, same_as in expected.items() if shown[asked] != shown[same_as]] == []


@contextmanager
def grafana_in(zone: str, told_by: str, x: X, folder: Path) -> Iterator[str]:
    """The stand-in Grafana as a program on a machine in that zone; yields its URL."""
    environment = {"PYTHONPATH": str(TESTS), "MPLCONFIGDIR": str(folder), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "rehearsal", "grafana", "--port", "0", "--x", x.page]
    if told_by == "TZ":
        environment["TZ"] = zone
    else:
        in_place = 'mount --bind "$0" /etc/localtime && exec "$@"'
        command = [
            *namespace("--map-root-user", "--mount"),
            "sh",
            "-c",
            in_place,
            f"/usr/share/zoneinfo/{zone}",
            *command,
        ]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield next(text for text in process.stdout if "at http" in text).split()[-1]
        finally:
            process.terminate()


@pytest.mark.parametrize(
    "asked", ["width=x", "height=1.5", "scale=x", "scale=0", "scale=nan", "timeout=x", "from=then"]
)
def test_a_bad_parameter_is_400(grafana: Grafana, asked: str) -> None:
    answer = requests.get(f"{grafana.image_url.partition('?')[0]}?panelId=2&{asked}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "text/html; charset=UTF-8")


def line(body: bytes, column: int) -> int:
    """How many dots from the top of a 1500x500 panel its line is, in that column."""
    with Image.open(io.BytesIO(body)) as shown:
        dots = np.asarray(shown.convert("RGB"))[:, column].astype(int)
    return int(np.flatnonzero(np.abs(dots - (0x1D, 0xA1, 0xF2)).sum(axis=1) < 30)[0])


def test_the_line_goes_up_by_follow(x: X, grafana: Grafana) -> None:
    def rise() -> int:
        """How many dots higher the line is at its end than where it was 20 seconds before the first press."""
        shown = requests.get(grafana.image_url).content
        return line(shown, 1329 - round((time.time() - began + 20) / 300 * 1290)) - line(shown, 1329)

    began = time.time()
    before = rise()
    for _ in range(5):
        requests.post(x.page + "/follow")
    assert rise() > before + 30


RENDER_TABLE: dict[str, tuple[int, str, tuple[int, int] | bytes]] = {
    "login-redirect": (302, "text/html", b"/login"),
    "bad-parameter": (400, "text/html", b"Render parameters error"),
    "token-unknown": (401, "application/json", b"invalid API key"),
    "token-expired": (401, "application/json", b"Expired API key"),
    "token-deleted": (500, "application/json", b"invalid API key"),
    "password": (401, "application/json", b"Invalid username or password"),
    "forbidden": (403, "application/json", b"Access denied"),
    "not-found": (404, "text/plain", b"Not found"),
    "timeout": (408, "text/html", b"timed out"),
    "busy": (429, "application/json", b"too many requests"),
    "render-failed": (500, "text/html", b"Rendering failed."),
    "bad-gateway": (502, "text/html", b""),
    "no-render-in-path": (200, "text/html", b"<!doctype html>"),
    "text": (200, "image/png", b"Grafana Image Renderer (Go)"),
    "pdf": (200, "image/png", b"%PDF-"),
    "no-renderer": (200, "image/png", (478, 208)),
    "render-limit": (200, "image/png", (526, 202)),
    "canned-1004x404": (200, "image/png", (1004, 404)),
    "canned-523x200": (200, "image/png", (523, 200)),
    "canned-503x203": (200, "image/png", (503, 203)),
    "no-data": (200, "image/png", (1500, 500)),
    "data-source-down": (200, "image/png", (1500, 500)),
    "wrong-panel": (200, "image/png", (1500, 500)),
    "wrong-dashboard": (200, "image/png", (1500, 500)),
    "login-page": (200, "image/png", (1500, 500)),
}


@pytest.mark.parametrize("name", sorted(GRAFANA_ANSWERS["render"] - {"ok", "slow", "silent"}))
def test_grafana_says_what_it_is_told_to_a_render(grafana: Grafana, name: str) -> None:
    assert requests.put(grafana.url + "/answers", json={"render": name}).status_code == 200
    answer = requests.get(grafana.image_url, allow_redirects=False)
    status, kind, content = RENDER_TABLE[name]
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (status, kind)
    assert content in answer.content if isinstance(content, bytes) else content == size(answer.content)
    assert answer.headers.get("Location") == ("/login" if status == 302 else None)


@pytest.mark.parametrize("name", ["slow", "silent"])
def test_a_slow_grafana_keeps_its_client_waiting(grafana: Grafana, name: str) -> None:
    grafana.answers["render"] = name
    with pytest.raises(requests.ReadTimeout):
        requests.get(grafana.image_url, timeout=(None, 1))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (("panelId=2", "panelId=999"), "wrong-panel"),
        (("wR0Yf26Gk", "NOSUCHuid"), "wrong-dashboard"),
    ],
)
def test_what_is_not_there_is_a_picture_of_the_right_size(grafana: Grafana, change: tuple[str, str], name: str) -> None:
    shown = requests.get(grafana.image_url.replace(*change)).content
    grafana.answers["render"] = name
    assert shown == requests.get(grafana.image_url).content


def test_without_its_source_grafana_shows_no_data_and_a_red_corner() -> None:
    with X() as x:
        gone = x.page
    with Grafana(x=gone) as grafana:
        shown = requests.get(grafana.image_url).content
        assert requests.get(grafana.publish_if_url).status_code == 502
        grafana.answers["render"] = "data-source-down"
        assert shown == requests.get(grafana.image_url).content


DASHBOARD_TABLE: dict[str, tuple[int, Callable[[str], bool]]] = {
    "ok": (200, lambda text: '"id":2' in text and '"id":4' in text),
    "elements": (200, lambda text: '"panel-2"' in text and '"panels"' not in text),
    "no-panels": (200, lambda text: '"panels":[]' in text),
    "missing": (404, lambda text: "Dashboard not found" in text),
    "other-404": (404, lambda text: "ashboard" not in text),
    "unauthorized": (401, lambda text: "invalid API key" in text),
    "forbidden": (403, lambda text: "Access denied" in text),
    "server-error": (500, lambda text: "error" in text),
    "garbled": (200, lambda text: not text.endswith("}")),
}
QUERY_TABLE: dict[str, tuple[int, Callable[[str], bool]]] = {
    "ok": (200, lambda text: '"username":"NAME"' in text),
    "empty": (200, lambda text: '"result":[]' in text),
    "bad-query": (400, lambda text: "bad_data" in text),
    "unauthorized": (401, lambda text: "invalid API key" in text),
    "server-error": (500, lambda text: "internal" in text),
    "down": (502, lambda text: not text),
    "garbled": (200, lambda text: not text.endswith("}")),
}


@pytest.mark.parametrize("name", sorted(GRAFANA_ANSWERS["dashboard"]))
def test_grafana_says_what_it_is_told_of_the_dashboard(grafana: Grafana, name: str) -> None:
    grafana.answers["dashboard"] = name
    answer = requests.get(f"{grafana.url}/api/dashboards/uid/wR0Yf26Gk")
    status, good = DASHBOARD_TABLE[name]
    assert (answer.status_code, good(answer.text)) == (status, True)


@pytest.mark.parametrize("name", sorted(GRAFANA_ANSWERS["query"]))
def test_grafana_says_what_it_is_told_to_a_query(grafana: Grafana, name: str) -> None:
    grafana.answers["query"] = name
    answer = requests.get(grafana.publish_if_url)
    status, good = QUERY_TABLE[name]
    assert (answer.status_code, good(answer.text)) == (status, True)


def test_another_dashboard_is_404(grafana: Grafana) -> None:
    answer = requests.get(f"{grafana.url}/api/dashboards/uid/NOSUCHuid")
    assert (answer.status_code, answer.json()["message"]) == (404, "Dashboard not found")


def test_a_query_for_another_series_finds_none(grafana: Grafana) -> None:
    url = grafana.publish_if_url.replace("x_user_followers_count", "up")
    assert requests.get(url).json()["data"]["result"] == []


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 302),
        ({"auth": ("admin", "test-password")}, 200),
        ({"auth": ("admin", "wrong")}, 401),
        ({"auth": ("somebody", "test-password")}, 401),
        ({"headers": {"Authorization": "Bearer test-token"}}, 200),
        ({"headers": {"Authorization": "Bearer wrong"}}, 401),
    ],
)
def test_who_may_see_a_panel(x: X, given: dict[str, Any], status: int) -> None:
    with Grafana(x=x.page, password="test-password", token="test-token") as grafana:
        assert requests.get(grafana.image_url, allow_redirects=False, **given).status_code == status
        dashboard = requests.get(f"{grafana.url}/api/dashboards/uid/wR0Yf26Gk", **given)
        assert dashboard.status_code == (401 if status == 302 else status)


def test_an_unknown_token_is_401_where_anybody_may_look(grafana: Grafana) -> None:
    assert requests.get(grafana.image_url).status_code == 200
    assert requests.get(grafana.image_url, headers={"Authorization": "Bearer x"}).status_code == 401


def test_grafana_draws_what_prometheus_knows() -> None:
    asked: list[dict[str, str]] = []
    results: list[dict[str, Any]] = []

    def answer() -> dict[str, Any]:
        asked.append(request.args.to_dict())
        return {"status": "success", "data": {"resultType": "matrix", "result": results}}

    app = application({"GET /api/v1/query_range": answer, "GET /api/v1/query": answer})
    with serving(app, "127.0.0.1", 0) as port, Grafana(prometheus=f"http://127.0.0.1:{port}/") as grafana:
        empty = requests.get(grafana.image_url).content
        assert {"query", "start", "end", "step"} == asked[0].keys()
        assert float(asked[0]["end"]) - float(asked[0]["start"]) == pytest.approx(300, abs=1)
        assert requests.get(grafana.publish_if_url).json()["data"]["result"] == []
        assert asked[1] == {"query": "x_user_followers_count"}
        now = time.time()
        results += [
            {"metric": {"username": name}, "values": [[now - 300 + 10 * step, str(base + step)] for step in range(31)]}
            for name, base in (("NAME", 1600), ("other", 1500))
        ]
        full = requests.get(grafana.image_url).content
        grafana.answers["render"] = "no-data"
        assert empty == requests.get(grafana.image_url).content
    assert line(full, 100) > line(full, 1320)


@pytest.mark.parametrize("taken_by", [min, max], ids=["the-first-thread", "another-thread"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=lambda stop: stop.name)
@pytest.mark.parametrize(
    "arguments",
    [("x", "--tls-port", "0", "--page-port", "0"), ("grafana", "--port", "0", "--x", "http://x")],
    ids=lambda arguments: arguments[0],
)
def test_a_stand_in_ends_at_once_when_told(
    tmp_path: Path, arguments: tuple[str, ...], stop: signal.Signals, taken_by: Callable[[Iterable[int]], int]
) -> None:
    environment = {"PYTHONPATH": str(TESTS), "MPLCONFIGDIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "rehearsal", *arguments]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        ready = next(text for text in process.stdout if "at http" in text)
        began = time.monotonic()
        threads = [int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()]
        assert ctypes.CDLL(None).tgkill(process.pid, taken_by(threads), stop) == 0
        status = process.wait()
    assert (status, time.monotonic() - began < starts(10), "127.0.0.1:" in ready) == (0, True, True)
    assert not list(tmp_path.glob("x-*"))


def rendered(grafana: Grafana) -> requests.Response:
    return requests.get(grafana.image_url, headers={"Authorization": "Bearer test-grafana-token"})


def test_a_linked_renderer_is_asked_for_each_picture_and_lets_in_no_more_than_its_limit(
    linked: tuple[Grafana, Renderer],
) -> None:
    grafana, renderer = linked
    assert requests.get(renderer.url.replace("/render", "/healthz")).text == "ok"
    with ThreadPoolExecutor() as others:
        both = [one.result().status_code for one in [others.submit(rendered, grafana) for _ in range(2)]]
    assert sorted(both) == [200, 429]
    assert size(rendered(grafana).content) == (1500, 500)
    metrics = requests.get(renderer.url.replace("/render", "/metrics"))
    values = dict(line.split(" ") for line in metrics.text.splitlines())
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert values['browser_render_duration_count{unit="seconds"}'] == "2"
    assert float(values['browser_render_duration_sum{unit="seconds"}']) >= 2 * 0.5
    assert values["http_requests_in_flight"] == "0"


@pytest.mark.parametrize(
    "link",
    [
        Link("{renderer}", "{grafana}/", "wrong"),
        Link("{renderer}", "http://127.0.0.1:1/", "test-renderer-token"),
        Link("http://127.0.0.1:1/render", "{grafana}/", "test-renderer-token"),
    ],
    ids=["another token", "no way back", "no renderer"],
)
def test_a_wrong_link_to_the_renderer_fails_the_render(linked: tuple[Grafana, Renderer], link: Link) -> None:
    grafana, renderer = linked
    known = {"renderer": renderer.url, "grafana": grafana.url}
    wrong = Link(link.server_url.format_map(known), link.callback_url.format_map(known), link.token)
    with Grafana(x="http://127.0.0.1:1", token="test-grafana-token", link=wrong) as other:
        answer = rendered(other)
    assert (answer.status_code, "Rendering failed" in answer.text) == (500, True)
