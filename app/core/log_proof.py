"""Proofs that one event is in the log: its columns, a path in the Merkle tree of its block, and the signed block."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from msgspec import Struct

from app.core.checkpoint import Checkpoint, is_genuine
from app.core.log_chain import block_root, leaf_hash, proven_root


class Proof(Struct, frozen=True, kw_only=True):
    """What `rescind log prove --json` prints."""

    event: str
    """The event's id."""
    position: int
    columns: tuple[Any, ...] | None
    """Account, name, key, type, source, occurred_at, received_at, receipt and body as stored; null if it was erased."""
    leaf: str
    """The hash of position and columns; of an erased event, of those from before. In hex, as all hashes here."""
    path: tuple[str, ...]
    """From the leaf to the root of the tree over the block's events."""
    received_from: int
    received_until: int
    previous_root: str
    """The root of the block before."""
    checkpoint: Checkpoint
    """The block."""


def fault_of(proof: Proof, public_key: bytes | None = None) -> str:
    """Why a proof proves nothing; empty if it does. Without a key it is trusted that the proof names the right one."""
    checkpoint = proof.checkpoint
    try:
        leaf, path = bytes.fromhex(proof.leaf), [bytes.fromhex(node) for node in proof.path]
        previous = bytes.fromhex(proof.previous_root)
        genuine = is_genuine(checkpoint)
        named_key = b64decode(checkpoint.public_key)
        own_leaf = leaf if proof.columns is None else leaf_hash(proof.position, *proof.columns)
    except (ValueError, TypeError, AttributeError):
        return "it is not of the form that `rescind log prove --json` prints"
    if not genuine or public_key not in (None, named_key):
        return "its block is not signed with the key of the log"
    if own_leaf != leaf:
        return "the event is not the one that was sealed"
    size = checkpoint.last_position - checkpoint.first_position + 1
    tree = proven_root(leaf, proof.position - checkpoint.first_position, size, path)
    bounds = (checkpoint.first_position, checkpoint.last_position)
    received = (proof.received_from, proof.received_until)
    if tree is None or block_root(previous, checkpoint.block, *bounds, received, tree).hex() != checkpoint.root:
        return "the event is not in the block"
    return ""
