"""The hash chain over the log: anyone who keeps one root can tell later whether anything before it was changed.

The log is cut into blocks of consecutive positions. The leaves of a block are the hashes of its events; they are the
leaves of a Merkle tree (RFC 9162, section 2.1.1, with SHA-256), so that one event can be proven to be in a block
without showing the others. A block's root covers its tree, its bounds and the root of the block before it.

A leaf covers every column of an event that never changes. The number of its order is not among them, as a merge of two
orders changes it. An erasure replaces the content of events: it keeps the former leaf of each, and the event that
records the erasure, which is in the log itself, has the digest over all that it changed (`erasure_digest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

BLOCK_MAX = 1000
"""Events in one block, at most."""
MARK_BYTES = 4
"""A block keeps the first bytes of each leaf, to say later which event differs; its root is what proves."""
GENESIS = bytes(32)
"""What stands for the root before the first block."""

_LEAF, _NODE, _BLOCK, _ERASURE = b"\0", b"\1", b"\2", b"\3"


def leaf_hash(
    position: int,
    account: str,
    name: str,
    key: int,
    type: str,
    source: str,
    occurred_at: int,
    received_at: int,
    receipt: int | None,
    body: str,
) -> bytes:
    """The leaf of an event, from its position in the log (`seq`) and its columns as stored.

    It is the SHA-256 of a zero byte, the numbers `position key occurred_at received_at receipt` in decimal (nothing
    for no receipt) with a space after each, account, name, type and source as netstrings, and the body; text as UTF-8.
    """
    numbers = f"{position} {key} {occurred_at} {received_at} {'' if receipt is None else receipt} "
    texts = b"".join(_netstring(text.encode()) for text in (account, name, type, source))
    return sha256(_LEAF + numbers.encode() + texts + body.encode()).digest()


def _netstring(text: bytes) -> bytes:
    return b"%d:%b," % (len(text), text)


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root of the Merkle tree over at least one leaf."""
    level = list(leaves)
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def _parents(level: Sequence[bytes]) -> list[bytes]:
    """The next level: a node without a neighbor goes up as it is."""
    pairs = [
        sha256(_NODE + left + right).digest()
        for left, right in zip(level[0::2], level[1::2], strict=len(level) % 2 == 0)
    ]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from the leaf at `index` to the root of the tree."""
    path, level = [], list(leaves)
    while len(level) > 1:
        neighbor = index ^ 1
        if neighbor < len(level):
            path.append(level[neighbor])
        level, index = _parents(level), index >> 1
    return path


def proven_root(leaf: bytes, index: int, size: int, path: Iterable[bytes]) -> bytes | None:
    """The root to which a proof leads; None if the proof is not one for a leaf at `index` of `size`."""
    node, rest = leaf, list(path)
    if not 0 <= index < size:
        return None
    while size > 1:
        if index ^ 1 < size:
            if not rest:
                return None
            neighbor = rest.pop(0)
            node = sha256(_NODE + (neighbor + node if index % 2 else node + neighbor)).digest()
        index, size = index >> 1, (size + 1) >> 1
    return None if rest else node


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive events of the log, sealed."""

    number: int
    """From 1."""
    first: int
    """The position of its first event."""
    last: int
    received_from: int
    """The earliest time of receipt of its events, in microseconds since 1970; later blocks may overlap."""
    received_until: int
    """The latest."""
    marks: bytes
    """The first `MARK_BYTES` of each leaf."""
    root: bytes
    at: int
    """When it was sealed, in microseconds since 1970."""
    signature: bytes = b""

    @property
    def count(self) -> int:
        """How many events it holds."""
        return self.last - self.first + 1

    def statement(self) -> bytes:
        """What the signature is made of."""
        return statement_of(self.number, self.last, self.root, self.at)


def statement_of(number: int, last: int, root: bytes, at: int) -> bytes:
    """What the signature of a block is made of."""
    return f"rescind-log-checkpoint/1\n{number}\n{last}\n{root.hex()}\n{at}\n".encode()


def seal(previous: Block | None, first: int, leaves: Sequence[bytes], received: Sequence[int], at: int) -> Block:
    """The next block, unsigned: over at least one leaf, with the time of receipt of each event.

    `at` is the present time, in microseconds since 1970.
    """
    number, last = (1 if previous is None else previous.number + 1), first + len(leaves) - 1
    times = min(received), max(received)
    root = block_root(GENESIS if previous is None else previous.root, number, first, last, times, tree_root(leaves))
    marks = b"".join(leaf[:MARK_BYTES] for leaf in leaves)
    return Block(number, first, last, *times, marks, root, at)


def block_root(previous: bytes, number: int, first: int, last: int, received: tuple[int, int], tree: bytes) -> bytes:
    """The root of a block, from the root before it, its bounds and the root of its tree."""
    bounds = f"{number} {first} {last} {received[0]} {received[1]} ".encode()
    return sha256(_BLOCK + bounds + previous + tree).digest()


def erasure_digest(changed: Iterable[tuple[int, bytes, bytes]]) -> bytes:
    """The digest that the event of an erasure carries: over (position, leaf before, leaf after), by position."""
    digest = sha256(_ERASURE)
    for position, before, after in changed:
        digest.update(b"%d " % position + before + after)
    return digest.digest()
