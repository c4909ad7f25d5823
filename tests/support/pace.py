"""How fast this machine is at the moment: the unit of the limits in the tests, so that a busy one only takes longer."""

import subprocess
import sys
import time

LOADING = [sys.executable, "-c", "import requests, tweepy"]  # most of what a run of banner.py needs to start
HOLDS = 20  # a measurement counts for so many times its own length: measuring takes a twentieth of the time at most


class Pace:
    """What loading took when it was last measured, in seconds, and the moment until which that counts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.until = 0.0

    def starts(self, number: float) -> float:
        """The seconds that so many starts of banner.py, one after the other, would take here and now."""
        began = time.monotonic()
        if began > self.until:
            subprocess.run(LOADING, check=True)
            self.seconds = time.monotonic() - began
            self.until = began + HOLDS * self.seconds
        return number * self.seconds

    def known(self, number: float) -> float:
        """The same as last measured: for where measuring would delay what is being timed."""
        return number * self.seconds


PACE = Pace()
starts, known = PACE.starts, PACE.known
