"""What real Grafana servers answered, good and bad: each row of renders.json meets its verdict."""

import json
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from support.peers import Handler, Peer, answers, paths
from support.script import KEYS, leaks, one_line, run

import banner

FOLDER = Path(os.environ.get("BANNER_RENDERS", "no-renders"))
API = "/api/dashboards/uid/"
QUERY = "/api/datasources/proxy/uid/P1809F7CD0C75ACF3/api/v1/query"
PUBLISHED = ("publish", "cannot-be-told")


def rows(name: str = "renders.json") -> list[dict[str, Any]]:
    """The rows of renders.json, or states.json; none where the folder is absent."""
    file = FOLDER / name
    return json.loads(file.read_text()) if file.exists() else []


NEEDS_RENDERS = pytest.mark.skipif(
    not rows(), reason="set BANNER_RENDERS to the folder of renders.json to test real Grafana answers"
)


def grafana(row: dict[str, Any]) -> Handler:
    """The Grafana that gave this answer: its render, what its API knew of dashboards, and what its Prometheus said."""

    def kept(status: int, name: str) -> Handler:
        return answers(status, (FOLDER / name).read_bytes(), "application/json; charset=UTF-8")

    banner_lab = json.dumps({"dashboard": json.loads((FOLDER / "banner-panels.json").read_text())}).encode()
    location = {} if row["location"] is None else {"location": row["location"]}
    body = (FOLDER / row["file"]).read_bytes()
    query = {"wrong-no-data.png": kept(200, "api-query-empty.json"), "wrong-prometheus-down.png": answers(502)}
    return paths(
        {
            "/render/": answers(row["status"], body, row["content_type"], **location),
            "/d-solo/": answers(row["status"], body, row["content_type"], **location),
            API + "wR0Yf26Gk": kept(200, "api-dashboard.json"),
            API + "bannerLab": answers(200, banner_lab, "application/json"),
            API: kept(404, "api-dashboard-missing.json"),
            QUERY: query.get(row["file"], kept(200, "api-query.json")),
        }
    )


@NEEDS_RENDERS
@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_an_answer_of_a_real_grafana_meets_its_verdict(
    row: dict[str, Any], tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    with Peer(grafana(row)) as server, Peer(answers(200, content_type=None), tls) as x:
        settings = {
            **KEYS,
            "image_url": server.url + row["image_url"],
            "publish_if_url": f"{server.url}{QUERY}?query=x_user_followers_count",
            "x_host": x.host,
            "REQUESTS_CA_BUNDLE": ca_file,
        }
        done = run(tmp_path, settings)
    sent = [request.banner for request in x.requests]
    asked = [request.path for request in server.requests]
    assert one_line(done.stdout or done.stderr), done
    assert not leaks(done.output), done
    if row["verdict"] in PUBLISHED:
        assert sent == [(FOLDER / row["file"]).read_bytes()]
        assert done.status == 0, done
    else:
        assert sent == []
        assert not (tmp_path / "banner.png").exists()
    if row["verdict"] == "refuse-by-settings" or "height=-1" in row["image_url"]:
        assert done.status == 2, done
        assert asked == []
    elif row["verdict"] in ("refuse", "refuse-by-dashboard"):
        assert done.status == 1, done
    if row["verdict"] == "refuse-by-query":
        assert done.stdout.startswith("skipped:") == (row["file"] == "wrong-no-data.png")
        assert asked == [QUERY]


IMAGE_URL = "/render/d-solo/wR0Yf26Gk/twitter-followers?orgId=1&panelId=2&width=1500&height=500"


@NEEDS_RENDERS
@pytest.mark.parametrize("row", rows("states.json"), ids=lambda row: row["file"])
def test_data_color_tells_the_states_of_a_panel_apart(
    row: dict[str, Any], tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    picture = (FOLDER / row["file"]).read_bytes()
    with Peer(paths({"/render/": answers(200, picture)})) as server, Peer(answers(200, content_type=None), tls) as x:
        settings = {**KEYS, "image_url": server.url + IMAGE_URL, "x_host": x.host, "REQUESTS_CA_BUNDLE": ca_file}
        done = run(tmp_path, {**settings, "data_color": "1DA1F2"})
    assert one_line(done.output)
    if row["verdict"] in PUBLISHED:
        assert (done.status, [request.banner for request in x.requests]) == (0, [picture])
    else:
        assert (done.status, x.requests, list(tmp_path.iterdir())) == (1, [], [])
        assert "the picture shows no data, only 0 pixels of data_color" in done.stderr


@NEEDS_RENDERS
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.png")), ids=lambda file: file.name)
def test_no_other_real_picture_has_the_colour(file: Path) -> None:
    picture = file.read_bytes()
    size = int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])
    shows_data = {row["file"] for row in rows("states.json") if row["verdict"] in PUBLISHED} | {"good-banner-line.png"}
    if file.name in shows_data:
        banner.check_png(picture, *size, bytes.fromhex("1DA1F2"))
    else:
        with pytest.raises(banner.Failed):
            banner.check_png(picture, *size, bytes.fromhex("1DA1F2"))


@NEEDS_RENDERS
def test_every_verdict_is_known() -> None:
    known = {*PUBLISHED, "refuse", "refuse-by-dashboard", "refuse-by-query", "refuse-by-settings"}
    assert {row["verdict"] for row in rows()} == known
    assert {row["verdict"] for row in rows("states.json")} == {*PUBLISHED, "refuse"}


@NEEDS_RENDERS
@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [("api-bad-token.json", 401, "401"), ("api-dashboard-missing.json", 404, "dashboard")],
)
def test_the_real_api_refuses_even_with_a_good_render(
    answer: str, status: int, says: str, tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    row = next(row for row in rows() if row["file"] == "good-article-panel.png")
    refusal = answers(status, (FOLDER / answer).read_bytes(), "application/json; charset=UTF-8")
    render = answers(200, (FOLDER / row["file"]).read_bytes())
    with Peer(paths({"/render/": render, API: refusal})) as server, Peer(answers(200), tls) as x:
        settings = {**KEYS, "image_url": server.url + row["image_url"], "x_host": x.host, "REQUESTS_CA_BUNDLE": ca_file}
        done = run(tmp_path, settings)
    assert x.requests == []
    assert done.status == 1
    assert says in done.stderr
