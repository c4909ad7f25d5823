"""Measures a panel's query over 4 hours, 30 days and a year of one-minute samples: Prometheus alone, beside Thanos.

usage: python tests/tools/long_term.py [REPEATS]      with thanos, weed, prometheus and promtool in PATH

Prints medians of seconds, what Thanos takes of each second of Prometheus, and what each process has of CPU and memory.
"""

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.thanos import PANEL, LongTerm, Program, arguments, free_port, long_term
from support.tools import tool
from support.until import until

DAY, BLOCK = 86400, 7200  # seconds
SERIES_OF_A_NODE = 38_400  # 1280 samples a second, each series each 30 s
RANGES = {"4 h": 4 / 24, "30 d": 30, "1 y": 365}


def seconds(one: LongTerm, days: float, url: str, repeats: int) -> list[float]:
    """Of each time that the panel's query takes; the first is the one that finds nothing in memory."""
    took = []
    for _ in range(repeats):
        began = time.monotonic()
        answer = one.range(days, url, PANEL)
        took.append(time.monotonic() - began)
        assert answer.ok, answer.text
        assert len(answer.json()["data"]["result"]) == 1
    return took


def footprint(program: Program) -> str:
    """What it has taken since its start."""
    assert program.process
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{program.process.pid}/status").read_text().splitlines()
        if ":" in line
    )
    fields = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / 100
    now, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return f"{now:.0f} MiB (at most {peak:.0f}), {cpu:.1f} s of CPU"


def of_a_node(begin: int) -> Iterator[str]:
    """Two hours of as many series as a Prometheus has of one node, in OpenMetrics, with a sample each five minutes."""
    yield "# TYPE of_a_node gauge"
    for number in range(SERIES_OF_A_NODE):
        series = f'of_a_node{{namespace="monitoring",pod="pod-{number // 100}",series="{number}"}}'
        for moment in range(begin, begin + BLOCK, 300):
            yield f"{series} {moment % 977} {moment}"
    yield "# EOF"


def compaction(one: LongTerm) -> str:
    """Compacts all that is in the bucket; the seconds that it took, and what of the machine."""
    compactor = one.compact_with(one.objstore)
    began = time.monotonic()
    compactor.start(wait=False)
    peak = ""
    while compactor.process and compactor.process.poll() is None:
        peak = footprint(compactor)
        time.sleep(0.1)  # between two looks at its memory
    assert compactor.process
    assert compactor.process.returncode == 0, compactor.log.read_text()[-2000:]
    return f"{time.monotonic() - began:.0f} s, {peak}"


def size(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.1f} MB"


def main(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as name, long_term(Path(name), 365) as one:
        port = free_port()
        # As components/long-term-small has it, with the same blocks.
        folder = Path(shutil.copytree(one.folder / "history", one.folder / "plain"))
        others = {"--storage.tsdb.path": str(folder)}
        file = "long-term-small/prometheus-followers/statefulset-prometheus-followers.yaml"
        command = [
            tool("prometheus", ""),
            *arguments(file, "prometheus", others),
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        plain = Program(command, f"http://127.0.0.1:{port}", one.folder / "plain.log")
        plain.start()
        try:
            print("blocks of a year:", size(folder))
            measure(one, plain, repeats, "as uploaded")
            print("Compactor:", compaction(one))
            until(
                "the Store has what it made", 120, lambda: one.store.metric("thanos_bucket_store_block_loads_total") > 0
            )
            time.sleep(5)  # a Querier looks at its endpoints each five seconds
            measure(one, plain, repeats, "compacted and downsampled")
            programs = {"prometheus-followers": plain, "Prometheus": one.prometheus, "sidecar": one.sidecar}
            programs |= {"Store": one.store, "fan-out": one.fan_out, "Querier": one.query, "SeaweedFS": one.s3}
            for called, program in programs.items():
                print(f"{called}: {footprint(program)}")
            first = (int(time.time()) // (2 * DAY) - 1) * 2 * DAY  # where a block of two days begins, and is over
            for begin in range(first, first + 2 * DAY, BLOCK):
                one.upload(of_a_node(begin), "node")
            print(f"Compactor, two days of {SERIES_OF_A_NODE} series:", compaction(one))
            print("Store, with them:", footprint(one.store))
        finally:
            plain.kill()


def measure(one: LongTerm, plain: Program, repeats: int, state: str) -> None:
    for called, days in RANGES.items():
        alone, thanos = (seconds(one, days, url, repeats) for url in (plain.url, one.query.url))
        first = thanos[0]
        medians = statistics.median(alone), statistics.median(thanos)
        print(
            f"{called}, {state}: Prometheus {medians[0]:.3f} s, Thanos {medians[1]:.3f} s (first {first:.3f}), "
            f"{medians[1] / medians[0]:.1f} times as long"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
