"""Measurements, as ratios to comparators that the bench starts in the same run (`make bench`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the tests find what they share
