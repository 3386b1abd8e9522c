"""Signed checkpoints of the log: what an auditor keeps elsewhere to tell later whether anything before was changed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from app.core.event import TICK
from app.core.log_chain import Block, statement_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Checkpoint(Struct, frozen=True, kw_only=True):
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
    """ed25519 over the lines `rescind-log-checkpoint/1`, the block's number, its last position, its root and the
    microseconds from 1970 to `sealed_at`, each with a line feed; in base64."""
    public_key: str
    """The key that verifies the signature, in base64."""

    def statement(self) -> bytes:
        """What its signature is made of."""
        micros = (self.sealed_at - _EPOCH) // TICK
        return statement_of(self.block, self.last_position, bytes.fromhex(self.root), micros)


class CheckpointKey:
    """The key that signs a log's checkpoints, from its 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, block: Block) -> bytes:
        """The signature of a block."""
        return self._key.sign(block.statement())


def checkpoint_of(block: Block, public_key: bytes) -> Checkpoint:
    """The checkpoint that a signed block is."""
    return Checkpoint(
        block=block.number,
        first_position=block.first,
        last_position=block.last,
        sealed_at=_EPOCH + block.at * TICK,
        root=block.root.hex(),
        signature=b64encode(block.signature).decode(),
        public_key=b64encode(public_key).decode(),
    )


def is_signed(statement: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the signature is that of the key on the statement."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_genuine(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is signed with the key that it names."""
    try:
        signature, key = b64decode(checkpoint.signature, validate=True), b64decode(checkpoint.public_key, validate=True)
        return is_signed(checkpoint.statement(), signature, key)
    except ValueError:
        return False
