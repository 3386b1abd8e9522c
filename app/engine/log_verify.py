"""Verifies the log against its hash chain, and says which block and which event differs.

A block is recomputed from the events that are there, and from the root before it. The chain goes on from the stored
root, so that one change is reported once, where it is. What was erased is taken from the leaves that the erasures
kept, if the event that records an erasure, which is in the log itself, has the digest of exactly these changes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from app.core.checkpoint import Checkpoint, is_genuine, is_signed
from app.core.log_chain import GENESIS, MARK_BYTES, Block, block_root, erasure_digest, leaf_hash, tree_root
from app.store import Reader
from app.store.log_chain import LeafRow

BLOCKS = 16
"""Blocks read at once."""
MOVED_MAX = 50
"""In a block of which more events differ, it is not looked for where each of them stood before."""
BEFORE_ALL = -(1 << 63)
UNKNOWN = "of an unknown id"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the log that is not as it was sealed."""

    problem: str
    """`changed`, `removed`, `inserted`, `moved`, `forged`, `block`, `erasure`, `truncated` or `checkpoint`."""
    detail: str
    """What, in a sentence."""
    block: int | None = None
    position: int | None = None
    event: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The result of the next blocks."""

    blocks: int
    events: int
    erased: int
    faults: list[Fault]


@dataclass(slots=True)
class _Chain:
    """Where in the chain the verification is."""

    root: bytes = GENESIS
    last: int = BEFORE_ALL
    number: int = 0
    pruned: int = 0
    """Events at positions up to this one may be missing."""


async def verify(reader: Reader, public_key: bytes, first: int, last: int) -> AsyncIterator[Progress]:
    """Verify the blocks of these numbers, of which the last is there. Others may write meanwhile.

    What only a look at the whole shows (erasures, the end of the log) is for `verify_erasures` and `verify_end`.
    """
    chain = _Chain(number=first - 1, pruned=await reader.pruned_through())
    before = await reader.block(first - 1) if first > 1 else None
    if before is not None:
        chain.root, chain.last = before.root, before.last
    while chain.number < last:
        for block in await reader.blocks_between(chain.number + 1, last, BLOCKS):
            yield await _verify_block(reader, public_key, chain, block)


async def _verify_block(reader: Reader, public_key: bytes, chain: _Chain, block: Block) -> Progress:
    faults = []
    if not is_signed(block.statement(), block.signature, public_key):
        detail = f"block {block.number} is not signed with the key of this log: it was changed, or forged"
        faults.append(Fault("forged", detail, block.number))
    linked = block.number == chain.number + 1
    if not linked:
        missing = f"{chain.number + 1}" + (f" to {block.number - 1}" if block.number > chain.number + 2 else "")
        faults.append(Fault("block", f"missing from the chain: block {missing}", chain.number + 1))
    # From where the block before ended, so that nothing is inserted between two blocks either.
    rows = await reader.leaf_rows(chain.last if linked else block.first - 1, block.last)
    leaves = [row.original for row in rows]
    received = (block.received_from, block.received_until)
    complete = bool(rows) and len(rows) == block.count and rows[0].position == block.first
    if linked:
        follows = complete and block.root == block_root(
            chain.root, block.number, block.first, block.last, received, tree_root(leaves)
        )
    else:
        follows = complete  # The root before it is not known; its events are compared with their marks.
    if not complete and block.first <= chain.pruned:
        # Without all events the root cannot be recomputed: those that are left are compared with their marks.
        differing = await _differing(reader, block, rows)
        faults += [fault for fault in differing if fault.problem != "removed" or (fault.position or 0) > chain.pruned]
    elif not follows or not linked:
        differing = await _differing(reader, block, rows)
        faults += differing
        if not differing and not follows:
            detail = f"block {block.number} does not follow from its events and the block before: one was rewritten"
            faults.append(Fault("block", detail, block.number))
    chain.root, chain.last, chain.number = block.root, block.last, block.number
    return Progress(1, len(rows), sum(row.original is not row.present for row in rows), faults)


async def _differing(reader: Reader, block: Block, rows: Sequence[LeafRow]) -> list[Fault]:
    """The events of a block that are not those that were sealed."""
    if len(block.marks) != block.count * MARK_BYTES:
        return []  # the block itself was changed
    marks = {
        block.first + place: block.marks[place * MARK_BYTES : (place + 1) * MARK_BYTES] for place in range(block.count)
    }
    leaves = {row.position: row.original for row in rows}
    changed = [at for at, leaf in leaves.items() if at in marks and leaf[:MARK_BYTES] != marks[at]]
    inserted = [at for at in leaves if at not in marks]
    removed = [at for at in marks if at not in leaves]
    events = await reader.events_at([*changed, *inserted])
    faults = []
    for at in changed:
        id = events[at].id if at in events else UNKNOWN
        origin = _origin(events[at].columns, marks, [*changed, *removed]) if at in events else None
        if origin is not None and origin != at:
            detail = f"event {id} was moved to position {at} from position {origin}"
            faults.append(Fault("moved", detail, block.number, at, id))
        else:
            faults.append(Fault("changed", f"event {id} at position {at} was changed", block.number, at, id))
    for at in inserted:
        id = events[at].id if at in events else UNKNOWN
        faults.append(Fault("inserted", f"event {id} was inserted at position {at}", block.number, at, id))
    faults += [Fault("removed", f"the event at position {at} was removed", block.number, at) for at in removed]
    return sorted(faults, key=lambda fault: fault.position or 0)


def _origin(columns: Sequence[object], marks: Mapping[int, bytes], differing: Sequence[int]) -> int | None:
    """The position at which an event was sealed, if it is another one of those that differ."""
    if len(differing) > MOVED_MAX:
        return None
    return next((at for at in differing if leaf_hash(at, *columns)[:MARK_BYTES] == marks[at]), None)  # type: ignore[arg-type]


async def verify_erasures(reader: Reader) -> AsyncIterator[Fault]:
    """Whether all that was erased is what the events that record the erasures say."""
    pruned = await reader.pruned_through()
    changed: list[tuple[int, bytes, bytes]] = []
    event = ""
    async for page in reader.erasures():
        for row in page:
            if row.event != event:
                for fault in await _verify_erasure(reader, event, changed, pruned):
                    yield fault
                event, changed = row.event, []
            changed.append((row.position, row.before, row.after or b""))
    for fault in await _verify_erasure(reader, event, changed, pruned):
        yield fault


async def _verify_erasure(
    reader: Reader, id: str, changed: Sequence[tuple[int, bytes, bytes]], pruned: int
) -> list[Fault]:
    if not changed or any(position <= pruned and not after for position, _, after in changed):
        return []  # Events that it erased were dropped since with their month, and with them what they had become.
    span = f"of {len(changed)} events at positions {changed[0][0]} to {changed[-1][0]}"
    try:
        event = await reader.event(id)
    except ValueError:
        event = None
    if event is None:
        detail = f"an erasure {span} names the event {id}, which is not in the log: it is not recorded"
        return [Fault("erasure", detail, position=changed[0][0], event=id)]
    if event.data.get("digest") != erasure_digest(changed).hex():
        detail = f"what the erasure {id} recorded is not what was erased {span}: one was changed since"
        return [Fault("erasure", detail, position=changed[0][0], event=id)]
    return []


async def verify_end(reader: Reader) -> list[Fault]:
    """Whether events are missing at the end of the log."""
    last_block = await reader.last_block()
    last, given_out = await reader.log_bounds()
    faults = []
    if last_block is not None and last_block.last > last:
        detail = f"the log ends at position {last}, but is sealed to position {last_block.last}: its end was cut off"
        faults.append(Fault("truncated", detail, last_block.number, last))
    elif given_out > last:
        detail = f"the log ends at position {last}, but positions to {given_out} were given out: its end was cut off"
        faults.append(Fault("truncated", detail, position=last))
    return faults


async def verify_checkpoint(reader: Reader, kept: Checkpoint, public_key: bytes) -> list[Fault]:
    """Whether the chain still has a checkpoint that was kept elsewhere. The blocks themselves are for `verify`."""
    name = f"the kept checkpoint of block {kept.block}"
    if not is_genuine(kept):
        return [_of_checkpoint(f"{name} is not signed with the key that it names: the file was changed", kept)]
    if kept.public_key != b64encode(public_key).decode():
        return [_of_checkpoint(f"{name} is signed with another key than this log has: the key was replaced", kept)]
    block, (_, last) = await reader.block(kept.block), await reader.block_numbers()
    if block is None and kept.block > last:
        detail = f"the chain ends at block {last}, but {name} was sealed at {kept.sealed_at:%Y-%m-%dT%H:%M:%SZ}: "
        return [
            _of_checkpoint(f"{detail}its end was cut off, or an older backup restored{await _restored(reader)}", kept)
        ]
    if block is None or block.root.hex() != kept.root:
        detail = (
            f"{name} has another root than block {kept.block} of this log: what is in it was replaced, or an older "
        )
        return [_of_checkpoint(f"{detail}backup was restored{await _restored(reader)}", kept)]
    return []


def _of_checkpoint(detail: str, kept: Checkpoint) -> Fault:
    return Fault("checkpoint", detail, kept.block)


async def _restored(reader: Reader) -> str:
    restored = await reader.restored_at()
    return "" if restored is None else f" (the database says so of {restored:%Y-%m-%dT%H:%M:%SZ})"


async def verify_root(reader: Reader, root: bytes) -> list[Fault]:
    """Whether the chain still has a root that was kept elsewhere."""
    if await reader.block_with_root(root) is not None:
        return []
    detail = (
        f"no block has the kept root {root.hex()}: what is in it was replaced or cut off, or an older backup restored"
    )
    return [Fault("checkpoint", f"{detail}{await _restored(reader)}")]
