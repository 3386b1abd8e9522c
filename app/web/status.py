"""How the whole installation stands: what needs a person, and what should be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from app import __version__
from app.config.keys import Scope
from app.core.event import Event
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, EVERYTHING, POLICIES, POLICY_SCOPE, Pause
from app.engine.warnings import warnings
from app.node import Node
from app.web.routes import Call, Route

COUNT_MAX = 1000
"""More than this is not counted: it says enough."""


class Finding(Struct, kw_only=True):
    """One thing that somebody should know."""

    code: str
    """`paused`, `credentials_refused`, `policy_halted`, `policy_failing`, `breaker_open`, `throttled`, `quarantined`,
    `approvals`, `account`."""
    what: str
    """What it is about, such as `account acme`."""
    state: Literal["fault", "notice"]
    """`fault`: it waits for a person. `notice`: it ends by itself, or works all the same."""
    detail: str
    do: str


class Status(Struct, kw_only=True):
    """What was found."""

    version: str
    accounts: int
    endpoints: int
    policies: int
    needs_attention: bool
    """Something waits for a person."""
    findings: list[Finding]


async def get_status(call: Call) -> Status:
    """Everything that needs a person or should be known, the faults first."""
    node, directory = call.node, call.node.directory
    waiting = await node.store.counts_for_review(COUNT_MAX + 1)
    failing = await node.store.failing_policies(list(directory.policies))
    said = await warnings(directory, node.store)
    found = [*map(_pause, node.ledger.pauses.values()), *_lanes(node), *_waiting(waiting), *_failing(failing)]
    found += _warned(said)
    found.sort(key=lambda each: each.state != "fault")
    return Status(
        version=__version__,
        accounts=len(directory.accounts),
        endpoints=len(directory.endpoints),
        policies=len(directory.policies),
        needs_attention=any(each.state == "fault" for each in found),
        findings=found,
    )


def _pause(pause: Pause) -> Finding:
    by_itself = pause.by == BY_ITSELF
    if pause.scope.startswith(ACCOUNT_SCOPE):
        account = pause.scope.removeprefix(ACCOUNT_SCOPE)
        code, what, option = "credentials_refused", f"account {account}", f"--account {account}"
        cure = f"Correct the account's configuration and apply it, or `rescind resume {option}`."
    elif pause.scope.startswith(POLICY_SCOPE):
        policy = pause.scope.removeprefix(POLICY_SCOPE)
        code, what, option = "policy_halted", f"policy {policy}", f"--policy {policy}"
        cure = f"See `rescind policies decisions {policy}`, then `rescind resume {option}`."
    else:
        everything = pause.scope == EVERYTHING
        code, what, option = "paused", "everything" if everything else "all policies", "--policies"
        option = "" if pause.scope != POLICIES else option
        cure = ""
    done = f"`{f'rescind resume {option}'.strip()}` when it may go on."
    return Finding(
        code=code if by_itself else "paused",
        what=what,
        state="fault",
        detail=f"paused since {pause.since:%Y-%m-%dT%H:%M:%SZ} by {pause.by}: {pause.reason}",
        do=cure if by_itself and cure else done,
    )


def _lanes(node: Node) -> Iterator[Finding]:
    for id in node.directory.accounts:
        lane = node.lane_status(id)
        if lane is None or lane.state not in ("breaker_open", "throttled"):
            continue
        until = f", until {lane.until:%Y-%m-%dT%H:%M:%SZ}" if lane.until else ""
        yield Finding(
            code=lane.state,
            what=f"account {id}",
            state="notice",
            detail=f"{lane.state.replace('_', ' ')}: {lane.reason}{until}",
            do=f"It is tried again by itself; `rescind accounts show {id}` follows it.",
        )


def _warned(said: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for account, sentences in said.items():
        for text in sentences:
            detail = text.removeprefix(f"account {account}: ")
            do = "Change it in the account's resource file, and apply that."
            yield Finding(code="account", what=f"account {account}", state="notice", detail=detail, do=do)


def _waiting(counts: dict[str, int]) -> Iterator[Finding]:
    said = {
        "quarantined": (
            "receipts",
            "could not be understood and are in quarantine",
            "`rescind receipts list --status quarantined`; after a fix `rescind receipts reprocess --quarantined`.",
        ),
        "approvals": (
            "cancellations",
            "proposed by policies wait for an approval",
            "`rescind cancellations list --waiting approval`, then `rescind cancellations approve` or `revoke`.",
        ),
    }
    for code, (what, detail, do) in said.items():
        if count := counts[code]:
            number = f"more than {COUNT_MAX}" if count > COUNT_MAX else str(count)
            yield Finding(code=code, what=what, state="fault", detail=f"{number} {detail}", do=do)


ROUTES = [
    Route(
        method="GET",
        scope=Scope.READ,
        path="/v1/status",
        name="getStatus",
        summary="What needs a person: pauses, refused credentials, quarantine, approvals; and what should be known.",
        handler=get_status,
        answer=Status,
    )
]


def _failing(policies: Mapping[str, Event]) -> Iterator[Finding]:
    for id, event in policies.items():
        yield Finding(
            code="policy_failing",
            what=f"policy {id}",
            state="fault",
            detail=f"its last decisions all failed; on order {event.order} of {event.account}: {event.data['detail']}",
            do="Correct its condition and apply it; `rescind policies test` tries it on one order.",
        )
