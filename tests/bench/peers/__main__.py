"""What a webhook costs here and elsewhere: `make bench-peers`.

    python -m tests.bench.peers [--only NAME] [--mix five|new] [--rounds 5] [--orders 600] [--json FILE] [--plot FOLDER]

All take the same signed webhooks over 64 connections, in turn, in rounds of one run; and all that was acknowledged must
have been stored at the end. What cannot be installed here is left out, with a message.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import ingest, load, machine, plots
from tests.bench.payload import EVENTS, bodies, body
from tests.bench.peers import fastapi, node_red, pocketbase, rescind
from tests.bench.peers.peer import NotInstalledError, Peer
from tests.bench.processes import free_port, running
from tests.bench.tables import cells

PEERS = (rescind.PEER, fastapi.PEER, node_red.PEER, pocketbase.PEER)
ORDERS = 600
Rounds = dict[str, list[ingest.Round]]


def webhooks(mix: str, orders: int, rounds: int) -> Iterator[list[bytes]]:
    """The requests of each round, after those of one that warms up."""
    secret = fastapi.SECRET
    orders = orders if mix == "five" else orders * len(EVENTS)
    for first in range(1, (rounds + 1) * orders, orders):
        numbers = range(first, first + orders)
        made = bodies(orders, first) if mix == "five" else [body(order, *EVENTS[0]) for order in numbers]
        signatures = (hmac.new(secret.encode(), each, hashlib.sha256).hexdigest() for each in made)
        yield [
            load.post("/webhooks/bench-in", each, "", f"X-Hub-Signature-256: sha256={signature}\r\n")
            for each, signature in zip(made, signatures, strict=True)
        ]


def installed(only: list[str] | None) -> list[Peer]:
    """Those that can run here; what cannot is said, and why."""
    peers = []
    for peer in PEERS:
        if only and not any(part.lower() in peer.name.lower() for part in only):
            continue
        try:
            peer.install()
        except NotInstalledError as reason:
            sys.stderr.write(f"{peer.name} is left out: {reason}\n")
        else:
            peers.append(peer)
    return peers


def compare(peers: list[Peer], mix: str, rounds: int, orders: int) -> tuple[Rounds, dict[str, float]]:
    """(the rounds of each peer, its bytes on disk a webhook); raises if one lost what it had acknowledged."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        folders = {peer.name: Path(name, peer.name.replace(" ", "")) for peer in peers}
        with contextlib.ExitStack() as started:
            servers = {}
            for peer in peers:
                folders[peer.name].mkdir()
                port = free_port()
                command, environment = peer.command(folders[peer.name], port)
                servers[peer.name] = (port, started.enter_context(running(command, port, dict(environment))))
            measured, sent = uvloop.run(ingest.measure(servers, webhooks(mix, orders, rounds)))
        sizes = {}
        for peer in peers:
            count, size = peer.stored(folders[peer.name])
            if count != sent:
                raise RuntimeError(f"{peer.name} acknowledged {sent} webhooks, and stored {count}")
            sizes[peer.name] = size / sent
    return measured, sizes


def table(peers: list[Peer], mix: str, measured: Rounds, sizes: dict[str, float]) -> Table:
    """What was measured, as people read it."""
    columns = ("webhooks/s", "Rescind ÷", "µs CPU", "p50 ms", "p99", "p99.9", "bytes", "when it responds 200")
    shown = Table("receiver", *columns, title=f"Receivers of webhooks: {ingest.MIXES[mix]}")
    for peer in peers:
        rounds = measured[peer.name]
        middle = {field: statistics.median(getattr(each, field) for each in rounds) for field in ingest.Round.__slots__}
        first = measured[peers[0].name]
        ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in zip(first, rounds, strict=True))
        shown.add_row(
            peer.name,
            f"{middle['rate']:,.0f}",
            f"{ratio:.1f}",
            f"{middle['cpu']:,.0f}",
            *(f"{middle[field]:.1f}" for field in ("p50", "p99", "p999")),
            f"{sizes[peer.name]:,.0f}",
            peer.promise,
        )
    return shown


def main() -> None:
    """Install, measure as the arguments say, and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", metavar="NAME", action="append", help="part of a name; besides Rescind")
    options.add_argument("--mix", choices=ingest.MIXES, default="five")
    options.add_argument("--rounds", type=int, default=ingest.ROUNDS)
    options.add_argument("--orders", type=int, default=ORDERS, help="five webhooks each; of a round")
    options.add_argument("--json", type=Path, metavar="FILE", help="write every round here")
    options.add_argument("--plot", type=Path, metavar="FOLDER", help="draw peers.svg and peers.png there")
    given = options.parse_args()
    if given.plot:
        plots.require()
    peers = installed([*given.only, "rescind"] if given.only else None)
    described = machine.describe("make bench-peers")
    Console().print(machine.line(described))
    measured, sizes = compare(peers, given.mix, given.rounds, given.orders)
    shown = table(peers, given.mix, measured, sizes)
    Console(width=160).print(shown)
    result: dict[str, Any] = {"machine": described, "measured": machine.line(described), "tables": [cells(shown)]}
    result |= {"mix": ingest.MIXES[given.mix], "peers": {}}
    for peer in peers:
        rounds = [asdict(each) for each in measured[peer.name]]
        result["peers"][peer.name] = {"promise": peer.promise, "bytes": sizes[peer.name], "rounds": rounds}
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if given.plot:
        plots.peers(result, given.plot)


if __name__ == "__main__":
    main()
