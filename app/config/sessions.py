"""Sessions of the console: sealed tokens that stand for an API key, and what proves that a form is the console's own.

Nothing is stored: a session ends when its key is revoked, replaced or expires, and after its lifetime. The key that
seals them is made once and kept in the database, sealed, so that all nodes read each other's sessions.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from hashlib import sha256
from secrets import token_bytes

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from msgspec import Struct

from app.config.keys import Keys
from app.store import ApiKey

_PURPOSE, _NOTICE = "session", "notice"
_HASH_BYTES = 8


class _Session(Struct, frozen=True, array_like=True):
    purpose: str
    key: str
    """Id of the API key."""
    hash: bytes
    """The beginning of its hash: the bootstrap key keeps its id when its token changes."""
    nonce: bytes


class Sessions:
    """Makes and reads the tokens of sessions."""

    def __init__(self, key: bytes, lifetime: timedelta) -> None:
        self._fernet, self._key = Fernet(key), key
        self.lifetime_s = int(lifetime.total_seconds())

    def start(self, key: ApiKey) -> str:
        """The token of a new session of `key`."""
        session = _Session(_PURPOSE, key.id, key.hash[:_HASH_BYTES], token_bytes(8))
        return self._fernet.encrypt(msgspec.msgpack.encode(session)).decode()

    def find(self, token: str, keys: Keys) -> ApiKey | None:
        """The API key of a session; None if the token is invalid, or the session or its key has ended."""
        try:
            session = msgspec.msgpack.decode(self._fernet.decrypt(token, ttl=self.lifetime_s), type=_Session)
        except (InvalidToken, msgspec.DecodeError, msgspec.ValidationError, ValueError):
            return None
        key = keys.in_force(session.key) if session.purpose == _PURPOSE else None
        if key is None or not hmac.compare_digest(key.hash[:_HASH_BYTES], session.hash):
            return None
        return key

    def form_token(self, session: str) -> str:
        """What each form of a session carries, as no other site can know it."""
        return hmac.new(self._key, b"form\0" + session.encode(), sha256).hexdigest()

    def is_form_token(self, session: str, given: str) -> bool:
        """Whether a form carries the token of its session."""
        return hmac.compare_digest(self.form_token(session).encode(), given.encode("utf-8", "surrogateescape"))

    def seal_notice(self, text: str) -> str:
        """`text` for the next page, sealed, so that nobody else can make one."""
        return self._fernet.encrypt(msgspec.msgpack.encode((_NOTICE, text))).decode()

    def open_notice(self, sealed: str) -> str:
        """A sealed text; "" if it is not ours."""
        try:
            purpose, text = msgspec.msgpack.decode(self._fernet.decrypt(sealed, ttl=60), type=tuple[str, str])
        except (InvalidToken, msgspec.DecodeError, msgspec.ValidationError, ValueError):
            return ""
        return text if purpose == _NOTICE else ""
