"""The state of the installation: what needs a person, and what an operator should know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from app import __version__
from app.core.event import Event
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, EVERYTHING, POLICIES, POLICY_SCOPE, Pause
from app.engine.warnings import warnings
from app.node import Node
from app.store.traffic import EndpointState
from app.web import examples, pauses
from app.web.examples import example
from app.web.routes import Call, RouteTable

ROUTES = RouteTable(pauses.ROUTES.tag)
COUNT_MAX = 1000
"""Rows are counted up to this number."""


class Finding(Struct, kw_only=True):
    """One thing that an operator should know."""

    code: str
    """`paused`, `credentials_refused`, `policy_halted`, `policy_failing`, `breaker_open`, `throttled`, `quarantined`,
    `approvals`, `account`, `endpoint_failing`, `endpoint_silent`, `registrations`."""
    what: str
    """The subject, such as `account acme`."""
    state: Literal["fault", "notice"]
    """`fault`: it needs a person. `notice`: it ends without one, or does no harm."""
    detail: str
    do: str


class Status(Struct, kw_only=True):
    """The number of resources, and all findings."""

    version: str
    accounts: int
    endpoints: int
    policies: int
    subscriptions: int
    needs_attention: bool
    """Whether anything needs a person."""
    findings: list[Finding]


example(
    Status(
        version=__version__,
        accounts=1,
        endpoints=1,
        policies=1,
        subscriptions=1,
        needs_attention=True,
        findings=[
            Finding(
                code="paused",
                what=f"account {examples.ACCOUNT}",
                state="fault",
                detail="paused since 2026-03-02T09:45:00Z by shop: The provider asked us to stop.",
                do=f"`rescind resume --account {examples.ACCOUNT}` when sending may continue.",
            )
        ],
    )
)


@ROUTES.get("/v1/status")
async def get_status(call: Call) -> Status:
    """What needs a person (pauses, refused credentials, quarantine, approvals), and notices; faults first.

    `needs_attention` is true if there is a fault: what ends only by a person.
    """
    node, config = call.node, call.node.config
    counts = await node.store.counts_for_review(COUNT_MAX + 1)
    failing = await node.store.failing_policies(list(config.policies))
    warned = await warnings(config, node.store)
    findings = [
        *map(_pause, node.ledger.pauses.values()),
        *_lanes(node),
        *_waiting(counts),
        *_failing(failing),
        *await _endpoints(node),
        *_registrations(node),
        *_warned(warned),
    ]
    findings.sort(key=lambda finding: finding.state != "fault")
    return Status(
        version=__version__,
        accounts=len(config.accounts),
        endpoints=len(config.endpoints),
        policies=len(config.policies),
        subscriptions=len(config.subscriptions),
        needs_attention=any(finding.state == "fault" for finding in findings),
        findings=findings,
    )


def _pause(pause: Pause) -> Finding:
    by_itself, code, option, remedy = pause.by == BY_ITSELF, "paused", "", ""
    if pause.scope.startswith(ACCOUNT_SCOPE):
        account = pause.scope.removeprefix(ACCOUNT_SCOPE)
        what, option = f"account {account}", f" --account {account}"
        if by_itself:
            code, remedy = "credentials_refused", "Correct the account's configuration and apply it, or "
    elif pause.scope.startswith(POLICY_SCOPE):
        policy = pause.scope.removeprefix(POLICY_SCOPE)
        what, option = f"policy {policy}", f" --policy {policy}"
        if by_itself:
            code, remedy = "policy_halted", f"See `rescind policies decisions {policy}`, then "
    else:
        what = "everything" if pause.scope == EVERYTHING else "all policies"
        option = " --policies" if pause.scope == POLICIES else ""
    resume = f"`rescind resume{option}`"
    return Finding(
        code=code,
        what=what,
        state="fault",
        detail=f"paused since {pause.since:%Y-%m-%dT%H:%M:%SZ} by {pause.by}: {pause.reason}",
        do=f"{remedy}{resume}." if remedy else f"{resume} when sending may continue.",
    )


def _lanes(node: Node) -> Iterator[Finding]:
    for id in node.config.accounts:
        lane = node.lane_status(id)
        if lane is None or lane.state not in ("breaker_open", "throttled"):
            continue
        until = f", until {lane.until:%Y-%m-%dT%H:%M:%SZ}" if lane.until else ""
        yield Finding(
            code=lane.state,
            what=f"account {id}",
            state="notice",
            detail=f"{lane.state.replace('_', ' ')}: {lane.reason}{until}",
            do=f"Rescind retries by itself; `rescind accounts show {id}` shows the state.",
        )


def _warned(warned: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for account, sentences in warned.items():
        for text in sentences:
            detail = text.removeprefix(f"account {account}: ")
            do = "Change it in the account's resource file, and apply that."
            yield Finding(code="account", what=f"account {account}", state="notice", detail=detail, do=do)


def _waiting(counts: Mapping[str, int]) -> Iterator[Finding]:
    texts = {
        "quarantined": (
            "receipts",
            "are in quarantine, because they could not be parsed",
            "`rescind receipts list --status quarantined`; after a fix `rescind receipts reprocess --quarantined`.",
        ),
        "approvals": (
            "cancellations",
            "proposed by policies wait for approval",
            "`rescind cancellations list --waiting approval`, then `rescind cancellations approve` or `revoke`.",
        ),
    }
    for code, (what, detail, do) in texts.items():
        if count := counts[code]:
            number = f"more than {COUNT_MAX}" if count > COUNT_MAX else str(count)
            yield Finding(code=code, what=what, state="fault", detail=f"{number} {detail}", do=do)


async def _endpoints(node: Node) -> list[Finding]:
    """Endpoints of which a notice says that they fail or are silent."""
    await node.traffic.flush()
    return [
        finding
        for state in await node.store.endpoint_states()
        if (endpoint := node.config.endpoints.get(state.endpoint)) is not None
        and endpoint.spec.enabled
        and endpoint.spec.account == state.account
        and (finding := _endpoint(state)) is not None
    ]


def _endpoint(state: EndpointState) -> Finding | None:
    what = f"endpoint {state.endpoint}"
    if state.failing_at is not None:
        since = f" since {state.refused_since:%Y-%m-%dT%H:%M:%SZ}" if state.refused_since else ""
        detail = f"{state.refused_run} requests were refused{since}, and none accepted"
        do = f"`rescind endpoints refusals {state.endpoint}` shows why; `rescind endpoints test` tests it."
        return Finding(code="endpoint_failing", what=what, state="fault", detail=detail, do=do)
    if state.silent_at is not None:
        last = state.authentic_at
        detail = f"the last webhook came at {last:%Y-%m-%dT%H:%M:%SZ}" if last else "no webhook ever came"
        do = "See at the provider whether it still sends, and to this URL; `rescind endpoints test` tests the URL."
        return Finding(code="endpoint_silent", what=what, state="fault", detail=detail, do=do)
    return None


def _registrations(node: Node) -> Iterator[Finding]:
    """What the last check of the registrations at the providers found amiss."""
    for id, endpoint in node.config.endpoints.items():
        status = node.registrar.status.get(id)
        if status is None or not endpoint.spec.keep_registered:
            continue
        what, do = f"endpoint {id}", f"`rescind endpoints register {id}` registers what is missing, or says why not."
        if status.error:
            detail = f"its registrations could not be checked: {status.error}"
            yield Finding(code="registrations", what=what, state="fault", detail=detail, do=do)
        elif status.missing:
            detail = f"the provider does not send it {', '.join(status.missing)}"
            yield Finding(code="registrations", what=what, state="fault", detail=detail, do=do)
        elif status.foreign:
            urls = ", ".join(sorted({registration.url.partition("?")[0] for registration in status.foreign}))
            yield Finding(
                code="registrations",
                what=what,
                state="notice",
                detail=f"its provider also sends to URLs that are no endpoints here: {urls}",
                do="If they are this server's former URLs, remove them there; `endpoints register` replaces its own.",
            )


def _failing(policies: Mapping[str, Event]) -> Iterator[Finding]:
    for id, event in policies.items():
        yield Finding(
            code="policy_failing",
            what=f"policy {id}",
            state="fault",
            detail=f"its last decisions all failed; on order {event.order} of {event.account}: {event.data['detail']}",
            do="Correct its condition and apply it; `rescind policies test` evaluates it on one order.",
        )
