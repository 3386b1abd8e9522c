"""Backups: complete, private, verified; what is damaged or cannot be opened is neither kept nor put back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from contract.store_cases import A, at, event, place

from app.config.secrets import WrongSecretKeyError, open_vault
from app.core.pauses import EVERYTHING
from app.engine.backup import BackupError, Copied, LastBackup, back_up, last_backup, record, restore
from app.store import ConsoleSession, LogCursorError, Resource, Store, Window
from app.store.filters import OrderFilter
from app.store.sqlite import open_sqlite
from app.store.sqlite.files import DatabaseInUseError

ORDERS = 30
NAME = "rescind.db"
ACCOUNT = msgspec.json.encode(
    {"id": A, "provider": "planomatic", "config": {"base_url": "http://127.0.0.1:9", "api_key": "k" * 20}}
)
SECRET = "sealed-with-this-key-0123456789-abcdef"


def quietly(_done: int, _all: int) -> None:
    """Nobody looks at the progress."""


def save(database: Path, file: Path, *, force: bool = False, secret_key: str = "") -> Copied:
    return back_up(database, file, secret_key=secret_key, force=force, tell=quietly)


def put_back(file: Path, database: Path, *, force: bool = False, secret_key: str = "") -> Copied:
    return restore(file, database, secret_key=secret_key, force=force, tell=quietly)


async def fill(store: Store, sealed: bytes) -> None:
    await store.save_resources([Resource("accounts", A, 1, at(0), "me", sealed)], [], [])
    for n in range(1, ORDERS + 1):
        await place(store, n, f"o-{n}", event(f"o-{n}", n))
    await store.start_session(ConsoleSession(b"session", "key_1", at(0), at(3600)), 1)


def using(database: Path, work: Callable[[Store], Any]) -> Any:
    """What `work` gives of the open database."""

    async def use() -> Any:
        store = await open_sqlite(database)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(use())


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A database as kill -9 leaves it: nearly all of it stands in the log beside it."""

    async def crash() -> None:
        store = await open_sqlite(tmp_path / "live" / NAME)
        await fill(store, open_vault("", tmp_path / "live" / f"{NAME}.key").seal(ACCOUNT))
        (tmp_path / "crashed").mkdir()
        for file in (tmp_path / "live").iterdir():
            if not file.name.endswith(".lock"):
                shutil.copy(file, tmp_path / "crashed")
        await store.close()

    asyncio.run(crash())
    return tmp_path / "crashed" / NAME


async def names(store: Store) -> set[str]:
    return {aggregate.order.id for _, aggregate in await store.orders(Window(99), OrderFilter(account=A))}


def modes(directory: Path) -> set[int]:
    return {file.stat().st_mode & 0o777 for file in directory.iterdir()}


def test_a_backup_holds_what_only_the_log_held(crashed: Path, tmp_path: Path) -> None:
    (tmp_path / "safe").mkdir(mode=0o755)
    copied = save(crashed, tmp_path / "safe" / "copy.db")
    assert copied.key_file == tmp_path / "safe" / "copy.db.key"
    assert modes(tmp_path / "safe") == {0o600}
    # One file and its key; no log, and nothing half done.
    assert sorted(file.name for file in (tmp_path / "safe").iterdir()) == ["copy.db", "copy.db.key"]
    record(crashed, copied)
    assert last_backup(crashed) == LastBackup(copied.at, str(tmp_path / "safe" / "copy.db"))
    put_back(tmp_path / "safe" / "copy.db", tmp_path / "new" / NAME)
    assert using(tmp_path / "new" / NAME, names) == {f"o-{n}" for n in range(1, ORDERS + 1)}
    assert modes(tmp_path / "new") == {0o600}


def test_what_was_there_is_kept_and_nothing_is_sent(crashed: Path, tmp_path: Path) -> None:
    save(crashed, tmp_path / "copy.db")
    with pytest.raises(BackupError, match="--force"):
        put_back(tmp_path / "copy.db", crashed)
    log = Path(f"{crashed}-wal").read_bytes()
    first, second = (put_back(tmp_path / "copy.db", crashed, force=True) for _ in range(2))
    assert first.former is not None
    assert second.former is not None
    assert first.former != second.former
    assert Path(f"{first.former}-wal").read_bytes() == log
    assert Path(f"{first.former}.key").is_file()

    assert not using(crashed, lambda store: store.session_exists(b"session")), "it may have ended after the backup"

    async def paused(store: Store) -> list[tuple[str, str]]:
        return [(each.scope, each.reason) for each in await store.pauses()]

    ((scope, reason),) = using(crashed, paused)
    assert (scope, "ends 2026-03-01 12:30:00 UTC" in reason) == (EVERYTHING, True)


