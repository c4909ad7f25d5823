"""Runs bare.py and banner.py in turn against one Grafana and one X, and prints what each costs.

CPU seconds (user and system), wall seconds beyond the time that the peers themselves took, and the peak of resident
memory: medians and ratios. This process stays small: a child's peak counts from its parent's size on.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

TOOLS = Path(__file__).parent
BANNER = TOOLS.parents[1] / "banner.py"
# What is run, by its name: the script, and the settings that it has beside the common ones.
RUNS: dict[str, tuple[Path, dict[str, str]]] = {
    "bare.py": (TOOLS / "bare.py", {}),
    "banner.py": (BANNER, {}),
    "with data_color": (BANNER, {"data_color": "1DA1F2"}),
}


LABELS = ("CPU seconds", "wall seconds beyond the peers' own", "peak memory, MiB")


class Cost(NamedTuple):
    """What one run cost: seconds, seconds, and MiB."""

    cpu: float
    wall: float
    memory: float


def run(script: Path, environment: dict[str, str], grafana: str) -> Cost:
    """Runs a script to its end. Raises ChildProcessError if it fails."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    if status:
        raise ChildProcessError(f"{script} failed")
    with urlopen(f"{grafana}/busy") as busy:
        wall -= float(busy.read())
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of each script (10)")
    parser.add_argument("--render", type=float, default=2.0, help="seconds that Grafana takes to render (2)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TOOLS / "bench_peers.py"), folder, str(arguments.render)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peers:
            assert peers.stdout
            grafana, x_host = peers.stdout.readline().split()
            environment = {
                "consumer_key": "test-consumer-key",
                "consumer_secret": "test-consumer-secret",
                "access_token": "test-access-token",
                "access_token_secret": "test-access-token-secret",
                "image_url": f"{grafana}/render/d-solo/uid/slug?panelId=2&width=1500&height=500",
                "image_path": f"{folder}/banner.png",
                "x_host": x_host,
                "REQUESTS_CA_BUNDLE": f"{folder}/ca.pem",
                "PATH": os.environ["PATH"],
            }
            costs: dict[str, list[Cost]] = {name: [] for name in RUNS}
            for turn in range(arguments.runs + 1):
                for name, (script, settings) in RUNS.items():
                    cost = run(script, environment | settings, grafana)
                    if turn:  # the first is unmeasured: afterwards byte code and files are in memory
                        costs[name].append(cost)
            peers.terminate()
    medians = {name: Cost(*map(statistics.median, zip(*each, strict=True))) for name, each in costs.items()}
    bare = medians.pop("bare.py")
    print(f"medians of {arguments.runs} runs each, a render of {arguments.render:g} s")
    print(f"{'':36}{'bare.py':>7}" + "".join(f"{name:>18}{'ratio':>7}" for name in medians))
    for field, label in zip(Cost._fields, LABELS, strict=True):
        before = getattr(bare, field)
        after = [getattr(cost, field) for cost in medians.values()]
        print(f"{label:36}{before:7.3f}" + "".join(f"{value:18.3f}{value / before:7.2f}" for value in after))


if __name__ == "__main__":
    main()
