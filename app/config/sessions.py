"""Sessions of the console: sealed tokens that stand for an API key, and what proves that a form is the console's own.

The database has the sessions that are open: one ends when somebody signs out of it, when its key is revoked, replaced
or expires, and after its lifetime. Anyone who copied its cookie has nothing then. The key that seals the tokens is made
once and kept in the database, sealed, so that all nodes read each other's; a token that is not sealed with it costs no
query.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from secrets import token_bytes
from time import monotonic

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from msgspec import Struct

from app.config.keys import Keys
from app.store import ApiKey, ConsoleSession, Store

SESSIONS_MAX = 1000
"""Open sessions of one key; the oldest end when there are more."""
RECHECK_S = 5.0
"""How long a stream goes on at most in a session that another node has ended."""
_PURPOSE, _NOTICE = "session", "notice"
_HASH_BYTES, _ID_BYTES = 8, 16


class _Token(Struct, frozen=True, array_like=True):
    purpose: str
    key: str
    """Id of the API key."""
    hash: bytes
    """The beginning of its hash: the bootstrap key keeps its id when its token changes."""
    id: bytes


class OpenSession(Struct):
    """A session, as it was when its token was read."""

    token: str
    id: bytes
    key: ApiKey
    expires_at: datetime
    checked_at: float
    """When it was last looked up, by the monotonic clock."""
    checked_after: int
    """How many sessions this process had ended by then."""


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, store: Store, key: bytes, lifetime: timedelta, on_end: Callable[[], None]) -> None:
        """Args: on_end: called when sessions have been ended here."""
        self._store, self._on_end = store, on_end
        self._fernet, self._key = Fernet(key), key
        self._lifetime, self._ended = lifetime, 0
        self.lifetime_s = int(lifetime.total_seconds())

    async def start(self, key: ApiKey) -> str:
        """The token of a new session of `key`. Raises `StoreError`."""
        token, now = _Token(_PURPOSE, key.id, key.hash[:_HASH_BYTES], token_bytes(_ID_BYTES)), datetime.now(UTC)
        session = ConsoleSession(token.id, key.id, now, now + self._lifetime)
        await self._store.start_session(session, SESSIONS_MAX)
        return self._fernet.encrypt_at_time(msgspec.msgpack.encode(token), int(now.timestamp())).decode()

    async def find(self, token: str, keys: Keys) -> OpenSession | None:
        """The session of a token; None if the token is invalid, or the session or its key has ended.

        Raises `StoreError`.
        """
        try:
            read = msgspec.msgpack.decode(self._fernet.decrypt(token, ttl=self.lifetime_s), type=_Token)
            began_at = datetime.fromtimestamp(self._fernet.extract_timestamp(token), UTC)
        except (InvalidToken, msgspec.DecodeError, msgspec.ValidationError, ValueError):
            return None
        key = keys.in_force(read.key) if read.purpose == _PURPOSE else None
        if key is None or not hmac.compare_digest(key.hash[:_HASH_BYTES], read.hash):
            return None
        session = OpenSession(token, read.id, key, began_at + self._lifetime, 0.0, -1)
        return session if await self.is_open(session) else None

    async def is_open(self, session: OpenSession) -> bool:
        """Whether a session is open: as of now if its end was noted (`note_end`), else of `RECHECK_S` ago.

        Raises `StoreError`.
        """
        if datetime.now(UTC) >= session.expires_at:
            return False
        ended, now = self._ended, monotonic()
        if session.checked_after == ended and now < session.checked_at + RECHECK_S:
            return True
        if not await self._store.session_exists(session.id):
            return False
        session.checked_after, session.checked_at = ended, now
        return True

    async def end(self, session: OpenSession) -> None:
        """End a session for good. Raises `StoreError`."""
        await self._store.end_session(session.id)
        self.note_end()

    async def end_all(self, key: str) -> int:
        """End all sessions of a key; returns how many there were. Raises `StoreError`."""
        ended = await self._store.end_sessions(key)
        self.note_end()
        return ended

    def note_end(self) -> None:
        """Sessions have been ended, here or elsewhere: each is looked up before it is used again."""
        self._ended += 1
        self._on_end()

    def form_token(self, session: OpenSession) -> str:
        """What each form of a session carries, as no other site can know it."""
        return hmac.new(self._key, b"form\0" + session.token.encode(), sha256).hexdigest()

    def is_form_token(self, session: OpenSession, given: str) -> bool:
        """Whether a form carries the token of its session."""
        return hmac.compare_digest(self.form_token(session).encode(), given.encode("utf-8", "surrogateescape"))

    def seal_notice(self, session: OpenSession, text: str) -> str:
        """`text` for the session's next page, sealed, so that nobody else can make one."""
        return self._fernet.encrypt(msgspec.msgpack.encode((_NOTICE, session.id, text))).decode()

    def open_notice(self, session: OpenSession, sealed: str) -> str:
        """A sealed text; "" if it is not ours, or for another session."""
        try:
            opened = self._fernet.decrypt(sealed, ttl=60)
            purpose, id, text = msgspec.msgpack.decode(opened, type=tuple[str, bytes, str])
        except (InvalidToken, msgspec.DecodeError, msgspec.ValidationError, ValueError):
            return ""
        return text if purpose == _NOTICE and id == session.id else ""
