"""The settings: how they are read, what is said of wrong ones, where credentials and the picture go."""

import ast
import base64
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from support.paths import BANNER
from support.peers import Connection, Peer, answers, paths, says, tunnel
from support.script import GOOD, KEYS, LIBRARIES, PASSWORD, RENDER, SIZE, TOKEN, Run, World, leaks, one_line, run
from support.script import world as worlds

import banner

OPTIONAL = ["data_color", "publish_if_url", "grafana_token", "image_path", "deadline_seconds", "x_host"]
NAMES = [*KEYS, "image_url", *OPTIONAL]
SERIES = says({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "2"]}]}})
GRAFANA = paths({"/render/": answers(200, GOOD), "/api/v1/query": SERIES})


@pytest.fixture
def world(tls: ssl.SSLContext, ca_file: str) -> Iterator[World]:
    with worlds(GRAFANA, tls, ca_file) as made:
        yield made


def published(world: World, done: Run) -> bool:
    return done.status == 0 and done.stderr == "" and [request.banner for request in world.x.requests] == [GOOD]


# --- reading


@pytest.mark.parametrize("case", [str.upper, str.lower, str.title], ids=lambda case: case.__name__)
def test_names_are_read_in_any_case(case: type[str], world: World, tmp_path: Path) -> None:
    ours = {case(name): world.settings[name] for name in NAMES if name in world.settings}
    path = {
        case("image_path"): str(tmp_path / "elsewhere.png"),
        "REQUESTS_CA_BUNDLE": world.settings["REQUESTS_CA_BUNDLE"],
    }
    done = run(tmp_path, ours | path)
    assert published(world, done), done
    assert (tmp_path / "elsewhere.png").read_bytes() == GOOD


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t", " \n\n"], ids=repr)
def test_values_are_stripped(space: str, world: World, tmp_path: Path) -> None:
    path = {"image_path": str(tmp_path / "banner.png"), "deadline_seconds": "60"}
    stripped = {name: space + value + space for name, value in (world.settings | path).items() if name in NAMES}
    done = run(tmp_path, world.settings | stripped)
    assert published(world, done), done
    assert 'oauth_consumer_key="test-consumer-key"' in world.x.requests[0].headers["authorization"]


@pytest.mark.parametrize("seconds", ["60", "60.5", "999999999.999"])
def test_deadline_seconds_is_any_number_above_zero(seconds: str, world: World, tmp_path: Path) -> None:
    assert published(world, run(tmp_path, {**world.settings, "deadline_seconds": seconds}))


def test_nothing_is_sent_when_the_deadline_is_over_at_the_start(world: World, tmp_path: Path) -> None:
    done = run(tmp_path, {**world.settings, "deadline_seconds": "0.01"})
    assert (done.status, done.stdout) == (1, "")
    assert "out of time after 0.01 s" in done.stderr
    assert world.x.connections == 0


def test_the_defaults_are_those_of_the_help(tmp_path: Path) -> None:
    settings = banner.read_settings({"image_url": "http://grafana:3000" + RENDER}, dry_run=True)
    assert (settings["deadline_seconds"], settings["x_host"]) == ("45", "api.x.com")
    assert settings["image_path"].endswith("/banner.png")
    assert banner.picture_size(settings["image_url"]) == (1500, 500)
    help_text = run(tmp_path, {}, "--help").stdout
    assert "default 45\n" in help_text
    assert "default api.x.com\n" in help_text


# --- what is wrong, all of it at once

