"""What `rescind policies test` and `backtest` are given: a policy in a file, or the id of a saved one; a fixture."""

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
from app.cli.faulty_files import read_resources, with_places

if TYPE_CHECKING:
    from app.config.file import ResourceFile

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A resource file with a policy (- is standard input), or the id of a saved policy."
    ),
]
OfSeveral = Annotated[
    str | None, typer.Option("--policy", metavar="ID", help="Which of the policies in the file, if it has several.")
]

STANDARD_INPUT = "-"
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy to try."""

    id: str
    body: dict[str, Any] | None
    """As it stands in a resource file; None: the saved one."""
    file: ResourceFile | None = None

    @property
    def path(self) -> str:
        """Where the API has it, or would."""
        return f"/v1/policies/{segment(self.id)}"

    @contextmanager
    def placed(self) -> Iterator[None]:
        """What the server finds wrong with the policy, with its places in the file."""
        try:
            yield
        except ProblemError as problem:
            raise (problem if self.file is None else with_places(problem, self.file)) from problem

    def check(self, api: Api) -> None:
        """Raise `Failure` if it is in no file, and not saved either."""
        if self.body is not None:
            return
        try:
            api.get(self.path)
        except ProblemError as problem:
            if problem.slug != "not-found":
                raise
            said = f"{self.id} is no file here, and no saved policy either; `rescind policies list` shows those."
            raise ProblemError(said, problem.document) from problem


def choose(file: str, policy: str | None) -> Chosen:
    """The policy in a resource file; `policy` says which, if it has several. Raises `Failure`."""
    path = Path("/dev/stdin") if file == STANDARD_INPUT else Path(file)
    if not (path.exists() or "/" in file or path.suffix in _SUFFIXES):
        if policy is not None:
            raise typer.BadParameter(f"--policy chooses one of a file's policies, and there is no file {file}")
        return Chosen(file, None)
    given, found = _policies_in(path)
    if policy is None and len(found) > 1:
        raise typer.BadParameter(f"{file} has several policies: choose one with --policy ({', '.join(found)})")
    if policy is not None and policy not in found:
        raise typer.BadParameter(f"{file} has no policy {policy}; it has {', '.join(found)}")
    id = policy or next(iter(found))
    return Chosen(id, found[id], given)


def read_fixture(path: Path) -> dict[str, Any]:
    """A made-up order, from a file in JSON or YAML. Raises `Failure`."""
    from app.config.faults import InvalidResourceError
    from app.config.file import load

    try:
        _, read = load(path, str(path))
    except InvalidResourceError as error:
        raise Failure(f"{error}.") from error
    if not isinstance(read, dict) or not isinstance(read.get("order"), dict):
        raise Failure(f"{path} must hold a mapping with `account` and `order`, and the order's fields under that.")
    return read


def _policies_in(path: Path) -> tuple[ResourceFile, dict[str, dict[str, Any]]]:
    file = read_resources(path)
    listed = file.resources.get("policies")
    if not isinstance(listed, list) or not listed:
        raise Failure(f"{path} has no policies: they are listed under `policies:`.")
    found: dict[str, dict[str, Any]] = {}
    for number, each in enumerate(listed):
        id = each.get("id") if isinstance(each, dict) else None
        if not isinstance(id, str) or not id:
            raise Failure(f"{path}: policies[{number}] has no id: give it one.")
        if id in found:
            raise Failure(f"{path}: policies[{number}] ({id}): this id stands twice.")
        found[id] = each
    return file, found
