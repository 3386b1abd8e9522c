"""The guarantees, held against what was acknowledged and what arrived at the providers."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from chaos.cluster import LIMIT, PER_S, Cluster
from chaos.load import Told, account_of_order
from providers import CANCEL_PATH, RETRIEVE_PATH, WAIT_S, until

from app.config.log_key import stored_public_key
from app.config.secrets import open_vault
from app.core import order as orders
from app.core.aggregate import JobKind, is_fact
from app.core.event import Event
from app.engine.log_verify import verify, verify_end
from app.runtime.ids import RECEIPT, read
from app.store import Store
from app.store.node_protocol import CLAIM_LEASE_S, CLAIM_S

FOREVER = datetime(9000, 1, 1, tzinfo=UTC)
TAKEN_OVER = timedelta(seconds=CLAIM_LEASE_S)
"""No sooner after a claim another node does the work."""
ARRIVAL_S = 0.3
DRAIN_S = 5 * WAIT_S
LOOK_S = 0.3
FAULTS_SHOWN = 40


@dataclass
class Verdict:
    """What was found."""

    faults: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def check(self, holds: bool, fault: str) -> None:
        """Note a fault if something does not hold."""
        if not holds:
            self.faults.append(fault)

    def raise_faults(self) -> None:
        """Fail if there is any."""
        shown = self.faults[:FAULTS_SHOWN]
        assert not self.faults, f"{len(self.faults)} faults:\n" + "\n".join(shown)


async def drain(cluster: Cluster) -> None:
    """Wait until every cancellation is final; until then each waits for something, until a time that it names (I5)."""
    node = next(node for node in cluster.nodes if node.running)

    async def drained() -> bool:
        await asyncio.sleep(LOOK_S)  # the list is long
        if (await node.ask("GET", node.ready_path, key=None)).status != 200:
            return False
        waiting = [row for row in await node.pages("/v1/cancellations", 500) if not row["final"]]
        for cancellation in waiting:
            condition = cancellation["waiting"]
            if cancellation["state"] != "sending":
                assert condition["for"] not in ("", "nothing"), cancellation
                assert condition["until"], cancellation
        return not waiting

    await until(drained, "every cancellation to be final", DRAIN_S)
    store = await cluster.open_store() if cluster.postgres else None

    async def no_jobs() -> bool:
        # An order whose call a crash cut off may be probed for a while after its cancellation became final otherwise.
        assert store is not None
        return not any([await store.jobs(account, FOREVER, 1) for account in cluster.simulators])

    if store is not None:
        try:
            await until(no_jobs, "every job to end", DRAIN_S)
        finally:
            await store.close()


async def judge(cluster: Cluster, told: Told) -> Verdict:
    """Look at everything, once the nodes have ended."""
    verdict = Verdict()
    calls = {account: await cluster.calls(account) for account in cluster.simulators}
    store = await cluster.open_store()
    try:
        await _check_receipts(store, told, verdict)
        by_order: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for call in (call for made in calls.values() for call in made):
            by_order[call["order"]].append(call)
        for order in told.sent:
            await _check_order(store, order, told, verdict)
            await _check_sending(store, order, told, by_order.pop(order, []), verdict)
        verdict.check(not by_order, f"calls about orders that nobody told of: {sorted(by_order)}")
        await _check_cancellations(store, cluster, told, verdict)
        await _check_chain(store, cluster, verdict)
    finally:
        await store.close()
    for account, made in calls.items():
        check_limit(made, LIMIT, PER_S, account, verdict)
    code, said = await cluster.command("rebuild", "--check", "--json")
    verdict.check(code == 0, f"rebuild --check: {said}")
    if code == 0:
        verdict.figures["rebuilt"] = json.loads(said[said.index("{") :])["events"]
    verdict.figures |= {
        "webhooks": len(told.receipts),
        "orders": len(told.sent),
        "cancellations": len(told.cancellations),
        "calls": dict(Counter(call["path"] for made in calls.values() for call in made)),
        "made again": dict(told.refused),
        "lag of the harness": f"{told.lag_s:.2f} s",
    }
    return verdict


async def _check_receipts(store: Store, told: Told, verdict: Verdict) -> None:
    for id, body in told.receipts.items():
        kept = await store.receipt(read(RECEIPT, id))
        verdict.check(kept is not None, f"I1: the acknowledged receipt {id} is lost")
        verdict.check(kept is None or kept.body == body, f"I1: the receipt {id} has another body")


async def _check_order(store: Store, order: str, told: Told, verdict: Verdict) -> None:
    """What was acknowledged is in the log, once; what is in it was sent; the order is the fold of it (I1, I2)."""
    account = account_of_order(order)
    stored = await store.order(account, order)
    if stored is None:
        verdict.check(not told.acknowledged[order], f"I1: everything about {order} is lost")
        return
    pk, aggregate = stored
    log = await store.order_events(pk)
    webhooks = Counter(event.id for event in log if event.source == "webhook")
    lost = told.acknowledged[order] - set(webhooks)
    verdict.check(not lost, f"I1: acknowledged events of {order} are lost: {lost}")
    verdict.check(set(webhooks) <= told.sent[order], f"{order} has events that nobody sent")
    verdict.check(all(number == 1 for number in webhooks.values()), f"I2: {order} has an event twice")
    state, _ = orders.fold(account, order, [event for event in log if is_fact(event)])
    verdict.check(state == aggregate.order, f"I2: {order} is not the fold of its events")
    live = [(cancellation.id, cancellation.state) for cancellation in aggregate.live]
    verdict.check(not live, f"I5: {order} has {live}")


async def _check_sending(store: Store, order: str, told: Told, calls: list[dict[str, Any]], verdict: Verdict) -> None:
    """No call after a closing event, no cancel repeated without a probe, one call at a time (I3, I4)."""
    stored = await store.order(account_of_order(order), order)
    if stored is None:
        verdict.check(not calls, f"I3: calls about {order}, which is not there")
        return
    log = await store.order_events(stored[0])
    attempts = sorted(await store.attempts(stored[0], 1000), key=lambda attempt: attempt.started_at)
    cancels = [attempt for attempt in attempts if attempt.kind is JobKind.CANCEL]
    sent = [call for call in calls if call["path"] == CANCEL_PATH]
    if order in told.closed:
        closing, acknowledged = told.closed[order]
        verdict.check(not claimed_after(log, closing), f"I3: {order} was claimed after the event that closed it")
        late = max((call["at"] - acknowledged for call in sent), default=0.0)
        verdict.figures["latest call after a closing event, s"] = max(
            verdict.figures.get("latest call after a closing event, s", 0.0), round(late, 3)
        )
        verdict.check(
            late <= CLAIM_S + ARRIVAL_S + told.lag_s,
            f"I3: a cancel of {order} arrived {late:.3f} s after its closing event was acknowledged",
        )
    for one, other in pairwise(attempts):
        apart = one.ended_at is not None and one.ended_at <= other.started_at
        # A node that was stopped has its connection still open when the one that took over looks how the order stands.
        probed = other.kind is JobKind.PROBE and other.started_at - one.started_at >= TAKEN_OVER
        verdict.check(apart or probed, f"I4: two calls about {order} at once: {one} {other}")
    verdict.check(len(sent) <= len(cancels), f"I4: a call about {order} that no claim preceded")
    paths = [call["path"] for call in calls]
    twice = (CANCEL_PATH, CANCEL_PATH) in pairwise(paths)
    verdict.check(not twice, f"I4: {order} was canceled again without a probe: {calls} {attempts}")
    verdict.check(set(paths) <= {CANCEL_PATH, RETRIEVE_PATH}, f"{order}: {paths}")
    interrupted = sum(attempt.outcome == "interrupted" for attempt in attempts)
    verdict.figures["interrupted calls"] = verdict.figures.get("interrupted calls", 0) + interrupted


def claimed_after(log: list[Event], closing: str) -> bool:
    """Whether a cancel was claimed after this event."""
    types = [event.type for event in log]
    return "cancellation.sending" in types[[event.id for event in log].index(closing) :]


async def _check_cancellations(store: Store, cluster: Cluster, told: Told, verdict: Verdict) -> None:
    """Each reached its end, and says of the order what the provider's own books say (I5)."""
    states: Counter[str] = Counter()
    for id, order in told.cancellations.items():
        cancellation = await store.cancellation(id)
        if cancellation is None:
            verdict.check(False, f"I1: the acknowledged cancellation {id} of {order} is lost")
            continue
        states[cancellation.state] += 1
        verdict.check(cancellation.final, f"I5: {id} of {order} is {cancellation.state}")
        simulator = cluster.simulators[account_of_order(order)]
        (book,) = simulator.act({"do": "list", "order_id": order}, 0.0)["orders"]
        canceled = book["status"] == "canceled"
        done = cancellation.state == "succeeded"
        verdict.check(done == canceled, f"{id} of {order} is {cancellation.state}, at the provider it is {book}")
        verdict.check(book["cancel_effects"] <= 1, f"I4: {order} was canceled twice: {book}")
    verdict.figures["cancellations by state"] = dict(states)
    for account in cluster.simulators:
        verdict.check(not await store.jobs(account, FOREVER, 9), f"I5: jobs of {account} are left")


