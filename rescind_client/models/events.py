"""Classes of events."""

from __future__ import annotations

from datetime import datetime

from rescind_client.model import Model


class Checkpoint(Model, kw_only=True):
    """A block of the log's hash chain, signed: its root covers every event up to `last_position`."""

    block: int
    """The block's number, from 1."""
    first_position: int
    """The position of its first event in the log."""
    last_position: int
    sealed_at: datetime
    root: str
    """Over its events, and the root of the block before it; in hex."""
    signature: str
    """ed25519 over the lines `rescind-log-checkpoint/1`, the block's number, its last position, its root and
    the microseconds from 1970 to `sealed_at`, each with a line feed; in base64.
    """
    public_key: str
    """The key that verifies the signature, in base64."""
