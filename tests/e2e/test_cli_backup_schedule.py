"""`rescind backup --every` as a process: it takes what is due, and ends when it is asked to."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
from processes import Process
from providers import until
from servers import Server


async def test_it_backs_up_and_ends_by_sigterm(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    server = Server(tmp_path, session)
    await server.start()
    backups = tmp_path / "backups"
    backups.mkdir()
    env = {**os.environ, "RESCIND_DATABASE_URL": f"sqlite:///{tmp_path}/rescind.db"}
    process = Process(["backup", "--into", str(backups), "--keep", "2", "--every", "6h"], env=env, cwd=tmp_path)
    try:

        async def done() -> bool:
            return "verified" in process.written("out")

        await until(done, "a backup")
        assert len([*backups.glob("rescind-*.db")]) == 1
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
    finally:
        process.kill()
        await server.stop()
