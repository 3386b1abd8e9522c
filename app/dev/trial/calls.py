"""Flows without a network: each call is shown as it would be sent, and answered by what the trial was given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from app.contract import Context, HttpRequest, HttpResponse
from app.dev.trial.mask import STAND_IN_TOKEN, Mask
from app.dev.trial.report import TrialCall

Purpose = Literal["cancel", "probe"]

CALLS_MAX = 20
"""Calls of one flow: a flow that goes on and on is at fault."""
_TOKEN_LIFE_S = 3600
_ACCESS_TOKEN = "access_token"  # noqa: S105 - a name
_NAMES = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """A response of the source to one call."""

    name: str
    """Of its file."""
    response: HttpResponse


@dataclass(slots=True)
class Dialogue:
    """What came of a flow."""

    calls: list[TrialCall] = field(default_factory=list)
    result: Any = None
    """What the flow returned, for its one order; None: it awaits an answer."""
    used: int = 0
    """How many of the answers that were given it took."""
    failure: str = ""
    """Why the flow broke off, without secrets."""


def converse(
    flow: Any,
    context: Context,
    purpose: Purpose,
    answers: Sequence[GivenAnswer],
    mask: Mask,
    token_answer: GivenAnswer | None,
) -> Dialogue:
    """Carry out a flow for one order, with `context`, until it returns or there is no answer left.

    The answers are for its calls in turn, but `token_answer` is for each call for a token, if it is not None.
    """
    dialogue, left = Dialogue(), iter(answers)
    try:
        request = next(flow)
        while len(dialogue.calls) < CALLS_MAX:
            # What the flow came by meanwhile is in this call.
            mask.conceal(context.concealed)
            call = _shown(request, purpose, mask)
            dialogue.calls.append(call)
            stands_in = request.confidential and token_answer is not None
            answer = token_answer if stands_in else next(left, None)
            if answer is None:
                return dialogue
            dialogue.used += not stands_in
            call.answer = f"{answer.response.status}, {answer.name}"
            request = flow.send(answer.response)
        dialogue.failure = f"the flow made more than {CALLS_MAX} calls"
    except StopIteration as end:
        dialogue.result = end.value[0]
    except Exception as error:  # noqa: BLE001 - a handler may fail in any way
        dialogue.failure = mask.text(f"the handler failed: {type(error).__name__}: {error}")
    finally:
        flow.close()
        mask.conceal(context.concealed)
    return dialogue


def stand_in(path: str) -> GivenAnswer:
    """A response that gives a token as RFC 6749 has it, and at `path`, if that is made of names and full stops."""
    body: dict[str, Any] = {"token_type": "Bearer", "expires_in": _TOKEN_LIFE_S}
    *outer, last = path.split(".") if _NAMES.fullmatch(path) else [_ACCESS_TOKEN]
    inner = body
    for name in outer:
        inner = inner.setdefault(name, {})
    inner[last] = STAND_IN_TOKEN
    body.setdefault(_ACCESS_TOKEN, STAND_IN_TOKEN)
    return GivenAnswer("a stand-in", HttpResponse(200, {"content-type": "application/json"}, msgspec.json.encode(body)))


def _shown(request: HttpRequest, purpose: Purpose, mask: Mask) -> TrialCall:
    named: Literal["token", "read", "cancel", "probe"] = purpose
    if request.confidential:
        named = "token"
    elif purpose == "cancel" and request.repeatable:
        named = "read"
    return TrialCall(
        purpose=named,
        method=request.method,
        url=mask.text(request.url),
        headers=mask.headers(request.headers),
        body=mask.body(request.body),
    )
