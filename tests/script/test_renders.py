"""What real Grafana servers answered, good and bad: each row of renders.json meets its verdict."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from support.peers import Peer, answers, paths
from support.renders import API, FOLDER, NEEDS_RENDERS, PUBLISHED, grafana, rows
from support.script import QUERY, RENDER, leaks, one_line, publishing, run

import banner


@NEEDS_RENDERS
@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_an_answer_of_a_real_grafana_meets_its_verdict(
    row: dict[str, Any], tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    with Peer(grafana(row)) as server, Peer(answers(200, content_type=None), tls) as x:
        settings = publishing(server, x, ca_file, row["image_url"])
        done = run(tmp_path, {**settings, "publish_if_url": f"{server.url}{QUERY}?query=x_user_followers_count"})
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


IMAGE_URL = RENDER + "&width=1500&height=500"


@NEEDS_RENDERS
@pytest.mark.parametrize("row", rows("states.json"), ids=lambda row: row["file"])
def test_data_color_tells_the_states_of_a_panel_apart(
    row: dict[str, Any], tmp_path: Path, tls: ssl.SSLContext, ca_file: str
) -> None:
    picture = (FOLDER / row["file"]).read_bytes()
    with Peer(paths({"/render/": answers(200, picture)})) as server, Peer(answers(200, content_type=None), tls) as x:
        done = run(tmp_path, {**publishing(server, x, ca_file, IMAGE_URL), "data_color": "1DA1F2"})
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
        done = run(tmp_path, publishing(server, x, ca_file, row["image_url"]))
    assert x.requests == []
    assert done.status == 1
    assert says in done.stderr
