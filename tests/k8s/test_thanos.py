"""What components/long-term answers while parts of it are away: all of the past, or nothing. Real processes."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.thanos import PANEL, SERIES, LongTerm, Program, complete, long_term, same, samples
from support.until import until

pytestmark = [pytest.mark.xdist_group("thanos"), pytest.mark.timeout(600)]

DAYS = 30
BLOCKS = "prometheus_tsdb_compactions_total"


@pytest.fixture(scope="module")
def all_of_it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LongTerm]:
    with long_term(tmp_path_factory.mktemp("long-term"), DAYS) as made:
        yield made


def values(answer: requests.Response) -> list[Any]:
    """The samples of the one series that is answered."""
    [series] = answer.json()["data"]["result"]
    found: list[Any] = series["values"]
    return found


def nothing(answer: requests.Response) -> bool:
    """Whether it is an error, or a success without a single series: no picture comes of either."""
    return not answer.ok or answer.json()["data"]["result"] == []


def test_the_past_and_this_minute_are_one_series(all_of_it: LongTerm) -> None:
    month = values(all_of_it.range(DAYS))
    assert len(month) >= 600
    assert (month[0][1], month[-1][1]) == ("1", "41")
    all_of_it.exporter.followers = 42
    until("the newest sample", 120, lambda: all_of_it.instant(SERIES).json()["data"]["result"][0]["value"][1] == "42")


def test_the_number_is_that_of_now_though_a_month_has_an_hour_between_two_points(all_of_it: LongTerm) -> None:
    all_of_it.exporter.followers = 43
    until("the newest sample", 120, lambda: all_of_it.instant(SERIES).json()["data"]["result"][0]["value"][1] == "43")
    end = time.time() // 3600 * 3600  # Grafana makes both ends multiples of the step
    asked = {"start": str(end - DAYS * 86400), "end": str(end), "step": "3600"}
    url = f"{all_of_it.query.url}/api/v1/query_range"
    panel = requests.get(url, params=asked | {"query": PANEL.replace("$__interval", "3600s")}, timeout=60)
    plain = requests.get(url, params=asked | {"query": SERIES}, timeout=60)
    assert values(panel)[-1] == [end, "43"]
    assert values(plain)[-1][1] != "43"


@pytest.mark.parametrize("part", ["store", "sidecar", "prometheus", "fan_out"])
def test_while_a_part_is_away_nobody_has_half_of_the_past(all_of_it: LongTerm, part: str) -> None:
    program: Program = getattr(all_of_it, part)
    program.kill()
    try:
        end = time.monotonic() + 12  # a health check is each five seconds
        while time.monotonic() < end:
            assert nothing(all_of_it.range(DAYS))
            time.sleep(0.3)  # between two questions
    finally:
        program.start()
    until("the month is there again", 120, lambda: complete(all_of_it.range(DAYS)))


def test_a_querier_that_asks_the_store_itself_would_have_half(all_of_it: LongTerm) -> None:
    """What the container fan-out is for: where this fails, Thanos has become better and it may go."""
    alone = Program(
        all_of_it.query_of("thanos-query", "query", "none", "sidecar-grpc", "store-grpc"),
        all_of_it.query.url,
        all_of_it.folder / "alone.log",
    )
    all_of_it.query.kill()
    try:
        alone.start()
        until("it has the month", 120, lambda: complete(all_of_it.range(DAYS)))
        all_of_it.store.kill()
        # An answer of the moment of the kill breaks off, which is an error as it should be.
        until("it answers all the same", 120, lambda: all_of_it.range(DAYS).ok)
        half = all_of_it.range(DAYS)
        assert half.ok
        assert len(values(half)) < 10
        assert "connection refused" in half.text
    finally:
        alone.kill()
        all_of_it.store.start()
        all_of_it.query.start()


def test_while_the_bucket_is_away_the_month_is_still_drawn_and_no_sample_is_lost(all_of_it: LongTerm) -> None:
    until("the month is there", 120, lambda: complete(all_of_it.range(DAYS)))
    blocks = all_of_it.prometheus.metric(BLOCKS)
    all_of_it.s3.kill()
    begin = time.time()
    try:
        until("a block is written", 240, lambda: all_of_it.prometheus.metric(BLOCKS) > blocks)
        assert complete(all_of_it.range(DAYS))
    finally:
        all_of_it.s3.start()
    end = time.time()
    store = {"dedup": "false", "storeMatch[]": f'{{__address__="{all_of_it.at["store-grpc"]}"}}'}

    def uploaded() -> bool:
        scraped = samples(all_of_it.prometheus.url, begin, end)  # anew: the last one may have been on its way
        assert scraped >= 5
        return scraped == samples(all_of_it.fan_out.url, begin, end, **store)

    until("the uploads catch up", 240, uploaded)


@pytest.mark.parametrize("part", ["store", "sidecar", "compact"])
def test_keys_that_the_bucket_does_not_know_are_told(all_of_it: LongTerm, part: str) -> None:
    wrong = all_of_it.keys("test-wrong-key")
    if part == "compact":
        refused = all_of_it.compact_with(wrong)
    else:
        right: Program = getattr(all_of_it, part)
        right.kill()
        command = all_of_it.store_with(wrong) if part == "store" else all_of_it.sidecar_with(wrong)
        refused = Program(command, right.url, all_of_it.folder / f"{part}-refused.log")
    try:
        refused.start(wait=False)
        until(
            "it is told",
            120,
            lambda: "InvalidAccessKeyId" in text(refused) or "access key ID you provided" in text(refused),
        )
        if part == "sidecar":  # it goes on, as Prometheus has what it could not upload: ThanosBucketRefuses
            until("it is counted", 120, lambda: refused.metric("thanos_objstore_bucket_operation_failures_total") > 0)
        else:  # the Store's pod is started again and again: ThanosStoreAway; a Compactor with --wait goes on
            until("it ends", 120, lambda: refused.process and refused.process.poll())
    finally:
        refused.kill()
        if part != "compact":
            right.start()
    until("the month is there again", 120, lambda: complete(all_of_it.range(DAYS)))


def text(program: Program) -> str:
    return program.log.read_text()


def test_a_compactor_killed_in_the_middle_begins_anew_and_the_past_stays_as_it_was(all_of_it: LongTerm) -> None:
    before = values(all_of_it.range(DAYS))
    compactor = all_of_it.compact_with(all_of_it.objstore)
    compactor.start(wait=False)
    until("it compacts", 120, lambda: "downloaded and verified blocks; compacting" in text(compactor))
    assert compactor.process
    assert compactor.process.poll() is None
    compactor.kill(signal.SIGKILL)
    compactor.start(wait=False)
    until("it has done all", 240, lambda: compactor.process and compactor.process.poll() is not None)
    assert compactor.process.returncode == 0, text(compactor)[-2000:]
    assert "uploaded block" in text(compactor)
    until("the month is as before", 60, lambda: same(before, values(all_of_it.range(DAYS))))