def test_a_restored_log_is_another_one_to_those_who_follow_it(crashed: Path, tmp_path: Path) -> None:
    async def end(store: Store) -> str:
        return await store.log_end()

    cursor = using(crashed, end)
    save(crashed, tmp_path / "copy.db")
    put_back(tmp_path / "copy.db", crashed, force=True)

    async def resume(store: Store) -> str:
        with pytest.raises(LogCursorError) as raised:
            await store.follow(cursor, 1)
        return raised.value.resume

    assert using(crashed, resume).rpartition(".")[2] == cursor.rpartition(".")[2]


def test_nothing_is_overwritten_unasked(crashed: Path, tmp_path: Path) -> None:
    for taken in ("copy.db", "copy.db.key"):
        (tmp_path / taken).write_bytes(b"precious")
        with pytest.raises(BackupError, match="--force"):
            save(crashed, tmp_path / "copy.db")
        assert (tmp_path / taken).read_bytes() == b"precious"
        (tmp_path / taken).unlink()
    for file in ("copy.db", "copy.db"):
        save(crashed, tmp_path / file, force=True)
    for target in (crashed, Path(f"{crashed.parent}/../crashed/{NAME}")):
        with pytest.raises(BackupError, match="itself"):
            save(crashed, target, force=True)
    with pytest.raises(BackupError, match="no directory"):
        save(crashed, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(BackupError, match="no database"):
        save(tmp_path / "none.db", tmp_path / "other.db")


def test_nothing_is_restored_under_a_running_server(crashed: Path, tmp_path: Path) -> None:
    save(crashed, tmp_path / "copy.db")

    async def busy(_store: Store) -> None:
        with pytest.raises(DatabaseInUseError):
            await asyncio.to_thread(put_back, tmp_path / "copy.db", crashed, force=True)

    using(crashed, busy)
    assert len(using(crashed, names)) == ORDERS


def test_a_backup_whose_secrets_do_not_open_is_refused(crashed: Path, tmp_path: Path) -> None:
    save(crashed, tmp_path / "copy.db")
    key = (tmp_path / "copy.db.key").read_bytes()
    (tmp_path / "copy.db.key").unlink()
    target = tmp_path / "new" / NAME
    with pytest.raises(BackupError, match="key"):
        put_back(tmp_path / "copy.db", target)
    with pytest.raises(WrongSecretKeyError):
        put_back(tmp_path / "copy.db", target, secret_key=SECRET)
    assert not target.exists()
    put_back(tmp_path / "copy.db", target, secret_key=f"{SECRET},{key.decode().strip()}")
    Path(f"{crashed}.key").unlink()
    with pytest.raises(BackupError, match="key"):
        save(crashed, tmp_path / "other.db")
    assert not (tmp_path / "other.db").exists()


def test_what_is_damaged_is_neither_kept_nor_put_back(crashed: Path, tmp_path: Path) -> None:
    save(crashed, tmp_path / "copy.db")
    whole = (tmp_path / "copy.db").read_bytes()
    for name, content in (
        ("cut.db", whole[: len(whole) // 2]),
        ("spoiled.db", whole[:20_000] + b"\x55" * 20_000 + whole[40_000:]),
        ("text.db", b"no database at all" * 1000),
        ("empty.db", b""),
    ):
        (tmp_path / name).write_bytes(content)
        shutil.copy(tmp_path / "copy.db.key", tmp_path / f"{name}.key")
        with pytest.raises(BackupError):
            put_back(tmp_path / name, tmp_path / "new" / NAME)
        with pytest.raises(BackupError):
            save(tmp_path / name, tmp_path / "b.db")
        assert not (tmp_path / "b.db").exists()
        assert [file.name for file in (tmp_path / "new").iterdir()] == [f"{NAME}.lock"]
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
