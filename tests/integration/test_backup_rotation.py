"""`backup --into`: whole backups only, the newest N of them, whatever ends a run and however many run at once."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from contract.store_cases import A, at, event, place

from app.config.secrets import open_vault
from app.engine import backup as of_backup
from app.engine import backup_rotation
from app.engine.backup import BackupError, last_backup
from app.engine.backup_rotation import Rotation, back_up_into, backups_in
from app.store import Resource
from app.store.sqlite import open_sqlite

NAME = "rescind.db"


class KilledError(BaseException):
    """Stands for the end of the process: nothing after it runs."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "live" / NAME

    async def fill() -> None:
        store = await open_sqlite(path)
        sealed = open_vault("", Path(f"{path}.key")).seal(b"{}")
        await store.save_resources([Resource("accounts", A, 1, at(0), "me", sealed)], [], [])
        await place(store, 1, "o-1", event("o-1", 1))
        await store.close()

    asyncio.run(fill())
    return path


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups"


def run(
    database: Path, directory: Path, keep: int | None = 2, *, with_key: bool = True, is_sound: bool = True
) -> Rotation:
    return back_up_into(
        directory,
        database,
        keep=keep,
        secret_key="",
        with_key=with_key,
        tell=lambda *_: None,
        check=lambda _file: is_sound,
    )


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {".rescind-backup.lock"}


def kept_in(directory: Path) -> list[Path]:
    return backups_in(directory, datetime.now(UTC) + timedelta(minutes=1))


def is_whole(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_newest_stay_and_what_is_not_ours_is_left_alone(database: Path, backups: Path) -> None:
    zipped = "rescind-20200101T000000Z.db"
    others = {"rescind.db", "rescind-20300101.db", f"{zipped}.gz", f"{zipped}.key", f"x.{zipped}"}
    others |= {"rescind-99999999T999999Z.db"}
    for name in others:
        (backups / name).touch()
    # A clock that was set back: the new one is not the newest by its name, and stays.
    ahead = [f"rescind-2999010{n}T000000Z.db" for n in range(1, 4)]
    for name in ahead:
        (backups / name).touch()
        (backups / f"{name}.key").touch()
    done = run(database, backups)
    assert {path.name for path in done.removed} == {*ahead[:2]}
    new = done.copy.file.name
    assert names(backups) == {*others, new, f"{new}.key", ahead[2], f"{ahead[2]}.key"}
    made = [new, *(run(database, backups).copy.file.name for _ in range(3))]
    left = {*made[2:]}
    assert len(left) == 2, "also within one second"
    assert names(backups) == {*others, *left, *(f"{name}.key" for name in left)}
    assert all(is_whole(backups / name) for name in left)
    last = last_backup(database)
    assert last is not None
    assert last.file == str(backups / made[-1])


def test_without_keep_all_stay_and_without_key_the_key_stays_apart(database: Path, backups: Path) -> None:
    made = [run(database, backups, keep=None, with_key=False).copy for _ in range(3)]
    assert [copy.key_file for copy in made] == [None] * 3
    assert names(backups) == {copy.file.name for copy in made}
    assert kept_in(backups) == [copy.file for copy in reversed(made)]


def test_backups_that_a_wrong_clock_named_after_the_future_go_first(database: Path, backups: Path) -> None:
    """Else each new one would replace the last, and a restore would take one that is years old."""
    ahead = [backups / f"rescind-2999010{n}T000000Z.db" for n in range(1, 4)]
    for path in ahead:
        path.touch()
    made = [run(database, backups, keep=3).copy.file for _ in range(2)]
    assert kept_in(backups) == [*reversed(made), ahead[2]]
    made += [run(database, backups, keep=3).copy.file for _ in range(2)]
    assert kept_in(backups) == [*reversed(made[1:])]


def test_backups_of_one_second_have_names_of_the_next_ones_and_are_in_turn(backups: Path) -> None:
    now = datetime(2030, 1, 31, 3, tzinfo=UTC)
    made = [backups / f"rescind-{now + timedelta(seconds=n):%Y%m%dT%H%M%SZ}.db" for n in range(3)]
    for path in made:
        path.touch()
    assert backups_in(backups, now) == [*reversed(made)]


def test_the_lock_empties_no_file_that_a_link_names(database: Path, backups: Path) -> None:
    """Else whoever may write there could have root empty any file."""
    precious = backups.parent / "precious"
    precious.write_text("all of it")
    (backups / ".rescind-backup.lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic link"):
        run(database, backups)
    assert precious.read_text() == "all of it"


def test_nothing_is_removed_or_recorded_for_a_backup_that_is_not_sound(database: Path, backups: Path) -> None:
    first = run(database, backups, keep=1).copy
    assert run(database, backups, keep=1, is_sound=False).removed == ()
    assert len(kept_in(backups)) == 2
    last = last_backup(database)
    assert last is not None
    assert last.at == first.at
    Path(f"{database}.key").unlink()
    with pytest.raises(BackupError, match="key"):
        run(database, backups, keep=1)
    assert len(kept_in(backups)) == 2


def test_one_at_a_time(database: Path, backups: Path) -> None:
    def meanwhile(_file: Path) -> bool:
        with pytest.raises(BackupError, match="Another backup"):
            run(database, backups)
        return True

    kept = {"keep": 2, "secret_key": "", "with_key": True}
    back_up_into(backups, database, tell=lambda *_: None, check=meanwhile, **kept)
    assert len(kept_in(backups)) == 1


def test_too_little_space_is_found_before_anything_is_copied(
    database: Path, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=of_backup.SPARE))
    told: list[int] = []
    with pytest.raises(BackupError, match=r"needs \d+ MB in .*free some"):
        back_up_into(
            backups,
            database,
            keep=1,
            secret_key="",
            with_key=True,
            tell=lambda done, _: told.append(done),
            check=lambda _: True,
        )
    assert (told, names(backups)) == ([], set())
    with pytest.raises(BackupError, match="no directory"):
        run(database, backups / "not-mounted")


