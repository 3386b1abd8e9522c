"""Resources that are typed or pasted as text: YAML or JSON, one of them or a file with one; faults have their lines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import yaml

from app.config.faults import InvalidResourceError
from app.config.file import FAULTS_MAX, VARIABLE, parse, place_of
from app.config.scope import Scope
from app.web.auth import require_scope
from app.web.console.forms import text_of
from app.web.console.page import Page
from app.web.problems import Kind, Problem

TEXT_MAX = 32_000
"""Characters of YAML: its parser takes about a second for so many. JSON may have more."""
_PLACE = re.compile(r"text:(\d+):(\d+): (.*)", re.DOTALL)
_Path = tuple[str | int, ...]
_JSON_MAX = 200_000


async def save_text(
    page: Page, kind: str, base: Mapping[str, Any], save: Callable[[dict[str, Any]], Awaitable[Any]]
) -> Any:
    """What `save` makes of the resource in the form's text.

    Args:
        page: whose key must have scope admin.
        kind: `accounts` or `endpoints`. A file that has this key, as `rescind recipe add` writes one, gives its only
            resource of that kind.
        base: the resource as it stands: what is in it already may stay.
        save: is given the resource.

    Raises `Problem`; its faults have the `line` and the `column` of the text, as far as they are known.
    """
    require_scope(page.key, Scope.ADMIN)
    text = page.form.get("text", "")
    if len(text) > _JSON_MAX:
        raise Problem(Kind.INVALID, f"The text has more than {_JSON_MAX} characters.")
    content, root = await _read(text)
    body, steps = _only(kind, content)
    try:
        _require_filled(body, text_of(base))
        return await save(body)
    except Problem as problem:
        faults = problem.members.get("errors")
        if not faults:
            raise
        if root is None and len(text) <= TEXT_MAX:
            root = await _nodes(text)
        located = [_located(fault, root, steps) for fault in faults]
        members = {**problem.members, "errors": located}
        raise Problem(problem.kind, problem.detail, headers=problem.headers, **members) from problem


async def _read(text: str) -> tuple[Any, yaml.Node | None]:
    """The content of a text, and the nodes of YAML. Raises `Problem`."""
    try:
        return msgspec.json.decode(text), None
    except (msgspec.DecodeError, RecursionError):
        pass  # It is YAML, or wrong.
    if len(text) > TEXT_MAX:
        raise Problem(Kind.INVALID, f"The text is not JSON, and as YAML it may have {TEXT_MAX} characters at most.")
    try:
        return await asyncio.to_thread(_read_yaml, text)
    except InvalidResourceError as error:
        raise _syntax_problem(str(error)) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise Problem(Kind.BAD_REQUEST, f"The text has what JSON cannot hold: {error}.") from error


def _read_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    root, content = parse(text, "text")
    # Keys that are no text, dates and aliases become what the API would have been sent.
    return msgspec.json.decode(msgspec.json.encode(content)), root


async def _nodes(text: str) -> yaml.Node | None:
    """The nodes of JSON, which nearly always is YAML."""
    try:
        return (await asyncio.to_thread(parse, text, "text"))[0]
    except InvalidResourceError:
        return None


def _syntax_problem(message: str) -> Problem:
    placed = _PLACE.fullmatch(message)
    if placed is None:
        return Problem(Kind.BAD_REQUEST, f"The text is neither YAML nor JSON: {message}.")
    line, column, said = int(placed[1]), int(placed[2]), placed[3]
    fault = {"path": ["text"], "line": line, "column": column, "message": said}
    return Problem(Kind.BAD_REQUEST, f"Line {line}, column {column} of the text: {said}.", errors=[fault])


def _only(kind: str, content: Any) -> tuple[dict[str, Any], _Path]:
    """The resource in what a text holds, and where it stands in it. Raises `Problem`."""
    if not isinstance(content, dict):
        raise Problem(Kind.BAD_REQUEST, "The text must hold the keys of a resource, and their values.")
    if kind not in content:
        return content, ()
    listed = content[kind]
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        raise Problem(Kind.INVALID, f"The text must have one resource under {kind}; apply a file with more of them.")
    return listed[0], (kind, 0)


def _require_filled(body: Mapping[str, Any], known: str) -> None:
    """Raise `Problem` if values name variables."""
    unfilled = list(islice(_unfilled(body, known), FAULTS_MAX))
    if unfilled:
        names = ", ".join(dict.fromkeys(fault["variable"] for fault in unfilled))
        text = f"The text has {names}, which a file takes from the environment: write the values themselves here."
        raise Problem(Kind.INVALID, text, errors=unfilled)


def _unfilled(body: Mapping[str, Any], known: str) -> Iterator[dict[str, Any]]:
    """The values that name a variable which the text `known` has not."""
    waiting: list[tuple[_Path, Any]] = [((), body)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*path, name), item) for name, item in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [((*path, number), item) for number, item in reversed(list(enumerate(value)))]
        elif isinstance(value, str):
            for found in VARIABLE.finditer(value):
                if found[0] not in known:
                    message = f"write the value in place of {found[0]}"
                    yield {"path": list(path), "variable": found[0], "message": message}


def _located(fault: Mapping[str, Any], root: yaml.Node | None, steps: Sequence[str | int]) -> dict[str, Any]:
    path = fault.get("path")
    if root is None or path is None:
        return dict(fault)
    _, line, column = place_of("text", root, [*steps, *path]).split(":")
    return {**fault, "line": int(line), "column": int(column)}
