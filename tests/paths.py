"""Where the repository and the data of its tests are: test modules move, these two do not."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
