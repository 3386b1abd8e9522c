"""Actions on what a filter selects: counted, tried in a dry run, and confirmed by typing the count.

What is done is what was shown: the form names each one, and one can take some out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from aiohttp import web
from msgspec import Struct

from app.config.scope import Scope
from app.core.cancellation import State, Waiting
from app.web import batches, cancellations, orders
from app.web.auth import require_scope
from app.web.console.listing import default_account, filters_of
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path, words
from app.web.problems import Kind, Problem
from app.web.routes import Body, Handler, Query

PAGES = PageTable()
AT_ONCE = 200
"""What one action is about at most: what a page can show, and a person look through."""
TOGETHER = 16
"""Operations called at the same time."""
REASON, NOTE = "cancel_reason", "cancel_note"
"""Members of the form of a cancel; lists of orders have a filter `reason`, that of the verdict."""
_T = TypeVar("_T")
_R = TypeVar("_R")


class Selected(Struct, kw_only=True):
    """One order, cancellation or receipt that a filter selects, and what would happen to it."""

    key: str
    """By which the form names it."""
    links: list[tuple[str, str]]
    """(text, URL) of what it is."""
    state: str
    would: str = ""
    """What would happen, or happened, in a word."""
    says: str = ""
    will: bool = True
    """Whether the action would do anything."""


class Action(Struct, frozen=True, kw_only=True):
    """A bulk action as its page words it."""

    name: str
    title: str
    noun: str
    """What is counted: `order`."""
    listed_at: str
    """The page that has the filters."""
    button: str
    warning: str
    columns: tuple[str, str] = ("Order and cancellation", "Waits for")
    """What stands in the columns of `links` and `state`."""
    fields: bool = False
    """Whether it asks for the reason and note of a cancel."""

    def counted(self, count: int) -> str:
        """`1 order`, `2 orders`."""
        return f"{count} {self.noun}{'' if count == 1 else 's'}"


CANCEL = Action(
    name="cancel",
    title="Cancel many orders",
    noun="order",
    listed_at="/orders",
    button="Cancel them",
    warning="The cancels are sent to the provider within the account's limit, the most urgent first.",
    columns=("Order", "Cancelable"),
    fields=True,
)
APPROVE = Action(
    name="approve",
    title="Approve many cancellations",
    noun="cancellation",
    listed_at="/cancellations",
    button="Approve them",
    warning="Their cancels are sent to the provider within the account's limit, the most urgent first.",
)
REVOKE = Action(
    name="revoke",
    title="Revoke many cancellations",
    noun="cancellation",
    listed_at="/cancellations",
    button="Revoke them",
    warning="Their cancels are not sent, and their orders go on.",
)


@PAGES.get("/bulk/cancel")
async def preview_cancel(page: Page) -> web.Response:
    """The orders of a filter; with a reason, what would become of a cancel of each."""
    require_scope(page.key, Scope.WRITE)
    require_filters(page, orders.OrdersQuery, REASON, NOTE)
    found = await page.api(
        orders.list_orders, query=page.read_query(orders.OrdersQuery, limit=AT_ONCE, **default_account(page))
    )
    fields = _cancel_fields(page.request.query)
    tried = REASON in page.request.query
    selected = [_order(order) for order in found["data"]]
    if tried:
        selected = await _each(selected, lambda one: _try_cancel(page, one, fields))
    return render_preview(page, CANCEL, selected, found, tried=tried, fields=fields)


@PAGES.post("/bulk/cancel")
async def cancel(page: Page) -> web.Response:
    """Request the cancels that were confirmed, as one batch."""
    chosen, fields = confirmed(page, CANCEL), _cancel_fields(page.form)
    names = [dict(zip(("account", "order"), key.split("/", 1), strict=True)) for key in chosen if "/" in key]
    batch = await page.api(
        batches.create_cancellation_batch, body={"cancellations": [{**name, **fields} for name in names]}
    )
    counts = ", ".join(f"{count} {words(outcome)}" for outcome, count in sorted(batch["outcomes"].items()))
    if batch["outcomes"].keys() <= {"scheduled", "rejected"}:
        late = f" {batch['too_late']} will be too late as of now." if batch["too_late"] else ""
        return page.redirect(path("batches", batch["id"]), f"{CANCEL.counted(batch['total'])}: {counts}.{late}")
    done = [
        Selected(
            key="",
            links=_order_links(result["account"], result["order"]),
            state="",
            would=result["outcome"],
            says=result["detail"],
        )
        for result in batch["results"]
    ]
    recorded = any(outcome in batch["outcomes"] for outcome in ("scheduled", "rejected"))
    more = [(f"Progress of batch {batch['id']}", path("batches", batch["id"]))] if recorded else []
    return page.render("bulk_done.html", action=CANCEL, done=done, counts=counts, more=more)


@PAGES.get("/bulk/approve")
async def preview_approve(page: Page) -> web.Response:
    """The proposed cancellations of a filter, and what would become of each."""
    return await _preview(page, APPROVE, waiting=Waiting.APPROVAL.value)


@PAGES.post("/bulk/approve")
async def approve(page: Page) -> web.Response:
    """Approve those that were confirmed."""
    return await _settle(page, APPROVE, cancellations.approve_cancellation)


@PAGES.get("/bulk/revoke")
async def preview_revoke(page: Page) -> web.Response:
    """The scheduled cancellations of a filter."""
    return await _preview(page, REVOKE)


@PAGES.post("/bulk/revoke")
async def revoke(page: Page) -> web.Response:
    """Revoke those that were confirmed."""
    return await _settle(page, REVOKE, cancellations.revoke_cancellation)


async def _preview(page: Page, action: Action, **fixed: str) -> web.Response:
    require_scope(page.key, Scope.WRITE)
    require_filters(page, cancellations.CancellationsQuery)
    fixed = {"state": State.SCHEDULED.value, **default_account(page), **fixed}
    query = page.read_query(cancellations.CancellationsQuery, limit=AT_ONCE, **fixed)
    found = await page.api(cancellations.list_cancellations, query=query)

    async def look(cancellation: dict[str, Any]) -> Selected:
        waiting = (cancellation["waiting"] or {}).get("for")
        selected = Selected(
            key=cancellation["id"],
            links=[
                *_order_links(cancellation["account"], cancellation["order"]),
                (cancellation["id"], path("cancellations", cancellation["id"])),
            ],
            state=waiting or cancellation["state"],
        )
        if action is REVOKE:
            selected.would = "revoke"
            return selected
        return await _try_approve(page, selected, cancellation)

    selected = await _each(found["data"], look)
    return render_preview(page, action, selected, found, tried=True, fields={})


async def _settle(page: Page, action: Action, operation: Handler) -> web.Response:
    chosen = confirmed(page, action)

    async def settle(id: str) -> Selected:
        selected = Selected(key=id, links=[(id, path("cancellations", id))], state="")
        try:
            done = await page.api(operation, id=id)
            selected.would, selected.says = done["state"], done["detail"]
            selected.links = [*_order_links(done["account"], done["order"]), *selected.links]
        except Problem as problem:
            selected.would, selected.says, selected.will = "failed", problem.detail, False
        return selected

    done = await _each(chosen, settle)
    failed = sum(not one.will for one in done)
    counts = f"{len(done) - failed} done, {failed} not" if failed else f"{len(done)} done"
    return page.render("bulk_done.html", action=action, done=done, counts=counts, more=[])


async def _try_cancel(page: Page, selected: Selected, fields: dict[str, Any]) -> Selected:
    """What would become of the cancel of an order."""
    account, order = selected.key.split("/", 1)
    try:
        result = await page.api(
            cancellations.create_cancellation, body={**fields, "dry_run": True}, account=account, order=order
        )
    except Problem as problem:
        selected.would, selected.says, selected.will = "invalid", problem.detail, False
        if problem.kind is Kind.CANCELLATION_EXISTS:
            selected.would = "exists"
        return selected
    selected.would, selected.says = result["would"], result["verdict"]["explanation"]
    selected.will = result["would"] != "reject"
    return selected


async def _try_approve(page: Page, selected: Selected, cancellation: dict[str, Any]) -> Selected:
    """What would become of an approved cancel, by the verdict as it is now."""
    names = {"account": cancellation["account"], "order": cancellation["order"]}
    verdict = await page.api_or_none(orders.get_verdict, **names)
    would = {"yes": "send", "no": "reject"}.get(verdict["cancelable"] if verdict else "unknown", "probe")
    selected.would, selected.will = would, would != "reject"
    selected.says = verdict["explanation"] if verdict else ""
    return selected


def render_preview(
    page: Page,
    action: Action,
    selected: Sequence[Selected],
    found: dict[str, Any],
    *,
    tried: bool,
    fields: dict[str, Any],
) -> web.Response:
    """The page of what is selected, with what would become of it if it was `tried`; `found` is the page of the list."""
    own = (REASON, NOTE, "cursor")
    filters = {name: value for name, value in filters_of(page).items() if value and name not in own}
    return page.render(
        "bulk.html",
        action=action,
        selected=selected,
        will=sum(one.will for one in selected),
        outcomes=Counter(one.would for one in selected),
        more=found["has_more"],
        tried=tried,
        fields=fields,
        filters=filters,
        at_once=AT_ONCE,
    )


def require_filters(page: Page, query: type[Query | Body], *own: str) -> None:
    """Raise `Problem` for a parameter of the URL that is no filter: more would be selected than was meant."""
    for name in page.request.query:
        if name not in query.model_fields and name not in own:
            raise Problem(Kind.INVALID, f"The query parameter {name} is no filter of this list.", field=name)


def confirmed(page: Page, action: Action) -> list[str]:
    """What the form names, if the count that was typed is theirs. Raises `Problem`."""
    require_scope(page.key, Scope.WRITE)
    chosen = list(dict.fromkeys(value for name, value in page.members if name == "selected"))
    if not 0 < len(chosen) <= AT_ONCE:
        raise Problem(Kind.INVALID, f"Choose 1 to {action.counted(AT_ONCE)}; {len(chosen)} are chosen.")
    if page.form.get("count", "").strip() != str(len(chosen)):
        detail = f"{action.counted(len(chosen))} chosen, and another number was typed: go back, and type that number."
        raise Problem(Kind.UNCONFIRMED, detail, field="count")
    return chosen


def _cancel_fields(given: Any) -> dict[str, str]:
    """The reason and note of a cancel, as a form has them."""
    fields = {"reason": given.get(REASON, "").strip(), "note": given.get(NOTE, "").strip()}
    return fields if fields["note"] else {"reason": fields["reason"]}


def _order(order: dict[str, Any]) -> Selected:
    return Selected(
        key=f"{order['account']}/{order['id']}",
        links=_order_links(order["account"], order["id"]),
        state=order["verdict"]["cancelable"],
        says=order["verdict"]["explanation"],
    )


def _order_links(account: str, order: str) -> list[tuple[str, str]]:
    return [(order, path("orders", account, order)), (account, path("accounts", account))]


async def _each(rows: Sequence[_T], do: Callable[[_T], Awaitable[_R]]) -> list[_R]:
    """Do something for each row, for several at a time."""
    done: list[_R] = []
    for start in range(0, len(rows), TOGETHER):
        done += await asyncio.gather(*map(do, rows[start : start + TOGETHER]))
    return done
