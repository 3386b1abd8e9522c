"""The last chapter: kill -9 in the middle of everything, and a restart on the same database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import aiohttp
import msgspec

from app.dev.demo.cast import PLANOMATIC, YOU, Json
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.sending import CANCEL_PATH, POLL_S, PROBE_PATH, all_settled, ask_for_all, claim_limit, distinct
from app.dev.demo.stage import until

ACCOUNT, INBOUND, OUTBOUND = PLANOMATIC.account, PLANOMATIC.inbound, PLANOMATIC.outbound
DELIVER = f"POST {PLANOMATIC.webhook_path}"
CANCELS = 160
WEBHOOKS = 600
POSTMEN = 4
PAUSE_S = 0.01
"""Between two webhooks of one postman."""
ANSWER_DELAY_S = 0.25
"""So late PlanOmatic answers, so that at the kill some calls are out."""
SENT_BEFORE, ACKNOWLEDGED_BEFORE = 40, 100
"""What must have happened before the kill."""
BLINK_S = 0.005


class Post:
    """Brings webhooks to Rescind, several at a time, until the line is dead."""

    def __init__(self, scene: Scene, webhooks: Sequence[bytes]) -> None:
        self._rescind, self._waiting = scene.rescind, list(reversed(webhooks))
        self.acknowledged: list[str] = []
        """Receipts of what was answered with a 200."""
        self.cut_off: list[bytes] = []
        """What was under way when the line went dead, or was turned away."""

    @property
    def left(self) -> list[bytes]:
        """What has no acknowledgement, and so must be brought again."""
        return [*self.cut_off, *reversed(self._waiting)]

    async def run(self) -> None:
        """Bring what waits."""
        await asyncio.gather(*(self._bring() for _ in range(POSTMEN)))

    async def _bring(self) -> None:
        while self._waiting:
            webhook = self._waiting.pop()
            try:
                reply = await self._rescind.deliver(webhook)
            except (aiohttp.ClientError, OSError):
                self.cut_off.append(webhook)
                return
            if reply.body.get("status") in ("accepted", "duplicate"):
                self.acknowledged.append(reply.body["receipt"])
            else:
                self.cut_off.append(webhook)
            await asyncio.sleep(PAUSE_S)


async def kill(scene: Scene) -> None:
    """Kill the server while webhooks come in and cancels go out; restart; compare."""
    provider, voice = scene.provider, scene.voice
    orders, webhooks = await _prepare(scene)
    ids = await ask_for_all(scene, orders)
    voice.call(YOU, f"{len(ids)} x POST .../cancellations", 202, "all scheduled")
    post = await _kill_in_the_middle(scene, orders, webhooks)
    pid = await scene.stage.restart_server()
    await until(scene.rescind.ready, "GET /readyz to answer 200", "server.log")
    await provider.mend()
    voice.seen(f"Started again as process {pid}, on the same database.")
    found = {event["receipt"] for event in await _processed(scene)}
    kept = sum(receipt in found for receipt in post.acknowledged)
    again = Post(scene, post.left)
    await again.run()
    voice.call(INBOUND, f"{len(again.acknowledged)} x {DELIVER}", 200, "all that had no answer, again")
    ended = await all_settled(scene, ids)
    calls = await provider.calls()
    sent = [call for call in calls if call["path"] == CANCEL_PATH and call["order"] in set(orders)]
    voice.call(OUTBOUND, f"{len(sent)} x POST {CANCEL_PATH}", "", "before and after the kill, together")
    await _claim_asked_first(scene, orders, calls)
    await _hear_of_all(scene, orders)
    number = len(post.acknowledged)
    scene.claim("acknowledged before kill -9: still in the log", f"{number} of {number}", f"{kept} of {number}")
    await _claim_each_once(scene, webhooks)
    states = Counter(row["state"] for row in ended.values())
    listed = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    scene.claim("cancellations, in the end", f"{CANCELS} succeeded", listed)
    # PlanOmatic itself refuses a second cancel, so what counts is that none was sent.
    books = await provider.orders()
    scene.claim("orders that were sent a second cancel", 0, sum(books[order]["cancel_calls"] > 1 for order in orders))
    canceled = sum(books[order]["status"] == "canceled" for order in orders)
    scene.claim("orders canceled in PlanOmatic's books", f"{CANCELS} of {CANCELS}", f"{canceled} of {CANCELS}")
    claim_limit(scene, calls, "restart included")
    await _claim_replay(scene)


async def _prepare(scene: Scene) -> tuple[list[str], list[bytes]]:
    """Orders that Rescind knows and may cancel, and webhooks about others that it has still to hear of.

    PlanOmatic's own webhooks stay in the sandbox from then on: order.canceled would tell what became of
    a cancel that was cut off, and nobody would see that Rescind asks.
    """
    provider = scene.provider
    orders = await provider.place_many(CANCELS)
    await scene.rescind.known(orders[-1])
    await provider.keep_webhooks()
    await provider.place_many(WEBHOOKS)
    webhooks = [each.body for each in await provider.take_webhooks()]
    await provider.befall("delay", seconds=ANSWER_DELAY_S, times=CANCELS)
    return orders, webhooks


async def _kill_in_the_middle(scene: Scene, orders: Sequence[str], webhooks: Sequence[bytes]) -> Post:
    voice, mine, post = scene.voice, set(orders), Post(scene, webhooks)
    sent: list[Json] = []

    async def enough_sent() -> bool:
        sent[:] = [call for call in await scene.provider.calls(path=CANCEL_PATH) if call["order"] in mine]
        return len(sent) >= SENT_BEFORE

    async def in_the_middle() -> bool:
        await enough_sent()
        return len(post.acknowledged) >= ACKNOWLEDGED_BEFORE and any(call["status"] is None for call in sent)

    await until(enough_sent, f"{SENT_BEFORE} cancels to reach PlanOmatic", "server.log")
    bringing = asyncio.create_task(post.run())
    try:
        what = f"{ACKNOWLEDGED_BEFORE} webhooks to be acknowledged while cancels are out"
        await until(in_the_middle, what, "server.log", every_s=BLINK_S)
        pid = scene.stage.kill_server()
    except BaseException:
        bringing.cancel()
        raise
    await bringing
    out = sum(call["status"] is None for call in sent)
    voice.call(OUTBOUND, f"{len(sent) - out} x POST {CANCEL_PATH}", 200, "answered")
    voice.call(OUTBOUND, f"{out} x POST {CANCEL_PATH}", "-", "not answered yet")
    voice.call(INBOUND, f"{len(post.acknowledged)} x {DELIVER}", 200, "acknowledged")
    voice.call(INBOUND, f"{len(post.cut_off)} x {DELIVER}", "-", "cut off")
    voice.seen(f"kill -9 {pid}")
    return post


async def _claim_asked_first(scene: Scene, orders: Sequence[str], calls: Sequence[Json]) -> None:
    """Each cancel whose call was out at the kill was asked about."""
    events = await scene.rescind.everything(f"/v1/events?account={ACCOUNT}&type=cancellation.indeterminate")
    cut_off = {each["order"] for each in events if each["data"]["cause"] == "interrupted"} & set(orders)
    probes = [call for call in calls if call["path"] == PROBE_PATH and call["order"] in cut_off]
    probed = {call["order"] for call in probes}
    scene.voice.call(OUTBOUND, f"{len(probes)} x POST {PROBE_PATH}", distinct(probes), "how do these stand?")
    scene.voice.seen(f"The restart found {len(cut_off)} cancels whose outcome nobody knew, and asked before all else.")
    what, seen = "cancels cut off by the kill: asked about", f"{len(probed)} of {len(cut_off)}"
    scene.claim(what, "all, 1 or more", seen, ok=0 < len(cut_off) == len(probed))


async def _hear_of_all(scene: Scene, orders: Sequence[str]) -> None:
    """At last PlanOmatic's webhooks about the cancels come in."""
    await scene.provider.send_webhooks()

    async def all_heard() -> bool:
        events = await scene.rescind.everything(f"/v1/events?account={ACCOUNT}&type=order.canceled")
        return set(orders) <= {event["order"] for event in events if event["source"] == "webhook"}

    await until(all_heard, f"{len(orders)} webhooks order.canceled", "sandbox.log and GET /v1/events", every_s=POLL_S)
    scene.voice.call(INBOUND, f"{len(orders)} x {DELIVER}", 200, "order.canceled")


