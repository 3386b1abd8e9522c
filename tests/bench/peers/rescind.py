"""Rescind, as a peer of the others: everything on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.bench.peers.fastapi import SECRET
from tests.bench.peers.peer import Peer
from tests.bench.processes import SERVE

RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: github, secrets: [%s]}}
"""


def install() -> None:
    """It is here."""


def command(folder: Path, port: int) -> tuple[list[str], Mapping[str, str]]:
    """One process."""
    resources = folder / "rescind.yaml"
    resources.write_text(RESOURCES % SECRET)
    environment = {
        "RESCIND_DATABASE_URL": f"sqlite:///{folder / 'rescind.db'}",
        "RESCIND_PORT": str(port),
        "RESCIND_ENDPOINT_RATE_PER_S": "1000000",  # the limit counts, and lets all pass
        "PYTHONPATH": str(Path.cwd()),
    }
    return [sys.executable, "-P", "-c", SERVE, str(resources)], environment


PEER = Peer(
    "Rescind",
    "In a hash-chained log and applied to its order, with a verdict on whether that can be canceled, synced to disk "
    "before the response (WAL, synchronous = FULL; one commit for all who wait); signature, duplicates.",
    install,
    command,
    ("rescind.db", "rescind-index.db"),
    "SELECT count(*) FROM events WHERE order_pk > 0",
)
