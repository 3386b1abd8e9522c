"""Pauses: stop and resume sending for everything, an account or policies."""

from __future__ import annotations

from typing import Literal, Self

from msgspec import Struct
from pydantic import ConfigDict, Field, model_validator

from app.config.scope import Scope
from app.core.pauses import ACCOUNT_SCOPE, EVERYTHING, POLICIES, POLICY_SCOPE, Pause
from app.node import Node
from app.web import examples
from app.web.examples import example
from app.web.lookup import missing, require_account
from app.web.problems import Kind
from app.web.restriction import refuse_restricted
from app.web.routes import AccountCheck, ApiTag, Body, Call, RouteTable

ROUTES = RouteTable(ApiTag("Operation", "The state of the installation, pauses, and files of resources."))


class _Scoped(Body):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    scope: Literal["all"] | None = Field(None, description="Everything: `all`.")
    account: str | None = Field(None, description="Only this account.")
    policy: str | None = Field(None, description="Only cancellations of this policy.")
    policies: bool = Field(default=False, description="Only cancellations of policies.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = (self.scope is not None, self.account is not None, self.policy is not None, self.policies)
        if sum(given) != 1:
            raise ValueError('give exactly one of "scope": "all", account, policy and "policies": true')
        return self

    def pause_scope(self, node: Node) -> str:
        """The scope as the ledger names it. Raises `Problem` if the account or policy does not exist."""
        if self.policies:
            return POLICIES
        if self.policy is not None:
            if self.policy not in node.config.policies:
                raise missing("policies", self.policy)
            return POLICY_SCOPE + self.policy
        return EVERYTHING if self.account is None else ACCOUNT_SCOPE + require_account(node, self.account).spec.id


class PauseBody(_Scoped):
    """What to pause, and why."""

    reason: str = Field("paused by hand", min_length=1, max_length=500)


example(PauseBody(account=examples.ACCOUNT, reason="The provider asked us to stop."))


class ResumeBody(_Scoped):
    """What to resume: the scope that was paused."""


example(ResumeBody(account=examples.ACCOUNT))


class Paused(Struct):
    """Everything that is paused."""

    paused: list[Pause]


_PAUSE = Pause(f"account:{examples.ACCOUNT}", "The provider asked us to stop.", examples.REQUESTED_AT, "shop")
example(Paused([_PAUSE]))


class Resumed(Struct):
    """The pause that was ended, if any, and what is still paused."""

    resumed: list[Pause]
    paused: list[Pause]


example(Resumed(resumed=[_PAUSE], paused=[]))


@ROUTES.post("/v1/pause", Scope.WRITE, problems=[Kind.NOT_FOUND], account_check=AccountCheck.HANDLER)
async def pause(call: Call, body: PauseBody) -> Paused:
    """Stop sending: everything, one account, one policy or all policies. Webhooks are still received.

    What is due waits, and expires at its deadline. A call that is under way is not interrupted.
    """
    _check_account(call, body)
    await call.node.pause(body.pause_scope(call.node), body.reason, call.key.name)
    return Paused(_shown(call))


@ROUTES.post("/v1/resume", Scope.WRITE, problems=[Kind.NOT_FOUND], account_check=AccountCheck.HANDLER)
async def resume(call: Call, body: ResumeBody) -> Resumed:
    """Send again; the response has the pause that was ended.

    What waited is sent in the order of its deadlines, within the limits.
    """
    _check_account(call, body)
    node = call.node
    scope = body.pause_scope(node)
    ended = node.ledger.pauses.get(scope)
    done = await node.resume(scope, call.key.name)
    return Resumed([ended] if done and ended is not None else [], _shown(call))


def _check_account(call: Call, body: _Scoped) -> None:
    """Raise `Problem` if the key is restricted to accounts and the pause concerns others."""
    if body.account is None:
        refuse_restricted(call.key)
    elif not call.key.sees(body.account):
        raise missing("accounts", body.account)


def _shown(call: Call) -> list[Pause]:
    """The pauses that concern what the key sees."""
    pauses = call.node.ledger.pauses.values()
    if call.key.accounts is None:
        return list(pauses)
    scopes = {EVERYTHING, POLICIES, *(ACCOUNT_SCOPE + account for account in call.key.accounts)}
    return [pause for pause in pauses if pause.scope in scopes]
