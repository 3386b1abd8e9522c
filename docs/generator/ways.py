"""The way of a webhook and of a cancel, drawn from the functions and types they pass through."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from app.contract import CancelResult, Handler, HttpRequest, HttpResponse, InboundRequest, ParsedEvent
from app.core.cancellation import Cancellation
from app.core.commands import CheckFence, ClaimJob, Granted, RecordEvents, RequestCancel
from app.core.event import Event, to_event
from app.core.results import RecordResult
from app.engine.commit import Commit
from app.engine.ledger import Ledger
from app.engine.order_unit import OrderUnit
from app.engine.request import Request
from app.runtime.http_client import converse
from app.store import Changes
from app.store.sqlite.transaction import SqliteTransaction
from app.web.cancel_requests import cancel_command
from app.web.ingest import Ingest
from app.web.parsing import parse_webhook
from app.workers.attempt import AttemptRunner
from app.workers.lane import Lane
from generator.svg import picture

_WIDTH, _ROW, _BOX = 640, 62, (170, 34)


@dataclass(frozen=True)
class Step:
    """One object on the way, and the function that makes it."""

    gives: type | str
    by: Callable[..., Any]
    says: str
    inside: str = ""
    """The transaction that this happens in."""

    @property
    def name(self) -> str:
        """The object's name."""
        return self.gives if isinstance(self.gives, str) else self.gives.__name__

    @property
    def place(self) -> str:
        """The function and its file. Raises ValueError if that file does not know the object's type."""
        module = inspect.getmodule(self.by)
        if module is None or (
            not isinstance(self.gives, str) and not re.search(rf"\b{self.name}\b", inspect.getsource(module))
        ):
            raise ValueError(f"the module of {self.by} does not name {self.name}: correct this step")
        return f"{self.by.__qualname__} · {module.__name__.replace('.', '/')}.py"


_COMMIT = "one transaction, for everyone who waits"
WEBHOOK = (
    Step(InboundRequest, Ingest.receive, "verified; credentials in headers or URL before the body is read"),
    Step(ParsedEvent, parse_webhook, "by the handler: mapped, ignored, or not recognized; without secrets"),
    Step(Event, to_event, "gets its id, a digest of what identifies it at its source, and its times"),
    Step(RecordEvents, parse_webhook, "the command, one for each order"),
    Step(Request, Ledger.record_webhook, "with the receipt, in the queue of those who wait"),
    Step(OrderUnit, Commit.look_up, "the order, found by its name, with the events that are known", _COMMIT),
    Step(Event, RecordEvents.decide, "new ones are folded at once; cancellations react, policies decide", _COMMIT),
    Step(Changes, Commit.finish, "orders, names, events, cancellations, jobs, receipts", _COMMIT),
    Step("rows", SqliteTransaction.commit, "one statement for each kind of row, then fsync", _COMMIT),
    Step("200 or 202", Request.complete, "the caller has its result; lanes and timers are told"),
)
CANCEL = (
    Step(RequestCancel, cancel_command, "somebody asks; policies decide inside of a transaction"),
    Step(Cancellation, RequestCancel.decide, "admitted by the verdict, with its job; or rejected", "transaction 1"),
    Step("Job", Lane.run, "the most urgent one that is due and within the limit"),
    Step(Granted, ClaimJob.decide, "the fence: the verdict again; the attempt is on disk", "transaction 2"),
    Step(HttpRequest, AttemptRunner.run, "yielded by the handler's flow"),
    Step("may leave", CheckFence.decide, "the fence again, if connecting or another call came first", "transaction 3"),
    Step(HttpResponse, converse, "sent into the flow; its call left after the fence"),
    Step(CancelResult, Handler, "cancel: what the response means, by the handler's table"),
    Step(RecordResult, AttemptRunner, "with the attempt, as it ended"),
    Step(
        Cancellation,
        RecordResult.decide,
        "succeeded, refused, …; or indeterminate, and a probe is next",
        "transaction 4",
    ),
)


def way(steps: Sequence[Step], title: str) -> str:
    """The objects below each other, each with the function that makes it, as SVG."""
    lines = _transactions(steps)
    for number, step in enumerate(steps):
        top = 14 + _ROW * number
        if number:
            lines.append(f'<path class="arrow" d="M105 {top - _ROW + _BOX[1]}V{top - 2}"/>')
        lines.append(f'<rect x="20" y="{top}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6"/>')
        lines.append(f'<text x="105" y="{top + 22}">{escape(step.name)}</text>')
        lines.append(f'<text class="place" x="204" y="{top + 13}">{escape(step.place)}</text>')
        lines.append(f'<text class="says" x="204" y="{top + 30}">{escape(step.says)}</text>')
    return picture(title, _WIDTH, _ROW * len(steps) + 10, lines)


def _transactions(steps: Sequence[Step]) -> list[str]:
    """A frame around each run of steps in one transaction."""
    lines, start = [], 0
    for number, step in enumerate(steps):
        if number + 1 < len(steps) and steps[number + 1].inside == step.inside:
            continue
        if step.inside:
            top, bottom = 5 + _ROW * start, _ROW * (number + 1)
            frame = f'x="8" y="{top}" width="{_WIDTH - 16}" height="{bottom - top}"'
            lines.append(f'<rect class="transaction" {frame}><title>{step.inside}</title></rect>')
        start = number + 1
    return lines
