"""`/approvals/{token}`: the page to which the link in a notice leads, where a person approves or declines a cancel.

Opening it changes nothing, as mail scanners and chats open links for a preview. The token is the only authentication:
errors say no more than that, and the path is in no log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import parse_qs

import structlog
from aiohttp import web

from app.config.approval_links import PATH, Approval, InvalidLinkError
from app.contract import Order, Verdict
from app.core.cancellation import EVENT_PREFIX, Cancellation, Cause, State, Waiting
from app.core.commands import Approve, Revoke
from app.core.event import Event, event_id
from app.core.outbound.notices.notice import shown_time
from app.core.outbound.types import POLICY_PROPOSED
from app.core.policy.decisions import decision_of
from app.engine.request import LedgerClosedError, LedgerFullError
from app.node import Node
from app.store import StoreError
from app.web.approval_page import HEADERS, ApprovalPage, Section
from app.web.bodies import BODIES
from app.web.problems import RETRY_AFTER, Problem
from app.web.requests import NODE

EVIDENCE_SHOWN = 20
ATTRIBUTES_SHOWN = 20
STEPS_SEARCHED = 20
"""Steps of a cancellation among which that of the decision is looked for."""
FORM_BYTES_MAX = 1024
_INVALID = ApprovalPage("This link is not valid", "Open it once more from the message, or ask for a new one.")
_EXPIRED = ApprovalPage("This link has expired", "Nobody decided in time, or the decision was made long ago.")
_WITHDRAWN = ApprovalPage("This link was withdrawn", "The subscription that it was sent to receives no more proposals.")
_BUSY = ApprovalPage("Rescind is busy", "Nothing was decided. Go back and try again in a moment.")
_FAILED = ApprovalPage("Something went wrong", "The server's log has the details. Go back and try again in a moment.")
_UNCLEAR = ApprovalPage("Nothing was decided", "Go back and choose one of the two buttons.")


class _RefusedError(Exception):
    def __init__(self, page: ApprovalPage) -> None:
        super().__init__(page.title)
        self.page = page


_Responder = Callable[[web.Request, Node, Approval], Awaitable[web.Response]]

log = structlog.get_logger()


def add_routes(app: web.Application) -> None:
    """Serve the page."""
    app.router.add_get(PATH + "{token}", show)
    app.router.add_post(PATH + "{token}", decide)


async def show(request: web.Request) -> web.Response:
    """The page; changes nothing."""
    return await _guarded(request, _show)


async def decide(request: web.Request) -> web.Response:
    """Approve or decline, then show the page: once more changes nothing."""
    return await _guarded(request, _decide)


async def _guarded(request: web.Request, respond: _Responder) -> web.Response:
    """A response for every error, without the path: it holds the token."""
    node = request.app[NODE]
    try:
        approval = node.approval_links.read(request.match_info["token"])
        return await respond(request, node, approval)
    except _RefusedError as error:
        return _page(error.page, 410)
    except InvalidLinkError:
        return _page(_INVALID, 404)
    except (LedgerFullError, LedgerClosedError, StoreError):
        return _page(_BUSY, 503, RETRY_AFTER)
    except Problem as problem:  # of the body
        return _page(_UNCLEAR, problem.kind.status)
    except Exception:
        log.exception("unexpected", method=request.method, path=PATH)
        return _page(_FAILED, 500)


async def _show(_request: web.Request, node: Node, approval: Approval) -> web.Response:
    cancel = await _require(node, approval)
    return _page(await _describe(node, approval, cancel))


async def _decide(request: web.Request, node: Node, approval: Approval) -> web.Response:
    decision = await _read_decision(request)
    cancel = await _require(node, approval)
    if node.config.subscriptions[approval.subscription].approval_links == "view":
        return _page(await _describe(node, approval, cancel), 403)
    if decision not in ("approve", "decline"):
        return _page(_UNCLEAR, 422)
    if cancel.waiting is Waiting.APPROVAL:
        command = Approve if decision == "approve" else Revoke
        by = f"link of subscription {approval.subscription}"
        await node.ledger.execute(command(cancel.account, cancel.order, datetime.now(UTC), cancel.id, by))
    # Relative, as a proxy may serve it under another path.
    return web.Response(status=303, headers={**HEADERS, "Location": request.match_info["token"]})


async def _read_decision(request: web.Request) -> str:
    bodies = request.app[BODIES]
    if (request.content_length or 0) > FORM_BYTES_MAX:
        return ""
    raw = await bodies.read(request)
    bodies.release(len(raw))
    form = parse_qs(raw[:FORM_BYTES_MAX].decode("latin-1"))
    return form.get("decision", [""])[0]


async def _require(node: Node, approval: Approval) -> Cancellation:
    """The proposed cancellation. Raises `_RefusedError` if the link, although genuine, leads nowhere."""
    spec = node.config.subscriptions.get(approval.subscription)
    if spec is None or not spec.enabled:
        raise _RefusedError(_WITHDRAWN)
    removed_at = await node.store.removed_at("subscriptions", approval.subscription)
    if removed_at is not None and approval.made_at < int(removed_at.timestamp()):
        # It was sent to an earlier subscription of that id, whose receiver may be another.
        raise _RefusedError(_WITHDRAWN)
    if approval.is_over(datetime.now(UTC)):
        raise _RefusedError(_EXPIRED)
    cancel = await node.store.cancellation(approval.cancellation)
    if cancel is None:
        raise InvalidLinkError
    if not _is_addressed(node, approval, cancel):
        raise _RefusedError(_WITHDRAWN)
    return cancel


def _is_addressed(node: Node, approval: Approval, cancel: Cancellation) -> bool:
    """Whether the subscription would still be told of this proposal."""
    targets = node.config.router.targets(POLICY_PROPOSED, cancel.account)
    return any(target.subscription == approval.subscription for target in targets)


async def _describe(node: Node, approval: Approval, cancel: Cancellation) -> ApprovalPage:
    now = datetime.now(UTC)
    stored = await node.store.order(cancel.account, cancel.order)
    order = stored[1].order if stored is not None else Order(cancel.account, cancel.order)
    verdict = node.config.view(cancel.account).judge(order, now)
    account = node.config.accounts.get(cancel.account)
    provider = account.handler.title if account is not None else cancel.account
    waits = cancel.waiting is Waiting.APPROVAL and not (cancel.due_at is not None and cancel.due_at <= now)
    acts = node.config.subscriptions[approval.subscription].approval_links == "act"
    lead = f"Policy {cancel.policy} {'proposes' if waits else 'proposed'} to cancel this order at {provider}."
    status = "" if waits else await _outcome(node, cancel)
    if waits:
        until = shown_time(cancel.due_at) if cancel.due_at is not None else "it is revoked"
        lead += f" Nothing is canceled unless someone approves it by {until}."
    if waits and not acts:
        status = f"This link only shows the proposal. To decide: rescind cancellations approve {cancel.id} (or revoke)."
    evidence = await _evidence(node, verdict)
    sections = (
        Section("If you approve", _consequences(cancel, provider)) if waits else Section(""),
        Section("Can it be canceled?", _verdict_rows(verdict), "Evidence", evidence),
        Section(
            "Why the policy proposes it", await _policy_rows(node, cancel), "Condition", await _clauses(node, cancel)
        ),
        Section("The order", _order_rows(order, provider)),
    )
    title = f"Cancel order {cancel.order}?" if waits else f"Cancel of order {cancel.order}"
    return ApprovalPage(title, lead, status, sections, decides=waits and acts)


async def _outcome(node: Node, cancel: Cancellation) -> str:
    """What was decided, by whom, and how far the cancellation is."""
    approved = await _approved(node, cancel)
    if approved is None:
        return _state(cancel, is_approved=False)
    by = str(approved.data.get("changes", {}).get("detail", "")).rstrip(".")
    later = "" if cancel.state is State.SCHEDULED else f" {_state(cancel, is_approved=True)}"
    return f"{by} on {shown_time(approved.occurred_at)}.{later}"


def _state(cancel: Cancellation, *, is_approved: bool) -> str:
    if cancel.state is State.REVOKED:
        declined = "Declined" if cancel.cause is Cause.REVOKE_REQUESTED else "Not needed any more"
        return f"{'It was not sent' if is_approved else declined}. {cancel.detail}"
    if cancel.state is State.EXPIRED:
        why = "It was not sent in time." if is_approved else "Nobody approved it in time."
        return f"{why} Nothing was canceled."
    return {
        State.SUCCEEDED: "The order is canceled.",
        State.SCHEDULED: "Approved; it is sent when its turn comes.",
    }.get(cancel.state, f"It is {cancel.state}. {cancel.detail}")


async def _approved(node: Node, cancel: Cancellation) -> Event | None:
    """The step in which it was approved; None if it was not."""
    for number in range(2, min(cancel.step, STEPS_SEARCHED) + 1):
        id = event_id(cancel.account, cancel.order, EVENT_PREFIX, f"{cancel.id}\0{number}".encode())
        step = await node.store.event(id)
        if step is not None and step.data.get("cause") == Cause.APPROVED:
            return step
    return None


def _consequences(cancel: Cancellation, provider: str) -> list[tuple[str, str]]:
    closes = shown_time(cancel.closes_at) if cancel.closes_at is not None else ""
    return [
        ("What happens", f"Rescind cancels the order at {provider}, unless it cannot be canceled by then"),
        ("Reason given", cancel.reason),
        ("Note given", cancel.note or ""),
        ("Window closes", closes),
    ]


def _verdict_rows(verdict: Verdict) -> list[tuple[str, str]]:
    changes = shown_time(verdict.changes_at) if verdict.changes_at is not None else ""
    said = {"yes": "Yes", "no": "No", "unknown": "Not known"}[verdict.cancelable]
    return [("Now", f"{said}. {verdict.explanation}"), ("Rule", verdict.reason), ("Changes", changes)]


async def _evidence(node: Node, verdict: Verdict) -> list[tuple[str, str]]:
    lines = []
    for id in verdict.evidence[:EVIDENCE_SHOWN]:
        event = await node.store.event(id)
        if event is not None:
            lines.append((f"{event.type}, {shown_time(event.occurred_at)}", id))
    return lines


async def _policy_rows(node: Node, cancel: Cancellation) -> list[tuple[str, str]]:
    spec = node.config.policies.get(cancel.policy or "")
    waited = "" if spec is None else spec.wait or spec.before_close or ""
    return [
        ("Policy", cancel.policy or ""),
        ("Description", "" if spec is None else spec.description),
        ("Waits", waited),
        ("Proposed", shown_time(cancel.requested_at)),
    ]


async def _clauses(node: Node, cancel: Cancellation) -> list[tuple[str, str]]:
    """The condition's clauses with their values at the decision."""
    links = await node.store.cancellation_links(cancel.id, cancel.policy, ())
    event = None if links.decision is None else await node.store.event(links.decision)
    clauses = [] if event is None else decision_of(event, cancel.policy or "").data.get("clauses", [])
    said = {True: "true", False: "false"}
    return [(str(clause.get("text")), said.get(clause.get("value"), "cannot be evaluated")) for clause in clauses]


def _order_rows(order: Order, provider: str) -> list[tuple[str, str]]:
    times = [appointment.starts_at for appointment in order.appointments if appointment.starts_at is not None]
    rows = [
        ("Order", order.id),
        ("Account", f"{order.account} at {provider}"),
        ("Phase", order.phase),
        ("Provider's status", order.provider_status or ""),
        ("Opened", shown_time(order.opened_at) if order.opened_at is not None else ""),
        ("Appointments", "; ".join(map(shown_time, times[:EVIDENCE_SHOWN])) or "none"),
    ]
    plain = [(name, value) for name, value in order.attributes.items() if isinstance(value, str | int | float)]
    return rows + [(name, str(value)) for name, value in plain[:ATTRIBUTES_SHOWN]]


def _page(page: ApprovalPage, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        text=page.html(),
        content_type="text/html",
        charset="utf-8",
        headers={**HEADERS, **(headers or {})},
    )
