"""What every store must do for those who follow the log: every event once and in order, or a clear refusal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from contract.store_cases import Opener, at, event, place

from app.contract import Facts
from app.core.event import Event
from app.store import CursorFault, LogCursorError, Store


async def follow_to_end(store: Store, cursor: str, limit: int = 7) -> tuple[list[str], str]:
    """(ids of all events after the cursor, the cursor after them)."""
    ids: list[str] = []
    while True:
        page = await store.follow(cursor, limit)
        assert len(page.entries) <= limit
        ids += [entry.event.id for entry in page.entries]
        cursor = page.cursor
        if page.at_end:
            return ids, cursor


async def fault(store: Store, cursor: str) -> tuple[CursorFault, str]:
    with pytest.raises(LogCursorError) as raised:
        await store.follow(cursor, 10)
    return raised.value.fault, raised.value.resume


async def write_events(store: Store, first: int, number: int) -> list[str]:
    written: list[Event] = [event(f"o-{n}", n) for n in range(first, first + number)]
    for n, told in enumerate(written, first):
        await place(store, n, f"o-{n}", told)
    return [told.id for told in written]


async def test_followers_see_every_event_once_and_in_order(store: Store) -> None:
    start = await store.log_start()
    assert await store.log_end() == start
    assert await follow_to_end(store, start) == ([], start)

    async def follower() -> list[str]:
        cursor, ids = start, []
        while len(ids) < 60:
            page = await store.follow(cursor, 7)
            ids += [entry.event.id for entry in page.entries]
            # From the cursor of an event in the middle of a page as well as from that of the page.
            cursor = page.cursor
            if len(page.entries) > 3:
                cursor = page.entries[2].cursor
                del ids[-(len(page.entries) - 3) :]
        return ids

    followers = [asyncio.create_task(follower()) for _ in range(3)]
    written = await write_events(store, 1, 60)
    for seen in await asyncio.gather(*followers):
        assert seen == written
    ids, cursor = await follow_to_end(store, start)
    assert (ids, cursor) == (written, await store.log_end())
    page = await store.follow(start, 60)
    assert not page.at_end  # full: there may be more
    assert [entry.order_pk for entry in page.entries] == list(range(1, 61))


async def test_a_cursor_survives_a_restart(opener: Opener, tmp_path: Path) -> None:
    store = await opener(tmp_path)
    await write_events(store, 1, 5)
    cursor = (await store.follow(await store.log_start(), 3)).cursor
    await store.close()
    store = await opener(tmp_path)
    later = await write_events(store, 6, 2)
    ids, _ = await follow_to_end(store, cursor)
    assert ids[2:] == later
    assert len(ids) == 4
    await store.close()


async def test_large_events_end_a_page_early(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.log.PAGE_BYTES", 100_000)
    facts = Facts(attributes={"text": "x" * 1000})
    await place(store, 1, "o-1", *(event("o-1", n, facts=facts) for n in range(300)))
    start = await store.log_start()
    page = await store.follow(start, 300)
    assert 90 <= len(page.entries) < 200
    assert not page.at_end
    assert len((await follow_to_end(store, start, 300))[0]) == 300


async def test_a_cursor_since_a_time_misses_nothing(store: Store) -> None:
    written = await write_events(store, 1, 40)  # event n is received at minute n
    for minute in (-5, 1, 17, 39.5, 40, 41):
        ids, _ = await follow_to_end(store, await store.log_since(at(minute)))
        wanted = [id for n, id in enumerate(written, 1) if n >= minute]
        assert ids[len(ids) - len(wanted) :] == wanted
        assert len(ids) - len(wanted) <= 1
    assert (await follow_to_end(store, await store.log_since(at(41))))[0] == []


async def test_a_restored_log_refuses_the_cursors_of_the_former_one(store: Store) -> None:
    before = await write_events(store, 1, 6)
    start = await store.log_start()
    third, end = (await store.follow(start, 3)).cursor, await store.log_end()
    await store.begin_log_generation(at(0))
    after = await write_events(store, 7, 2)
    assert (await follow_to_end(store, await store.log_start()))[0] == [*before, *after]
    for cursor, missed in ((start, [*before, *after]), (third, [*before[3:], *after]), (end, after)):
        why, resume = await fault(store, cursor)
        assert why is CursorFault.OTHER_LOG
        assert (await follow_to_end(store, resume))[0] == missed
    # What the former log wrote after the backup is not here: its position is that of another event now.
    generation, _, position = end.rpartition(".")
    ahead = f"{generation}.{int(position) + 2}"
    why, resume = await fault(store, ahead)
    assert (why, (await follow_to_end(store, resume))[0]) == (CursorFault.OTHER_LOG, after)
    # Restored twice, the cursors of the first restore are refused as well.
    second = await store.log_end()
    await store.begin_log_generation(at(0))
    assert (await fault(store, second))[0] is CursorFault.OTHER_LOG
    assert (await fault(store, ahead))[0] is CursorFault.OTHER_LOG


async def test_what_is_no_cursor_is_refused(store: Store) -> None:
    await write_events(store, 1, 2)
    end = await store.log_end()
    for text in (
        "",
        ".",
        "1",
        "abc",
        "abc.",
        ".5",
        "a b.1",
        "abc.-1",
        "abc.1.2",
        "abc.1e3",
        "abc.٣",
        f"abc.{'9' * 19}",
    ):
        assert await fault(store, text) == (CursorFault.UNREADABLE, end), text
    assert await fault(store, "0123456789abcdef.1") == (CursorFault.OTHER_LOG, end)
    beyond = f"{end.rpartition('.')[0]}.{'9' * 18}"
    assert await fault(store, beyond) == (CursorFault.OTHER_LOG, end)
