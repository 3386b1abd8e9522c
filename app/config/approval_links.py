"""Links by which a person approves or declines a proposed cancel: sealed tokens, each for one cancellation.

A token is a capability: anyone who has it can decide on that cancellation, until its approval expires, as long as the
subscription that it was sent to receives proposals. The key is made once and kept in the database, sealed, so that
links outlive a restart and a rotation of the master key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from msgspec import Struct
from msgspec.structs import replace

PATH = "/approvals/"
APPROVAL_LINK = re.compile(r"(approvals(?:\\*/|%2[Ff]))[A-Za-z0-9_%=-]{4,}|gAAAAA[A-Za-z0-9_-]{40,}")
"""A token in text: after what stands before it in a link, or alone, by how all of them begin."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,400}")
LABEL = "Review and decide"
_PURPOSE = "approval"


def make_key() -> bytes:
    """A new key for tokens."""
    return Fernet.generate_key()


class InvalidLinkError(Exception):
    """The token is none of ours, or was changed."""


class Approval(Struct, frozen=True, array_like=True):
    """What a token stands for."""

    purpose: str
    cancellation: str
    subscription: str
    until: int
    """When it expires, in seconds since 1970."""
    made_at: int = 0
    """When it was made, in whole seconds since 1970; the token has it outside of this."""

    def is_over(self, now: datetime) -> bool:
        """Whether the approval has expired."""
        return now.timestamp() >= self.until


class ApprovalLinks:
    """Makes tokens and reads them."""

    def __init__(self, key: bytes, public_url: str) -> None:
        """Make links to `public_url`, the URL of this server ("": there are no links)."""
        self._fernet, self._public_url = Fernet(key), public_url.rstrip("/")

    def url(self, cancellation: str, subscription: str, until: datetime) -> str | None:
        """The link to an approval; None if this server's URL is not known."""
        if not self._public_url:
            return None
        return f"{self._public_url}{PATH}{self.token(cancellation, subscription, until)}"

    def token(self, cancellation: str, subscription: str, until: datetime) -> str:
        """A token, in characters that no mail program or chat breaks."""
        approval = Approval(_PURPOSE, cancellation, subscription, int(until.astimezone(UTC).timestamp()))
        return self._fernet.encrypt(msgspec.msgpack.encode(approval)).decode().rstrip("=")

    def read(self, token: str) -> Approval:
        """What the token stands for. Raises `InvalidLinkError`."""
        if _TOKEN.fullmatch(token) is None:  # Decoding ignores other characters.
            raise InvalidLinkError
        padded = token + "=" * (-len(token) % 4)
        try:
            approval = msgspec.msgpack.decode(self._fernet.decrypt(padded), type=Approval)
        except (InvalidToken, msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
            raise InvalidLinkError from error
        if approval.purpose != _PURPOSE:
            raise InvalidLinkError
        return replace(approval, made_at=self._fernet.extract_timestamp(padded))