async def _check_chain(store: Store, cluster: Cluster, verdict: Verdict) -> None:
    """The log is sealed as it is, although nodes died between two blocks, and in one."""
    key_file = cluster.folder / "rescind.db.key"
    vault = open_vault(cluster.environment["RESCIND_SECRET_KEY"], key_file)
    public_key, (_, last) = await stored_public_key(store, vault), await store.block_numbers()
    verdict.check(public_key is not None and last > 0, "the log was not sealed")
    if public_key is None:
        return
    progress = [step async for step in verify(store, public_key, 1, last)]
    faults = [fault for step in progress for fault in step.faults] + list(await verify_end(store))
    verdict.check(not faults, f"the chain of the log: {faults}")
    verdict.figures["blocks"] = last


def check_limit(calls: list[dict[str, Any]], limit: int, per_s: float, account: str, verdict: Verdict) -> None:
    """No window, wherever it is laid, sees more calls than the limit, over all restarts and nodes (I6)."""
    arrivals = sorted(call["at"] for call in calls)
    fullest = max((bisect_left(arrivals, at + per_s) - n for n, at in enumerate(arrivals)), default=0)
    verdict.figures["fullest window"] = max(verdict.figures.get("fullest window", 0), fullest)
    for first, beyond in zip(arrivals, arrivals[limit:], strict=False):
        span = f"I6: {account} got {limit + 1} calls within {beyond - first:.3f} s"
        verdict.check(beyond - first >= per_s, span)
