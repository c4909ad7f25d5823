"""What the stack costs and how long it takes, on the test cluster: in 20 minutes.

To run it: PYTHONPATH=tests python tests/tools/figures.py
Needs what tests/k8s/test_cluster.py needs; BANNER_CLUSTER's cluster is emptied first.
"""

import json
import statistics
import time

from k8s import kube

LIMITS = ("50m", "100m", "250m", "500m", "none")
FOLLOWS = 10
RUNS = 8  # at each limit
MEASURED = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
wall = time.perf_counter() - began
cpu = used.ru_utime + used.ru_stime
print(json.dumps({"code": code, "wall": wall, "cpu": cpu, "mib": used.ru_maxrss / 1024}))
"""


def measured(limit: str, number: int) -> dict[str, float]:
    """One run of the job at a CPU limit: its exit code, seconds of wall and CPU, and peak MiB of memory."""
    made = kube.monitoring("create", "job", "--from", "cronjob/banner", "job", "--dry-run=client", "--output", "json")
    job = json.loads(made)
    job["metadata"] = {"name": f"at-{limit}-{number}"}
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["python", "-c", MEASURED, "python", "/banner/banner.py"]
    limits = container["resources"]["limits"]
    limits.pop("cpu", None)
    if limit != "none":
        limits["cpu"] = limit
        container["resources"]["requests"]["cpu"] = limit
    kube.monitoring("create", "--filename", "-", stdin=json.dumps(job))
    figures: dict[str, float] = json.loads(kube.finished(job["metadata"]["name"]).log.splitlines()[-1])
    assert figures["code"] == 0
    return figures


def main() -> None:
    """Prints a line for each figure as soon as it is known."""
    start = kube.started()
    print(f"{start.objects} objects; setup applied in {start.setup:.1f} s, the rest in {start.stack:.1f} s", flush=True)
    print(f"from the second apply to the first banner: {start.banner:.0f} s", flush=True)
    follows = []
    for number in range(FOLLOWS):
        time.sleep(number * 60 / FOLLOWS)  # after a banner: it is pressed at all moments of a minute
        follows.append(kube.follow_to_banner())
    print(f"from Follow to a new banner: median {statistics.median(follows):.0f} s of", *map(round, sorted(follows)))
    kube.suspend(True)
    kube.publish("always")
    print("CPU limit   wall s   CPU s   peak MiB   (medians)", flush=True)
    for limit in LIMITS:
        runs = [measured(limit, number) for number in range(RUNS)]
        wall, cpu, mib = (statistics.median(run[what] for run in runs) for what in ("wall", "cpu", "mib"))
        print(f"{limit:>9} {wall:8.2f} {cpu:7.2f} {mib:10.0f}", flush=True)
    kube.publish("news")
    kube.suspend(False)


if __name__ == "__main__":
    main()
