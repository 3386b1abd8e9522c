"""What an upgrade of a database to this release will do, found out without changing anything, also beside a server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from app.config.faults import Fault, InvalidResourceError
from app.config.registry import broken_handlers
from app.config.resolve import Body, Key, resolve
from app.config.secrets import Vault, WrongSecretKeyError, split_keys
from app.config.template_check import faults_in_templates
from app.config.type_check import faults_in_types
from app.contract import RESERVED_EVENT_PREFIXES
from app.core.capacity import size
from app.core.event_types import EVENT_TYPES
from app.core.findings import FAULT, NOTICE, OK, Finding
from app.engine.growth import position_at
from app.store import upcast
from app.store.codec import EVENT_BODY, EVENT_COLUMNS, read_event
from app.store.migrations import Migration, migrations
from app.store.migrations.effort import EFFORTS
from app.store.sqlite.files import KEY
from app.store.sqlite.functions import add_functions

FRESH = timedelta(days=1)
"""A backup from before an upgrade may be so old."""
WINDOW = 20_000
"""Events that one transaction looks at: a long one would keep a server's write-ahead log from being emptied."""
FAULTS_SHOWN = 10
INVALID = -1
"""Stands for the version of a payload that is no JSON."""


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that is to be done."""

    version: int
    name: str
    what: str
    seconds: float
    written_bytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to the schema."""

    schema: int
    newest: int
    steps: Sequence[Step]

    @property
    def seconds(self) -> float:
        """How long all steps take, of processor time."""
        return sum(step.seconds for step in self.steps)

    @property
    def room(self) -> float:
        """Free bytes that the steps need: what they add, and the largest one once more in the write-ahead log."""
        written = [step.written_bytes for step in self.steps]
        return sum(written) + max(written, default=0.0)


@dataclass(slots=True)
class Versions:
    """The versions of payloads in a log."""

    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    """(type, version) → how many events."""
    examples: dict[tuple[str, int], int] = field(default_factory=dict)
    """(type, version) → the newest position of one."""
    position: int = 0
    """How far the log was looked at."""

    @property
    def former(self) -> dict[tuple[str, int], int]:
        """Those that an upcaster brings to the names of this release."""
        return {key: n for key, n in self.counts.items() if INVALID < key[1] < upcast.VERSION}


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A database, read-only."""
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
        add_functions(db)
        yield db


def plan(db: sqlite3.Connection) -> Plan:
    """What is to be done to the schema of a database; a newer one than this release's is seen by its number."""
    every = migrations("sqlite")
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    todo = [step for step in every if step.version > schema]
    rows = _rows(db, {table for step in todo for table in EFFORTS[step.version].us})
    return Plan(schema, every[-1].version, [_step(step, rows) for step in todo])


def _step(migration: Migration, rows: Mapping[str, int]) -> Step:
    effort = EFFORTS[migration.version]
    name = migration.name.replace("_", " ")
    return Step(migration.version, name, effort.what, effort.seconds(rows), effort.written(rows))


def _rows(db: sqlite3.Connection, tables: set[str]) -> dict[str, int]:
    rows = {}
    there = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table in sorted(tables & there):
        # The log is long, and nothing is removed from it.
        sql = "SELECT max(seq) FROM events" if table == "events" else f"SELECT count(*) FROM {table}"  # noqa: S608 - ours
        (rows[table],) = db.execute(sql).fetchone()
    return {table: number or 0 for table, number in rows.items()}


