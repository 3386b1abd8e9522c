"""Cancellations: the list, one with its history and its attempts, and approving, revoking and resolving it."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Struct

from app.core.cancellation import FINAL, State, Waiting
from app.web import attempts, cancellations, events
from app.web.console.listing import count_list, show_list
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path, words
from app.web.console.wording import event_in_words
from app.web.problems import Kind, Problem
from app.web.routes import Handler

PAGES = PageTable()
LIVE = tuple(state.value for state in State if state not in FINAL)
STATES = (*LIVE, *(state.value for state in State if state in FINAL))
WAITING = tuple(waiting.value for waiting in Waiting if waiting is not Waiting.NOTHING)
STEPS_MAX = 200
ATTEMPTS_MAX = 20
"""Calls at the provider that a page shows, of up to 100."""
RESOLVABLE = ("indeterminate", "accepted")


class Action(Struct, frozen=True):
    """What a person can do with a cancellation."""

    name: str
    operation: Handler
    done: str


ACTIONS = {
    action.name: action
    for action in (
        Action("approve", cancellations.approve_cancellation, "Approved"),
        Action("revoke", cancellations.revoke_cancellation, "Revoked"),
        Action("resolve", cancellations.resolve_cancellation, "Recorded"),
    )
}


@PAGES.get("/cancellations")
async def list_cancellations(page: Page) -> web.Response:
    """Requests to cancel, newest first."""
    return await show_list(
        page,
        "cancellations.html",
        cancellations.list_cancellations,
        cancellations.CancellationsQuery,
        facets=await count_list(page, cancellations.count_cancellations, cancellations.CancellationFilters),
        states=STATES,
        waitings=WAITING,
    )


@PAGES.get("/cancellations/{id}")
async def show_cancellation(page: Page) -> web.Response:
    """One request to cancel, and what can be done with it."""
    return await _show(page, None)


@PAGES.post("/cancellations/{id}/{action}")
async def act(page: Page) -> web.Response:
    """Approve, revoke or resolve it."""
    action, id, body = ACTIONS.get(page.path["action"]), page.path["id"], None
    if action is None:
        raise Problem(
            Kind.NOT_FOUND, f"A cancellation can be approved, revoked or resolved, not {page.path['action']!r}."
        )
    if action.name == "resolve":
        body = {"outcome": page.form.get("outcome", ""), "note": page.form.get("note", "").strip()}
    try:
        done = await page.api(action.operation, id=id, body=body)
    except Problem as problem:
        return await _show(page, problem)
    return page.redirect(path("cancellations", id), f"{action.done}: the cancellation is {words(done['state'])}.")


async def _show(page: Page, problem: Problem | None) -> web.Response:
    cancellation = await page.api(cancellations.get_cancellation, id=page.path["id"])
    return page.render(
        "cancellation.html",
        status=problem.kind.status if problem else 200,
        cancellation=cancellation,
        actions=_actions(page, cancellation),
        steps=await _steps(page, cancellation),
        attempts=await _attempts(page, cancellation),
        problem=problem,
        in_words=event_in_words,
    )


def _actions(page: Page, cancellation: dict[str, Any]) -> list[str]:
    """The names of the actions that its state and the key allow."""
    if not page.allows("write"):
        return []
    state, waiting = cancellation["state"], cancellation["waiting"] or {}
    if state == "scheduled":
        return ["approve", "revoke"] if waiting.get("for") == "approval" else ["revoke"]
    return ["resolve"] if state in RESOLVABLE else []


async def _steps(page: Page, cancellation: dict[str, Any]) -> list[dict[str, Any]]:
    """Its events, the oldest first."""
    names = {"account": cancellation["account"], "order": cancellation["order"]}
    query = events.EventsQuery(**names, type="cancellation.*", limit=STEPS_MAX)
    found = await page.api(events.list_events, query=query)
    return [event for event in reversed(found["data"]) if event["data"].get("cancellation") == cancellation["id"]]


async def _attempts(page: Page, cancellation: dict[str, Any]) -> list[dict[str, Any]]:
    """Its latest calls at the provider, the oldest first."""
    found = [await page.api_or_none(attempts.get_attempt, id=id) for id in cancellation["attempt_ids"][:ATTEMPTS_MAX]]
    return sorted(filter(None, found), key=lambda attempt: str(attempt["started_at"]))
