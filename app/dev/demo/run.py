"""The demo from top to bottom: what each chapter shows, and the function that shows it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from shlex import quote

import aiohttp

from app.dev.demo import approval, inspection, kill, registration, sending, verdicts
from app.dev.demo.console import Console, Report
from app.dev.demo.context import Context
from app.dev.demo.processes import WINDOW_S, Processes
from app.dev.demo.providers import BUCKET, LIMIT, PROVIDER_TIMEOUT_S, SHOP, SUPERLOOP
from app.dev.demo.receiver import Receiver

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
TOTAL_S = 800.0
TIMEOUT_S = 90.0

_OPENING = f"""\
Rescind knows for every order whether it can still be canceled, and cancels it or rejects the cancel early. This is a \
real server, and a sandbox that simulates five providers by their documents (PlanOmatic, NotPanel, Kibo, Superloop, \
Shoplazza) and a made-up shop, as processes of their own that talk HTTP. Every claim is checked; the table at the end \
shows the results.

Some times are shorter than in production: the windows of the providers' limits are {WINDOW_S:g} s on both sides \
(PlanOmatic's {LIMIT} calls in 60 s are {LIMIT} in {WINDOW_S:g} s here), and PlanOmatic's account waits \
{PROVIDER_TIMEOUT_S:g} s for a response instead of 15 s. Retries and everything else are as delivered.
"""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of the demo."""

    title: str
    text: str
    """What happens, and why it matters."""
    play: Callable[[Context], Awaitable[None]]


CHAPTERS = (
    Chapter(
        "Orders are canceled in time",
        "A webhook reports a new order, the provider's rules say that it can still be canceled, and Rescind cancels it "
        "on request; the provider's books show the effect. Kibo's webhooks do not say how an order stands: Rescind "
        "fetches it. At Shoplazza a paid order that is canceled ends as `finished`, as a delivered one does: "
        "Rescind tells them apart. The Example shop has no handler: its account is the example of the generic "
        "handler's README.",
        verdicts.cancel_in_time,
    ),
    Chapter(
        "A cancel that comes too late is rejected early",
        "The order has an appointment, so the provider no longer cancels it. At PlanOmatic and at the shop the webhook "
        "about the appointment even overtakes the one about the order. Rescind rejects the cancel at once, with its "
        "evidence, without a call.",
        verdicts.reject_early,
    ),
    Chapter(
        "Time alone closes the window",
        f"Superloop cancels no order with an appointment within {SUPERLOOP.cutoff_h} hours, the Example shop none with "
        f"a delivery within {SHOP.cutoff_h}. A verdict that is yes now changes by time alone, and says when.",
        verdicts.close_by_time,
    ),
    Chapter(
        "Webhooks come twice, and in any order",
        "24 orders get the same four webhooks in the 24 possible sequences, each webhook twice. The state of an order "
        "depends on the set of its events only.",
        verdicts.take_any_order,
    ),
    Chapter(
        "Kibo: webhooks that say little",
        "A webhook of Kibo's says only that something happened to an order: its verdict is unknown until Rescind has "
        "fetched the order. A cancel without the note that Kibo requires is rejected before anything is sent.",
        verdicts.ask_about_thin_webhooks,
    ),
    Chapter(
        "Forged webhooks, and webhooks of unknown kind",
        "A webhook that does not prove its sender is refused. An authentic one of unknown kind is acknowledged and "
        "kept in quarantine: nothing authentic is dropped.",
        verdicts.refuse_strangers,
    ),
    Chapter(
        "Bursts over the limit",
        f"PlanOmatic takes {LIMIT} calls in any {WINDOW_S:g}-second span; Shoplazza's limit is a leaky bucket, "
        f"{BUCKET} calls at once and then as many as leak out of it. Rescind sends as fast as the limits allow. While "
        "the last cancel is queued to send to PlanOmatic, its order gets an appointment: it is revoked and never sent.",
        sending.keep_limits,
    ),
    Chapter(
        "PlanOmatic crashes, and responses get lost",
        "The 500 application-crash says that nothing was done: the cancel is sent again. When the response to a cancel "
        "does not arrive, Rescind probes the order before it does anything else. (The sandbox holds its webhooks here, "
        "which would settle it as well.)",
        sending.recover,
    ),
    Chapter(
        "A bad order among good ones",
        f"{sending.BAD} orders get a 500 whenever PlanOmatic is called about them. Each backs off on its own, behind "
        "the others: the cancels of other orders leave as if the bad ones were not there.",
        sending.isolate_failures,
    ),
    Chapter(
        "Superloop: a token that is renewed",
        "Calls need a token, which Superloop gives for a signed assertion (the sandbox checks the signature). Rescind "
        "keeps it, and replaces it when it is refused.",
        sending.renew_a_token,
    ),
    Chapter(
        f"NotPanel: {sending.PENDING + 2} cancels, one call",
        f"NotPanel takes up to {LIMIT} orders in one call, and sends no webhook when an order is placed or canceled. "
        f"{sending.PENDING} pending orders, one in progress and one that is completed become due together: one call, "
        "and an outcome for each. Rescind polls NotPanel for what is not decided, in one call as well.",
        sending.send_one_call,
    ),
    Chapter(
        "Shoplazza: a lost registration",
        "Shoplazza sends the webhooks that are registered through its API, and drops a registration whose deliveries "
        "fail for two days. Rescind registers them, and registers again what is missing (every hour by itself).",
        sending.restore_registrations,
    ),
    Chapter(
        "A policy cancels duplicates",
        "Sometimes an order is sent twice. A policy in CEL keeps the first one and cancels the later ones. It cannot "
        "be enforced untested: a backtest runs it over the recorded log. And it stops itself at its limit.",
        verdicts.cancel_by_policy,
    ),
    Chapter(
        "A person approves a cancel by a link",
        "A policy in approve mode proposes a cancel, and a notice goes to a chat, as Slack takes it. Its link opens a "
        "page without signing in. Opening it changes nothing, as chats open links for a preview; the page's button "
        "sends the cancel.",
        approval.approve_by_link,
    ),
    Chapter(
        "An endpoint is registered, and its secret rotated",
        "Creating an endpoint gives a URL and a secret, with the text to paste at the provider. A test sends a "
        "signed sample the whole way, and leaves nothing. After a rotation the former secret stays valid for a day, so "
        "that nothing is refused until the new one is entered; or, if it has leaked, not at all.",
        registration.register_and_rotate,
    ),
    Chapter(
        "Look into the log",
        "Everything that came in and what became of it can be asked for later: which webhooks an order had, which "
        "clause rejects its cancel and which event decided that, and what was known before. The log is a hash chain, "
        "so that nobody can change it unnoticed.",
        inspection.look_into_the_log,
    ),
    Chapter(
        "kill -9 under load, and a subscriber that is down",
        f"While {kill.CANCELS} cancels go out and {kill.WEBHOOKS} webhooks come in, the server is killed and "
        "started again. What was acknowledged is on disk, what was under way is not repeated blindly, and the calls "
        "of the dead process count towards the limit. A CRM that subscribes to what becomes of the cancels is down "
        "until after the kill: then it gets everything, once, signed, and for each order in turn.",
        kill.survive_a_kill,
    ),
)

