"""The past of an account that has none: its follower count before the stand-in X began, as text for promtool."""

import math
from collections.abc import Iterator

STEP = 60  # seconds between samples


def counts(days: int, last: int) -> Iterator[int]:
    """The count each minute of so many days: from 1 to the last one, with ups and downs, fastest at the end."""
    samples = days * 86400 // STEP
    for number in range(samples):
        done = (number + 1) / samples
        yield max(1, round(last * done**1.5 * (1 - 0.3 * (1 - done) * math.sin(20 * done))))


def open_metrics(name: str, now: float, days: int, last: int) -> Iterator[str]:
    """Lines of OpenMetrics, up to that moment, with the labels that the stack's Probe gives the series."""
    yield "# TYPE x_user_followers_count gauge"
    series = f'x_user_followers_count{{instance="{name}",job="x-user",namespace="monitoring",username="{name}"}}'
    first = now - days * 86400
    for number, count in enumerate(counts(days, last), start=1):
        yield f"{series} {count} {first + number * STEP:.3f}"
    yield "# EOF"
