"""What components/long-term-small keeps, with real processes: all samples of the followers, and no others."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import yaml
from support.paths import K8S
from support.thanos import PROMETHEUS, Exporter, Program, arguments, free_port, samples
from support.tools import tool
from support.until import until

pytestmark = [pytest.mark.xdist_group("thanos"), pytest.mark.timeout(300)]

SMALL = K8S / "components/long-term-small"


@dataclass(frozen=True)
class Two:
    """The Prometheus that scrapes, and the one that it writes to."""

    first: Program
    followers: Program


def remote_write(url: str) -> dict[str, Any]:
    """The manifest's remoteWrite in Prometheus' own words, to another URL."""

    def snake(name: str) -> str:
        return "".join("_" + one.lower() if one.isupper() else one for one in name)

    [spec] = yaml.safe_load((SMALL / "prometheus-k8s.yaml").read_text())["spec"]["remoteWrite"]
    relabel = [{snake(name): value for name, value in one.items()} for one in spec["writeRelabelConfigs"]]
    queue = {snake(name): value for name, value in spec["queueConfig"].items()}
    return {"url": url, "write_relabel_configs": relabel, "queue_config": queue}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    prometheus = tool("prometheus", PROMETHEUS)
    folder = tmp_path_factory.mktemp("small")
    exporter = Exporter()
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    rules = yaml.safe_load((K8S / "alerts/prometheusrule-banner-publish.yaml").read_text())["spec"]
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))

    def program(name: str, *command: str) -> Program:
        port = free_port()
        listen = f"--web.listen-address=127.0.0.1:{port}"
        return Program([prometheus, *command, listen], f"http://127.0.0.1:{port}", folder / f"{name}.log")

    file = "long-term-small/prometheus-followers/statefulset-prometheus-followers.yaml"
    followers = program("followers", *arguments(file, "prometheus", {"--storage.tsdb.path": str(folder / "followers")}))
    static = [{"targets": [f"127.0.0.1:{exporter.server_address[1]}"]}]
    configuration = {
        "global": {"scrape_interval": "1s", "external_labels": {"prometheus": "monitoring/k8s"}},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "x-user", "static_configs": static}],
        "remote_write": [remote_write(f"{followers.url}/api/v1/write")],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    first = program("first", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/first")
    followers.start()
    first.start()
    yield Two(first, followers)
    first.kill()
    followers.kill()
    exporter.shutdown()
    exporter.server_close()


def ask(program: Program, path: str, **asked: str) -> Any:
    return requests.get(f"{program.url}/api/v1/{path}", params=asked, timeout=30).json()["data"]


def test_it_has_what_the_banner_is_made_of_and_nothing_else(two: Two) -> None:
    until("there is news", 120, lambda: ask(two.followers, "query", query='banner:publish{publish="news"}')["result"])
    names = ask(two.followers, "label/__name__/values")
    assert set(names) == {"x_user_followers_count", "banner:publish"}
    assert len(ask(two.first, "label/__name__/values")) > len(names)


def test_what_is_written_while_it_is_away_it_has_afterwards(two: Two) -> None:
    begin = time.time()
    two.followers.kill()
    until("ten samples", 120, lambda: samples(two.first.url, begin, time.time()) >= 10)
    two.followers.start()
    end = time.time()
    scraped = samples(two.first.url, begin, end)
    until("it has them all", 120, lambda: samples(two.followers.url, begin, end) == scraped)
