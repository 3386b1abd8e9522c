"""The state of the installation: what needs a person, and what an operator should know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from app import __version__
from app.config.endpoint_proof import unread
from app.core.event import Event
from app.core.pauses import ACCOUNT_SCOPE, EVERYTHING, POLICIES, POLICY_SCOPE, Pause
from app.engine.backup import last_backup
from app.engine.warnings import warnings
from app.kit.signing import signs_url
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
    `approvals`, `indeterminate`, `account`, `endpoint_failing`, `endpoint_silent`, `public_url`, `keys`,
    `unread_header`, `registrations`, `subscription_failing`, `subscription_disabled`, `search_index`."""
    what: str
    """The subject, such as `account acme`."""
    account: str | None = None
    """The account that it concerns, where it is one."""
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
    last_backup_at: datetime | None
    """When the newest verified backup was begun; null if there is none, and on PostgreSQL, which others back up."""
    findings: list[Finding]


example(
    Status(
        version=__version__,
        accounts=1,
        endpoints=1,
        policies=1,
        subscriptions=1,
        needs_attention=True,
        last_backup_at=examples.RECEIVED_AT,
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
    config = call.node.config
    findings = sort_findings([*await current_findings(call.node), *await lasting_findings(call.node)])
    settings = call.node.settings
    backup = None if settings.is_shared else await asyncio.to_thread(last_backup, settings.database_path)
    return Status(
        version=__version__,
        accounts=len(config.accounts),
        endpoints=len(config.endpoints),
        policies=len(config.policies),
        subscriptions=len(config.subscriptions),
        needs_attention=any(finding.state == "fault" for finding in findings),
        last_backup_at=None if backup is None else backup.at,
        findings=findings,
    )


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Faults first."""
    return sorted(findings, key=lambda finding: finding.state != "fault")


async def current_findings(node: Node, account: str | None = None) -> list[Finding]:
    """What may change from second to second, and costs little to look up; of one account or all."""
    found = [
        *map(_pause, node.ledger.pauses.values()),
        *_lanes(node, [account] if account else node.config.accounts),
        *_waiting(await node.store.counts_for_review(COUNT_MAX + 1, account), account),
        *await _endpoints(node),
        *_without_url(node),
        *_without_keys(node),
        *_unread_headers(node),
        *_registrations(node),
        *(() if account else _subscriptions(node)),
        *(() if account else _search_index(node.indexer.fault)),
    ]
    return [finding for finding in found if account is None or finding.account in (None, account)]


async def lasting_findings(node: Node, account: str | None = None) -> list[Finding]:
    """What lasts until someone changes the configuration: it is read from the log."""
    failing = await node.store.failing_policies(list(node.config.policies))
    found = [*_failing(failing), *_warned(await warnings(node.config, node.store))]
    return [finding for finding in found if account is None or finding.account in (None, account)]


def _pause(pause: Pause) -> Finding:
    account, option, remedy = None, "", ""
    if pause.scope.startswith(ACCOUNT_SCOPE):
        account = pause.scope.removeprefix(ACCOUNT_SCOPE)
        what, option = f"account {account}", f" --account {account}"
        if pause.code == "credentials_refused":
            remedy = "Correct the account's configuration and apply it, or "
    elif pause.scope.startswith(POLICY_SCOPE):
        policy = pause.scope.removeprefix(POLICY_SCOPE)
        what, option = f"policy {policy}", f" --policy {policy}"
        if pause.code == "policy_halted":
            remedy = f"See `rescind policies decisions {policy}`, then "
    else:
        what = "everything" if pause.scope == EVERYTHING else "all policies"
        option = " --policies" if pause.scope == POLICIES else ""
    resume = f"`rescind resume{option}`"
    return Finding(
        code=pause.code,
        what=what,
        account=account,
        state="fault",
        detail=f"paused since {pause.since:%Y-%m-%dT%H:%M:%SZ} by {pause.by}: {pause.reason}",
        do=f"{remedy}{resume}." if remedy else f"{resume} when sending may continue.",
    )


def _lanes(node: Node, accounts: Iterable[str]) -> Iterator[Finding]:
    for id in accounts:
        lane = node.lane_status(id)
        if lane is None or lane.state not in ("breaker_open", "throttled"):
            continue
        until = f", until {lane.until:%Y-%m-%dT%H:%M:%SZ}" if lane.until else ""
        yield Finding(
            code=lane.state,
            what=f"account {id}",
            account=id,
            state="notice",
            detail=f"{lane.state.replace('_', ' ')}: {lane.reason}{until}",
            do=f"Rescind retries by itself; `rescind accounts show {id}` shows the state.",
        )


def _warned(warned: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for account, sentences in warned.items():
        for text in sentences:
            detail = text.removeprefix(f"account {account}: ")
            do = "Change it in the account's resource file, and apply that."
            what = f"account {account}"
            yield Finding(code="account", what=what, account=account, state="notice", detail=detail, do=do)


def _waiting(counts: Mapping[str, int], account: str | None) -> Iterator[Finding]:
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
        "indeterminate": (
            "cancellations",
            "have an unknown outcome, and the provider cannot be probed",
            "See them by `cancellations list --state indeterminate`, ask the provider, then `cancellations resolve`.",
        ),
    }
    for code, (what, text, do) in texts.items():
        if count := counts[code]:
            number = f"more than {COUNT_MAX}" if count > COUNT_MAX else str(count)
            detail = f"{number} {text}"
            yield Finding(code=code, what=what, account=account, state="fault", detail=detail, do=do)


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
    what, account = f"endpoint {state.endpoint}", state.account
    if state.failing_at is not None:
        since = f" since {state.refused_since:%Y-%m-%dT%H:%M:%SZ}" if state.refused_since else ""
        detail = f"{state.refused_run} requests were refused{since}, and none accepted"
        do = f"`rescind endpoints refusals {state.endpoint}` shows why; `rescind endpoints test` tests it."
        return Finding(code="endpoint_failing", what=what, account=account, state="fault", detail=detail, do=do)
    if state.silent_at is not None:
        last = state.authentic_at
        detail = f"the last webhook came at {last:%Y-%m-%dT%H:%M:%SZ}" if last else "no webhook ever came"
        do = "See at the provider whether it still sends, and to this URL; `rescind endpoints test` tests the URL."
        return Finding(code="endpoint_silent", what=what, account=account, state="fault", detail=detail, do=do)
    return None


def _without_url(node: Node) -> Iterator[Finding]:
    """Endpoints whose signatures hold the URL, where no URL of this server is known."""
    for id, endpoint in node.config.endpoints.items() if not node.settings.public_url else ():
        if endpoint.spec.enabled and signs_url(endpoint.verify):
            what, account = f"endpoint {id}", endpoint.spec.account
            detail = "its webhooks are refused: their signature holds the URL that was called, which is not known here"
            do = "Set RESCIND_PUBLIC_URL where the server runs to the URL that the provider calls, and start it again."
            yield Finding(code="public_url", what=what, account=account, state="fault", detail=detail, do=do)


def _without_keys(node: Node) -> Iterator[Finding]:
    """Endpoints whose source's public keys could not be fetched the last time."""
    for fault in node.key_ring.faults:
        for id, endpoint in node.config.endpoints.items():
            concerned = fault.endpoint == id if fault.endpoint else endpoint.verify.keys == fault.source
            if not (concerned and endpoint.spec.enabled):
                continue
            yield Finding(
                code="keys",
                what=f"endpoint {id}",
                account=endpoint.spec.account,
                state="fault" if fault.outage else "notice",
                detail=f"the last fetch of a public key from {fault.host} brought none: {fault.error}",
                do="Correct verify.keys of the endpoint, or the token of its account, if they are at fault; the server "
                "tries again by itself, and webhooks get 503 meanwhile.",
            )


def _unread_headers(node: Node) -> Iterator[Finding]:
    """Endpoints whose account names a header with an event's id that nothing proves, so that it is not read."""
    for id, endpoint in node.config.endpoints.items():
        if endpoint.spec.enabled and (header := endpoint.unread_header) is not None:
            what, account = f"endpoint {id}", endpoint.spec.account
            detail, do = unread(header, endpoint.spec)
            yield Finding(code="unread_header", what=what, account=account, state="notice", detail=detail, do=do)


def _registrations(node: Node) -> Iterator[Finding]:
    """What the last check of the registrations at the providers found amiss."""
    for id, endpoint in node.config.endpoints.items():
        status = node.registrar.status.get(id)
        if status is None or not endpoint.spec.keep_registered:
            continue
        state: Literal["fault", "notice"] = "fault"
        do = f"`rescind endpoints register {id}` registers what is missing, or says why not."
        if status.error:
            detail = f"its registrations could not be checked: {status.error}"
        elif status.missing:
            detail = f"the provider does not send it {', '.join(status.missing)}"
        elif status.foreign:
            urls = ", ".join(sorted({registration.url.partition("?")[0] for registration in status.foreign}))
            state, detail = "notice", f"its provider also sends to URLs that are no endpoints here: {urls}"
            do = "If they are this server's former URLs, remove them there; `endpoints register` replaces its own."
        else:
            continue
        what, account = f"endpoint {id}", endpoint.spec.account
        yield Finding(code="registrations", what=what, account=account, state=state, detail=detail, do=do)


def _subscriptions(node: Node) -> Iterator[Finding]:
    """Subscriptions that were disabled automatically, and those that fail."""
    for id, spec in node.config.subscriptions.items():
        state = node.deliveries.state(id)
        what = f"subscription {id}"
        if not spec.enabled:
            continue
        if state.disabled_at is not None:
            detail = f"disabled since {state.disabled_at:%Y-%m-%dT%H:%M:%SZ}: {state.disabled_reason}"
            do = f"When its receiver works again: `rescind subscriptions enable {id}`."
            yield Finding(code="subscription_disabled", what=what, state="fault", detail=detail, do=do)
        elif state.down_since is not None:
            detail = f"every delivery fails since {state.down_since:%Y-%m-%dT%H:%M:%SZ}: {state.error}"
            do = f"Rescind retries by itself; `rescind subscriptions show {id}` shows the state."
            yield Finding(code="subscription_failing", what=what, state="notice", detail=detail, do=do)


def _search_index(fault: str) -> Iterator[Finding]:
    if fault:
        meanwhile = "lists and searches look in the log meanwhile, and may end before their page is full"
        detail = f"rescind-index.db cannot be used ({fault}); {meanwhile}"
        do = "Remove the cause: the server tries again by itself, and makes an index that is damaged anew."
        yield Finding(code="search_index", what="search index", state="notice", detail=detail, do=do)


def _failing(policies: Mapping[str, Event]) -> Iterator[Finding]:
    for id, event in policies.items():
        yield Finding(
            code="policy_failing",
            what=f"policy {id}",
            account=event.account,
            state="fault",
            detail=f"its last decisions all failed; on order {event.order} of {event.account}: {event.data['detail']}",
            do="Correct its condition and apply it; `rescind policies test` evaluates it on one order.",
        )