async def _processed(scene: Scene) -> list[Json]:
    return await scene.rescind.everything(f"/v1/events?account={ACCOUNT}&type=order.processed")


async def _claim_each_once(scene: Scene, webhooks: Sequence[bytes]) -> None:
    named = {str(msgspec.json.decode(webhook)["order_id"]) for webhook in webhooks}
    times = Counter(event["order"] for event in await _processed(scene))
    once = sum(times[order] == 1 for order in named)
    what = "after redelivery: webhooks in the log exactly once"
    scene.claim(what, f"{len(named)} of {len(named)}", f"{once} of {len(named)}")


async def _claim_replay(scene: Scene) -> None:
    """Fold the whole log anew, and compare with what is stored."""
    code, said = await scene.stage.command("rebuild", "--check", "--json")
    try:
        found = msgspec.json.decode(said[said.find("{") : said.rfind("}") + 1])["found"]
    except msgspec.DecodeError:
        found = f"exit code {code}"
    scene.voice.call("you", "rescind rebuild --check", code, "folds the whole log anew, and compares")
    scene.claim("all providers' orders: different when folded anew", 0, found)


KILL = Chapter(
    "kill -9, in the middle of everything",
    f"While {CANCELS} cancels go out and {WEBHOOKS} webhooks come in, the server's process is killed without a "
    "warning, and started again. What was acknowledged must be on disk; what was out must not be repeated blindly; "
    "and the calls of the dead process count towards the limit of the new one.",
    kill,
)
