"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from app.cli.main import HERE, THERE, app

HEAD = """\
# The `rescind` command

Every command takes `--help`; those that print data take `--json`, which prints what the API returns, complete and
unabridged. Data goes to standard output, everything else to standard error. Tables are colored on a terminal only, and
not if `NO_COLOR` is set. Columns that a terminal has no room for stand beneath their row, indented; nothing is cut. In
a file or a pipe each row is one line, and the titles come once.

What deletes, erases or cancels many asks first, and says how much it is about. In a script give `--yes`: without it,
and without a terminal, nothing is done and the exit code is 2.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | refused or failed |
| 2 | usage error: an option, an argument or a setting is wrong, or a confirmation is missing |
| 130 | interrupted by Ctrl-C |

All times are UTC. An option that takes a TIME takes RFC 3339 (`2030-01-31T16:00:00Z`) or a duration (`90s`, `30m`,
`2h`, `3d`, `1h30m`). The commands read the [settings](settings.md) from the environment and from `.env` in the working
directory.

## Global options
"""

_TYPES = {int: "N", float: "N", str: "TEXT", Path: "FILE"}


def document() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    parts: list[str | None] = [HEAD, _options(root)]
    for panel in (HERE, THERE):
        parts.append(f"## {panel}\n")
        for name, command in root.commands.items():
            if command.rich_help_panel == panel:
                parts += _command(f"rescind {name}", command)
    return "\n".join(part for part in parts if part is not None)


def _command(path: str, command: Any) -> Iterator[str | None]:
    yield f"### `{path}`\n\n{inspect.cleandoc(command.help or '')}\n"
    inner = getattr(command, "commands", None)
    if inner is None or command.invoke_without_command:
        yield f"    {' '.join([path, *_usage(command)])}\n"
        yield _options(command)
    for name, subcommand in (inner or {}).items():
        yield from _command(f"{path} {name}", subcommand)


def _usage(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = parameter.metavar + ("..." if parameter.nargs != 1 else "")
            yield name if parameter.required else f"[{name}]"
        elif parameter.required:
            yield f"{parameter.opts[0]} {_takes(command, parameter)}"
    if any(parameter.param_type_name != "argument" and not parameter.required for parameter in command.params):
        yield "[options]"


def _options(command: Any) -> str | None:
    """A table of arguments and options; None if there are none."""
    rows = []
    for parameter in command.params:
        if parameter.hidden:
            continue
        argument = parameter.param_type_name == "argument"
        name = parameter.metavar if argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
        takes = "" if argument else _takes(command, parameter)
        notes = "Required. " if parameter.required and not argument else ""
        value = parameter.opts[0] if parameter.default is True else parameter.default
        default = "" if value in (None, False, "") or argument else f" Default: `{value}`."
        what = _cell(f"{name} {takes}")
        rows.append(f"| `{what}` | {notes}{_cell(parameter.help)}{default} |")
    return "\n".join(["| argument or option | meaning |\n|---|---|", *rows, ""]) if rows else None


def _takes(command: Any, parameter: Any) -> str:
    """The value an option takes: "" for a flag, its choices, or a metavar."""
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    hint = _plain(get_type_hints(command.callback).get(parameter.name, str))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(str(choice.value) for choice in hint)
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    return _TYPES.get(hint, "TEXT")


def _plain(hint: Any) -> Any:
    """The type without `None`, or the item type of a list."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(member for member in get_args(hint) if member is not type(None))
    return get_args(hint)[0] if get_origin(hint) is list else hint


def _cell(text: str) -> str:
    """Text as a cell of a table, also inside a code span."""
    return " ".join(text.split()).replace("|", "\\|")
