"""What is wrong with a resource file, with file, line and column, wherever it was found."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.failure import Failure, ProblemError

if TYPE_CHECKING:
    from app.config.file import ResourceFile


def read_resources(path: Path) -> ResourceFile:
    """The resources in a file. Raises `Failure` with a line for everything that is wrong."""
    from app.config.faults import InvalidResourceError
    from app.config.file import open_resource_file

    try:
        return open_resource_file(path)
    except InvalidResourceError as error:
        raise Failure(_sentences(str(error))) from error


def with_places(problem: ProblemError, file: ResourceFile) -> ProblemError:
    """What the server found wrong with the resources of a file, a line for each, with its place there."""
    from app.config.faults import Fault, InvalidResourceError

    errors = problem.document.get("errors") or ()
    if not all("message" in each and "kind" in each for each in errors) or not errors:
        return problem
    faults = [Fault(each["kind"], each["id"], tuple(each["path"]), each["message"], each["number"]) for each in errors]
    return ProblemError(_sentences(str(file.located(InvalidResourceError(faults)))), problem.document)


def _sentences(text: str) -> str:
    return "\n".join(line if line.endswith((".", "?")) else f"{line}." for line in text.splitlines())
