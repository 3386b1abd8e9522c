"""A server with data and a browser, for all tests of a module.

Where there is no browser, these tests are not collected, and the run says so; in continuous integration it fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # last: `conftest` is the one of tests/

from browsing import executable

MISSING = "no browser (chromium) on this machine: the tests of the console's pages are left out"
if executable() is None:
    if os.environ.get("CI"):
        raise pytest.UsageError("no browser: install chromium")
    collect_ignore_glob = ["test_*"]
    sys.stderr.write(f"{MISSING}\n")
