"""Draws the dashboard "Banner: is it well?" for k8s/README.md, its own queries answered by a real Prometheus.

PYTHONPATH=tests python tests/tools/dashboard_picture.py [FILE.png]

Needs prometheus and promtool. The series are made up; the layout is Grafana's, the drawing is not.
"""

import io
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import requests
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import TextPath
from PIL import Image
from rehearsal.panel import LINE_HEIGHT, PADDING, POINTS, Drawing, Screen, ticks

TESTS = Path(__file__).parents[1]
DASHBOARD = json.loads((TESTS.parent / "k8s/dashboards/banner-is-it-well.json").read_text())
END = int(datetime(2026, 6, 1, 15, 34, tzinfo=UTC).timestamp())
START, SCRAPE, STEP = END - 4 * 3600, 30, 20  # seconds; STEP is what Grafana takes for four hours on half the width
TIMES = range(START, END + 1, STEP)
# Minutes before the end:
GAINED = {236, 229, 214, 210, 197, 188, 171, 166, 159, 143, 130, 121, 112, 94, 83, 64, 58, 45, 38, 35, 22, 14, 6}
REFUSED, FIRING, FAILED = range(76, 100), range(76, 90), 22
RESTARTED = END - 40 * 60  # kube-state-metrics, whose series are others from then on
WIDTH, TOP, SIDE = 1200, 56, 16  # CSS pixels: the page, and what is above and beside the panels
CELL, GAP = 30, 8  # a row of Grafana's grid, and what is between two
HEIGHT = TOP + GAP + (CELL + GAP) * max(sum(map(panel["gridPos"].get, "yh")) for panel in DASHBOARD["panels"])
DIM, EDGE = "#8E8F9B", "#2C2E35"
COLOURS = {"text": "#CCCCDC", "green": "#73BF69", "orange": "#FF9830", "red": "#F2495C", "blue": "#5794F2"}
PALETTE = ("#73BF69", "#F2CC0C")  # the first of palette-classic
Box = tuple[float, float, float, float]  # left, top, right, bottom
Answers = dict[str, list[float]]  # by a series' name in the legend: at all TIMES, NaN where it has none, or at the END


def story() -> str:
    """What Prometheus would have kept of the four hours and of what the first queries look back on, as OpenMetrics.

    alice gains followers: after each change, and as each hour begins, two runs publish. For 24 minutes X refused the
    count, and an alert fired. One run failed, and the next one made up for it.
    """
    chance = random.Random(1)
    series: dict[str, list[str]] = defaultdict(list)

    def sample(time: int, value: float, name: str, **labels: str) -> None:
        inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
        series[f"{name}{{{inside}}}"].append(f"{float(value)} {time}")

    followers, address, changed, renders, seconds, chromium = 1204, 1, 0, 0, 0.0, 205.0
    for time in range(START - 900, END + 1, SCRAPE):
        left = (END - time) // 60
        if left in GAINED and time % 60:
            followers, changed = followers + chance.choice((1, 1, 1, 2, 3)), time
        new = left + 5 in REFUSED  # five minutes ago there was no count
        news = left not in REFUSED and (time - changed < 150 or new or time % 3600 < 120)
        memory = chance.gauss(128, 2)
        sample(time, left not in REFUSED, "up", job="x-user", instance="alice")
        if left not in REFUSED:
            sample(time, followers, "x_user_followers_count", username="alice")
            sample(time, 1, "x_user_banner_info", username="alice", url=f"https://pbs.twimg.com/{address}")
        if news:
            sample(time, 1, "banner:publish", publish="news", username="alice")
        if left in FIRING:
            sample(time, 1, "ALERTS", alertname="XUserSourceRefuses", alertstate="firing", part_of="banner")
        if time % 60 == 0:  # a run
            if news:
                took, memory, chromium = chance.uniform(4, 6), chance.gauss(362, 12), chromium + chance.gauss(0, 6)
                renders, seconds, address = renders + 1, seconds + took, address + (left != FAILED)
            for later in range(time + SCRAPE, time + 181, SCRAPE):
                job = {"job_name": f"banner-{time // 60}", "instance": f"10.42.0.{7 + (later > RESTARTED)}:8443"}
                sample(later, left != FAILED, "kube_job_status_succeeded", **job)
                sample(later, left == FAILED, "kube_job_status_failed", **job)
                sample(later, time, "kube_job_created", **job)
        sample(time, renders, "browser_render_duration_count")
        sample(time, seconds, "browser_render_duration_sum")
        sample(time, memory * 2**20, "container_memory_working_set_bytes", container="image-renderer")
        sample(time, chromium * 2**20, "process_peak_memory_avg")
    return "".join(f"{name} {one}\n" for name in sorted(series) for one in series[name]) + "# EOF\n"


