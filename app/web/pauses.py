"""Stop and start sending: for everything, for an account, for policies."""

from __future__ import annotations

from typing import Any, Literal, Self

from msgspec import Struct
from pydantic import ConfigDict, Field, model_validator

from app.config.keys import Scope
from app.core.pauses import ACCOUNT_SCOPE, EVERYTHING, POLICIES, POLICY_SCOPE, Pause
from app.node import Node
from app.web.lookup import find_account
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, Route


class _Scoped(Body):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    scope: Literal["all"] | None = Field(None, description="Everything: `all`.")
    account: str | None = Field(None, description="Only this account.")
    policy: str | None = Field(None, description="Only what this policy does.")
    policies: bool = Field(default=False, description="Only what policies do.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = (self.scope is not None, self.account is not None, self.policy is not None, self.policies)
        if sum(given) != 1:
            raise ValueError('say what: give one of "scope": "all", account, policy and "policies": true')
        return self


class PauseBody(_Scoped):
    """What to stop, and why."""

    reason: str = Field("paused by hand", min_length=1, max_length=500)


class ResumeBody(_Scoped):
    """What to start again: what was paused by the same name."""


class PauseShape(Struct):
    """What is paused."""

    paused: list[dict[str, Any]]


class ResumeShape(Struct):
    """What was paused until now, and what is still paused."""

    resumed: list[dict[str, Any]]
    paused: list[dict[str, Any]]


async def pause(call: Call) -> PauseShape:
    """Stop sending; ingest goes on."""
    asked: PauseBody = call.body
    await call.node.pause(_scope(call.node, asked), asked.reason, call.key.name)
    return _pauses(call.node)


async def resume(call: Call) -> ResumeShape:
    """Send again."""
    asked: ResumeBody = call.body
    scope = _scope(call.node, asked)
    was = call.node.ledger.pauses.get(scope)
    done = await call.node.resume(scope, call.key.name)
    return ResumeShape([_pause_shape(was)] if done and was is not None else [], _pauses(call.node).paused)


def policy_pause(node: Node, policy: str) -> dict[str, Any] | None:
    """What keeps a policy from acting, if anything does."""
    paused = node.ledger.pauses.of_policy(policy)
    return None if paused is None else _pause_shape(paused)


def _scope(node: Node, asked: _Scoped) -> str:
    account, policy = asked.account, asked.policy
    if asked.policies:
        return POLICIES
    if policy is not None:
        if policy not in node.directory.policies:
            raise Problem(Kind.NOT_FOUND, f"There is no policy {policy!r}; `rescind policies list` shows all.")
        return POLICY_SCOPE + policy
    if account is None:
        return EVERYTHING  # scope is "all": nothing else is left
    return ACCOUNT_SCOPE + find_account(node, account).spec.id


def _pauses(node: Node) -> PauseShape:
    return PauseShape([_pause_shape(each) for each in node.ledger.pauses.values()])


def _pause_shape(pause: Pause) -> dict[str, Any]:
    return {"scope": pause.scope, "reason": pause.reason, "since": pause.since, "by": pause.by}


ROUTES = [
    Route(
        method="POST",
        scope=Scope.WRITE,
        path="/v1/pause",
        name="pause",
        summary="Stop sending: everything, one account, one policy or all policies; ingest goes on.",
        handler=pause,
        body=PauseBody,
        answer=PauseShape,
        problems=(Kind.NOT_FOUND,),
    ),
    Route(
        method="POST",
        scope=Scope.WRITE,
        path="/v1/resume",
        name="resume",
        summary="Send again; the answer says what was paused until now.",
        handler=resume,
        body=ResumeBody,
        answer=ResumeShape,
        problems=(Kind.NOT_FOUND,),
    ),
]
