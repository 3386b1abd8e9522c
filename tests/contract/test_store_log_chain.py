"""What every store must do for the hash chain over the log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract.store_cases import at, commit, event, order, place, write

from app.contract import Facts
from app.core.event import Event
from app.core.log_chain import leaf_hash, seal
from app.store import Changes, Store, StoreConflict, Window, codec

ODD = "\u00fc\U0001f600\0:,'"


def leaf_of(position: int, event: Event) -> bytes:
    _, account, name, key, type, source, occurred_at, received_at, receipt, body, *_ = codec.event_row(
        1, event, codec.plain
    )
    return leaf_hash(position, account, name, key, type, source, occurred_at, received_at, receipt, body)


async def test_the_leaf_of_a_stored_event_is_that_of_its_columns(store: Store) -> None:
    events = [
        event("o-1", 1, facts=Facts(provider_status=ODD, attributes={"note": ODD}), receipt="rcp_0000000000000009"),
        event(ODD.replace("\0", ""), 2, type="policy.acted", data={"policy": ODD.replace("\0", ""), "note": ODD}),
        event("", 3, account=""),
    ]
    await place(store, 7, "o-1", *events[:2])
    await commit(store, events=[(0, events[2])])
    found = await store.unsealed(0, 10)
    first, second, third = range(found.first, found.first + 3)
    assert found.received == [codec.micros(at(n)) for n in (1, 2, 3)]
    assert found.leaves == [leaf_of(position, event) for position, event in enumerate(events, first)]
    rows = await store.leaf_rows(first - 1, second)
    assert [(row.position, row.present, row.original) for row in rows] == [
        (position, leaf, leaf) for position, leaf in zip((first, second), found.leaves, strict=False)
    ]
    shown = await store.events_at([second, third + 6])
    assert {position: logged.id for position, logged in shown.items()} == {second: events[1].id}
    assert leaf_hash(second, *shown[second].columns) == found.leaves[1]
    positions = [await store.event_position(event.id) for event in events]
    assert positions == [first, None, third]  # the second has no name here
    assert await store.event_position(event("o-1", 4).id) is None
    assert await store.log_bounds() == (third, third)


async def test_a_merge_of_orders_changes_no_leaf(store: Store) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    await place(store, 2, "o-2", event("o-2", 2))
    before = await store.unsealed(0, 10)
    async with store.transaction() as transaction:
        await transaction.merge(1, 2, [("acme", "o-2")])
        await transaction.commit(Changes(orders=[write(1, order("o-1"))]))
    assert await store.unsealed(0, 10) == before


async def test_blocks_are_appended_in_turn_and_found_by_number_and_position(store: Store) -> None:
    assert (await store.last_block(), await store.block_numbers(), await store.blocks(Window(5))) == (None, (0, 0), [])
    await place(store, 7, "o-1", *(event("o-1", n) for n in range(1, 8)))
    start = (await store.unsealed(0, 1)).first - 1
    blocks = []
    for after in (0, 3, 6):
        found = await store.unsealed(start + after, 3)
        block = seal(blocks[-1] if blocks else None, found.first, found.leaves, found.received, at=after)
        blocks.append(replace(block, signature=b"signed"))
    assert [(block.first - start, block.last - start) for block in blocks] == [(1, 3), (4, 6), (7, 7)]
    assert await store.unsealed(start + 7, 3) == await store.unsealed(start + 99, 3)
    with pytest.raises(StoreConflict):
        await store.save_blocks(blocks[1:])
    await store.save_blocks(blocks[:1])
    await store.save_blocks(blocks[1:])
    with pytest.raises(StoreConflict):
        await store.save_blocks(blocks[2:])
    assert await store.blocks(Window(2)) == [blocks[2], blocks[1]]
    assert await store.blocks(Window(9, 2)) == blocks[:1]
    assert await store.blocks(Window(1, 1, newer=True)) == blocks[1:2]
    assert await store.blocks_between(2, 9, 9) == blocks[1:]
    assert (await store.last_block(), await store.block(2), await store.block(4)) == (blocks[2], blocks[1], None)
    assert [await store.block_at(start + position) for position in (1, 3, 4, 7, 8)] == [
        *(blocks[n] for n in (0, 0, 1, 2)),
        None,
    ]
    assert await store.block_numbers() == (1, 3)
