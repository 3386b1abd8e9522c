"""The chapter about a bad order among good ones: what always fails holds up nobody."""

from __future__ import annotations

import time

from app.dev.demo.cast import PLANOMATIC, YOU
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.sending import CANCEL_PATH, all_settled, ask_for_all, distinct
from app.dev.demo.stage import until

BAD, GOOD = 8, 12
AMONG = GOOD // 5 + 4
"""So many calls about the bad ones may leave among the good ones: one in six, and those that are out already."""


async def fail(scene: Scene) -> None:
    """Some orders get a 500 whenever they are canceled; then others are to be canceled."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    bad, good = await provider.place_many(BAD), await provider.place_many(GOOD)
    await rescind.known(good[-1])
    crash = {"code": 500, "status": "application-crash"}
    for order in bad:
        await provider.befall("status", order=order, status=500, body=crash, times=1000)
    began = len(await provider.calls())
    failing = await ask_for_all(scene, bad)
    voice.call(YOU, f"{BAD} x POST .../cancellations", 202, "of orders that will get a 500")

    async def all_failed() -> bool:
        called = {call["order"] for call in (await provider.calls(path=CANCEL_PATH))[-10 * BAD :]}
        return set(bad) <= called

    await until(all_failed, f"the cancels of {BAD} orders to reach PlanOmatic", "server.log")
    asked = time.monotonic()
    ended = await all_settled(scene, await ask_for_all(scene, good))
    took_s = time.monotonic() - asked
    calls = [call for call in (await provider.calls())[began:] if call["path"] == CANCEL_PATH]
    theirs = [index for index, call in enumerate(calls) if call["order"] in set(good)]
    among = [call for call in calls[theirs[0] : theirs[-1]] if call["order"] in set(bad)]
    failed = [call for call in calls if call["order"] in set(bad)]
    voice.call(PLANOMATIC.outbound, f"{len(failed)} x POST {CANCEL_PATH}", distinct(failed), "about the bad ones")
    voice.call(PLANOMATIC.outbound, f"{GOOD} x POST {CANCEL_PATH}", 200, f"the others, all done in {took_s:.1f} s")
    succeeded = sum(row["state"] == "succeeded" for row in ended.values())
    scene.claim(f"cancels beside {BAD} orders that always get a 500: succeeded", GOOD, succeeded)
    scene.claim(
        "calls about the bad ones, among those of the good ones", f"at most {AMONG}", len(among), ok=len(among) <= AMONG
    )
    await provider.mend()
    with voice.waiting("Waiting for the retries"):
        states = [(await rescind.settled(id))["state"] for id in failing]
    voice.seen(f"PlanOmatic is mended, and what had failed was sent again: {', '.join(sorted(set(states)))}.")
    scene.claim("what had failed, once PlanOmatic is mended: succeeded", BAD, states.count("succeeded"))


BAD_AMONG_GOOD = Chapter(
    "A bad order among good ones",
    f"{BAD} orders get a 500 whenever PlanOmatic is asked to cancel them; nobody can tell whether it has crashed, or "
    "means that they cannot be canceled. They back off, each on its own, and behind the others: a provider that fails "
    "at some orders is not down, and the others leave as if those were not there.",
    fail,
)