def steps(monkeypatch: pytest.MonkeyPatch, killed_at: int) -> Callable[[], int]:
    """Have the process end before its n-th change of a file, as kill -9 would; gives how many were made."""
    made = 0

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **options: object) -> object:
            nonlocal made
            if made >= killed_at:
                raise KilledError
            made += 1
            return change(*args, **options)

        return step

    for owner, name in (
        (os, "replace"),
        (os, "fsync"),
        (os, "fdopen"),
        (Path, "replace"),
        (Path, "unlink"),
        (of_backup, "_copy"),
        (of_backup, "_verified"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return lambda: made


def kills(database: Path, backups: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The names in the directory after a run that is killed at its first change, its second, and so on to the last."""
    killed_at = 0
    while True:
        before = names(backups)
        with monkeypatch.context() as patch:
            steps(patch, killed_at)
            try:
                run(database, backups, keep=1)
            except KilledError:
                pass
            else:
                return
        yield names(backups) - before
        killed_at += 1


def test_killed_at_any_moment_it_leaves_no_half_backup_and_the_next_run_cleans_up(
    database: Path, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, backups, keep=1)
    number = 0
    for left in kills(database, backups, monkeypatch):
        number += 1
        found = kept_in(backups)
        assert found, "there is always one"
        for file in found:
            assert is_whole(file), left
            assert Path(f"{file}.key").read_bytes() == Path(f"{database}.key").read_bytes(), left
    assert number > 10
    run(database, backups, keep=1)
    (only,) = kept_in(backups)
    left = names(backups) - {only.name, f"{only.name}.key"}
    assert all(name.endswith(".db.key") for name in left), "no key is removed whose backup may be elsewhere"
    assert backup_rotation.key_of(only).is_file()
