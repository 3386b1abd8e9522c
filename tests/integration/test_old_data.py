"""What retention exports before it expunges, and proofs of single events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from contract.store_cases import event, place
from integration.test_log_chain import KEY, make_log, opened
from providers import Provider
from servers import ACCOUNT, Rescind

from app.core.log_proof import fault_of
from app.engine.export_old import old_data
from app.engine.log_proof import NotProvableError, prove


async def test_receipts_attempts_and_events_are_exported_once_each(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    for order in ("o-1", "o-2", "o-3"):
        await rescind.tell("order.processed", order)
    await rescind.settled(await rescind.cancel("o-1"))
    await rescind.settled(await rescind.cancel("o-2"))  # the provider does not know it, and its response is kept
    await rescind.tell("order.canceled", "o-1")
    store, later = rescind.node.store, datetime.now(UTC) + timedelta(days=1)
    rows = [msgspec.json.decode(line) async for line in old_data(store, later, again=True)]
    kinds = Counter(row["kind"] for row in rows)
    assert len({(row["kind"], row["id"]) for row in rows}) == len(rows)
    assert kinds["receipt"] == 4
    assert {row["order"] for row in rows if row["kind"] == "attempt"} == {"o-1", "o-2"}
    assert {row["order"] for row in rows if row["kind"] == "event"} == {"o-1"}, "that of orders that are over"
    listed = (await rescind.get(f"/v1/events?limit=500&account={ACCOUNT}&order=o-1"))["data"]
    assert {row["id"] for row in rows if row["kind"] == "event"} == {row["id"] for row in listed}
    earlier = datetime.now(UTC) - timedelta(days=1)
    assert [line async for line in old_data(store, earlier, again=False)] == []


async def test_an_event_is_proven_once_it_is_sealed_and_as_long_as_it_is_what_was_sealed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    async with opened(path) as store:
        proof = await prove(store, event("o-1", 1).id, KEY.public)
        assert fault_of(proof, KEY.public) == ""
        unsealed = event("o-new", 1)
        await place(store, 9_000_001, "o-new", unsealed)
        never = event("o-never", 1)
        for id, why in (("evt_no", "evt_no"), (never.id, "There is no event"), (unsealed.id, "not sealed")):
            with pytest.raises(NotProvableError, match=why):
                await prove(store, id, KEY.public)
