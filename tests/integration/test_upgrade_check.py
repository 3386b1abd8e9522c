"""`rescind upgrade` on databases of earlier releases: what it says before, what it does, and the way back."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import typer
from integration.test_rebuild import gather, rows
from integration.test_release_0_1 import SCHEMA, SECRET_KEY, restore
from servers import Rescind

from app.cli import output
from app.cli import upgrade as of_upgrade
from app.cli.environment import SECRETS_DIR
from app.cli.failure import Failure
from app.cli.upgrade import upgrade
from app.config.secrets import Vault
from app.config.settings_history import DEFAULTS, Default, Former, new_defaults, unknown_settings
from app.engine.backup import back_up, record
from app.engine.rebuild import check
from app.engine.upgrade import Plan, Step, finding_on_disk
from app.store.migrations import migrations
from app.store.migrations.effort import EFFORTS
from app.store.sqlite import open_sqlite

NEWEST = migrations("sqlite")[-1].version
RESOURCES = "accounts:\n  - {{id: extra, provider: {provider}, config: {{api_key: k}}}}\n"


@pytest.fixture(autouse=True)
def _streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log and output of a command would stay with the tests that follow, on streams that are closed by then."""
    before = structlog.get_config()
    quiet = structlog.ReturnLoggerFactory()
    monkeypatch.setattr(of_upgrade, "log_to_stderr", lambda *_: structlog.configure(logger_factory=quiet))
    output.console.cache_clear()
    output.notes.cache_clear()
    yield
    structlog.configure(**before)
    output.console.cache_clear()
    output.notes.cache_clear()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database that a server of release 0.1 left."""
    for name in [name for name in os.environ if name.startswith("RESCIND_")]:
        monkeypatch.delenv(name)
    path = restore("server", tmp_path / "rescind.db")
    monkeypatch.setenv("RESCIND_DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.setenv("RESCIND_SECRET_KEY", SECRET_KEY)
    return path


@pytest.fixture
def checked(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the check: (whether it says ready, (subject, state) → (what it found, what to do))."""

    def run(file: Path | None = None) -> tuple[bool, dict[tuple[str, str], tuple[str, str]]]:
        code = 0
        try:
            upgrade(check=True, file=file, json=True)
        except typer.Exit as exit:
            code = exit.exit_code
        said = json.loads(capsys.readouterr().out)
        assert said["ready"] == (code == 0)
        return said["ready"], {(row["what"], row["state"]): (row["detail"], row["do"]) for row in said["data"]}

    return run


