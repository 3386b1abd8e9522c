"""The messages of random histories are those that a naive model says, each written once, in the order of causes.

The model knows nothing of how messages are made. Of cancellations and policies it reads the log afterwards; of verdicts
it judges every order anew after every transaction, and compares with what it judged when the order was last written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from integration.test_rebuild import ACCOUNT, World, derived, gather, rows, world
from outboxes import check, read

from app.config.store import ConfigStore
from app.core.event import Event
from app.core.outbound.message import Message
from app.core.policy.decisions import split
from app.engine.rebuild import rebuild
from app.store import codec

SUBSCRIPTIONS = [
    {"id": "all", "url": "https://crm.example/", "ordered": True},
    {"id": "some", "url": "https://crm.example/", "events": ["cancellation.s*", "policy.proposed"], "payload": "full"},
]
TOLD = {"acted", "shadowed", "joined", "held", "refrained"}
Key = tuple[str, str, str | None]
"""(type, order, cause) of a message."""


@dataclass
class Model:
    """What subscribers ought to be told of verdicts."""

    path: Path
    config: ConfigStore
    now: Callable[[], datetime]
    judged: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """Order number → (cancelable, reason, closes_at) when its row was last written."""
    seen: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    changes: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    """Order → (verdict before, verdict after) of every change."""

    def look(self) -> None:
        """After a transaction: judge every order whose row was written."""
        sql = f"""SELECT pk, {codec.ORDER_STATE}, account, id, phase, opened_at, cancelable, reason, closes_at
                  FROM orders"""  # noqa: S608 - ours
        for pk, state, account, id, phase, opened_at, *row in rows(self.path, sql):
            if self.seen.get(pk) == (state, *row):
                continue
            self.seen[pk] = (state, *row)
            order = codec.read_aggregate(state).order
            listed = (order.account, order.id, order.phase, codec.micros_or_none(order.opened_at))
            assert (account, id, phase, opened_at) == listed, f"order {order.id} is listed as it was"
            view = self.config.view(order.account)
            verdict, closes_at = view.judge(order, self.now()), view.closes_at(order, self.now())
            after = (verdict.cancelable.value, verdict.reason, codec.micros_or_none(closes_at))
            assert tuple(row) == after, f"order {order.id} is stored with another verdict than it has"
            before = self.judged.get(pk)
            if before != after and order.version:
                self.changes.setdefault(order.id, []).append((before, after))
            self.judged[pk] = after


def of_log(log: list[Event]) -> list[Key]:
    """What subscribers ought to be told of cancellations and of each decision, of several in one event, too."""
    states: dict[str, str] = {}
    decided: dict[tuple[str, str], Any] = {}
    told: list[Key] = []
    for event in chain.from_iterable(map(split, log)):
        kind, _, what = event.type.partition(".")
        if kind == "cancellation":
            id = event.data["cancellation"]
            if states.get(id) != what or event.data["cause"] == "approved":
                told.append((event.type, event.order, event.id))
            states[id] = what
        elif kind == "policy":
            key = (what, event.data["condition_hash"], event.data.get("cancellation"))
            if decided.get((event.data["policy"], event.order)) != key:
                type = "policy.matched" if what in TOLD else event.type
                told += [(type, event.order, event.id)] if what in TOLD | {"proposed", "failed"} else []
            decided[event.data["policy"], event.order] = key
        elif kind == "sending":
            told.append((event.type.replace("sending", "account"), "", event.id))
    return told


class Apart(World):
    """A world in which no two orders turn out to be one."""

    def body(self) -> bytes:
        told = msgspec.json.decode(super().body())
        number = told.pop("request_id", None) or told.pop("order_id")
        told.pop("request_id", None)
        told["order_id"] = f"o-{number[2:]}"
        return msgspec.json.encode(told)


def messages(path: Path, subscription: str) -> list[Message]:
    sql = f"""SELECT {codec.MESSAGE_COLUMNS} FROM messages
              WHERE id IN (SELECT message FROM deliveries WHERE subscription = ?) ORDER BY id"""  # noqa: S608
    received = [codec.read_message(row) for row in rows(path, sql, subscription)]
    for message in received:
        check(message)
    return received


def verdict_changes(told: list[Message]) -> dict[str, list[tuple[Any, Any]]]:
    """The same as `Model.changes`, of messages."""
    changes: dict[str, list[tuple[Any, Any]]] = {}
    for data in [read(message) for message in told if message.type == "order.verdict_changed"]:
        before = data["previous"] and tuple(data["previous"].values())
        after = (data["verdict"]["cancelable"], data["verdict"]["reason"], data["closes_at"])
        changes.setdefault(data["order"], []).append((before, after))
    return changes


def key_of(message: Message) -> Key:
    return message.type, read(message)["order"] or "", message.cause


@pytest.mark.parametrize("seed", range(2))
async def test_the_messages_are_those_that_the_model_says(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "rescind.db"
    stale = {"id": ACCOUNT, "provider": "planomatic", "config": {"api_key": "a-key"}, "stale_after_s": 20_000}
    async with world(path, seed, make=Apart, subscriptions=SUBSCRIPTIONS, accounts=[stale]) as it:
        model = Model(path, it.directory, lambda: it.now)
        it.committed = model.look
        await it.live()
        log = [event async for page in it.store.log() for _, _, event in page]
        told = messages(path, "all")
        assert verdict_changes(told) == model.changes
        assert [key_of(message) for message in told if message.type != "order.verdict_changed"] == of_log(log)
        wanted = [key for key in of_log(log) if key[0].startswith("cancellation.s") or key[0] == "policy.proposed"]
        assert [key_of(message) for message in messages(path, "some")] == wanted
        assert len({message.id for message in told}) == len(told)
        places = {event.id: place for place, event in enumerate(log)}
        causes = [places[message.cause] for message in told if message.cause is not None]
        assert causes == sorted(causes), "in the order of causes"
        reasons = [change[1][1] for changes in model.changes.values() for change in changes]
        assert len(reasons) > 40
        assert "stale" in reasons, "by time alone"
        assert len(wanted) > 40
        # A rebuild tells nobody anything, and leaves what subscribers were told.
        before = derived(path)
        assert (await gather(rebuild(it.store, it.directory.view)))[0] == []
        assert derived(path) == before
        assert messages(path, "all") == told
