"""A database whose log a newer release wrote, without a newer schema: it is read, shown, rebuilt and gone on with."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace
from providers import Provider
from servers import ACCOUNT, Rescind

from app.contract import Source
from app.core import cancellation
from app.core.event import event_id, internal_event
from app.engine.rebuild import check, rebuild
from app.store import Changes


async def test_what_a_newer_release_recorded_is_kept_and_shown(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "test"})
    id = await rescind.cancel("o-1")
    store, now = rescind.node.store, datetime.now(UTC)
    found = await store.order(ACCOUNT, "o-1")
    assert found is not None
    number, aggregate = found
    step = {"cancellation": id, "step": 2, "cause": "second_approval_wanted", "changes": {"waiting": "second_approval"}}
    odd = internal_event(ACCOUNT, "o-1", "cancellation.deferred", "", now, Source.CLOCK, step)
    events = [
        replace(odd, id=event_id(ACCOUNT, "o-1", cancellation.EVENT_PREFIX, f"{id}\0{2}".encode())),
        internal_event(ACCOUNT, "o-1", "delivery.failed", "1", now, Source("courier"), {"to": "crm"}),
        internal_event(
            ACCOUNT, "o-1", "policy.pondered", "1", now, Source.CLOCK, {"policy": "p", "outcome": "pondered"}
        ),
    ]
    async with store.transaction() as transaction:
        await transaction.commit(Changes(events=[(number, each) for each in events]))

    types = [each["type"] for each in await rescind.pages("/v1/events", 100)]
    assert {"cancellation.deferred", "delivery.failed", "policy.pondered"} <= set(types)
    pages = [page async for page in rebuild(store, rescind.node.config.view)]
    wrong = {each.what.partition(" ")[0]: each.problem for page in pages for each in page.mismatches}
    assert wrong == {"order": "different", "job": "not in the log", "cancellation": "different"}
    assert sum(page.repaired for page in pages) == 3
    assert not [each async for page in check(store) for each in page.mismatches]

    shown = [each for each in await rescind.timeline("o-1") if each["kind"] in ("event", "decision")]
    assert [each["event"]["type"] for each in shown][-3:] == [each.type for each in events]
    assert shown[-3]["event"]["data"]["cause"] == "second_approval_wanted"
    known = await rescind.cancellation(id)
    assert (known["state"], known["cause"], known["detail"]) == (
        "scheduled",
        "second_approval_wanted",
        cancellation.NEWER,
    )
    await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT})
    assert (await rescind.order("o-1"))["version"] == aggregate.order.version, "none of it is a fact of the order"
    revoked = await rescind.ask("POST", f"/v1/cancellations/{id}/revoke")
    assert (revoked.status, revoked.json["state"]) == (200, "revoked")
    assert await provider.calls() == []
