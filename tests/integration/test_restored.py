"""What was scheduled in a backup may have been sent after it: no restore sends it again blindly (I4)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from providers import RETRIEVE_PATH, Provider
from servers import ACCOUNT, CANCEL_BODY, ENDPOINT, Rescind, account_of, endpoint_of

from app.config import registry
from app.core.commands import Restored
from app.engine import backup
from app.engine.backup import back_up, restore
from app.engine.commit import Commit
from app.engine.rebuild import check

pytestmark = pytest.mark.usefixtures("quick")
ALL = {"scope": "all"}
PROPOSES = {"accounts": [ACCOUNT], "when": "order.phase == 'open'", "mode": "approve", "cancel": CANCEL_BODY}


def quietly(_done: int, _all: int) -> None:
    """Nobody looks at the progress."""


class Disaster:
    """A database that is backed up, goes on, and is restored. The provider sends no webhook."""

    def __init__(self, start: Start, provider: Provider, directory: Path) -> None:
        self.start, self.provider, self.directory = start, provider, directory

    async def begin(self, *orders: str) -> Rescind:
        """A server that sends nothing, and knows these orders."""
        self.rescind = await self.start()
        await self.rescind.put("accounts", ACCOUNT, account_of(self.provider.url))
        await self.rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        await self.rescind.ask("POST", "/v1/pause", ALL)
        await self.provider.create(*orders)
        for order in orders:
            await self.rescind.tell("order.processed", order)
        return self.rescind

    async def back_up(self) -> None:
        file = self.directory / "copy.db"
        await asyncio.to_thread(back_up, self.directory / "rescind.db", file, secret_key="", tell=quietly)

    async def restore(self) -> int:
        """Restore it; how many cancels were scheduled in it."""
        await self.rescind.stop()
        files = self.directory / "copy.db", self.directory / "rescind.db"
        copied = await asyncio.to_thread(restore, *files, secret_key="", force=True, tell=quietly)
        return copied.scheduled

    async def go_on(self) -> Rescind:
        """A server on the restored database, which sends again."""
        again = await self.start()
        assert (await again.ask("POST", "/v1/resume", ALL)).status == 200
        return again

    async def folded_again(self, rescind: Rescind) -> list[Any]:
        """What differs when it is folded again."""
        return [mismatch async for page in check(rescind.node.store) for mismatch in page.mismatches]


@pytest.fixture
def disaster(start: Start, provider: Provider, tmp_path: Path) -> Disaster:
    return Disaster(start, provider, tmp_path)


@pytest.mark.parametrize(
    ("handler", "calls", "probes", "state"),
    [
        ({}, 1, True, "succeeded"),
        ({"probe": None}, 1, False, "indeterminate"),
        ({"cancel_is_idempotent": True}, 2, True, "succeeded"),
    ],
    ids=["probed", "cannot be probed", "idempotent"],
)
async def test_a_cancel_that_was_sent_after_the_backup_is_not_sent_blindly(
    disaster: Disaster,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
    handler: dict[str, Any],
    calls: int,
    probes: bool,
    state: str,
) -> None:
    altered = replace(registry.handlers()["planomatic"], **handler)
    monkeypatch.setitem(registry.handlers(), "planomatic", altered)
    rescind = await disaster.begin("o-1")
    id = await rescind.cancel("o-1")
    await disaster.back_up()
    await rescind.ask("POST", "/v1/resume", ALL)
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert await disaster.restore() == 1

    again = await disaster.go_on()
    done = await again.settled(id, state)
    if state == "indeterminate":
        assert done["waiting"]["for"] == "webhook"
        assert "backup" in done["detail"]
        await provider.create("o-2")
        await again.tell("order.processed", "o-2")
        assert (await again.settled(await again.cancel("o-2")))["state"] == "succeeded", "the lane goes on"
        resolved = {"outcome": "succeeded", "note": "It is canceled in their books."}
        await again.ask("POST", f"/v1/cancellations/{id}/resolve", resolved)
        assert (await again.cancellation(id))["state"] == "succeeded"
    assert len(await provider.calls(order="o-1")) == calls
    assert bool(await provider.calls(RETRIEVE_PATH)) == probes
    assert await provider.effects("o-1") == 1
    assert await disaster.folded_again(again) == []


async def test_a_cancel_that_was_not_sent_after_the_backup_is_probed_and_sent_once(
    disaster: Disaster, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PAGE", 2)
    orders = [f"o-{n}" for n in range(5)]
    rescind = await disaster.begin(*orders)
    ids = [await rescind.cancel(order) for order in orders]
    await disaster.back_up()
    assert await disaster.restore() == len(orders)

    paused = await disaster.start()
    assert {(await paused.cancellation(id))["state"] for id in ids} == {"indeterminate"}
    assert await provider.calls(None) == [], "the restore's pause holds probes, too"
    await paused.stop()
    again = await disaster.go_on()
    for id, order in zip(ids, orders, strict=True):
        assert (await again.settled(id))["state"] == "succeeded"
        assert [call["path"] for call in await provider.calls(None, order)][:1] == [RETRIEVE_PATH]
        assert len(await provider.calls(order=order)) == 1
    assert await disaster.folded_again(again) == []


async def test_a_proposal_that_was_approved_after_the_backup_waits_again_and_is_not_sent_again(
    disaster: Disaster, provider: Provider
) -> None:
    rescind = await disaster.begin()
    await rescind.put("policies", "old", PROPOSES)
    await provider.create("o-1", "o-2")
    for order in ("o-1", "o-2"):
        await rescind.tell("order.processed", order)
    waiting = {row["order"]: row["id"] for row in (await rescind.get("/v1/cancellations?waiting=approval"))["data"]}
    await disaster.back_up()
    await rescind.ask("POST", "/v1/resume", ALL)
    await rescind.ask("POST", f"/v1/cancellations/{waiting['o-1']}/approve")
    assert (await rescind.settled(waiting["o-1"]))["state"] == "succeeded"
    assert await disaster.restore() == 2

    again = await disaster.go_on()
    for id in waiting.values():
        cancel = await again.cancellation(id)
        assert (cancel["state"], cancel["waiting"]["for"]) == ("scheduled", "approval")
    await again.ask("POST", f"/v1/cancellations/{waiting['o-1']}/approve")
    assert (await again.settled(waiting["o-1"]))["state"] == "succeeded"
    assert len(await provider.calls(order="o-1")) == 1
    # Nobody approves the other one, whose condition ends: it is not probed, and not sent.
    await again.tell("order.delivered", "o-2")
    assert (await again.settled(waiting["o-2"]))["state"] == "revoked"
    assert await provider.calls(None, "o-2") == []
    assert await disaster.folded_again(again) == []


async def test_a_restore_that_is_killed_leaves_no_database_that_would_send(
    disaster: Disaster, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PAGE", 1)
    rescind = await disaster.begin("o-1", "o-2")
    ids = [await rescind.cancel("o-1"), await rescind.cancel("o-2")]
    await disaster.back_up()
    await rescind.stop()
    former = disaster.directory / "rescind.db"
    before = former.read_bytes()
    decide, seen = Commit.decide_all, []

    async def dies(commit: Commit, commands: Any, chance: float) -> Any:
        seen.extend(commands)
        if len(seen) == 2:
            raise OSError("the power is gone")
        return await decide(commit, commands, chance)

    with monkeypatch.context() as broken:
        broken.setattr(Commit, "decide_all", dies)
        with pytest.raises(OSError, match="power"):
            await disaster.restore()
    assert [type(command) for command in seen] == [Restored] * 2
    assert former.read_bytes() == before

    assert await disaster.restore() == 2
    again = await disaster.go_on()
    for id in ids:
        assert (await again.settled(id))["state"] == "succeeded"
    assert len(await provider.calls(None)) == 4, "a probe and a cancel of each"
