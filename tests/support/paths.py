"""Where things are."""

from pathlib import Path
from typing import Final

TOP: Final = Path(__file__).parents[2]
TESTS: Final = TOP / "tests"
BANNER: Final = TOP / "banner.py"
K8S: Final = TOP / "k8s"
