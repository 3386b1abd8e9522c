"""What `rescind try` is given: bodies, headers, answers and keys, from arguments, files or standard input."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.cli.failure import MISUSED, Failure

if TYPE_CHECKING:
    from app.config.resolve import Endpoint
    from app.contract import HttpResponse
    from app.dev.trial.calls import GivenAnswer
    from app.dev.trial.keys import KeyAnswer

STANDARD_INPUT = "-"
_NAME_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def read_key_answers(endpoint: Endpoint, files: Sequence[str], *, unsigned: bool) -> list[KeyAnswer]:
    """What the source publishes, by the files. Raises a usage error where they have no use."""
    from app.dev.trial.keys import KeyAnswer
    from app.kit.signing.schemes import is_keyless

    scheme = endpoint.verify.scheme
    if files and unsigned:
        raise typer.BadParameter("--keys checks the proof of the webhooks, and --unsigned takes them for authentic")
    if files and scheme != "handler" and not is_keyless(endpoint.verify):
        raise typer.BadParameter(
            f"--keys is for keys that a source publishes; {endpoint.spec.id} verifies by its secrets ({scheme})"
        )
    return [KeyAnswer(name_of(file), read_bytes(file)) for file in files]


def read_answers(
    files: Sequence[str], statuses: Sequence[int], headers: Sequence[tuple[str, str]]
) -> list[GivenAnswer]:
    """The responses, in turn: a body without a status is a 200, a status without a body is empty."""
    from app.dev.trial.calls import GivenAnswer

    answers = []
    for number in range(max(len(files), len(statuses))):
        name = name_of(files[number]) if number < len(files) else "an empty body"
        body = read_bytes(files[number]) if number < len(files) else b""
        status = statuses[number] if number < len(statuses) else 200
        answers.append(GivenAnswer(name, _response(status, headers, body)))
    return answers


def _response(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> HttpResponse:
    from app.contract import HttpResponse

    given = {name.lower(): value for name, value in headers}
    if body and "content-type" not in given:
        given["content-type"] = "text/html" if body.lstrip().startswith(b"<") else "application/json"
    return HttpResponse(status, given, body)


def read_headers(given: Sequence[str]) -> list[tuple[str, str]]:
    """Headers as curl takes them: `Name: value`, or `@FILE` with one on each line."""
    lines = []
    for header in given:
        if header.startswith("@"):
            lines += [line for line in read_bytes(header[1:]).decode("utf-8", "replace").splitlines() if line.strip()]
        else:
            lines.append(header)
    return [_header(line) for line in lines]


def read_pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    """Parameters of a URL, `NAME=VALUE` each."""
    pairs = [parameter.partition("=") for parameter in given]
    return [(name, value) for name, _, value in pairs]


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or not _NAME_CHARS.issuperset(name.lower()):
        raise typer.BadParameter(f"{line!r} is not a header: give `Name: value`")
    return name, value.strip()


def read_bytes(file: str) -> bytes:
    """A file, or standard input, byte for byte. Raises `Failure` where it cannot be read."""
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror or error}.", MISUSED) from error


def name_of(file: str) -> str:
    """What a report calls it."""
    return "standard input" if file == STANDARD_INPUT else file
