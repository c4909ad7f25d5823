"""Pictures as Grafana's renderer takes them: panels, and what is on the screen when there is no panel."""

import io
import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle
from matplotlib.textpath import TextPath

Samples = Sequence[tuple[float, float]]  # Unix time, value

POINTS = 0.72  # a CSS pixel in matplotlib's points, at the 100 dots an inch of scale 1
PADDING, LINE_HEIGHT = 12, 1.2  # of a stat panel: pixels, and the height of a line of text by its size
BLUE = "#1DA1F2"
COLOURS = (BLUE, "#73BF69", "#F2CC0C", "#FF9830", "#F2495C", "#B877D9")
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # that it looks for fonts, once, is no news
_drawing = threading.Lock()  # matplotlib's caches are not made for threads


@dataclass(frozen=True)
class Screen:
    """What is asked for: CSS pixels, and how many dots each has."""

    width: int
    height: int
    scale: float = 1.0
    light: bool = False

    @property
    def background(self) -> str:
        return "#FFFFFF" if self.light else "#111217"

    @property
    def text(self) -> str:
        return "#24292E" if self.light else "#CCCCDC"


class Drawing:
    """A picture in the making; places are CSS pixels from the upper left corner."""

    def __init__(self, screen: Screen, background: str = "") -> None:
        # a hair more than asked for: matplotlib rounds down
        width, height = (
            (round(side * screen.scale) + 0.01) / screen.scale / 100 for side in (screen.width, screen.height)
        )
        self.screen = screen
        self.figure = Figure((width, height), dpi=100 * screen.scale, facecolor=background or screen.background)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """An empty plot between those lines."""
        width, height = self.screen.width, self.screen.height
        place = left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height
        axes = self.figure.add_axes(place)
        axes.set_facecolor("none")
        axes.spines[:].set_visible(False)
        return axes

    def page(self) -> Axes:
        """All of the picture as a plot whose units are pixels."""
        axes = self.axes(0, 0, self.screen.width, self.screen.height)
        axes.set(xlim=(0, self.screen.width), ylim=(self.screen.height, 0), xticks=[], yticks=[])
        return axes

    def write(
        self, text: str, x: float, y: float, size: float, colour: str = "", align: str = "left", weight: str = "normal"
    ) -> None:
        """A line of text, its middle at height y; size in pixels."""
        written = self.figure.text(x / self.screen.width, 1 - y / self.screen.height, text)
        written.set(color=colour or self.screen.text, fontsize=size * POINTS, fontweight=weight)
        written.set(horizontalalignment=align, verticalalignment="center_baseline")

    def png(self) -> bytes:
        """The picture."""
        out = io.BytesIO()
        self.figure.savefig(out, format="png")
        return out.getvalue()