_LOOK_AROUND = """
Kept: {directory} holds the database and the logs. To look around:
   . {settings}
   rescind serve 2> serve.log &                     # Rescind, on the demo's database
   rescind orders list --phase in_progress          # its orders
   rescind orders explain acme 654322               # why an order cannot be canceled
   rescind receipts list --status quarantined       # webhooks of unknown kind
   rescind events tail -n 20                        # the end of the log; -f follows it
   echo "$RESCIND_URL  $RESCIND_API_KEY"            # the console, and the key to sign in with
   kill %1; rm -r {directory}"""


def run(*, keep: bool = False) -> int:
    """Run the demo; with `keep` its directory stays.

    Returns the exit code: 0 if every claim holds, 1 if one does not, 130 if it was interrupted.
    """
    console, report, began = Console(), Report(), time.monotonic()
    processes = Processes(keep=keep)
    try:
        with processes:
            asyncio.run(_run_chapters(processes, console, report))
            settings = processes.write_settings() if keep else None
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("\nInterrupted. All processes are stopped.")
        if keep:
            console.print(f"Kept: {processes.directory}")
        return INTERRUPTED
    console.print(" ")
    console.show(report.table())
    style = "bold red" if report.exit_code else "bold green"
    console.print(f"\n{report.summary} It took {time.monotonic() - began:.0f} s.", style)
    if settings is not None:
        console.print(_LOOK_AROUND.format(directory=quote(str(processes.directory)), settings=quote(str(settings))))
    return report.exit_code


async def _run_chapters(processes: Processes, console: Console, report: Report) -> None:
    """Run all chapters. An error becomes a claim that does not hold, and ends the demo."""
    task = asyncio.current_task()
    for end in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C does; a signal that `nohup` or the like ignores stays ignored.
        if task is not None and signal.getsignal(end) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(end, task.cancel)
    console.print(_OPENING)
    number, title = 0, "the start"
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            asyncio.timeout(TOTAL_S),
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http,
            Receiver() as receiver,
        ):
            await processes.start()
            urls = f"Sandbox at {processes.sandbox_url}, Rescind at {processes.server_url}"
            console.print(f"{urls}, files in {processes.directory}.", "dim")
            for number, chapter in enumerate(CHAPTERS, 1):
                title = report.titles[number] = chapter.title
                console.chapter(number, title, chapter.text)
                await chapter.play(Context(processes, console, report, http, receiver, number))
    except Exception as error:  # noqa: BLE001 - any error belongs into the table
        late = isinstance(error, TimeoutError) and not str(error)
        what = f"the demo did not end within {TOTAL_S:g} s" if late else f"{type(error).__name__}: {error}"
        console.print(f"\nThis went wrong: {what}", "bold red")
        console.print(f"The ends of the logs:\n{processes.log_ends()}", "dim")
        console.print("`rescind demo --keep` keeps the directory with the database and the whole logs.")
        report.add(number, f"completed: {title}", "yes", "no, see above", ok=False)
