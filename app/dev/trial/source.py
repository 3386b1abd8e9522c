"""The accounts and endpoints of a file that is tried: a resource file, or a recipe, which has more keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from app.config.faults import InvalidResourceError
from app.config.file import load, resources_in
from app.config.requested import read_request
from app.config.resolve import Account, Endpoint, resolve

KINDS = ("accounts", "endpoints")
"""Policies and subscriptions play no part: what they refer to need not be in the file."""


@dataclass(frozen=True, slots=True)
class TrialSource:
    """A file, checked as it is when it is saved."""

    name: str
    accounts: Mapping[str, Account]
    endpoints: Mapping[str, Endpoint]
    variables: Mapping[str, str] = field(repr=False)
    """The variables that the file refers to, with their values."""
    examples: tuple[str, ...] = ()
    """Those that are not set, and whose values are the examples of a recipe."""

    def endpoint(self, id: str | None) -> Endpoint:
        """The endpoint of that id, or the only one. Raises `UnclearEndpointError`."""
        if id is None and len(self.endpoints) == 1:
            return next(iter(self.endpoints.values()))
        if id is None or id not in self.endpoints:
            raise UnclearEndpointError(self.name, id, tuple(self.endpoints))
        return self.endpoints[id]

    def target(self, endpoint: str | None, account: str | None) -> Endpoint | Account:
        """What is tried: an endpoint, or an account that has none.

        Raises `UnclearEndpointError` where neither id says which, and the file has not just one.
        """
        if endpoint is not None or (account is None and self.endpoints):
            return self.endpoint(endpoint)
        if account is None and len(self.accounts) == 1:
            return next(iter(self.accounts.values()))
        if account is None or account not in self.accounts:
            raise UnclearEndpointError(self.name, account, tuple(self.accounts), "account")
        own = [one for one in self.endpoints.values() if one.account.spec.id == account]
        if len(own) > 1:
            raise UnclearEndpointError(self.name, None, tuple(one.spec.id for one in own))
        return own[0] if own else self.accounts[account]


class UnclearEndpointError(Exception):
    """The file has several endpoints, or accounts, and none is named; or it has none of that name."""

    def __init__(self, name: str, id: str | None, ids: tuple[str, ...], kind: str = "endpoint") -> None:
        problem = f"has several {kind}s" if id is None else f"has no {kind} {id}"
        there = f"there are {', '.join(ids)}" if ids else "there is none"
        super().__init__(f"{name} {problem}; {there}: choose one with --{kind}")


def read_source(path: Path, environment: Mapping[str, str], now: datetime) -> TrialSource:
    """The accounts and endpoints in a file, with `${NAME}` from `environment`, else from the examples of a recipe.

    Raises `MissingVariablesError` with the names of variables that are nowhere, and `InvalidResourceError` with the
    place of every fault.
    """
    name = "standard input" if str(path) == "/dev/stdin" else str(path)
    root, content = load(path, name)
    values = {**_examples_in(content), **environment}
    file = resources_in(name, root, content, values, KINDS)
    request = read_request(file.resources, {}, now)
    try:
        bodies = {key: (1, body) for key, body in request.bodies.items()}
        resolved = resolve(bodies, set(bodies), faults=request.faults, numbers=request.numbers)
    except InvalidResourceError as error:
        raise file.located(error) from error
    if not resolved.accounts:
        raise InvalidResourceError(f"{name} has no account, and a trial is about one: list one under `accounts:`")
    examples = tuple(one for one in file.variables if one not in environment)
    return TrialSource(
        name, resolved.accounts, resolved.endpoints, {one: values[one] for one in file.variables}, examples
    )


def _examples_in(content: Any) -> dict[str, str]:
    """Variable → its example, where the file is a recipe."""
    asks = content.get("asks") if isinstance(content, dict) else None
    given = asks.items() if isinstance(asks, dict) else ()
    examples = {name: ask.get("example") for name, ask in given if isinstance(ask, dict)}
    return {str(name): example for name, example in examples.items() if isinstance(example, str)}