GRAFANA_URL = "http://grafana:3000"
ODD = "is with a space, a line end or another odd character inside"
NO_URL = "is not http:// or https:// with a host"
NO_HOST = "is not a host alone, such as api.x.com"
NO_NUMBER = "is not a number of seconds above 0, such as 45"
QUOTED = "is in quotes: leave them out"
WRONG = [  # a setting, its value, and what is said of it
    *((name, value, "is blank") for name in NAMES for value in ("", " \n")),
    *((name, f'"{value}"', QUOTED) for name, value in [*KEYS.items(), ("grafana_token", TOKEN), ("x_host", "x.test")]),
    *(
        ("consumer_key", value, QUOTED)
        for value in ("'test-key'", "'test-key", 'test-key"', "\u201ctest-key\u201d", "\u2018test-key\u2019")
    ),
    ("image_url", '"http://grafana:3000' + RENDER + '"', QUOTED),
    ("image_path", '"/tmp/banner.png"', QUOTED),
    ("deadline_seconds", '"45"', QUOTED),
    *((name, "test one", ODD) for name in [*KEYS, "grafana_token"]),
    *((name, "test-one\ntest-two", ODD) for name in [*KEYS, "grafana_token", "x_host"]),
    ("image_path", "/tmp/one\ntwo", "is with a line end or another odd character inside"),
    ("consumer_secret", "test-one\rtest-two", ODD),
    ("consumer_secret", "test-sécret", ODD),
    ("image_url", "http://grafana:3000/render/d-solo/a\nb?panelId=2", ODD),
    ("publish_if_url", "http://grafana:3000/api/v1/query?query=up or down", ODD),
    *(
        ("consumer_key", value, "is still a placeholder")
        for value in ("<your-key>", "<key>", "xxxx", "XXXXXXXX", "YOUR_API_KEY", "your-consumer-key", "...", "....")
    ),
    ("grafana_token", f"Bearer {TOKEN}", "is with the word Bearer: give the token alone"),
    *(
        ("deadline_seconds", value, NO_NUMBER)
        for value in ["soon", "1m", "45s", "0", "0.0", "-1", "nan", "inf", "-inf", "1e999", "0x10", ".5", "1000000000"]
    ),
    *(
        ("x_host", value, NO_HOST)
        for value in [
            "https://api.x.com",
            "api.x.com/1.1",
            "user@api.x.com",
            "api.x.com:port",
            "api.x.com:65536",
            "a:0",
        ]
    ),
    *(("image_url", value + RENDER, NO_URL) for value in ["grafana:3000", "grafana", "", "//grafana"]),
    ("publish_if_url", "prometheus:9090/api/v1/query?query=up", NO_URL),
    ("image_url", f"http://user:p@ss@grafana{RENDER}", "is with an @ too many: in a password, write %40"),
    *(
        ("image_url", value, NO_URL)
        for value in [
            "ftp://grafana" + RENDER,
            "file:///etc/passwd",
            "http://" + RENDER,
            "http://user:password@" + RENDER,
            "https:///render",
            "http://grafana:port" + RENDER,
            "http://grafana:99999" + RENDER,
            "http://grafana:0" + RENDER,
            "http://[::1" + RENDER,
        ]
    ),
    ("publish_if_url", "http://", NO_URL),
    *(
        ("image_url", f"{GRAFANA_URL}{RENDER}&{name}={value}", "is with a size that is no number")
        for name in ("width", "height", "scale")
        for value in ("-1", "wide", "nan", "inf", "1e300", "")
    ),
    *(
        ("image_url", f"{GRAFANA_URL}{RENDER}&{size}", problem)
        for size, problem in {
            "width=0": "is not 1 to 3000 pixels wide: ask for 1500",
            "height=0": "is not 1 to 1000 pixels high: ask for 500",
            "scale=0": "is not 1 to 3000 pixels wide: ask for 1500",
            "width=3001": "is not 1 to 3000 pixels wide: ask for 1500",
            "width=1500&scale=2.1": "is not 1 to 3000 pixels wide: ask for 1500",
            "width=4500&height=1500": "is not 1 to 3000 pixels wide: ask for 1500",
            "width=3000&height=1001": "is not 1 to 1000 pixels high: ask for 500",
        }.items()
    ),
    *(
        ("image_url", GRAFANA_URL + path, "is without panelId")
        for path in [
            "/render/d-solo/uid/slug?orgId=1",
            "/render/d-solo/uid/slug?panelId=",
            "/render/d-solo/uid/slug?panelId=&panelId=2",
            "/grafana/render/d-solo/uid?orgId=1",
        ]
    ),
    *(
        ("image_url", f"{GRAFANA_URL}{RENDER}&{times}", "is for a time that stands still: write from=now-4h&to=now")
        for times in [
            "from=1568719680173&to=1568726880174",
            "from=now-4h&to=2026-01-01T00:00:00Z",
            "to=&from=now-4h",
            "to=tomorrow",
        ]
    ),
    *(
        ("data_color", value, "is not a colour as RRGGBB, such as 1DA1F2")
        for value in ["blue", "1DA1F", "#1DA1F2FF", "0x1DA1F2", "##1DA1F2", "1DA1FG"]
    ),
]