def time_series(screen: Screen, series: Sequence[Samples], start: float, end: float, zone: tzinfo | None) -> bytes:
    """A panel made for a banner: thick line, no title, right axis. Its sizes are Grafana's own, in CSS pixels.

    Without a zone the times are the machine's.
    """
    with _drawing:
        drawing = Drawing(screen)
        axes = drawing.axes(16, 10, screen.width - 68, screen.height - 30)
        values = [value for samples in series for _, value in samples]
        low, high = min(values), max(values)
        span = max(high - low, 10)
        axes.set(xlim=(start, end), ylim=(low - 0.2 * span, high + 0.2 * span))
        for number, samples in enumerate(series):
            plot(axes, samples, COLOURS[number % len(COLOURS)])
        axes.yaxis.tick_right()
        axes.yaxis.set_major_locator(ticker.MaxNLocator(screen.height // 50, integer=True))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        times = ticks(start, end, zone)
        shape = "%H:%M" if end - start <= 86400 else "%m/%d %H:%M" if end - start <= 7 * 86400 else "%m/%d"
        axes.set_xticks(times, [datetime.fromtimestamp(time, zone).strftime(shape) for time in times])
        axes.tick_params(length=4, color="#808080", labelcolor=screen.text, labelsize=12 * POINTS)
        return drawing.png()


def plot(axes: Axes, samples: Samples, colour: str) -> None:
    """A thick line, and below it the same colour, fading; the axes' limits stay as they are."""
    times, values = zip(*samples, strict=True)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    line = axes.plot(times, values, color=colour, linewidth=5 * POINTS, clip_on=False)[0]
    line.set(solid_joinstyle="round", solid_capstyle="butt")
    if len(samples) < 50:  # "auto": a first sample alone makes no line
        line.set(marker="o", markersize=8 * POINTS)
    fade = LinearSegmentedColormap.from_list("fade", [to_rgba(colour, 0.0), to_rgba(colour, 0.4)])
    ramp = np.linspace(1, 0, 256).reshape(-1, 1)
    image = axes.imshow(ramp, cmap=fade, aspect="auto", extent=(left, right, bottom, max(values)))
    image.set_clip_path(Polygon([(times[0], bottom), *samples, (times[-1], bottom)], transform=axes.transData))
    axes.set(xlim=(left, right), ylim=(bottom, top))


def ticks(start: float, end: float, zone: tzinfo | None) -> list[float]:
    """Round times on a zone's clock, or the machine's, at most eight."""
    minutes = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 5760, 11520, 23040, 46080)
    step = next((60 * number for number in minutes if (end - start) / 60 / number <= 8), 86400 * 64)
    offset = (datetime.fromtimestamp(start, zone).astimezone(zone).utcoffset() or timedelta()).total_seconds()
    first = math.ceil((start + offset) / step) * step - offset
    return [first + number * step for number in range(math.floor((end - first) / step) + 1)]


def stat(screen: Screen, samples: Samples, start: float, end: float) -> bytes:
    """Another look: the count in big figures above its small graph, as wide and high as Grafana lets them be."""
    with _drawing:
        drawing = Drawing(screen)
        axes = drawing.axes(0, screen.height / 2, screen.width, screen.height)
        times, values = zip(*samples, strict=True)
        bottom = min(values) - 1
        axes.fill_between(times, values, bottom, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(times, values, color=BLUE, linewidth=1 * POINTS)
        axes.set(xlim=(start, end), ylim=(bottom, max(values)), xticks=[], yticks=[])
        count = f"{values[-1]:,.0f}"
        wide = TextPath((0, 0), count, size=1).get_extents().width  # at a size of one pixel
        inside = screen.width - 2 * PADDING, screen.height - 2 * PADDING
        size = min(0.4 * inside[0] / wide, 0.5 * inside[1] / LINE_HEIGHT)
        drawing.write("followers", PADDING, PADDING + 30 * LINE_HEIGHT / 2, 30)
        drawing.write(count, screen.width - PADDING, PADDING + size * LINE_HEIGHT / 2, size, BLUE, "right")
        return drawing.png()


def no_data(screen: Screen, title: str = "Twitter followers", broken: bool = False) -> bytes:
    """A panel whose query found nothing; its corner is red where the data source failed."""
    with _drawing:
        drawing = Drawing(screen, "#FFFFFF" if screen.light else "#181B1F")
        if broken:
            drawing.page().add_patch(Polygon([(0, 0), (32, 0), (0, 32)], color="#D10E5C"))
            drawing.write("!", 5, 9, 12, "#FFFFFF", weight="bold")
        drawing.write(title, screen.width / 2, 16, 14, align="center")
        drawing.write("No data", screen.width / 2, screen.height / 2 + 16, 18, "#8E8E9A", "center")
        return drawing.png()


def not_found(screen: Screen, panel: str, dashboard: bool = True) -> bytes:
    """The page's word that there is no such panel, or no such dashboard either."""
    with _drawing:
        drawing = Drawing(screen)
        page = drawing.page()
        page.add_patch(Rectangle((0, 0), screen.width, 52, color="#22252B"))
        page.add_patch(Rectangle((0, 0), 3, 52, color="#D10E5C"))
        drawing.write(f"Panel with id {panel} not found", 23, 26, 14, "#CCCCDC")
        if not dashboard:
            page.add_patch(Rectangle((screen.width - 410, 60), 400, 62, color="#22252B"))
            page.add_patch(Rectangle((screen.width - 410, 60), 72, 62, color="#F5B73D"))
            drawing.write("!", screen.width - 374, 91, 24, "#111217", "center", "bold")
            drawing.write("Dashboard not found", screen.width - 322, 91, 14, "#CCCCDC")
        return drawing.png()


def login(screen: Screen) -> bytes:
    """Grafana's sign-in page, as a renderer sees it that was not let in."""
    with _drawing:
        drawing = Drawing(screen)
        page, middle = drawing.page(), screen.width / 2
        night = LinearSegmentedColormap.from_list("night", ["#6D3768", "#3A2560", "#0A0715"])
        ramp = np.add.outer(np.linspace(0, 1.2, 64), np.abs(np.linspace(-0.3, 0.9, 192)))
        page.imshow(ramp, cmap=night, aspect="auto", extent=(0, screen.width, screen.height, 0))
        page.add_patch(Rectangle((middle - 240, 0), 480, screen.height, color="#1D1B28"))
        page.add_patch(FancyBboxPatch((middle - 36, 50), 72, 72, "round,pad=8", color="#F2711C"))
        drawing.write("Welcome to Grafana", middle, 176, 34, "#CCCCDC", "center")
        for top, label in ((257, "Email or username"), (324, "Password")):
            drawing.write(label, middle - 191, top, 13, "#CCCCDC")
            page.add_patch(Rectangle((middle - 191, top + 12), 382, 31, facecolor="#111217", edgecolor="#34363D"))
        page.add_patch(Rectangle((middle - 191, 384), 382, 32, color="#3D71D9"))
        drawing.write("Log in", middle, 400, 14, "#FFFFFF", "center")
        return drawing.png()


def canned(width: int, height: int, text: str) -> bytes:
    """A picture that Grafana itself sends where it does not render; it takes no notice of the size asked for."""
    with _drawing:
        drawing = Drawing(Screen(width, height), "#212124")
        drawing.write("Rendering Error", width / 2, 16, 15, "#D8D9DA", "center")
        drawing.write(text, width / 2, height / 2 + 10, min(20, 1.6 * width / len(text)), "#F2190C", "center")
        return drawing.png()


def pdf(screen: Screen) -> bytes:
    """What a renderer makes that was not told encoding=png."""
    with _drawing:
        out = io.BytesIO()
        drawing = Drawing(screen)
        drawing.write("Twitter followers", screen.width / 2, 16, 14, align="center")
        drawing.figure.savefig(out, format="pdf")
        return out.getvalue()
