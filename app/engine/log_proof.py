"""Makes the proof that one event is in the log."""

from __future__ import annotations

from app.core.checkpoint import checkpoint_of
from app.core.log_chain import GENESIS, inclusion_proof
from app.core.log_proof import Proof, fault_of
from app.store import Reader


class NotProvableError(Exception):
    """The event cannot be proven to be in the log; the message says why."""


async def prove(reader: Reader, id: str, public_key: bytes) -> Proof:
    """The proof that an event is in the log. Raises `NotProvableError`."""
    try:
        position = await reader.event_position(id)
    except ValueError as error:
        raise NotProvableError(str(error)) from error
    if position is None:
        raise NotProvableError(f"There is no event {id!r} in the log")
    block = await reader.block_at(position)
    if block is None:
        raise NotProvableError("The event is not sealed yet: a running server does so within seconds")
    before = await reader.block(block.number - 1) if block.number > 1 else None
    rows = await reader.leaf_rows(block.first - 1, block.last)
    leaves = [row.original for row in rows]
    row = next(row for row in rows if row.position == position)
    logged = (await reader.events_at([position]))[position]
    proof = Proof(
        event=id,
        position=position,
        columns=logged.columns if row.present == row.original else None,
        leaf=row.original.hex(),
        path=tuple(node.hex() for node in inclusion_proof(leaves, rows.index(row))),
        received_from=block.received_from,
        received_until=block.received_until,
        previous_root=(GENESIS if before is None else before.root).hex(),
        checkpoint=checkpoint_of(block, public_key),
    )
    fault = fault_of(proof)
    if fault:
        raise NotProvableError(f"{fault[:1].upper()}{fault[1:]}: `rescind log verify` says what was changed")
    return proof
