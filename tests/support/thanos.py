"""Prometheus, Thanos and an object storage as processes of this machine, with the arguments of their manifests."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import requests
import yaml
from rehearsal import grafana
from rehearsal.history import open_metrics

from support.paths import K8S
from support.tools import IN_REQUIREMENTS, tool
from support.until import until

THANOS: Final = "cd tests/k8s/cluster/thanos && go install -tags slicelabels github.com/thanos-io/thanos/cmd/thanos"
PROMETHEUS: Final = "it comes with Prometheus: https://prometheus.io/download"
SERIES: Final = 'x_user_followers_count{username="A"}'
PANEL: Final = grafana.PANEL.replace("SERIES", SERIES)
KEYS: Final = {"AWS_ACCESS_KEY_ID": "test-access-key", "AWS_SECRET_ACCESS_KEY": "test-secret-key"}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens to, as low as SeaweedFS needs it: its gRPC ports are 10000 higher."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
        if port < 50000:
            return port


def arguments(workload: str, container: str, others: dict[str, str]) -> list[str]:
    """The arguments that a manifest of components gives a container, with other values for these flags."""
    spec = yaml.safe_load((K8S / "components" / workload).read_text())["spec"]["template"]["spec"]
    [found] = [one for one in spec["containers"] if one["name"] == container]
    left = dict(others)
    made = []
    for argument in found["args"]:
        flag, equals, _ = argument.partition("=")
        made.append(f"{flag}={left.pop(flag)}" if equals and flag in left else argument)
    assert not left, f"{workload} has no {left}"
    return made


@dataclass
class Program:
    """One process: how it is started, where its HTTP listens, and its log."""

    command: list[str]
    url: str
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    ready: str = "/-/ready"
    process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        """Starts it, and waits until it is ready."""
        with self.log.open("ab") as log:
            environment = os.environ | self.environment
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)
        if wait:
            until(f"{self.command[:2]} is ready: {self.log}", 120, self.answers)

    def answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return requests.get(self.url + self.ready, timeout=5).ok
        except requests.RequestException:
            return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends it, at once or with that signal, and waits until it is gone."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def metric(self, name: str) -> float:
        """The sum of a metric's series, as the process tells it."""
        text = requests.get(self.url + "/metrics", timeout=10).text
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def samples(url: str, begin: float, end: float, **more: str) -> int:
    """How many samples between two moments the Prometheus that is scraped has written, by who is at that URL."""
    series = 'x_user_followers_count{prometheus_replica!="history"}'
    seconds = max(1, round(end - begin))
    asked = {"query": f"count_over_time({series}[{seconds}s])", "time": f"{end:.3f}"} | more
    answer = requests.get(f"{url}/api/v1/query", params=asked, timeout=60).json()["data"]["result"]
    return int(answer[0]["value"][1]) if answer else 0


