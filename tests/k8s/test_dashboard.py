"""The dashboard that says whether all is well: what its panels show of a made-up story, by a real Prometheus."""

import math

import pytest
from PIL import Image
from support.paths import K8S, TESTS
from support.tools import tool
from tools import dashboard_picture as picture

PROMETHEUS = "it is in Prometheus' release: https://prometheus.io/download"


def test_each_panel_shows_what_has_happened() -> None:
    tool("prometheus", PROMETHEUS)
    tool("promtool", PROMETHEUS)
    with picture.prometheus() as api:
        shown = {panel["title"]: picture.ask(api, panel) for panel in picture.DASHBOARD["panels"]}

    def minutes(title: str, name: str) -> float:
        """For how long it was there."""
        return sum(not math.isnan(value) for value in shown[title][name]) * picture.STEP / 60

    assert shown["Runs in the last hour"] == {"published": [14], "skipped": [44], "failed": [1]}
    assert shown["Age of the banner on X"] == {"alice": [240]}, "its last two runs are 6 and 5 minutes ago"
    assert shown["Followers"]["alice"][-1] == shown["Followers over time"]["alice"][-1] > 1204
    assert shown["X's API"]["alice"][-1] == 1
    assert shown["Alerts that fire"] == {}
    assert minutes("When alerts fired", "XUserSourceRefuses") == len(picture.FIRING)
    assert minutes("Followers over time", "alice") == pytest.approx(4 * 60 - len(picture.REFUSED), abs=1)
    assert shown["When there was news"].keys() == {"alice"}
    assert all(math.isnan(took) or 4 <= took <= 6 for took in shown["Duration of a render"]["a render"])
    assert shown["Memory of the renderer"].keys() == {"container", "Chromium, in a render"}


def test_the_readme_s_picture_of_it_is_small_and_as_high_as_its_panels() -> None:
    file = TESTS / "readme/well.png"
    assert "](../tests/readme/well.png)" in (K8S / "README.md").read_text()
    assert file.stat().st_size < 200_000
    with Image.open(file) as image:
        assert image.size == (1600, picture.HEIGHT * 4 // 3)
