"""The chapters about what goes out: a burst over the limit, a crash at the provider, answers that get lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from app.dev.demo.cast import PLANOMATIC, YOU, Json
from app.dev.demo.measure import most_in_a_window, per_second
from app.dev.demo.scene import LIMIT, Chapter, Scene
from app.dev.demo.stage import WINDOW_S, WaitedInVainError, until

BURST = 250
BURST_WAIT_S = 180.0
AT_ONCE = 16
"""How many requests the demo has open at a time."""
POLL_S = 0.2
CANCEL_PATH, PROBE_PATH = PLANOMATIC.cancel_path, "/api/v3/orders/retrieve"
THROTTLED = 429


async def burst(scene: Scene) -> None:
    """Many cancels at once; one of them loses its window while it waits for its turn."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    *orders, overtaken = await provider.place_many(BURST + 1)
    await rescind.known(overtaken)
    began = time.monotonic()
    ids = await ask_for_all(scene, orders)
    voice.call(YOU, f"{len(ids)} x POST .../cancellations", 202, f"within {time.monotonic() - began:.1f} s")
    last = await rescind.cancel(overtaken, aloud=True)
    await provider.act("schedule_appointment", order_id=overtaken)
    await rescind.heard(overtaken, "appointment.scheduled")
    withdrawn = await rescind.settled(last)
    voice.seen(f"That last one waited for its turn and is {withdrawn['state']}: {withdrawn['detail']}")
    ended = await all_settled(scene, ids)
    calls = await provider.calls(path=CANCEL_PATH)
    mine = [call for call in calls if call["order"] in set(orders)]
    voice.call(
        PLANOMATIC.outbound, f"{len(mine)} x POST {CANCEL_PATH}", distinct(mine), f"in {time.monotonic() - began:.0f} s"
    )
    seconds = " ".join(map(str, per_second(call["at"] for call in mine)))
    voice.seen(
        f"Arrivals at PlanOmatic, second by second: {seconds}. "
        f"A call keeps its place for {WINDOW_S:g} s from its answer on, and those of the chapters before count as well."
    )
    succeeded = [row for row in ended.values() if row["state"] == "succeeded"]
    scene.claim("cancels asked for at once: succeeded", f"{BURST} of {BURST}", f"{len(succeeded)} of {BURST}")
    claim_limit(scene, await provider.calls(), "so far")
    scene.claim(
        "a waiting cancel whose order gets an appointment",
        "revoked, 0 calls",
        f"{withdrawn['state']}, {len(await provider.calls(overtaken))} calls",
    )


async def retry_a_crash(scene: Scene) -> None:
    """The provider answers 500 and did nothing; the cancel is sent again."""
    rescind, provider = scene.rescind, scene.provider
    order = await provider.place()
    await rescind.known(order)
    await provider.act("crash")
    id = await rescind.cancel(order, aloud=True)
    with scene.voice.waiting("Waiting for the retry"):
        ended = await rescind.settled(id)
    calls = [call for call in await provider.show_calls(order) if call["path"] == CANCEL_PATH]
    gap_s = calls[-1]["at"] - calls[0]["at"]
    scene.voice.seen(f"Sent again after {gap_s:.1f} s, and {ended['state']}.")
    scene.claim("application-crash: answers to the cancel calls", "500, 200", answers(calls))
    scene.claim("application-crash: the cancellation", "succeeded", ended["state"])