@pytest.mark.parametrize(("name", "value", "problem"), WRONG, ids=lambda part: repr(part)[:40])
def test_a_wrong_setting_is_named_before_anything_is_sent(name: str, value: str, problem: str) -> None:
    good = {**KEYS, "image_url": GRAFANA_URL + RENDER}
    with pytest.raises(banner.MustAct) as raised:
        banner.read_settings({**good, name: value}, dry_run=False)
    assert str(raised.value) == f"settings: {name} {problem}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_url", f"{GRAFANA_URL}{RENDER}&from=now-4h&to=now"),
        ("image_url", f"{GRAFANA_URL}{RENDER}&from=1568719680173&to=now"),
        ("image_url", f"{GRAFANA_URL}{RENDER}&to=now%2Fd"),
        ("image_url", f"{GRAFANA_URL}{RENDER}&width=3000&height=1000"),
        ("image_url", f"{GRAFANA_URL}{RENDER}&width=1&height=1"),
        ("image_url", f"{GRAFANA_URL}{RENDER}&width=600&height=200&scale=2.5"),
        ("image_url", "https://user:p%40ss@[::1]:3000/grafana" + RENDER),
        ("data_color", "1da1f2"),
        ("data_color", "#1DA1F2"),
        ("data_colour", "1DA1F2"),
        ("x_host", "localhost:8443"),
        ("consumer_key", "xxabyour1"),
    ],
)
def test_a_right_setting_is_taken(name: str, value: str) -> None:
    settings = banner.read_settings({**KEYS, "image_url": GRAFANA_URL + RENDER, name: value}, dry_run=False)
    assert settings[name.replace("colour", "color")] == value


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"image_ulr": "x"}, "image_url is missing; there is image_ulr"),
        ({"IMAGE_ULR": "x"}, "image_url is missing; there is IMAGE_ULR"),
        ({"GRAFANA_IMAGE_URL": "x"}, "image_url is missing; there is GRAFANA_IMAGE_URL"),
        ({"PATH": "/bin", "image_path": "/tmp/banner.png", "odd\nname": "x", "x" * 300: "x"}, "image_url is missing"),
    ],
)
def test_a_name_that_is_nearly_right_is_told(given: dict[str, str], line: str) -> None:
    with pytest.raises(banner.MustAct) as raised:
        banner.read_settings(given, dry_run=True)
    assert str(raised.value) == f"settings: {line}"


def test_a_key_that_is_there_by_another_name_is_told() -> None:
    given = {f"TWITTER_{name.upper()}": value for name, value in KEYS.items()} | {"image_url": GRAFANA_URL + RENDER}
    with pytest.raises(banner.MustAct) as raised:
        banner.read_settings(given, dry_run=False)
    assert str(raised.value) == "settings: " + "; ".join(
        f"{name} is missing; there is TWITTER_{name.upper()}" for name in KEYS
    )


def test_one_value_for_all_four_keys_is_told() -> None:
    same = dict.fromkeys(KEYS, "test-key")
    with pytest.raises(banner.MustAct) as raised:
        banner.read_settings({**same, "image_url": GRAFANA_URL + RENDER}, dry_run=False)
    assert str(raised.value) == f"settings: {', '.join(KEYS)} are not all different: X gives four"


def test_two_with_one_problem_are_told_as_two() -> None:
    given = {name: KEYS[name] for name in ("consumer_key", "consumer_secret")}
    with pytest.raises(banner.MustAct) as raised:
        banner.read_settings({**given, "image_url": GRAFANA_URL + RENDER}, dry_run=False)
    assert str(raised.value) == "settings: access_token, access_token_secret are missing"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "Http_Proxy"])
@pytest.mark.parametrize("value", ["http://", "http://:3128", "proxy:port", "ftp://proxy", "http://user:pass@"])
def test_a_proxy_without_a_host_is_a_wrong_setting(name: str, value: str) -> None:
    with pytest.raises(banner.MustAct) as raised:
        banner.read_settings({"image_url": GRAFANA_URL + RENDER, name: value}, dry_run=True)
    assert str(raised.value) == f"settings: {name.lower()} is not an http(s) URL"