@contextmanager
def prometheus() -> Iterator[str]:
    """A Prometheus that holds the story; yields the address of its API."""
    with tempfile.TemporaryDirectory() as folder:
        text, config = Path(folder, "story"), Path(folder, "prometheus.yml")
        text.write_text(story())
        config.touch()
        make = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), folder]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        # OpenMetrics has no stale markers: what has ended would be seen for five minutes more.
        flags = ["--web.listen-address=127.0.0.1:0", f"--query.lookback-delta={SCRAPE + 5}s"]
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}", *flags]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            log, address = "", None
            try:
                while not address or "ready to receive web requests" not in log:  # in either order
                    if not (line := process.stderr.readline()):
                        raise ChildProcessError(f"prometheus ended: {log}")
                    log += line
                    address = re.search(r'msg="Listening on".* address=(\S+)', log)
                yield f"http://{address[1]}/api/v1/"
            finally:
                process.terminate()


def ask(api: str, panel: dict[str, Any]) -> Answers:
    """The answers to a panel's queries, asked as Grafana does."""
    answers = {}
    for target in panel["targets"]:
        now = target.get("instant")
        when = {"time": END} if now else {"start": START, "end": END, "step": STEP}
        answer = requests.get(api + ("query" if now else "query_range"), {"query": target["expr"], **when}, timeout=60)
        answer.raise_for_status()
        for one in answer.json()["data"]["result"]:
            name: str = target["legendFormat"]
            for label, text in one["metric"].items():
                name = name.replace(f"{{{{{label}}}}}", text)
            known = dict([one["value"]] if now else one["values"])
            answers[name] = [float(known.get(time, "NaN")) for time in ([END] if now else TIMES)]
    return answers


def shown(value: float, unit: str) -> str:
    """A value as Grafana writes it."""
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if unit != "s":
        return f"{value:,.0f}"
    return f"{value:g} s" if value < 60 else f"{value / 60:.0f} mins" if value < 3600 else f"{value / 3600:.0f} hours"


def width(text: str) -> float:
    """How wide a text is by its size."""
    return float(TextPath((0, 0), text, size=1).get_extents().width)


def stat(drawing: Drawing, panel: dict[str, Any], answers: Answers, box: Box) -> None:
    """The last value of each series beside each other, its name above it."""
    left, top, right, bottom = box
    texts = []
    for name, values in answers.items():
        field = dict(panel["fieldConfig"]["defaults"])
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["options"] == name:
                field |= {part["id"]: part["value"] for part in override["properties"]}
        text = shown(values[-1], field["unit"])
        for mapping in field["mappings"]:
            text = mapping["options"][text]["text"]
        reached = [
            step for step in field["thresholds"]["steps"] if step["value"] is None or step["value"] <= values[-1]
        ]
        texts.append((name, text, COLOURS[reached[-1]["color"]]))
    wide, high = (right - left) / len(texts), bottom - top - 2 * PADDING
    size = min((wide - 3 * PADDING) / max(width(text) for _, text, _ in texts), 0.8 * high / LINE_HEIGHT)
    small = min(0.2 * high / LINE_HEIGHT, 0.7 * size)
    for number, (name, text, colour) in enumerate(texts):
        x, middle = left + number * wide + PADDING, (top + bottom) / 2
        drawing.write(name, x, middle - size * LINE_HEIGHT / 2, small)
        drawing.write(text, x, middle + small * LINE_HEIGHT / 2, size, colour)


def clock(drawing: Drawing, left: float, top: float, right: float, bottom: float) -> Axes:
    """A plot of the four hours, with its axis of time."""
    axes = drawing.axes(left, top, right, bottom)
    times = ticks(START, END, UTC)
    axes.set_xticks(times, [f"{datetime.fromtimestamp(time, UTC):%H:%M}" for time in times])
    axes.set(xlim=(START, END), axisbelow=True)
    axes.tick_params(length=0, pad=5, labelcolor=DIM, labelsize=12 * POINTS)
    axes.grid(color=EDGE, linewidth=POINTS)
    return axes


