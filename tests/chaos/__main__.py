"""Nodes under load, killed, stopped and restarted, and the database too, for as long as one likes.

    python -m tests.chaos [--minutes 10] [--seed N] [--nodes 3] [--rate 8] [--sqlite | --previous DIR] [--keep DIR]

With `--previous`, the nodes run an earlier release at first, and are upgraded one by one instead (`chaos.rolling`).

The guarantees are judged by what was acknowledged, by what arrived at the simulated providers, and by `rescind rebuild
--check`. The exit code is 1 if one does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.rolling import upgrade
from chaos.run import ORDERS_PER_S, Setup, at_random, run


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=0, help="of the load and the faults; chance where there is none")
    options.add_argument("--nodes", type=int, default=3)
    options.add_argument("--rate", type=float, default=ORDERS_PER_S, help="new orders a second, of four webhooks each")
    options.add_argument("--sqlite", action="store_true", help="one node on SQLite")
    options.add_argument("--previous", type=Path, metavar="DIR", help="upgrade from the release in this checkout")
    options.add_argument("--keep", type=Path, metavar="DIR", help="leave the logs and the SQLite database there")
    given = options.parse_args()
    seed = given.seed or secrets.randbits(32)
    sys.stderr.write(f"seed {seed}\n")
    with tempfile.TemporaryDirectory(prefix="rescind-chaos-") as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        setup = Setup(nodes=given.nodes, orders_per_s=given.rate, sqlite=given.sqlite, previous=given.previous)
        script = upgrade(given.minutes * 60) if given.previous else at_random(given.minutes * 60)
        verdict = asyncio.run(run(folder, seed, script, setup))
    sys.stdout.write(json.dumps(verdict.figures, indent=1, ensure_ascii=False) + "\n")
    for fault in verdict.faults:
        sys.stdout.write(f"{fault}\n")
    sys.exit(1 if verdict.faults else 0)


if __name__ == "__main__":
    main()