@pytest.mark.parametrize(
    "value", ["", "proxy:3128", "http://proxy", "http://user:p%40ss@proxy:3128/", "socks5://proxy:1080"]
)
def test_any_other_proxy_is_left_to_requests(value: str) -> None:
    banner.read_settings({"image_url": GRAFANA_URL + RENDER, "HTTPS_PROXY": value}, dry_run=True)


def test_the_plus_of_a_time_zone_reaches_grafana_as_one(world: World, tmp_path: Path) -> None:
    settings = {**world.settings, "image_url": world.settings["image_url"] + "&timezone=Etc/GMT+5"}
    assert published(world, run(tmp_path, settings))
    [render] = [request.target for request in world.grafana.requests if "/render/" in request.path]
    assert parse_qs(urlsplit(render).query)["timezone"] == ["Etc/GMT+5"]


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]], ids=str)
def test_all_that_is_wrong_is_said_at_once_and_nothing_is_sent(
    arguments: list[str], world: World, tmp_path: Path
) -> None:
    wrong = {
        "consumer_key": '"test-consumer-key"',
        "consumer_secret": "test-consumer\nsecret",
        "access_token": " ",
        "image_url": world.grafana.url + RENDER + "&width=-1",
        "data_color": "blue",
        "grafana_token": "'" + TOKEN + "'",
        "publish_if_url": "prometheus:9090",
        "image_path": "",
        "deadline_seconds": "-5",
        "x_host": "https://" + world.x.host,
    }
    without = {name: value for name, value in world.settings.items() if name != "access_token_secret"}
    done = run(tmp_path, without | wrong, *arguments)
    assert done.status == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    for name in [*wrong, *([] if arguments else ["access_token_secret"])]:
        assert name in done.stderr, f"{name} is not in: {done.stderr}"
    assert not leaks(done.output)
    assert world.untouched
    assert list(tmp_path.iterdir()) == []


def test_with_nothing_set_all_that_is_needed_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, {})
    assert done.status == 2
    assert one_line(done.stderr)
    assert [name for name in NAMES if name in done.stderr] == [*KEYS, "image_url"]


@pytest.mark.parametrize("name", KEYS)
def test_one_wrong_key_stops_the_run_before_it_starts(name: str, world: World, tmp_path: Path) -> None:
    done = run(tmp_path, {**world.settings, name: f"'{KEYS[name]}'"})
    assert (done.status, done.stdout) == (2, "")
    assert name in done.stderr
    assert not leaks(done.output)
    assert world.untouched


# --- flags


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_setting_and_exit_code(tmp_path: Path, option: str) -> None:
    done = run(tmp_path, {}, option)
    assert (done.status, done.stderr) == (0, "")
    for word in [
        *NAMES,
        "--dry-run",
        "--version",
        "HTTP_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "0",
        "1",
        "2",
        "143",
        "130",
    ]:
        assert word in done.stdout, word


def test_version_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, {}, "--version")
    assert (done.status, done.stderr, done.stdout) == (0, "", f"banner {banner.__version__}\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--dryrun"], "--dryrun"),
        (["-n"], "-n"),
        (["--dry-run", "--x"], "--x"),
        (["--x", "--a"], "--x"),
        (["--all"], "--all"),
        (["a\nb"], r"a\nb"),
    ],
)
def test_an_unknown_option_is_a_wrong_setting(options: list[str], told: str, world: World, tmp_path: Path) -> None:
    done = run(tmp_path, world.settings, *options)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == f"failed: no such option as '{told}': there are --dry-run, --help and --version\n"
    assert world.untouched


def test_a_dry_run_needs_no_keys_and_uploads_nothing(world: World, tmp_path: Path) -> None:
    settings = {name: value for name, value in world.settings.items() if name not in KEYS}
    done = run(tmp_path, settings, "--dry-run")
    assert (done.status, done.stderr) == (0, "")
    assert one_line(done.stdout)
    assert (tmp_path / "banner.png").read_bytes() == GOOD
    assert world.x.connections == 0


