"""`rescind keys rotate-master`: killed at any step, nothing is unreadable, and the next run completes it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import aiohttp
import pytest
from e2e.test_cli_support import Machine
from processes import Process
from servers import ACCOUNT, BOOTSTRAP_KEY, Server, account_of, endpoint_of, stored_in

from app.config.secrets import Vault, WrongSecretKeyError, split_keys
from app.store import SEALED

KILLED = """
import os, signal
from app.config import master_key
from app.store.sqlite.store import SqliteStore
master_key.PAGE = 2
steps = 0

def dying(function):
    def wrapped(*args, **options):
        global steps
        steps += 1
        if steps == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return wrapped

os.replace, os.fsync, os.open = dying(os.replace), dying(os.fsync), dying(os.open)
replaced = SqliteStore.replace_sealed

async def replace_sealed(*args):
    dying(int)()
    await replaced(*args)
    dying(int)()

SqliteStore.replace_sealed = replace_sealed
"""
"""Ends the process without warning at one of its steps: before and after it writes to the database or to a file."""


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """A folder with a database that a server has filled with secrets, and its key file."""
    folder = tmp_path / "made"
    folder.mkdir()
    async with aiohttp.ClientSession() as session:
        server = Server(folder, session)
        await server.start()
        for number in range(3):
            await server.put("accounts", f"{ACCOUNT}-{number}", account_of("http://127.0.0.1:1"))
            await server.put("endpoints", f"in-{number}", endpoint_of(f"{ACCOUNT}-{number}"))
            headers = {"Idempotency-Key": f"once-{number}"}
            assert (await server.ask("POST", "/v1/keys", {"name": "ci"}, headers=headers)).status == 201
        assert await server.stop() == 0
    return folder


def values(folder: Path) -> list[bytes]:
    """All encrypted values."""
    db = sqlite3.connect(folder / "rescind.db")
    rows = [bytes(value) for of in SEALED for (value,) in db.execute(f"SELECT {of.column} FROM {of.table}")]  # noqa: S608
    db.close()
    return rows


def keys_in(folder: Path) -> list[str]:
    return split_keys((folder / "rescind.db.key").read_text())


def check_readable(folder: Path) -> None:
    """Every value opens with a key in the key file, which is private."""
    vault = Vault(keys_in(folder))
    assert len([vault.open(value) for value in values(folder)]) == 12
    assert (folder / "rescind.db.key").stat().st_mode & 0o777 == 0o600


def check_rotated(folder: Path, former: str) -> None:
    """Every value opens with the one key in the key file, which is not the former one."""
    (key,) = keys_in(folder)
    assert key != former
    check_readable(folder)
    for value in values(folder):
        with pytest.raises(WrongSecretKeyError):
            Vault([former]).open(value)
    assert sorted(path.name for path in folder.glob("rescind.db*")) == [
        "rescind.db",
        "rescind.db.key",
        "rescind.db.lock",
    ]


async def test_killed_at_any_step_it_is_completed_by_the_next_run(filled: Path, tmp_path: Path) -> None:
    (former,) = keys_in(filled)
    before = values(filled)
    step = 0
    while True:
        step += 1
        folder = tmp_path / f"killed-{step}"
        shutil.copytree(filled, folder)
        here = Machine(folder)
        process = Process(["keys", "rotate-master"], env=here.env, cwd=folder, prelude=KILLED.format(at=step))
        code = await asyncio.to_thread(process.wait)
        check_readable(folder)
        if code == 0:
            check_rotated(folder, former)
            break
        assert code == -9, process.written("err")
        ended = here.json("keys", "rotate-master")
        assert ended["values"] == 12
        check_rotated(folder, former)
        shutil.rmtree(folder)
    assert step > 20, "it was killed between all writes"
    # What the former key opens is overwritten, not only forgotten.
    left = stored_in(folder)
    assert [value for value in before if value in left or value[:40] in left] == []
    async with aiohttp.ClientSession() as session:
        server = Server(folder, session)
        await server.start()
        shown = await server.get("/v1/accounts")
        assert len(shown["data"]) == 3
        again = await server.ask("POST", "/v1/keys", {"name": "ci"}, headers={"Idempotency-Key": "once-0"})
        assert again.headers["Idempotent-Replayed"] == "true"
        assert "in use" in Machine(folder).run("keys", "rotate-master", code=1).err
        await server.stop()


async def test_keys_from_the_environment(filled: Path) -> None:
    here = Machine(filled)
    (former,) = keys_in(filled)
    (filled / "rescind.db.key").unlink()
    new = "a-new-key-of-at-least-thirty-two-characters"
    assert "There is no key" in here.run("keys", "rotate-master", code=1).err
    assert "has one key" in here.run("keys", "rotate-master", code=1, env={"RESCIND_SECRET_KEY": new}).err
    both = {"RESCIND_SECRET_KEY": f"{new},{former}"}
    finding = doctor(here, both)
    assert (finding["state"], finding["do"].startswith("Stop the server")) == ("notice", True)
    assert "12 are encrypted with a former key" in finding["detail"]
    wrong = {"RESCIND_SECRET_KEY": f"{new},another-key-that-never-was-used-here"}
    assert "add the former key" in here.run("keys", "rotate-master", code=1, env=wrong).err
    ran = here.run("keys", "rotate-master", env=both)
    assert "All 12 stored secrets" in ran.out + ran.err
    assert not (filled / "rescind.db.key").exists()
    vault = Vault([new])
    assert all(vault.open(value) for value in values(filled))
    assert doctor(here, {"RESCIND_SECRET_KEY": new})["state"] == "ok"
    assert BOOTSTRAP_KEY not in ran.out + ran.err
    for said in (ran.out, ran.err):
        assert new not in said
        assert former not in said


def doctor(here: Machine, env: dict[str, str]) -> dict[str, str]:
    """What `doctor` finds about the key."""
    findings = here.run("doctor", "--json", code=1, env=env).json["data"]
    return next(finding for finding in findings if finding["what"] == "secret key")