def versions(db: sqlite3.Connection) -> Iterator[Versions]:
    """The versions of all payloads in the log; the same object again after each window of events."""
    seen = Versions()
    (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
    rows = f"SELECT seq, type, {_columns(db, EVENT_BODY)} AS body FROM events WHERE seq > ? AND seq <= ?"  # noqa: S608 - ours
    sql = (
        f"WITH read AS MATERIALIZED ({rows}) "  # noqa: S608 - ours
        "SELECT type, iif(json_valid(body), coalesce(json_extract(body, '$.v'), 1), ?), count(*), max(seq) FROM read "
        """WHERE instr(body, '"data":') OR NOT json_valid(body) GROUP BY 1, 2"""
    )
    for begin in range(0, last or 1, WINDOW):
        for type, version, number, example in db.execute(sql, (begin, begin + WINDOW, INVALID)):
            seen.counts[type, version] = seen.counts.get((type, version), 0) + number
            seen.examples[type, version] = example
        seen.position = begin + WINDOW
        yield seen


def _columns(db: sqlite3.Connection, columns: str) -> str:
    """Columns of events; in an earlier release's schema, no row is compressed."""
    is_earlier = not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'row_dictionaries'").fetchone()
    return columns.replace(EVENT_BODY, "body") if is_earlier else columns


def findings_in_versions(db: sqlite3.Connection, seen: Versions) -> Iterator[Finding]:
    """Whether this release reads every event of the log."""
    wrong = [f"{key[0]} (event {seen.examples[key]})" for key in sorted(seen.counts) if key[1] == INVALID]
    newer = [f"{type} of version {version}" for type, version in sorted(seen.counts) if version > upcast.VERSION]
    if newer:
        detail = f"a newer release wrote {', '.join(newer)}; this one reads up to version {upcast.VERSION}"
        yield Finding("events", FAULT, detail, "Install that release or a later one.")
    readable = [key for key in sorted(seen.counts) if INVALID < key[1] <= upcast.VERSION]
    faults = {key: _fault(db, seen.examples[key]) for key in readable}
    wrong += [f"{key[0]} of version {key[1]} (event {seen.examples[key]}: {why})" for key, why in faults.items() if why]
    if wrong:
        todo = "Restore a backup from before it was damaged, or report this: the upgrade would not read these events."
        yield Finding("events", FAULT, f"cannot be read: {'; '.join(wrong[:FAULTS_SHOWN])}", todo)
    own = {type for type, _ in seen.counts}
    strange = sorted(type for type in own - EVENT_TYPES.keys() if type.startswith(RESERVED_EVENT_PREFIXES))
    if strange:
        detail = f"types that this release does not know: {', '.join(strange)}; they are kept and shown"
        yield Finding("events", NOTICE, detail, "Run `rescind rebuild` after the upgrade.")
    if not newer and not wrong:
        former = sum(seen.former.values())
        types = len({type for type, _ in seen.former})
        said = (
            f"{former} of {types} types are read by upcasters, the log stays as it is"
            if former
            else "none is of an older form"
        )
        yield Finding("events", OK, f"{sum(seen.counts.values())} with a payload of Rescind's own: {said}")


def _fault(db: sqlite3.Connection, position: int) -> str:
    """Why an event does not read as its type says; empty if it does."""
    row = db.execute(f"SELECT {_columns(db, EVENT_COLUMNS)} FROM events WHERE seq = ?", (position,)).fetchone()  # noqa: S608 - ours
    try:
        event = read_event(row)
        if event.type in EVENT_TYPES:
            msgspec.convert(event.data, EVENT_TYPES[event.type])
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        return str(error)
    return ""


def findings_in_configuration(db: sqlite3.Connection, database: Path, secret_key: str) -> Iterator[Finding]:
    """Whether the stored resources are valid in this release, and their handlers there."""
    for broken in broken_handlers():
        yield Finding(f"handler {broken.name}", FAULT, f"{broken.source}: {broken.error}", "Fix or remove it.")
    stored = db.execute("SELECT kind, id, version, body FROM resources ORDER BY kind, id").fetchall()
    if not stored:
        yield Finding("resources", OK, "none are stored")
        return
    try:
        vault = Vault(keys_of(database, secret_key))
        bodies = {
            (kind, id): (version, msgspec.json.decode(vault.open(bytes(body)))) for kind, id, version, body in stored
        }
    except (WrongSecretKeyError, OSError, ValueError, IndexError):
        todo = "Set RESCIND_SECRET_KEY as the server has it, or put the .key file beside the database."
        yield Finding("resources", FAULT, "the secret key does not decrypt them", todo)
        return
    try:
        resolve(bodies)
    except InvalidResourceError as error:
        todo = (
            "Install the handler that is missing, or correct them under the present release: this one would not start."
        )
        yield Finding("resources", FAULT, _shown(error.faults, str(error)), todo)
        return
    strict = _strict(bodies)
    if strict:
        todo = "They stay in force as they are. Correct them before the next change: it is refused until then."
        yield Finding("resources", NOTICE, _shown(strict, ""), todo)
        return
    yield Finding("resources", OK, f"all {len(bodies)} are valid in this release")


def keys_of(database: Path, secret_key: str) -> list[str]:
    """The keys that decrypt a database's secrets; unlike a server's, a missing key file is not made."""
    file = Path(f"{database}{KEY}")
    return split_keys(secret_key) or (split_keys(file.read_text(encoding="ascii")) if file.is_file() else [])


def _strict(bodies: Mapping[Key, tuple[int, Body]]) -> Sequence[Fault]:
    """The faults that a change of these resources would be refused for."""
    plain = {key: body for key, (_, body) in bodies.items()}
    faults = [*faults_in_types(plain, {}), *faults_in_templates(plain, {})]
    try:
        resolve(bodies, plain.keys(), faults=faults)
    except InvalidResourceError as error:
        return error.faults
    return ()


def _shown(faults: Sequence[Fault], otherwise: str) -> str:
    lines = [str(fault) for fault in faults[:FAULTS_SHOWN]]
    more = len(faults) - FAULTS_SHOWN
    return "; ".join([*lines, *([f"and {more} more"] if more > 0 else [])]) or otherwise


def finding_on_disk(planned: Plan, database: Path, free: int) -> Finding:
    """Whether the migrations fit on the disk."""
    detail = f"the migrations need up to {size(planned.room)}, {size(free)} are free"
    if planned.room > free:
        return Finding("disk", FAULT, detail, f"Make room on the disk of {database}.")
    return Finding("disk", OK, detail)


def findings_in_schema(planned: Plan) -> Iterator[Finding]:
    """What is to be done to the schema, a line for each step."""
    if planned.schema > planned.newest:
        detail = f"a later release made it: its schema is {planned.schema}, this release knows {planned.newest}"
        yield Finding("schema", FAULT, detail, "Install that release, or restore a backup from before it.")
    elif not planned.schema:
        todo = "Set RESCIND_DATABASE_URL to the database that the server has."
        yield Finding("schema", FAULT, "no release of Rescind made this database: it has no schema", todo)
    elif not planned.steps:
        yield Finding("schema", OK, f"{planned.schema}, that of this release")
    else:
        todo = "`rescind upgrade --into DIR` backs up, migrates and verifies. The server also migrates when it starts."
        detail = (
            f"{planned.schema} of {planned.newest}: {len(planned.steps)} steps, some {duration(planned.seconds)} of "
            "processor time"
        )
        yield Finding("schema", NOTICE, detail, todo)
        for step in planned.steps:
            took = f" Some {duration(step.seconds)}." if step.seconds >= 1 else ""
            yield Finding(f"step {step.version}", NOTICE, f"{step.name}: {step.what}{took}")


def finding_on_backup(
    db: sqlite3.Connection, planned: Plan, taken: datetime | None, file: str, now: datetime
) -> Finding:
    """Whether there is a way back: the schema only moves forward."""
    todo = "Back up: `rescind backup --into DIR --check`, or let `rescind upgrade --into DIR` do it."
    if taken is None or now - taken > FRESH:
        detail = (
            "there is none" if taken is None else f"the latest is {duration((now - taken).total_seconds())} old: {file}"
        )
        return Finding("backup", FAULT if planned.steps else NOTICE, f"{detail}; a backup is the only way back", todo)
    (first, last) = db.execute("SELECT min(seq), max(seq) FROM events").fetchone()
    since = last + 1 - position_at(db, taken, first, last + 1) if last else 0
    detail = f"{duration((now - taken).total_seconds())} old: {file}; the events since then, {since}, are not in it"
    return Finding("backup", OK, detail)


def duration(seconds: float) -> str:
    """A time, for people."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"
