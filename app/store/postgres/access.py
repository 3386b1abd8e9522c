"""What may keep Rescind from working with a PostgreSQL database, in sentences that say what to do.

No sentence holds a URL: there may be a password in it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from app.store.postgres.connection import BACKOFF_MAX_S, PATIENCE_S, Kind, Session, connect
from app.store.postgres.errors import ERRORS, fault_of, sqlstate
from app.store.protocol import StoreError, StoreUnavailable

VERSION_MIN = 15
_NOT_ALLOWED = "42501"
_PASSWORD = ("28P01", "28000")
_NO_DATABASE = "3D000"
_TOO_MANY = "53300"
_STARTING = "57P03"
_SCHEMA = "3F000"


class DatabaseRefusedError(StoreError):
    """The database cannot be used as it is set up, now or later; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads, without its password."""

    host: str
    user: str
    database: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Raises `DatabaseRefusedError` for what is no URL of PostgreSQL."""
        try:
            parts = urlsplit(url)
            many = "," in parts.netloc
            port = None if many else parts.port
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        except ValueError as error:
            raise DatabaseRefusedError(_NOT_A_URL) from error
        host = parts.netloc.rpartition("@")[2] if many else parts.hostname or query.get("host", "localhost")
        where = host if many else f"{host}:{port or query.get('port', 5432)}"
        user = unquote(parts.username or query.get("user", ""))
        return cls(where, user, unquote(parts.path.strip("/")) or query.get("dbname", user))


_NOT_A_URL = (
    "the URL of the database cannot be read: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special "
    "characters of the password percent-encoded"
)


async def open_first(
    url: str, schema: str, variable: str = "RESCIND_DATABASE_URL", kind: Kind = Kind.WRITES
) -> Session:
    """Connect once, and see whether the server can be used at all. The caller closes `Session.raw`.

    Raises `DatabaseRefusedError` for what only a person can correct, `StoreUnavailable` for what may end by itself.
    """
    place = Place.of(url)
    try:
        connection = await connect(url, kind)
    except (*ERRORS, ValueError) as error:
        raise fault_at_connecting(error, place, variable) from error
    version = connection.get_server_version()
    if version.major < VERSION_MIN:
        await connection.close(timeout=1)
        raise DatabaseRefusedError(
            f"PostgreSQL at {place.host} is version {version.major}, and Rescind needs {VERSION_MIN} or later"
        )
    return Session(connection, schema)


async def check_access(
    url: str,
    schema: str,
    look: Callable[[Session], Awaitable[None]],
    variable: str = "RESCIND_DATABASE_URL",
    patience_s: float = PATIENCE_S,
) -> None:
    """Connect and `look`, waiting some seconds for a server that is not there yet. Raises as `open_first`, and `look`.

    What is wrong for good is said at once.
    """
    began = monotonic()
    while True:
        try:
            session = await open_first(url, schema, variable)
        except StoreUnavailable:
            if monotonic() - began > patience_s:
                raise
            await asyncio.sleep(BACKOFF_MAX_S)
            continue
        try:
            await look(session)
        except ERRORS as error:
            raise await fault_with_rights(session, error) from error
        else:
            return
        finally:
            session.raw.terminate()


async def fault_with_rights(session: Session, error: BaseException) -> StoreError:
    """As `fault_of`, with what to do where the user has too few rights."""
    user = ""
    with suppress(*ERRORS):
        user = str(await session.value("SELECT current_user"))
    return fault_of_rights(error, user, session.schema)


def fault_at_connecting(error: BaseException, place: Place, variable: str) -> StoreError:
    """What it means that connecting failed."""
    if sqlstate(error):
        return _fault_of_server(error, place, variable)
    if isinstance(error, asyncpg.ClientConfigurationError) or (
        isinstance(error, ValueError) and not isinstance(error, OSError)
    ):
        return DatabaseRefusedError(f"{variable}: {_NOT_A_URL}")
    if isinstance(error, socket.gaierror):
        return StoreUnavailable(f"the host of PostgreSQL, {place.host}, is not known by name: correct {variable}")
    why = "no response in time" if isinstance(error, TimeoutError) else _reason(error)
    return StoreUnavailable(
        f"no PostgreSQL can be reached at {place.host} ({why}): start it, open the way to it, or correct {variable}"
    )


def _fault_of_server(error: BaseException, place: Place, variable: str) -> StoreError:
    state, where = sqlstate(error), f"PostgreSQL at {place.host}"
    if state in _PASSWORD:
        return DatabaseRefusedError(
            f"{where} refuses the user {place.user!r} for the database {place.database!r}: correct the user or the "
            f"password in {variable}, or pg_hba.conf ({state})"
        )
    if state == _NO_DATABASE:
        return DatabaseRefusedError(
            f"{where} has no database {place.database!r}: create it (`createdb`), or correct {variable}"
        )
    if state == _NOT_ALLOWED:
        return DatabaseRefusedError(f"{where}: {error} ({state})")
    if state == _TOO_MANY:
        return StoreUnavailable(
            f"{where} has no connection left ({state}): raise its max_connections, lower "
            "RESCIND_DATABASE_CONNECTIONS, or put PgBouncer in front"
        )
    if state == _STARTING:
        return StoreUnavailable(f"{where} is starting or shutting down ({state})")
    return fault_of(error)


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def fault_of_rights(error: BaseException, user: str, schema: str) -> StoreError:
    """As `fault_of`, with what to do where the user has too few rights."""
    if sqlstate(error) not in (_NOT_ALLOWED, _SCHEMA):
        return fault_of(error)
    name = '"' + schema.replace('"', '""') + '"'
    owner = '"' + user.replace('"', '""') + '"'
    return DatabaseRefusedError(
        f"the user {user!r} may not use the schema {schema!r} (PostgreSQL: {error}): have an administrator run "
        f"`CREATE SCHEMA IF NOT EXISTS {name}; GRANT USAGE, CREATE ON SCHEMA {name} TO {owner}`, and migrate with the "
        "user that the servers use; or set RESCIND_DATABASE_SCHEMA"
    )
