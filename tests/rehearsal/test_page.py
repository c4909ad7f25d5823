"""The profile page in a real browser."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect, sync_playwright
from support import pictures
from support.pace import starts
from support.paths import BANNER
from support.tools import tool

from rehearsal.grafana import Grafana
from rehearsal.x import X

DESKTOP = {"width": 1200, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = tool("chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root or in most containers; it sees nothing but the pages made here.
        shown = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=0)
        yield shown
        shown.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    opened = browser.new_page(viewport=request.param)
    opened.set_default_timeout(0)
    expect.set_options(timeout=1000 * starts(100))  # ms
    yield opened
    opened.close()


@pytest.fixture
def x() -> Iterator[X]:
    with X("your_name") as stand_in:
        yield stand_in


def publish(x: X, grafana: Grafana, folder: Path) -> str:
    """A real run of banner.py; returns its line."""
    settings = {"image_url": grafana.image_url, "image_path": str(folder / "banner.png")}
    environment = {"PATH": os.environ["PATH"], **x.environment(), **settings}
    return subprocess.run([sys.executable, BANNER], env=environment, check=True, capture_output=True, text=True).stdout


def box(place: Locator) -> FloatRect:
    found = place.bounding_box()
    assert found
    return found


def test_follow_and_a_run_change_the_banner_without_a_reload(page: Page, x: X, tmp_path: Path) -> None:
    loads: list[Page] = []
    page.on("load", lambda loaded: loads.append(loaded))
    page.goto(x.page)
    banner, followers = page.locator("#banner"), page.locator("#followers")
    with Grafana(x=x.page) as grafana:
        assert publish(x, grafana, tmp_path).startswith("published:")
        expect(banner).to_have_attribute("src", re.compile(str(x.state()["sha256"])))
        first = banner.get_attribute("src")
        before = int(followers.inner_text())

        page.get_by_role("button", name="Follow").click()
        expect(followers).to_have_text(str(before + 1))
        assert publish(x, grafana, tmp_path).startswith("published:")

    expect(banner).to_have_attribute("src", re.compile(str(x.state()["sha256"])))
    assert banner.get_attribute("src") != first
    assert banner.evaluate("image => [image.complete, image.naturalWidth, image.naturalHeight]") == [True, 1500, 500]
    assert len(x.banners) == 2
    assert loads == [page]


def test_the_page_has_the_shape_of_a_profile(page: Page, x: X) -> None:
    x.publish(pictures.plain(1500, 500))
    page.goto(x.page)
    banner, avatar = box(page.locator(".banner")), box(page.locator(".avatar").first)
    follow, name = box(page.get_by_role("button", name="Follow")), box(page.get_by_role("heading", name="your_name"))

    assert banner["width"] / banner["height"] == pytest.approx(3, rel=0.01)
    assert avatar["width"] == pytest.approx(avatar["height"], abs=1)
    bottom, right = banner["y"] + banner["height"], banner["x"] + banner["width"]
    assert banner["x"] <= avatar["x"] < avatar["x"] + avatar["width"] < banner["x"] + banner["width"] / 2
    assert avatar["y"] < bottom < avatar["y"] + avatar["height"]
    assert bottom < follow["y"]
    assert banner["x"] + banner["width"] / 2 < follow["x"] < follow["x"] + follow["width"] < right
    assert avatar["y"] + avatar["height"] <= name["y"]
    assert page.locator(".avatar").first.evaluate("avatar => getComputedStyle(avatar).borderRadius") == "50%"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert banner["width"] >= min(598, page.evaluate("window.innerWidth") - 2)


def test_the_follow_button_can_be_pressed_by_the_keyboard(page: Page, x: X) -> None:
    page.goto(x.page)
    before = x.followers
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#followers")).to_have_text(str(before + 1))


def test_a_page_opened_later_shows_the_banner_at_once(page: Page, x: X) -> None:
    x.publish(pictures.plain(1500, 500))
    page.goto(x.page)
    assert page.locator("#banner").evaluate("image => image.naturalWidth") == 1500


def test_the_page_says_when_the_rehearsal_is_over(page: Page) -> None:
    with X() as x:
        page.goto(x.page)
        expect(page.locator("#said")).to_contain_text("nothing is sent to X")
    expect(page.locator("#said")).to_have_text("The rehearsal has ended.")
    expect(page.get_by_role("button", name="Follow")).to_be_disabled()


def test_the_preview_needs_no_server(page: Page, tmp_path: Path) -> None:
    png = pictures.plain(1500, 500)
    with X("your_name") as x:
        x.publish(png)
        (tmp_path / "profile.html").write_text(x.preview())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "profile.html").as_uri())
    assert page.locator("#banner").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [1500, 500]
    assert page.locator("#banner").get_attribute("src") == "data:image/png;base64," + base64.b64encode(png).decode()
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def test_the_previews_follow_does_not_pretend(page: Page, x: X, tmp_path: Path) -> None:
    (tmp_path / "profile.html").write_text(x.preview())
    page.goto((tmp_path / "profile.html").as_uri())
    expect(page.get_by_role("button", name="Follow")).to_be_disabled()
    expect(page.locator("#said")).to_contain_text("Follow works while the rehearsal runs")
