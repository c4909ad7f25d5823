"""Makes the README's moving picture of the rehearsal: Follow is pressed, and the banner's line goes up.

python tests/tools/moving_picture.py [FILE.gif]
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

TESTS = Path(__file__).parents[1]
FILE = TESTS / "readme/follow.gif"
SIZE = {"width": 600, "height": 480}  # to the line with the followers
FOLLOWS = 6
COLOURS = 255
# Chromium's pictures have no mouse pointer: one is drawn where the mouse is.
POINTER = """() => {
  const arrow = "<svg xmlns='http://www.w3.org/2000/svg'><path d='M3 2v16l4-4 3 6 3-1-3-6h6z' stroke='white'/></svg>";
  const pointer = document.createElement("img");
  pointer.src = "data:image/svg+xml," + encodeURIComponent(arrow);
  pointer.style = "position: fixed; z-index: 9; left: -3px; top: -2px; width: 22px; pointer-events: none";
  document.body.append(pointer);
  onmousemove = (event) => { pointer.style.translate = `${event.clientX}px ${event.clientY}px`; };
}"""


@contextmanager
def rehearsal() -> Iterator[str]:
    """tests/rehearse; yields the profile page's address as soon as it has a banner."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(TESTS / "rehearse"), "--keep", folder]
        environment = os.environ | {"TZ": "UTC"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                address = ""
                for line in process.stdout:
                    if line.startswith("profile:"):
                        address = line.split()[1]
                    if line.startswith("published:"):
                        yield address
                        break
            finally:
                process.terminate()


class Film:
    """Frames, each with the milliseconds that it stays."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.stay: list[int] = []

    def take(self, milliseconds: int) -> None:
        """One frame of what the page shows now."""
        shown = Image.open(io.BytesIO(self.page.screenshot()))
        self.frames.append(shown.convert("RGB"))
        self.stay.append(milliseconds)

    def save(self, file: Path) -> None:
        """Writes it as a GIF that begins anew at its end, with one palette for all frames."""
        width, height = self.frames[0].size
        all_frames = Image.new("RGB", (width, height * len(self.frames)))
        for number, frame in enumerate(self.frames):
            all_frames.paste(frame, (0, number * height))
        palette = all_frames.quantize(COLOURS, dither=Image.Dither.NONE)
        first, *rest = (frame.quantize(palette=palette) for frame in self.frames)
        first.save(file, save_all=True, append_images=rest, duration=self.stay, loop=0, optimize=True)


def film(page: Page) -> Film:
    """Presses Follow a few times, and waits for the banner that shows it."""
    shot = Film(page)
    page.evaluate(POINTER)
    banner, followers = page.locator("#banner"), page.locator("#followers")
    place = page.get_by_role("button", name="Follow").bounding_box()
    assert place
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    another_than(banner)  # the next run is some seconds away, and sees all that is pressed
    before = int(followers.inner_text())
    for step in range(4, -1, -1):
        page.mouse.move(x - 30 * step, y + 40 * step)
        shot.take(1500 if step == 4 else 80)
    for number in range(1, FOLLOWS + 1):
        page.mouse.down()
        page.wait_for_timeout(100)  # the button moves
        shot.take(130)
        page.mouse.up()
        expect(followers).to_have_text(str(before + number))
        page.wait_for_timeout(200)  # the number turns blue
        shot.take(230)
    page.wait_for_timeout(1500)  # and black again
    shot.take(700)
    another_than(banner)
    shot.take(3500)
    return shot


def another_than(banner: Locator) -> None:
    """Waits until another banner is shown."""
    expect(banner).not_to_have_attribute("src", str(banner.get_attribute("src")), timeout=60_000)


def main() -> None:
    """Writes the file, and says how large it is."""
    file = Path(sys.argv[1]) if sys.argv[1:] else FILE
    with rehearsal() as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport=SIZE, device_scale_factor=1.5, color_scheme="light")  # type: ignore[arg-type]
        page.goto(address)
        page.wait_for_function("document.getElementById('banner').naturalWidth > 0")
        film(page).save(file)
        chromium.close()
    print(f"{file}: {file.stat().st_size / 1_000_000:.2f} MB")


if __name__ == "__main__":
    main()