async def lose_answers(scene: Scene) -> None:
    """Twice the provider cancels and its answer gets lost; asking shows what became of it."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    reset, silent = await provider.place_many(2)
    await rescind.known(silent)
    # Else the webhook order.canceled would settle it before Rescind has to ask.
    await provider.keep_webhooks()
    ids = []
    for order, fault in ((reset, {"fault": "reset_after"}), (silent, {"fault": "delay", "seconds": 4.0})):
        await provider.befall(**fault)
        ids.append(await rescind.cancel(order, aloud=True))

        async def arrived(order: str = order) -> list[Json]:
            return await provider.calls(order)

        await until(arrived, f"the cancel of order {order} to reach PlanOmatic", "server.log")
    with voice.waiting("Waiting for the time-out and the probes"):
        ended = [await rescind.settled(id) for id in ids]
    for order, name in ((reset, "connection reset"), (silent, "time-out")):
        calls = await provider.show_calls(order)
        cancels = [call for call in calls if call["path"] == CANCEL_PATH]
        probes = [call for call in calls if call["path"] == PROBE_PATH]
        effects = (await provider.book(order))["cancel_effects"]
        states = await rescind.states(order)
        voice.seen(f"{name}: {' > '.join(states)}")
        scene.claim(f"{name}: after sending, it was", "indeterminate, succeeded", ", ".join(states[2:]))
        seen = f"{len(cancels)} sent, {effects} effective, {'probed' if probes else 'not probed'}"
        scene.claim(f"{name}: cancels of this order", "1 sent, 1 effective, probed", seen)
    await provider.send_webhooks()
    for each in ended:
        await rescind.heard(each["order"], "order.canceled")


async def ask_for_all(scene: Scene, orders: Sequence[str]) -> list[str]:
    """Ask for all of these orders to be canceled; returns the ids of what was taken on."""
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(order: str) -> str:
        async with room:
            return await scene.rescind.cancel(order)

    return list(await asyncio.gather(*map(ask, orders)))


async def all_settled(scene: Scene, ids: Sequence[str]) -> dict[str, Json]:
    """These cancellations, as soon as all of them are in a final state; as they are by then, if that takes too long.

    What is behind such a delay, the claims show better than an error would.
    """
    with scene.voice.waiting("Waiting for the limit") as progress:

        async def look() -> dict[str, Json] | None:
            known = await scene.rescind.cancellations(ids)
            final = sum(row["final"] for row in known.values())
            progress(f"{final} of {len(ids)} done")
            return known if final == len(ids) else None

        try:
            what, see = f"{len(ids)} cancellations to end", "GET /v1/cancellations"
            return await until(look, what, see, BURST_WAIT_S, POLL_S)
        except WaitedInVainError as error:
            scene.voice.seen(f"Not all is well: {error}. Going on without them.")
            return await scene.rescind.cancellations(ids)


def claim_limit(scene: Scene, calls: Sequence[Json], extent: str) -> None:
    """No window over the arrivals held more than the limit, and no call had to be denied."""
    most = most_in_a_window((call["at"] for call in calls), WINDOW_S)
    what = f"most calls in any {WINDOW_S:g} s, {extent} ({len(calls)} calls)"
    scene.claim(what, f"at most {LIMIT}", most, ok=0 < most <= LIMIT)
    scene.claim("calls that PlanOmatic denied (429)", 0, sum(call["status"] == THROTTLED for call in calls))


def answers(calls: Sequence[Json]) -> str:
    """The statuses of calls."""
    return ", ".join(str(call["status"]) for call in calls)


def distinct(calls: Sequence[Json]) -> str:
    """The different statuses of calls."""
    return "/".join(sorted({str(call["status"]) for call in calls}))


BURST_OVER_THE_LIMIT = Chapter(
    f"A burst of {BURST} cancels, over the limit",
    f"PlanOmatic takes {LIMIT} calls in a window, wherever that window is laid; more would be denied, and denials cost "
    "the time that a cancel does not have. All are sent as soon as the limit allows. While the last of them waits, its "
    "order gets an appointment: that one is withdrawn and never sent.",
    burst,
)
CRASH_AT_THE_PROVIDER = Chapter(
    "PlanOmatic crashes",
    "The first answer is 500, application-crash. It may be sent again, and is, after one to two seconds.",
    retry_a_crash,
)
LOST_ANSWERS = Chapter(
    "Answers get lost",
    "Twice PlanOmatic cancels the order and nobody hears of it: once the connection breaks, once the answer comes too "
    "late. A blind repeat could do harm, so Rescind asks how the order stands before it does anything else. "
    "(The sandbox keeps its webhooks back here, which would have settled it as well.)",
    lose_answers,
)
