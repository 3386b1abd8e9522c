"""`python -m app.dev.drill [--orders N]`."""

from __future__ import annotations

import argparse
import sys

from app.dev.drill import run
from app.dev.drill.run import ORDERS, ORDERS_MIN

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m app.dev.drill", description="A rehearsed recovery.")
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"how many orders, {ORDERS_MIN} or more")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the database and the logs")
    given = parser.parse_args()
    sys.exit(run(max(ORDERS_MIN, given.orders), keep=given.keep))
