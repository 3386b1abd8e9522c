"""Commands on this machine where the database is PostgreSQL: they work, or say what to use instead. No password."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.test_cli_support import Machine
from postgres import PostgresServer, new_target, shared_url
from processes import lasting_port

from app.store.postgres.connection import Session, Target, connect

PASSWORD = "dont-show-me-0123456789"
ODD_SCHEMA = 'Rescind "of" Acmé'


def on(folder: Path, target: Target, url: str = "") -> Machine:
    made = Machine(folder)
    given = {"DATABASE_URL": url or target.url, "DATABASE_SCHEMA": target.schema, "SECRET_KEY": "k" * 40}
    made.env |= {f"RESCIND_{name}": value for name, value in given.items()}
    return made


def with_password(url: str, user: str = "somebody") -> str:
    return f"postgresql://{user}:{PASSWORD}@{url.rpartition('@')[2]}"


@contextmanager
def a_role(name: str, more: str = "") -> Iterator[None]:
    async def run(sql: str) -> None:
        session = Session(await connect(shared_url()), "")
        await session.script(sql)
        await session.raw.close()

    asyncio.run(run(f"CREATE ROLE {name} LOGIN; {more}"))
    try:
        yield
    finally:
        asyncio.run(run(f"DROP OWNED BY {name}; DROP ROLE {name}"))


def findings(made: Machine, code: int) -> dict[str, tuple[str, str]]:
    rows = made.json("doctor", code=code)["data"]
    return {row["what"]: (row["state"], f"{row['detail']} | {row['do']}") for row in rows}


def test_what_works_on_files_says_what_to_use_instead(tmp_path: Path) -> None:
    made = on(tmp_path, new_target(), with_password(shared_url(), "postgres"))
    for args, instead in (
        (("backup", "copy.db"), "pg_dump"),
        (("backup", "--into", "copies"), "pg_dump"),
        (("restore", "copy.db"), "the tool that made the backup"),
        (("upgrade", "--check"), "rescind migrate"),
        (("upgrade", "--into", "copies"), "rescind migrate"),
        (("prune", "--vacuum", "--yes"), "autovacuum"),
        (("doctor", "--capacity"), "rescind doctor"),
    ):
        ran = made.run(*args, code=1)
        assert instead in ran.err, (args, ran.err)
        assert PASSWORD not in ran.err + ran.out
        assert "docs/operations/postgresql.md" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_the_database_is_said_in_a_sentence(tmp_path: Path) -> None:
    url, port = shared_url(), lasting_port()
    nowhere = f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/postgres"
    for wrong, said in (
        (nowhere, f"PostgreSQL can be reached at 127.0.0.1:{port}"),
        (f"postgresql://u:{PASSWORD}@database.invalid/x", "database.invalid:5432, is not known by name"),
        (with_password(url, "nobody_has_this_name"), "refuses the user 'nobody_has_this_name'"),
        (f"{with_password(url, 'postgres').rpartition('/')[0]}/none_such", "has no database 'none_such'"),
    ):
        made = on(tmp_path, new_target(), wrong)
        for args in (("migrate",), ("migrate", "--check"), ("rebuild", "--check"), ("log", "verify")):
            ran = made.run(*args, code=2 if said == "cannot be read" else 1)
            assert said in ran.err, (args, ran.err)
            assert PASSWORD not in ran.err + ran.out
        state, detail = findings(made, code=1)["settings" if said == "cannot be read" else "database"]
        assert state == "fault"
        assert said.lower() in detail.lower()
        assert PASSWORD not in detail


def test_a_database_url_that_cannot_be_read_is_refused_as_a_setting(tmp_path: Path) -> None:
    for wrong in (f"postgresql://u:{PASSWORD}@127.0.0.1:port/x", f"postgresql://u:{PASSWORD}#@127.0.0.1:1/x"):
        made = on(tmp_path, Target(wrong), wrong)
        for args in (("migrate",), ("rebuild", "--check"), ("log", "verify"), ("serve",)):
            ran = made.run(*args, code=2)
            assert "RESCIND_DATABASE_URL: its host or port cannot be read" in ran.err, (args, ran.err)
            assert PASSWORD not in ran.err + ran.out
        state, detail = findings(made, code=1)["settings"]
        assert state == "fault"
        assert "cannot be read" in detail
        assert PASSWORD not in detail


def test_a_schema_of_any_name_is_made_by_an_ordinary_user(tmp_path: Path) -> None:
    target = Target(shared_url(), ODD_SCHEMA)
    made = on(tmp_path, target, with_password(shared_url(), "rescind_user"))
    with a_role("rescind_user"):
        refused = made.run("migrate", code=1)
        assert 'CREATE SCHEMA IF NOT EXISTS "Rescind ""of"" Acmé"' in refused.err
        assert findings(made, code=1)["database"][0] == "fault"
    schema = '"Rescind ""of"" Acmé"'
    with a_role("rescind_user", f"CREATE SCHEMA {schema} AUTHORIZATION rescind_user"):
        assert "is not there" in made.run("rebuild", "--check", code=1).err
        assert "is not there: run `rescind migrate`" in made.run("serve", code=1).err
        todo = made.json("migrate", "--check", code=1)
        assert made.json("migrate")["steps"] == todo["steps"]
        assert made.json("migrate", "--check")["steps"] == []
        seen = findings(made, code=1)
        fine = ("database", "rights", "indexes", "partitions")
        assert [seen[name][0] for name in fine] == ["ok"] * len(fine)
        with a_role("rescind_guest", f"GRANT USAGE ON SCHEMA {schema} TO rescind_guest"):
            guest = on(tmp_path, target, with_password(shared_url(), "rescind_guest"))
            assert "GRANT USAGE, CREATE" in findings(guest, code=1)["database"][1]


def test_a_server_that_is_read_only_is_said_to_be_so(tmp_path: Path) -> None:
    target = new_target()
    on(tmp_path, target).run("migrate")
    more = f"""ALTER ROLE rescind_standby SET default_transaction_read_only = on;
    GRANT USAGE ON SCHEMA "{target.schema}" TO rescind_standby;
    GRANT ALL ON ALL TABLES IN SCHEMA "{target.schema}" TO rescind_standby"""
    with a_role("rescind_standby", more):
        made = on(tmp_path, target, with_password(shared_url(), "rescind_standby"))
        state, detail = findings(made, code=1)["database"]
        assert state == "fault"
        assert "is a standby, or read-only | Promote it" in detail
        for args in (("migrate",), ("serve",)):
            ran = made.run(*args, code=1)
            assert "standby, or read-only: promote it, or set RESCIND_DATABASE_URL" in ran.err, (args, ran.err)
            assert "Traceback" not in ran.err


def test_doctor_says_what_an_acknowledged_event_is_worth(tmp_path: Path) -> None:
    server = PostgresServer(fsync="off", max_connections="30")
    server.start()
    try:
        made = on(tmp_path, Target(server.url))
        made.env["RESCIND_DATABASE_CONNECTIONS"] = "20"
        made.run("migrate")

        async def spoil() -> None:
            session = Session(await connect(server.url), "rescind")
            await session.script(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('@orders_by_pk')"
            )
            await session.script(
                "DO $$ BEGIN EXECUTE (SELECT 'DROP TABLE rescind.' || max(relname) FROM pg_class "
                "WHERE relname LIKE 'attempts_2%' AND relkind = 'r'); END $$"
            )
            await session.raw.close()

        seen = findings(made, code=1)
        assert seen["durability"][0] == "notice"  # the last one; the first says that fsync is off
        assert seen["connections"][0] == "notice"
        assert (seen["indexes"][0], seen["partitions"][0]) == ("ok", "ok")
        rows = made.json("doctor", code=1)["data"]
        assert [row["detail"] for row in rows if row["what"] == "durability" and row["state"] == "fault"] == [
            "fsync is off: what was acknowledged is lost, or all of it damaged, when the machine crashes"
        ]
        asyncio.run(spoil())
        seen = findings(made, code=1)
        assert seen["indexes"] == ("fault", seen["indexes"][1])
        assert "orders_by_pk" in seen["indexes"][1]
        assert "attempts" in seen["partitions"][1] or "2 months" in seen["partitions"][1]
    finally:
        server.remove()