def timeseries(drawing: Drawing, panel: dict[str, Any], answers: Answers, box: Box) -> None:
    """Lines with the area below them, their axes, and the legend."""
    left, top, right, bottom = box
    field = panel["fieldConfig"]["defaults"]
    each = 2**26 if field["unit"] == "bytes" else 1  # of round figures
    values = np.concatenate(list(answers.values())) / each
    marks = (
        np.array(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(np.nanmin(values), np.nanmax(values))) * each
    )
    names = [shown(mark, field["unit"]) for mark in marks]
    axes = clock(drawing, left + 12 * max(map(width, names)) + 18, top + 4, right - 18, bottom - 46)
    axes.set_yticks(marks, names)
    axes.set(ylim=(marks[0], marks[-1]))
    x = left + 8
    for colour, (name, line) in zip(PALETTE, answers.items(), strict=False):
        axes.plot(TIMES, line, color=colour, linewidth=field["custom"]["lineWidth"] * POINTS)
        axes.fill_between(TIMES, line, marks[0], color=colour, alpha=field["custom"]["fillOpacity"] / 100, linewidth=0)
        drawing.write("\u2014", x, bottom - 12, 14, colour, weight="bold")
        drawing.write(name, x + 20, bottom - 12, 12)
        x += 40 + 12 * width(name)


def timeline(drawing: Drawing, panel: dict[str, Any], answers: Answers, box: Box) -> None:
    """A row for each series, with a bar while it has a value."""
    left, top, right, bottom = box
    field, high = panel["fieldConfig"]["defaults"], panel["options"]["rowHeight"]
    axes = clock(drawing, left + 12 * max(map(width, answers)) + 26, top + 4, right - 18, bottom - 24)
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(answers)), list(answers))
    axes.set(ylim=(len(answers) - 0.5, -0.5))
    colour, opacity = COLOURS[field["color"]["fixedColor"]], field["custom"]["fillOpacity"] / 100
    for row, values in enumerate(answers.values()):
        bars = [(time, STEP) for time, value in zip(TIMES, values, strict=True) if not np.isnan(value)]
        axes.broken_barh(bars, (row - high / 2, high), color=colour, alpha=opacity, linewidth=0)


def draw(api: str) -> Drawing:
    """The dashboard, with what Prometheus answers at that address."""
    mpl.rcParams["font.family"] = ["Inter", "Liberation Sans", "DejaVu Sans"]
    drawing = Drawing(Screen(WIDTH, HEIGHT, 4 / 3))
    page = drawing.page()
    drawing.write(DASHBOARD["title"], SIDE, TOP / 2, 20)
    beside = f"Data source  prometheus        {DASHBOARD['links'][0]['title']}        Last 4 hours  UTC"
    drawing.write(beside, WIDTH - SIDE, TOP / 2, 13, align="right")
    column = (WIDTH - 2 * SIDE + GAP) / 24
    for panel in DASHBOARD["panels"]:
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        left, top = SIDE + x * column, TOP + y * (CELL + GAP)
        right, bottom = left + w * column - GAP, top + h * (CELL + GAP) - GAP
        frame = FancyBboxPatch((left + 2, top + 2), right - left - 4, bottom - top - 4, "round,pad=2")
        frame.set(facecolor="#181B1F", edgecolor=EDGE, linewidth=POINTS)
        page.add_patch(frame)
        drawing.write(panel["title"], left + 12, top + 18, 14)
        if answers := ask(api, panel):
            kinds = {"stat": stat, "timeseries": timeseries, "state-timeline": timeline}
            kinds[panel["type"]](drawing, panel, answers, (left + 4, top + 36, right - 4, bottom - 4))
        else:
            none = panel["fieldConfig"]["defaults"]["noValue"]
            drawing.write(none, (left + right) / 2, (top + bottom) / 2 + 8, 18, DIM, "center")
    return drawing


def main() -> None:
    """Writes the file, and says how large it is."""
    file = Path(sys.argv[1]) if sys.argv[1:] else TESTS / "readme/well.png"
    with prometheus() as api, Image.open(io.BytesIO(draw(api).png())) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
