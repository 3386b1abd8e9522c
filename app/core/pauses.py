"""What may not be sent now: pauses by scope, of everything, an account, all policies or one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

EVERYTHING = "all"
ACCOUNT_SCOPE = "account:"
POLICIES = "policies"
"""The scope of a pause of all policies."""
POLICY_SCOPE = "policy:"
BY_ITSELF = "rescind"
"""Who pauses automatically: an account whose credentials were refused, a policy that reached a limit."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Sending is stopped for a scope: `all`, `account:<id>`, `policies` or `policy:<id>`."""

    scope: str
    reason: str
    since: datetime
    by: str

    @property
    def code(self) -> str:
        """Why: `credentials_refused` or `policy_halted`, both automatic; else `paused`."""
        if self.by == BY_ITSELF and self.scope.startswith(ACCOUNT_SCOPE):
            return "credentials_refused"
        if self.by == BY_ITSELF and self.scope.startswith(POLICY_SCOPE):
            return "policy_halted"
        return "paused"


class Pauses(dict[str, Pause]):
    """The pauses in force, by scope."""

    def of_account(self, account: str) -> Pause | None:
        """The pause that keeps an account from sending, if any."""
        return self.get(EVERYTHING) or self.get(ACCOUNT_SCOPE + account)

    def of_policy(self, policy: str) -> Pause | None:
        """The pause that keeps a policy from acting, if any."""
        return self.get(POLICIES) or self.get(POLICY_SCOPE + policy)

    @property
    def held_policies(self) -> frozenset[str] | None:
        """The policies whose cancels may not be sent; None: all. What a policy sent before it halted itself goes on."""
        if POLICIES in self:
            return None
        return frozenset(
            pause.scope.removeprefix(POLICY_SCOPE)
            for pause in self.values()
            if pause.scope.startswith(POLICY_SCOPE) and pause.by != BY_ITSELF
        )
