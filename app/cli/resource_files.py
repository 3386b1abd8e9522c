"""Resource files, and their errors with file, line and column."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.failure import Failure, ProblemError

if TYPE_CHECKING:
    from app.config.file import ResourceFile


def read_resources(path: Path) -> ResourceFile:
    """The resources in a file. Raises `Failure` with a line for each error."""
    from app.config.faults import InvalidResourceError
    from app.config.file import open_resource_file

    try:
        return open_resource_file(path)
    except InvalidResourceError as error:
        raise Failure(_sentences(str(error))) from error


def with_places(problem: ProblemError, file: ResourceFile) -> ProblemError:
    """The server's errors about the resources of a file, a line for each, with its place in the file."""
    from app.config.faults import Fault, InvalidResourceError

    errors = problem.document.get("errors") or ()
    if not errors or not all("message" in row and "kind" in row for row in errors):
        return problem
    faults = [Fault(row["kind"], row["id"], tuple(row["path"]), row["message"], row["number"]) for row in errors]
    return ProblemError(_sentences(str(file.located(InvalidResourceError(faults)))), problem.document)


def _sentences(text: str) -> str:
    return "\n".join(line if line.endswith((".", "?")) else f"{line}." for line in text.splitlines())
