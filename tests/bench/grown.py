"""Databases of so many events, kept in a folder for the next run, and the servers on them.

A database is made by `tests.bench.big_database`, then sealed and indexed as that of a server at rest is. Its folder is
named by the number of events and by the schema, so a new migration makes new ones. Measuring adds some ten thousand
events to it.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from pathlib import Path

from app.config.settings import Settings
from app.node import Node
from app.store.migrations import migrations
from app.store.sqlite import open_sqlite
from tests.bench import big_database
from tests.bench.recorded import KEY

FILE = "rescind.db"
INDEXER_ROWS = 500
"""Events that the index takes in one piece; nobody else is there to be held up."""
SPARE = 2
"""While a database is made, so many times its size is needed."""
BYTES_AN_EVENT = 1400


def folder_of(cache: Path, events: int) -> Path:
    """Where a database of so many events is kept."""
    newest = migrations("sqlite")[-1].version
    return cache / f"{events}-events-schema-{newest}"


def database(cache: Path, events: int) -> Path:
    """The database with so many events; made where the folder has none."""
    folder = folder_of(cache, events)
    if not (folder / FILE).exists():
        free = _free(cache)
        if free < events * BYTES_AN_EVENT * SPARE:
            sys.exit(f"{cache} has {free / 1e9:.0f} GB free: a database of {events:,} events needs more")
        making = folder.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        (making / FILE).touch(0o600)
        took_s = asyncio.run(_make(making / FILE, events))
        making.rename(folder)
        sys.stderr.write(f"{events:,} events made in {took_s:.0f} s, kept in {folder}\n")
    return folder / FILE


def _free(cache: Path) -> int:
    cache.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(cache).free


async def _make(path: Path, events: int) -> float:
    began = time.monotonic()
    await big_database.make(path, events)
    store = await open_sqlite(path)
    try:
        await store.open_search_index()
        while (await store.fill_search_index(INDEXER_ROWS)).behind:
            pass
    finally:
        await store.close()
    node = await Node.start(Settings(database_url=f"sqlite:///{path}", bootstrap_key=KEY))  # type: ignore[arg-type]
    try:
        await node.log_sealer.seal()
    finally:
        await node.stop()
    return time.monotonic() - began
