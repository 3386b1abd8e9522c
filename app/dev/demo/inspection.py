"""The chapter about looking into the log: what came in, why an order cannot be canceled, what was known before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from app.dev.demo.context import Context
from app.dev.demo.providers import PLANOMATIC

SCHEDULED = "appointment.scheduled"
_DECIDES = "which decides"
_COMMAND_INDENT, _OUTPUT_INDENT = 3, 5
_LINES_MAX = 4


async def look_into_the_log(context: Context) -> None:
    """Ask by the API and by the command line what became of an order, and why."""
    rescind, sandbox = context.at(PLANOMATIC)
    account = PLANOMATIC.account
    order = await sandbox.place()
    await rescind.received(order, PLANOMATIC.opening)
    known_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await sandbox.act_aloud(PLANOMATIC.booking, order_id=int(order))
    await rescind.received(order, SCHEDULED)

    receipts = (await rescind.call_aloud("GET", f"/v1/receipts?account={account}&order={order}")).body["data"]
    receipt = await rescind.get(f"/v1/receipts/{receipts[0]['id']}")
    became = [(await rescind.get(f"/v1/events/{id}"))["type"] for id in receipt["events"]]
    context.claim("webhooks about the order; what the last became", f"2; {SCHEDULED}", f"{len(receipts)}; {became[0]}")

    explained = await rescind.get(f"{rescind.path(order)}/explanation")
    (clause,) = (clause for clause in explained["clauses"] if clause["decisive"])
    types = {event["id"]: event["type"] for event in explained["events"]}
    by = ", ".join(types[operand["event"]] for operand in clause["operands"] if operand["event"])
    await _run(context, "orders", "explain", account, order, excerpt=_deciding)
    expected = f"{PLANOMATIC.too_late}: {SCHEDULED}"
    context.claim("why it cannot be canceled: clause, event", expected, f"{clause['rule']}: {by}")
    before = await rescind.get(f"{rescind.path(order)}/verdict?known_at={known_at}")
    seen = f"{before['cancelable']}, {explained['verdict']['cancelable']}"
    context.claim("cancelable: as known before the appointment, and now", "yes, no", seen)

    lines = await _run(context, "events", "tail", "--account", account, "--order", order, "--source", "webhook")
    tailed = ", ".join(line.split()[1] for line in lines)
    context.claim("the tail of the log, of this order", f"{PLANOMATIC.opening}, {SCHEDULED}", tailed)
    verified = await _run(context, "log", "verify")
    context.claim("the log against its hash chain", "as they were sealed.", verified[0].partition(": ")[2])

    async with context.http.get(context.processes.server_url) as page:
        context.claim("the console, to somebody without a session", "200 /sign-in", f"{page.status} {page.url.path}")
    context.console.note(
        f"The same in the browser: {context.processes.server_url}, with an API key to sign in. This server ends with "
        "the demo; `rescind demo --keep` keeps its database, and says how to open it."
    )


async def _run(
    context: Context, *arguments: str, excerpt: Callable[[Sequence[str]], Sequence[str]] = list
) -> list[str]:
    """Run a command as a person would, print it with an excerpt of its output, and return the output."""
    _, output = await context.processes.command(*arguments)
    lines = output.splitlines()
    context.console.print(f"$ rescind {' '.join(arguments)}", "bold", _COMMAND_INDENT)
    for line in excerpt(lines):
        context.console.line(line, _OUTPUT_INDENT)
    return lines


def _deciding(lines: Sequence[str]) -> list[str]:
    """Of an explanation the verdict, and the clause that decides it."""
    end = lines.index("") if "" in lines else len(lines)
    start = next((number for number, line in enumerate(lines) if _DECIDES in line), len(lines))
    return [*lines[:end], *lines[start : start + _LINES_MAX]]
