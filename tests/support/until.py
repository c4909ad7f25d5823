"""Waits for what tells nobody that it has come."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, seconds: float, ask: Callable[[], T]) -> T:
    """The first true answer, asked for twice a second. Fails with `what` when there is none after so many seconds."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not after {seconds} s: {what}; the last answer: {answer!r}"
        time.sleep(0.5)  # none of those who are asked can be waited for
    return answer