class Exporter(ThreadingHTTPServer):
    """What Prometheus scrapes; it counts the scrapes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.scrapes, self.followers = 0, 41


class Answer(BaseHTTPRequestHandler):
    """GET of anything: the follower count."""

    server: Exporter

    def do_GET(self) -> None:
        self.server.scrapes += 1
        body = f'x_user_followers_count{{username="A"}} {self.server.followers}\n'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class LongTerm:
    """All of components/long-term on this machine. Prometheus scrapes each second and writes a block a minute."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.thanos, prometheus = tool("thanos", THANOS), tool("prometheus", PROMETHEUS)
        weed, self.promtool = tool("weed", IN_REQUIREMENTS), tool("promtool", PROMETHEUS)
        names = (
            "s3",
            "prometheus",
            "sidecar",
            "sidecar-grpc",
            "store",
            "store-grpc",
            "fan",
            "fan-grpc",
            "query",
            "none",
        )
        self.at = {name: f"127.0.0.1:{free_port()}" for name in names}
        self.exporter = Exporter()
        self.objstore = self.keys("test-access-key")
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self.scrapes()))
        (folder / "s3").mkdir()

        ports = [f"-s3.port={self.at['s3'].split(':')[1]}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        mini = [weed, "-logtostderr=true", "mini", f"-dir={folder / 's3'}", "-bucket=banner", *ports]
        mini += ["-master.telemetry=false", "-admin.ui=false", "-webdav=false"]
        self.s3 = self.program("s3", mini, environment=KEYS, ready="/healthz")
        blocks = [f"--storage.tsdb.{edge}-block-duration=1m" for edge in ("min", "max")]  # as the operator's blockSize
        started = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}", *blocks]
        self.prometheus = self.program("prometheus", [*started, f"--web.listen-address={self.at['prometheus']}"])
        self.sidecar = self.program("sidecar", self.sidecar_with(self.objstore))
        self.store = self.program("store", self.store_with(self.objstore))
        self.fan_out = self.program("fan", self.query_of("fan-out", "fan", "fan-grpc", "sidecar-grpc", "store-grpc"))
        self.query = self.program("query", self.query_of("thanos-query", "query", "none", "fan-grpc"))

    def program(self, name: str, command: list[str], **more: Any) -> Program:
        """A program that listens where its name says."""
        return Program(command, f"http://{self.at[name]}", self.folder / f"{name}.log", **more)

    def query_of(self, container: str, http: str, grpc: str, *asked: str) -> list[str]:
        """The command of a container of thanos-query that asks those."""
        endpoints = {"endpoints": [{"address": self.at[one], "strict": True} for one in asked]}
        others = {"--http-address": self.at[http], "--grpc-address": self.at[grpc]}
        others["--endpoint.sd-config"] = json.dumps(endpoints)
        return [self.thanos, *arguments("long-term/thanos/query/deployment-thanos-query.yaml", container, others)]

    def store_with(self, objstore: Path) -> list[str]:
        """The command of the Store Gateway, which looks for new blocks each second."""
        others = {"--http-address": self.at["store"], "--grpc-address": self.at["store-grpc"]}
        others |= {"--data-dir": str(self.folder / "store"), "--objstore.config-file": str(objstore)}
        others["--sync-block-duration"] = "1s"
        file = "long-term/thanos/store/deployment-thanos-store.yaml"
        return [self.thanos, *arguments(file, "thanos-store", others)]

    def sidecar_with(self, objstore: Path) -> list[str]:
        """The command of the sidecar, as the operator starts it."""
        command = [self.thanos, "sidecar", f"--prometheus.url=http://{self.at['prometheus']}"]
        command += [f"--tsdb.path={self.folder / 'tsdb'}", f"--objstore.config-file={objstore}"]
        return [*command, f"--grpc-address={self.at['sidecar-grpc']}", f"--http-address={self.at['sidecar']}"]

    def scrapes(self) -> dict[str, Any]:
        """Prometheus' configuration; the labels are those that the operator and the stack's Probe give."""
        labels = {"prometheus": "monitoring/k8s", "prometheus_replica": "prometheus-k8s-0"}
        target = f"127.0.0.1:{self.exporter.server_address[1]}"
        static = [{"targets": [target], "labels": {"instance": "A", "namespace": "monitoring"}}]
        job = {"job_name": "x-user", "static_configs": static}
        return {"global": {"scrape_interval": "1s", "external_labels": labels}, "scrape_configs": [job]}

    def keys(self, access_key: str) -> Path:
        """An objstore.yml with that access key."""
        config = {"bucket": "banner", "endpoint": self.at["s3"], "insecure": True}
        config |= {"access_key": access_key, "secret_key": "test-secret-key"}
        file = self.folder / f"objstore-{access_key}.yml"
        file.write_text(yaml.safe_dump({"type": "S3", "config": config}))
        return file

    def compact_with(self, objstore: Path) -> Program:
        """A Compactor that takes all blocks at once, however new, and ends."""
        port = free_port()
        others = {"--http-address": f"127.0.0.1:{port}", "--data-dir": str(self.folder / "compact")}
        others["--objstore.config-file"] = str(objstore)
        args = arguments("long-term/thanos/compact/statefulset-thanos-compact.yaml", "thanos-compact", others)
        args.remove("--wait")
        command = [self.thanos, *args, "--consistency-delay=0s"]
        return Program(command, f"http://127.0.0.1:{port}", self.folder / "compact.log")

    def upload(self, samples: Iterator[str], replica: str) -> None:
        """Makes blocks of OpenMetrics and brings them to the bucket, as the rehearsal's Job does."""
        text, blocks = self.folder / f"{replica}.txt", self.folder / replica
        shutil.rmtree(blocks, ignore_errors=True)  # those of a call before are in the bucket
        with text.open("w") as file:
            file.writelines(f"{line}\n" for line in samples)
        create = [
            self.promtool,
            "tsdb",
            "create-blocks-from",
            "--max-block-duration=54h",
            "openmetrics",
            str(text),
            str(blocks),
        ]
        subprocess.run(create, check=True, capture_output=True)
        labels = ['--label=prometheus="monitoring/k8s"', f'--label=prometheus_replica="{replica}"']
        command = [self.thanos, "tools", "bucket", "upload-blocks", f"--path={blocks}", *labels]
        subprocess.run([*command, f"--objstore.config-file={self.objstore}"], check=True, capture_output=True)

    def programs(self) -> list[Program]:
        return [self.s3, self.prometheus, self.sidecar, self.store, self.fan_out, self.query]

    def range(self, days: float, url: str = "", query: str = SERIES) -> requests.Response:
        """What a panel asks for, of the Querier or of who is at that URL; $__interval is the time between points."""
        end = time.time()
        step = max(15.0, days * 86400 / 600)
        query = query.replace("$__interval", f"{step:.0f}s")
        asked: dict[str, str | float] = {"query": query, "start": end - days * 86400, "end": end, "step": step}
        return requests.get(f"{url or self.query.url}/api/v1/query_range", params=asked, timeout=60)

    def instant(self, query: str, url: str = "") -> requests.Response:
        """What publish_if_url asks for."""
        return requests.get(f"{url or self.query.url}/api/v1/query", params={"query": query}, timeout=60)


@contextmanager
def long_term(folder: Path, days: int = 30) -> Iterator[LongTerm]:
    """All of it, with so many days of history in the bucket."""
    one = LongTerm(folder)
    threading.Thread(target=one.exporter.serve_forever, daemon=True).start()
    try:
        one.s3.start()
        one.upload(open_metrics("A", time.time(), days, 41), "history")
        for program in one.programs()[1:]:
            program.start()
        until("the month is there", 120, lambda: complete(one.range(days)))
        yield one
    finally:
        for program in reversed(one.programs()):
            program.kill()
        one.exporter.shutdown()
        one.exporter.server_close()


def complete(answer: requests.Response) -> bool:
    """Whether a range is answered with all of its points."""
    return answer.ok and any(len(one["values"]) >= 599 for one in answer.json()["data"]["result"])


def same(before: list[Any], after: list[Any]) -> bool:
    """Whether they are the same but for what downsampling makes of a count: the mean of five minutes."""
    old, new = dict(before), dict(after)
    return (
        len(new) >= len(old) - 1
        and max(abs(float(a) - float(b)) for a, b in zip(old.values(), new.values(), strict=False)) <= 1
    )