def test_a_dry_run_checks_as_strictly(world: World, tmp_path: Path) -> None:
    wrong_size = world.settings["image_url"].replace("width=150", "width=1500")
    done = run(tmp_path, {**world.settings, "image_url": wrong_size}, "--dry-run")
    assert (done.status, done.stdout) == (1, "")
    assert not (tmp_path / "banner.png").exists()


# --- where credentials go


def authorizations(peer: Peer) -> set[str | None]:
    assert peer.requests
    return {request.headers.get("authorization") for request in peer.requests}


@pytest.mark.parametrize(
    ("login", "sent"),
    [
        ("user:secret@", b"user:secret"),
        ("user:test-password%2Fwith%40signs@", f"user:{PASSWORD}".encode()),
        ("us%3Aer:a:b@", b"us:er:a:b"),
        ("user@", b"user:"),
        ("us%C3%A9r:p%C3%A4ss@", "usér:päss".encode()),
    ],
)
def test_credentials_in_the_url_go_out_as_basic(login: str, sent: bytes, world: World, tmp_path: Path) -> None:
    url = world.settings["image_url"].replace("http://", "http://" + login)
    assert published(world, run(tmp_path, {**world.settings, "image_url": url}))
    assert authorizations(world.grafana) == {"Basic " + base64.b64encode(sent).decode()}
    assert len(world.grafana.requests) == 2  # the dashboard is asked for with the same
    assert login not in str(world.x.requests)


def test_the_token_goes_to_the_same_origin(world: World, tmp_path: Path) -> None:
    query = world.grafana.url + "/api/v1/query?query=up"
    assert published(world, run(tmp_path, {**world.settings, "grafana_token": TOKEN, "publish_if_url": query}))
    assert authorizations(world.grafana) == {f"Bearer {TOKEN}"}
    assert len(world.grafana.requests) == 3