def change(path: Path, sql: str, values: tuple[Any, ...] = ()) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(sql, values)
        db.commit()


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_an_old_database_is_examined_backed_up_migrated_and_verified(
    database: Path, checked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before, content = dump(database), database.read_bytes()
    ready, found = checked()
    assert not ready, "there is no backup"
    assert [key for key in found if key[1] == "fault"] == [("backup", "fault")]
    todo = [step.version for step in migrations("sqlite") if step.version > SCHEMA]
    assert f"{SCHEMA} of {NEWEST}: {len(todo)} steps" in found["schema", "notice"][0]
    assert {f"step {version}" for version in todo} == {what for what, _ in found if what.startswith("step")}
    own = rows(database, "SELECT count(*) FROM events WHERE instr(body, '\"data\":')")[0][0]
    assert found["events", "ok"][0].startswith(f"{own} with a payload of Rescind's own: {own} of ")
    assert "RESCIND_CONSOLE_HOSTS is not set" in found["settings", "notice"][0], "the last of three"
    assert found["resources", "ok"][0] == "all 9 are valid in this release"
    assert database.read_bytes() == content, "it only looks"

    backups = database.parent / "backups"
    with pytest.raises(Failure, match="There is no directory"):
        upgrade(into=backups)
    assert dump(database) == before, "without a backup nothing is changed"
    backups.mkdir()
    upgrade(into=backups, json=True)
    done = json.loads(capsys.readouterr().out)
    assert done["schema"] == {"from": SCHEMA, "to": NEWEST}
    assert (done["check"]["found"], done["check"]["orders"]) == (0, rows(database, "SELECT count(*) FROM orders")[0][0])
    assert rows(database, "PRAGMA user_version") == [(NEWEST,)]
    assert dump(Path(done["backup"])) == before, "the former release opens the backup"
    assert done["backup"] in done["back"]
    ready, found = checked()
    assert ready
    assert found["schema", "ok"][0] == f"{NEWEST}, that of this release"
    assert "the events since then, 0, are not in it" in found["backup", "ok"][0]


def test_after_a_backup_an_old_database_is_ready(database: Path, checked: Any) -> None:
    copy = back_up(database, database.with_name("copy.db"), secret_key=SECRET_KEY, tell=lambda *_: None)
    record(database, copy)
    ready, found = checked()
    assert ready
    assert {state for _, state in found} == {"ok", "notice"}


def test_what_a_newer_release_left_is_said(database: Path, checked: Any) -> None:
    event = (
        "INSERT INTO events (order_pk, key, account, name, type, source, occurred_at, received_at, body) "
        "SELECT order_pk, key + ?, account, name, ?, source, 1, 1, ? FROM events LIMIT 1"
    )
    change(database, event, (1, "policy.waiting", '{"data": {"policy": "p"}, "v": 3}'))
    change(database, event, (2, "policy.pondered", '{"data": {"policy": "p"}, "v": 2}'))
    ready, found = checked()
    assert not ready
    assert "policy.waiting of version 3; this one reads up to version 2" in found["events", "fault"][0]
    assert "policy.pondered" in found["events", "notice"][0]
    change(database, f"PRAGMA user_version = {NEWEST + 1}")
    ready, found = checked()
    assert (ready, list(found)) == (False, [("schema", "fault")])


def test_a_database_of_something_else_is_not_ready(database: Path, checked: Any) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE bookings (id)")
    ready, found = checked()
    assert (ready, [*found]) == (False, [("schema", "fault")])


@pytest.mark.parametrize(
    ("body", "said"),
    [('{"data": {"polic', "policy.waiting (event"), ('{"data": {"policy": 7}}', "policy.waiting of version 1 (event")],
)
def test_events_that_cannot_be_read_are_said(database: Path, checked: Any, body: str, said: str) -> None:
    change(
        database,
        "UPDATE events SET body = ? WHERE seq = (SELECT max(seq) FROM events WHERE type = 'policy.waiting')",
        (body,),
    )
    ready, found = checked()
    assert not ready
    assert said in found["events", "fault"][0]


@pytest.mark.usefixtures("database")
def test_settings_that_are_none_and_defaults_that_take_effect_are_said(
    checked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCIND_RETENTION_DAY", "30")
    ready, found = checked()
    assert not ready
    assert found["settings", "fault"] == (
        "unknown: RESCIND_RETENTION_DAY",
        "Is RESCIND_RETENTION_DAY meant to be RESCIND_RETENTION_DAYS?",
    )
    gone = [Former("RESCIND_KEEP", "It was replaced by RESCIND_RETENTION_DAYS.")]
    assert unknown_settings({"RESCIND_KEEP": "1", "RESCIND_PORT": "1", "RESCIND_URL": "x", "PATH": ""}, gone) == {
        "RESCIND_KEEP": "It was replaced by RESCIND_RETENTION_DAYS."
    }
    one = [Default("RESCIND_PORT", 10, "it listens on 8700")]
    assert list(new_defaults({}, 9, one)) == ["RESCIND_PORT is not set: it listens on 8700."]
    assert not [*new_defaults({}, 10, one), *new_defaults({"RESCIND_PORT": "1"}, 9, one)]
    assert not unknown_settings({default.name: "" for default in DEFAULTS}), "those are settings"
    assert not unknown_settings({SECRETS_DIR: ""}), "nor is the folder that settings are read from"


def test_resources_that_this_release_refuses_are_said(database: Path, checked: Any) -> None:
    vault = Vault([SECRET_KEY])
    sealed = vault.seal(msgspec.json.encode({"id": "gone", "provider": "shutdown", "config": {}}))
    put = (
        "INSERT INTO resources (kind, id, version, updated_at, updated_by, body) "
        "VALUES ('accounts', 'gone', 1, 1, 'x', ?)"
    )
    change(database, put, (sealed,))
    ready, found = checked()
    assert not ready
    assert "there is no provider 'shutdown'" in found["resources", "fault"][0]
    change(database, "DELETE FROM resources WHERE id = 'gone'")
    # It stays in force as it is; only a change of it is refused.
    sealed = vault.seal(msgspec.json.encode({"id": "s", "url": "https://crm.example.com", "events": ["order.nothing"]}))
    change(database, put.replace("'accounts', 'gone'", "'subscriptions', 's'"), (sealed,))
    _, found = checked()
    assert "order.nothing" in found["resources", "notice"][0]
    change(database, "UPDATE resources SET body = ?", (Vault(["another-key-0123456789-0123456789-01"]).seal(b"{}"),))
    ready, found = checked()
    assert (ready, found["resources", "fault"][0]) == (False, "the secret key does not decrypt them")


def test_a_resource_file_is_tried_with_what_is_stored(database: Path, checked: Any, tmp_path: Path) -> None:
    file = tmp_path / "rescind.yaml"
    file.write_text(RESOURCES.format(provider="planomatic"))
    content = database.read_bytes()
    _, found = checked(file)
    assert found["resource file", "ok"][0] == f"{file}: all 1 resources are valid; not as stored: 1"
    file.write_text(RESOURCES.format(provider="planomatik"))
    ready, found = checked(file)
    assert not ready
    assert f"{file}:2:" in found["resource file", "fault"][0]
    assert database.read_bytes() == content


async def test_beside_a_server_it_looks_and_does_not_upgrade(
    rescind: Rescind, checked: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESCIND_DATABASE_URL", rescind.node.settings.database_url)
    monkeypatch.delenv("RESCIND_SECRET_KEY", raising=False)
    ready, found = await asyncio.to_thread(checked)
    assert ready
    assert found["schema", "ok"]
    with pytest.raises(Failure, match="in use by another rescind process"):
        await asyncio.to_thread(upgrade, into=tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("rescind-2")], "and no backup was taken"  # noqa: PTH208
    for wrong in ({}, {"check": True, "into": tmp_path}, {"into": tmp_path, "file": tmp_path}):
        with pytest.raises(typer.BadParameter):
            upgrade(**wrong)


def test_room_for_what_the_largest_step_writes_twice_is_needed(tmp_path: Path) -> None:
    steps = [Step(1, "a", "", 1.0, 300.0), Step(2, "b", "", 1.0, 500.0)]
    assert finding_on_disk(Plan(0, 2, steps), tmp_path, 1300).state == "ok"
    assert finding_on_disk(Plan(0, 2, steps), tmp_path, 1299).state == "fault"


async def test_every_migration_says_what_it_takes_of_tables_that_there_are(tmp_path: Path) -> None:
    assert list(EFFORTS) == [step.version for step in migrations("sqlite")]
    path = tmp_path / "new.db"
    store = await open_sqlite(path)
    assert (await gather(check(store)))[0] == []
    await store.close()
    tables = {name for (name,) in rows(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {table for effort in EFFORTS.values() for table in (*effort.us, *effort.bytes)} <= tables
