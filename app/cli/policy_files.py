"""The arguments of `rescind policies test` and `backtest`: a policy in a file or the id of a saved one; a fixture."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import Api, segment
from app.cli.failure import Failure, ProblemError
from app.cli.resource_files import read_resources, with_places

if TYPE_CHECKING:
    from app.config.file import ResourceFile

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A resource file with a policy (- is standard input), or the id of a saved policy."
    ),
]
OfSeveral = Annotated[
    str | None, typer.Option("--policy", metavar="ID", help="Which policy of the file, if it has several.")
]

STANDARD_INPUT = "-"
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy to test."""

    id: str
    body: dict[str, Any] | None
    """The policy in the resource file; None: the saved one."""
    file: ResourceFile | None = None

    @property
    def path(self) -> str:
        """Its path in the API."""
        return f"/v1/policies/{segment(self.id)}"

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Add the places in the file to the server's errors about the policy."""
        try:
            yield
        except ProblemError as problem:
            raise (problem if self.file is None else with_places(problem, self.file)) from problem

    def check(self, api: Api) -> None:
        """Raise `Failure` if the id is not of a saved policy."""
        if self.body is not None:
            return
        try:
            api.get(self.path)
        except ProblemError as problem:
            if problem.slug != "not-found":
                raise
            message = f"{self.id} is neither a file nor a saved policy; `rescind policies list` lists the saved ones."
            raise ProblemError(message, problem.document) from problem


def choose(file: str, policy: str | None) -> Chosen:
    """The policy in a resource file; `policy` says which, if it has several. Raises `Failure`."""
    path = Path("/dev/stdin") if file == STANDARD_INPUT else Path(file)
    if not (path.exists() or "/" in file or path.suffix in _SUFFIXES):
        if policy is not None:
            raise typer.BadParameter(f"--policy chooses a policy of a file, and there is no file {file}")
        return Chosen(file, None)
    resources, policies = _policies_in(path)
    if policy is None and len(policies) > 1:
        raise typer.BadParameter(f"{file} has several policies: choose one with --policy ({', '.join(policies)})")
    if policy is not None and policy not in policies:
        raise typer.BadParameter(f"{file} has no policy {policy}; it has {', '.join(policies)}")
    id = policy or next(iter(policies))
    return Chosen(id, policies[id], resources)


def read_fixture(path: Path) -> dict[str, Any]:
    """A made-up order, from a file in JSON or YAML. Raises `Failure`."""
    from app.config.faults import InvalidResourceError
    from app.config.file import load

    try:
        _, fixture = load(path, str(path))
    except InvalidResourceError as error:
        raise Failure(f"{error}.") from error
    if not isinstance(fixture, dict) or not isinstance(fixture.get("order"), dict):
        raise Failure(f"{path} must be a mapping with `account` and `order`, and the order's fields under `order`.")
    return fixture


def _policies_in(path: Path) -> tuple[ResourceFile, dict[str, dict[str, Any]]]:
    file = read_resources(path)
    listed = file.resources.get("policies")
    if not isinstance(listed, list) or not listed:
        raise Failure(f"{path} has no policies: list them under `policies:`.")
    policies: dict[str, dict[str, Any]] = {}
    for number, policy in enumerate(listed):
        id = policy.get("id") if isinstance(policy, dict) else None
        if not isinstance(id, str) or not id:
            raise Failure(f"{path}: policies[{number}] has no id: give it one.")
        if id in policies:
            raise Failure(f"{path}: policies[{number}] ({id}): this id is used twice.")
        policies[id] = policy
    return file, policies