@pytest.mark.parametrize(
    ("base", "other", "same"),
    [
        ("http://grafana.test", "http://grafana.test:80", True),
        ("https://grafana.test", "https://GRAFANA.test:443", True),
        ("http://grafana.test", "https://grafana.test", False),
        ("http://grafana.test", "http://grafana.test:443", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    base: str, other: str, same: bool, tls: ssl.SSLContext, ca_file: str, tmp_path: Path
) -> None:
    def proxy(connection: Connection) -> None:
        request = connection.receive()
        granted = tunnel(tls, proxy), SERIES if "/api/v1/query" in request.target else answers(200, GOOD)
        granted[request.method != "CONNECT"](connection)

    with Peer(proxy) as peer:
        settings = {"HTTP_PROXY": peer.url, "HTTPS_PROXY": peer.url, "REQUESTS_CA_BUNDLE": ca_file}
        settings |= {"image_url": base + RENDER + SIZE, "publish_if_url": other + "/api/v1/query?query=up"}
        done = run(tmp_path, {**settings, "grafana_token": TOKEN}, "--dry-run")
    assert done.status == 0, done
    sent = [request.headers.get("authorization") for request in peer.requests if "/api/v1/query" in request.target]
    assert sent == [f"Bearer {TOKEN}" if same else None]


@pytest.mark.parametrize("other", ["port", "scheme", "host", "userinfo"])
def test_the_token_goes_to_no_other_origin(other: str, world: World, tls: ssl.SSLContext, tmp_path: Path) -> None:
    with Peer(SERIES, tls if other == "scheme" else None) as prometheus:
        url = prometheus.url if other != "host" else f"http://localhost:{prometheus.port}"
        url = url.replace("://", "://user:password@") if other == "userinfo" else url
        settings = {"grafana_token": TOKEN, "publish_if_url": url + "/api/v1/query?query=up"}
        done = run(tmp_path, world.settings | settings)
        assert published(world, done), done
        basic = "Basic " + base64.b64encode(b"user:password").decode()
        assert authorizations(prometheus) == {basic if other == "userinfo" else None}
        assert TOKEN not in str(prometheus.requests)
    assert TOKEN not in str(world.x.requests)


def test_the_same_host_and_port_by_another_name_is_another_origin(world: World, tmp_path: Path) -> None:
    query = f"http://localhost:{world.grafana.port}/api/v1/query?query=up"
    assert published(world, run(tmp_path, {**world.settings, "grafana_token": TOKEN, "publish_if_url": query}))
    assert [request.headers.get("authorization") for request in world.grafana.requests if "query" in request.path] == [
        None
    ]


@pytest.mark.parametrize(
    ("organisation", "asked"), [("orgId=3", {"targetOrgId": ["3"]}), ("theme=dark", {"theme": ["dark"]})]
)
def test_the_dashboard_is_asked_of_the_organisation(
    organisation: str, asked: dict[str, list[str]], world: World, tmp_path: Path
) -> None:
    image_url = world.settings["image_url"].replace("orgId=1", organisation)
    assert published(world, run(tmp_path, {**world.settings, "image_url": image_url}))
    [target] = [request.target for request in world.grafana.requests if "/api/dashboards/" in request.path]
    size = {"panelId": ["2"], "width": ["150"], "height": ["50"]}
    assert parse_qs(urlsplit(target).query) == asked | size


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("named_by", ["HOME", "NETRC"])
def test_no_netrc_is_used(named_by: str, token: str | None, world: World, tmp_path: Path) -> None:
    netrc = tmp_path / ("netrc" if named_by == "NETRC" else ".netrc")
    netrc.write_text("default login netrc-user password netrc-password\n")
    netrc.chmod(0o600)
    settings = world.settings | {"publish_if_url": f"http://localhost:{world.grafana.port}/api/v1/query?query=up"}
    settings |= {"NETRC": str(netrc)} if named_by == "NETRC" else {}
    settings |= {"grafana_token": token} if token else {}
    assert published(world, run(tmp_path, settings))
    assert authorizations(world.grafana) == ({None, f"Bearer {token}"} if token else {None})
    assert "Basic" not in str(world.x.requests)


def test_x_is_asked_with_the_keys_alone(world: World, tmp_path: Path) -> None:
    assert published(world, run(tmp_path, {**world.settings, "grafana_token": TOKEN}))
    (request,) = world.x.requests
    assert request.target == "/1.1/account/update_profile_banner.json"
    assert request.headers["authorization"].startswith("OAuth ")
    assert 'oauth_token="1234567890-test-access-token"' in request.headers["authorization"]
    assert KEYS["consumer_secret"].encode() not in request.head + request.body


# --- where the picture is written


def test_image_path_is_replaced_whole(world: World, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "my banner.png"
    path.parent.mkdir()
    path.write_bytes(b"the one before, and longer" * 9999)
    assert published(world, run(tmp_path, {**world.settings, "image_path": str(path)}))
    assert path.read_bytes() == GOOD
    assert list(path.parent.iterdir()) == [path]


def test_a_relative_image_path_is_taken_from_the_working_directory(world: World, tmp_path: Path) -> None:
    assert published(world, run(tmp_path, {**world.settings, "image_path": "banner-here.png"}))
    assert (tmp_path / "banner-here.png").read_bytes() == GOOD


def kept(folder: Path) -> Path:
    """A picture of the run before in that folder."""
    path = folder / "banner.png"
    path.write_bytes(b"the one before")
    return path


def unwritten(world: World, done: Run, tmp_path: Path) -> None:
    """Asserts that the run failed as a whole: one line, nothing sent, and what was there is as it was."""
    assert (done.status, done.stdout) == (1, ""), done
    assert one_line(done.stderr)
    assert "image_path" in done.stderr
    assert world.x.connections == 0
    assert [file.name for file in tmp_path.rglob("*") if file.name not in ("banner.png", "folder")] == []


def test_a_full_disk_leaves_what_was_there(world: World, tmp_path: Path) -> None:
    path = kept(tmp_path)
    little = ["prlimit", f"--fsize={len(GOOD) // 2}"]
    done = run(tmp_path, {**world.settings, "image_path": str(path)}, before=little)
    unwritten(world, done, tmp_path)
    assert path.read_bytes() == b"the one before"


@pytest.mark.parametrize("path", ["x" * 300, "/proc/banner.png"])
def test_a_path_that_cannot_be_written_is_told(path: str, world: World, tmp_path: Path) -> None:
    if path.startswith("/proc/") and os.getuid() != 0:
        pytest.skip("needs root, to whom every folder looks writable")
    kept(tmp_path)
    done = run(tmp_path, {**world.settings, "image_path": path})
    unwritten(world, done, tmp_path)
    assert (tmp_path / "banner.png").read_bytes() == b"the one before"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (".", "not a regular file"),
        ("/", "not a regular file"),
        ("folder", "not a regular file"),
        ("fifo", "not a regular file"),
        ("to-fifo", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("missing/banner.png", "in a folder that is not there: make or mount it"),
        ("banner.png/banner.png", "in a folder that is not there: make or mount it"),
    ],
)
def test_a_path_that_is_no_files_is_a_wrong_setting(path: str, problem: str, world: World, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to-fifo").symlink_to("fifo")
    kept(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = run(tmp_path, {**world.settings, "image_path": path})
    assert (done.status, done.stdout, done.stderr) == (2, "", f"failed: settings: image_path is {problem}\n")
    assert world.untouched
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.parametrize("target", ["elsewhere/picture.png", "elsewhere/new.png"])
def test_what_a_link_leads_to_is_written(target: str, world: World, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/picture.png").write_bytes(b"the one before")
    link = tmp_path / "link.png"
    link.symlink_to(target)
    assert published(world, run(tmp_path, {**world.settings, "image_path": str(link)}))
    assert link.is_symlink()
    assert (tmp_path / target).read_bytes() == GOOD


def test_a_link_where_the_default_is_is_replaced_and_not_followed(world: World, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"somebody's")
    (tmp_path / "banner.png").symlink_to("precious")
    assert published(world, run(tmp_path, world.settings))
    assert (tmp_path / "precious").read_bytes() == b"somebody's"
    assert (tmp_path / "banner.png").read_bytes() == GOOD
    assert not (tmp_path / "banner.png").is_symlink()


def test_without_a_folder_for_temporary_files_image_path_is_enough(world: World, tmp_path: Path) -> None:
    settings = {**world.settings, "TMPDIR": "/nonexistent"}
    assert published(world, run(tmp_path, {**settings, "image_path": str(tmp_path / "picture.png")}))
    done = run(tmp_path, settings)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == "failed: settings: image_path is in a folder that is not there: make or mount it\n"


def test_control_characters_in_image_path_do_not_reach_the_terminal(world: World, tmp_path: Path) -> None:
    done = run(tmp_path, {**world.settings, "image_path": str(tmp_path / "\x1b[31mred\u202e.png")})
    assert one_line(done.output), done
    assert world.untouched == (done.status == 2)


def test_any_user_may_run_it_in_a_read_only_directory(world: World) -> None:
    if os.getuid() != 0:
        pytest.skip("to change to another user, run the tests as root")
    someone = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        folder.chmod(0o1777)
        authority = folder / "ca.pem"
        authority.write_bytes(Path(world.settings["REQUESTS_CA_BUNDLE"]).read_bytes())
        authority.chmod(0o444)
        libraries = folder / "libraries"
        for name in LIBRARIES:  # where they are installed may be closed to others, as a cache folder is
            shutil.copytree(Path(requests.__file__).parents[1] / name, libraries / name)
        own = {"HOME": "/nonexistent", "REQUESTS_CA_BUNDLE": str(authority), "PYTHONPATH": str(libraries)}
        settings = {**world.settings, **own}
        done = run(folder, settings, before=someone, cwd=Path("/"))
        assert published(world, done), done
        assert (folder / "banner.png").read_bytes() == GOOD
        folder.chmod(0o755)
        closed = run(folder, settings, before=someone, cwd=Path("/"))
        folder.chmod(0o1777)
        assert (closed.status, closed.stdout) == (2, "")
        assert closed.stderr == "failed: settings: image_path is closed to this user: see --user\n"
        assert (folder / "banner.png").stat().st_uid == 54321


# --- the script itself


def test_it_is_short_enough_to_be_read() -> None:
    lines = BANNER.read_text().splitlines()
    assert max(map(len, lines)) <= 110
    assert len(lines) <= 500


def test_it_needs_tweepy_and_requests_and_no_other() -> None:
    imported = set()
    for node in ast.walk(ast.parse(BANNER.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add((node.module or ".").split(".")[0])
    assert imported - sys.stdlib_module_names == {"tweepy", "requests"}
