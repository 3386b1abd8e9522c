"""Flows without a network: each call is shown as it would be sent, and answered by what the trial was given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from app.contract import HttpRequest, HttpResponse
from app.dev.trial.mask import STAND_IN_TOKEN, Mask
from app.dev.trial.report import TrialCall

Purpose = Literal["cancel", "probe"]

CALLS_MAX = 20
"""Calls of one flow: a flow that goes on and on is at fault."""
_TOKEN_LIFE_S = 3600


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
    failure: str = ""
    """Why the flow broke off, without secrets."""


def converse(
    flow: Any, purpose: Purpose, answers: Sequence[GivenAnswer], mask: Mask, *, token_stands_in: bool = True
) -> Dialogue:
    """Carry out a flow for one order, until it returns or there is no answer left.

    The answers are for its calls in turn. A call for a token is answered by one that stands in for the source's,
    unless `token_stands_in` is false.
    """
    dialogue, left = Dialogue(), iter(answers)
    try:
        request = next(flow)
        while len(dialogue.calls) < CALLS_MAX:
            call = _shown(request, purpose, mask)
            dialogue.calls.append(call)
            answer = _answer(request, left, stands_in=token_stands_in)
            if answer is None:
                return dialogue
            call.answer = f"{answer.response.status}, {answer.name}"
            request = flow.send(answer.response)
        dialogue.failure = f"the flow made more than {CALLS_MAX} calls"
    except StopIteration as end:
        dialogue.result = end.value[0]
    except Exception as error:  # noqa: BLE001 - a handler may fail in any way
        dialogue.failure = mask.text(f"the handler failed: {type(error).__name__}: {error}")
    finally:
        flow.close()
    return dialogue


def _answer(request: HttpRequest, left: Iterator[GivenAnswer], *, stands_in: bool) -> GivenAnswer | None:
    if request.confidential and stands_in:
        body = {"access_token": STAND_IN_TOKEN, "token_type": "Bearer", "expires_in": _TOKEN_LIFE_S}
        response = HttpResponse(200, {"content-type": "application/json"}, msgspec.json.encode(body))
        return GivenAnswer("a stand-in", response)
    return next(left, None)


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
