"""A trial for people: proof, events, verdict and calls, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from app.cli import output
from app.cli.evidence import facts_in_words
from app.cli.times import rfc3339, shown
from app.core.representation import Verdict
from app.dev.trial.report import Consequence, Proof, Trial, TrialCall, TrialFlow, TrialOrder, TrialOutcome, TrialWebhook

_ADMITTED = {
    "sent": "would be sent",
    "probed": "the order would be probed first, and then canceled unless that shows otherwise",
    "rejected": "would be rejected, as the verdict is no; this is what `force` would send",
}
_PURPOSES = {"token": "the token", "read": "a look-up first", "cancel": "the cancel", "probe": "the probe"}


def show_trial(trial: Trial) -> None:
    """Print a trial."""
    rows = [("endpoint", trial.endpoint), ("account", f"{trial.account} ({trial.provider})"), ("at", _time(trial.at))]
    output.show(output.fields([*rows, *(("note", note) for note in trial.notes)]))
    for webhook in trial.webhooks:
        output.show(output.heading(f"Webhook {output.clean(webhook.name)}"), *_webhook(webhook))
    for order in trial.orders:
        output.show(output.heading(f"Order {output.clean(order.id)}"), *_order(order))
        for name, flow in order.flows:
            if flow is not None:
                after = " as the answer shows it" if order.probed_first and name == "cancel" else ""
                output.show(output.heading(f"{name.capitalize()} {output.clean(order.id)}{after}"), *_flow(flow))
    if trial.failure:
        output.say("")
        output.complain(trial.failure if trial.failure.endswith((".", "?")) else f"{trial.failure}.")


def _webhook(webhook: TrialWebhook) -> Iterator[RenderableType]:
    status = Text.assemble(output.word(webhook.status), f" ({webhook.http_status})")
    yield output.fields(
        [
            *([] if webhook.proof is None else _proof(webhook.proof)),
            ("status", status),
            ("reason", webhook.reason),
            *(("notice", notice) for notice in webhook.notices),
        ]
    )
    if webhook.handshake is not None:
        lines = [f"{name}: {value}" for name, value in webhook.handshake.headers.items()]
        yield Padding(Text("\n".join(map(output.clean, [*lines, "", webhook.handshake.body]))), (0, 0, 0, 4))
        yield output.fields([("confirms", webhook.handshake.confirm)])
    for event in webhook.events:
        yield output.fields(
            [
                ("event", Text.assemble((output.clean(event.type), "bold"), f" of order {output.clean(event.order)}")),
                ("key", f"{event.key}{' (a duplicate: dropped)' if event.duplicate else ''}"),
                ("occurred at", _time(event.occurred_at)),
                ("facts", facts_in_words(event.facts) or "none"),
                ("attributes", _json(event.facts.get("attributes"))),
            ]
        )


def _proof(proof: Proof) -> list[tuple[str, output.Cell]]:
    word = "verified" if proof.checked else "taken for verified"
    verified = Text.assemble(word if proof.ok else ("not verified", "red"), f" by scheme {proof.scheme}")
    if proof.retired_until is not None:
        verified.append(f", with a secret that was rotated out and is accepted until {_time(proof.retired_until)}")
    return [
        ("proof", verified),
        ("why", proof.detail),
        *(("expected", line) for line in proof.expected),
        *(("hint", line) for line in proof.hints),
    ]


def _order(shown_order: TrialOrder) -> Iterator[RenderableType]:
    order = shown_order.order
    yield output.fields(
        [
            ("phase", order.get("phase", shown_order.phase)),
            ("status", order.get("provider_status")),
            ("aliases", ", ".join((*order.get("aliases", ()), *order.get("shared_aliases", ())))),
            ("opened at", shown(order.get("opened_at"))),
            ("verdict", _verdict(shown_order.verdict)),
            ("why", shown_order.verdict.explanation),
            ("changes at", _time(shown_order.verdict.changes_at)),
            ("then", None if shown_order.then is None else _verdict(shown_order.then)),
            ("closes at", _time(shown_order.closes_at)),
        ]
    )


def _flow(flow: TrialFlow) -> Iterator[RenderableType]:
    words = f"{flow.reason!r}" + (f", note {flow.note!r}" if flow.note else "")
    yield output.fields(
        [
            ("", Text(_ADMITTED[flow.admitted])) if flow.admitted else ("", ""),
            ("reason", words if flow.admitted and flow.reason else ""),
            ("problem", "" if flow.result is not None or flow.calls else flow.problem),
        ]
    )
    for call in flow.calls:
        yield from _call(call)
    if flow.calls and flow.result is None:
        yield output.fields([("next" if flow.ok else "problem", flow.problem)])
    if flow.result is not None:
        yield _outcome(flow.result)


def _call(call: TrialCall) -> Iterator[RenderableType]:
    yield Text(f"  {_PURPOSES[call.purpose]}:", style="dim")
    lines = [f"{call.method} {call.url}", *(f"{name}: {value}" for name, value in call.headers.items())]
    yield Padding(Text("\n".join(map(output.clean, lines))), (0, 0, 0, 4))
    if call.body:
        yield Padding(Text("\n" + output.clean(call.body)), (0, 0, 0, 4))
    if call.answer:
        yield Text(f"  answered: {output.clean(call.answer)}", style="dim")


def _outcome(result: TrialOutcome) -> RenderableType:
    wait = "" if result.after_s is None else f"{result.after_s:g} s"
    return output.fields(
        [
            ("outcome", output.word(result.outcome)),
            ("detail", result.detail),
            ("asks to wait", wait),
            ("account waits", f"{result.hold_s:g} s" if result.hold_s else ""),
            ("facts", facts_in_words(result.facts) if result.facts else ""),
            ("phase then", result.phase),
            ("verdict then", None if result.verdict is None else _verdict(result.verdict)),
            ("next", None if result.next is None else _next(result.next)),
        ]
    )


def _next(next: Consequence) -> str:
    """What the cancellation does then, in words."""
    due = "" if next.due_in_s is None else f" in {next.due_in_s:.3g} s"
    waits = {
        "nothing": f"the cancellation ends as {next.state}",
        "retry": f"it is sent again{due}",
        "send_slot": f"it is sent again{due}",
        "throttled": f"the account waits, and it is sent again{due}",
        "credentials": "the account is paused until its credentials are changed, or a person resumes it",
        "probe": f"the order is probed{due}, before anything is sent again",
        "webhook": "a webhook is awaited for a day, and then a person decides",
    }
    said = waits.get(next.waiting, f"it waits for {next.waiting}{due}")
    return said if next.waiting == "nothing" else f"{said} ({next.state})"


def _verdict(verdict: Verdict) -> Text:
    return Text.assemble(output.word(verdict.cancelable), f" ({output.clean(verdict.reason)})")


def _time(moment: datetime | None) -> str:
    return "" if moment is None else rfc3339(moment.replace(microsecond=0))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode() if value else ""
