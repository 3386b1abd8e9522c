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
from app.config.resolve import Endpoint, resolve

KINDS = ("accounts", "endpoints")
"""Policies and subscriptions play no part: what they refer to need not be in the file."""


@dataclass(frozen=True, slots=True)
class TrialSource:
    """A file, checked as it is when it is saved."""

    name: str
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


class UnclearEndpointError(Exception):
    """The file has several endpoints and none is named, or has none of that name."""

    def __init__(self, name: str, id: str | None, ids: tuple[str, ...]) -> None:
        problem = "has several endpoints" if id is None else f"has no endpoint {id}"
        super().__init__(f"{name} {problem}; there are {', '.join(ids)}")


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
    if not resolved.endpoints:
        raise InvalidResourceError(
            f"{name} has no endpoint, and a trial is about one: list one under `endpoints:`, with its `account`"
        )
    examples = tuple(one for one in file.variables if one not in environment)
    return TrialSource(name, resolved.endpoints, {one: values[one] for one in file.variables}, examples)


def _examples_in(content: Any) -> dict[str, str]:
    """Variable → its example, where the file is a recipe."""
    asks = content.get("asks") if isinstance(content, dict) else None
    given = asks.items() if isinstance(asks, dict) else ()
    examples = {name: ask.get("example") for name, ask in given if isinstance(ask, dict)}
    return {str(name): example for name, example in examples.items() if isinstance(example, str)}
