"""The story: its chapters in turn, and what becomes of them."""

from __future__ import annotations

import asyncio
import signal

from app.dev.demo.clients import clients
from app.dev.demo.crash import KILL
from app.dev.demo.failing import BAD_AMONG_GOOD
from app.dev.demo.generic import WITHOUT_CODE
from app.dev.demo.kibo import THIN_WEBHOOKS
from app.dev.demo.knowing import CANCEL_IN_TIME, PROVIDER_TIMEOUT_S, REFUSE_STRANGERS, REJECT_EARLY, TAKE_ANY_ORDER
from app.dev.demo.notpanel import ONE_CALL
from app.dev.demo.policies import BY_POLICY
from app.dev.demo.report import Report
from app.dev.demo.scene import LIMIT, Scene
from app.dev.demo.sending import BURST_OVER_THE_LIMIT, CRASH_AT_THE_PROVIDER, LOST_ANSWERS
from app.dev.demo.shoplazza import REGISTRATIONS
from app.dev.demo.stage import WINDOW_S, Stage
from app.dev.demo.superloop import APPOINTMENTS
from app.dev.demo.voice import Voice

TOTAL_S = 800.0

_OPENING = (
    "Rescind knows for every order whether it can still be canceled, and cancels it or refuses, for you. Here it is at "
    "work: a real server, and a sandbox that plays five providers by their documents (PlanOmatic, NotPanel, Kibo, "
    "Superloop, Shoplazza) and a shop that is made up, each a process of its own, talking HTTP. Every claim is put to "
    "the test, and the table at the end says how each came out.\n\n"
    "So that nobody has to wait, some times are shorter than in real life. The windows of the providers' limits are "
    f"{WINDOW_S:g} s on both sides (PlanOmatic's {LIMIT} calls in 60 s are {LIMIT} in {WINDOW_S:g} s here), and "
    f"PlanOmatic's account waits {PROVIDER_TIMEOUT_S:g} s for an answer and not 15 s. Retries and everything else are "
    "as delivered.\n"
)

CHAPTERS = (
    CANCEL_IN_TIME,
    REJECT_EARLY,
    TAKE_ANY_ORDER,
    BURST_OVER_THE_LIMIT,
    CRASH_AT_THE_PROVIDER,
    LOST_ANSWERS,
    BAD_AMONG_GOOD,
    REFUSE_STRANGERS,
    BY_POLICY,
    ONE_CALL,
    THIN_WEBHOOKS,
    APPOINTMENTS,
    REGISTRATIONS,
    WITHOUT_CODE,
    KILL,
)


async def tell(stage: Stage, voice: Voice, report: Report) -> None:
    """Play all chapters. What goes wrong becomes a claim that does not hold, and ends the story."""
    _heed_signals()
    voice.say(_OPENING)
    number, title = 0, "the beginning"
    try:
        async with asyncio.timeout(TOTAL_S):
            await stage.open()
            voice.say(
                f"Sandbox at {stage.sandbox_url}, Rescind at {stage.server_url}, files in {stage.directory}.", "dim"
            )
            async with clients(stage, voice) as both_sides:
                for number, chapter in enumerate(CHAPTERS, 1):
                    title = report.titles[number] = chapter.title
                    voice.chapter(number, title, chapter.text)
                    rescind, provider = both_sides(chapter.cast)
                    await chapter.play(Scene(stage, chapter.cast, rescind, provider, voice, report, number))
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the table
        late = isinstance(error, TimeoutError) and not str(error)
        what = f"the whole story did not end within {TOTAL_S:g} s" if late else f"{type(error).__name__}: {error}"
        voice.say(f"\nThis went wrong: {what}", "bold red")
        voice.say("\n".join(["The ends of the logs:", *stage.last_words()]), "dim")
        voice.say("`rescind demo --keep` keeps the directory with the database and the whole logs.")
        report.add(number, f"told to its end: {title}", "yes", "no, see above", ok=False)


def _heed_signals() -> None:
    """A polite request to end stops the demo as Ctrl-C does. What `nohup` and the like ignore stays ignored."""
    task = asyncio.current_task()
    for each in (signal.SIGTERM, signal.SIGHUP):
        if task is not None and signal.getsignal(each) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(each, task.cancel)
