"""`docs/cli.md`, made from the commands themselves: `python -m app.cli.reference` writes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from app.cli.main import HERE, THERE, app
from app.config.settings import ClientSettings, Settings, written_default

FILE = Path(__file__).parents[2] / "docs" / "cli.md"

HEAD = """\
<!-- Made by `python -m app.cli.reference` from the commands themselves; changes here will be lost. -->

# The `rescind` command

Exit codes: 0 done, 1 refused or failed, 2 not called as it must be (an option, an argument, a setting).
Answers go to standard output, everything else to standard error. `--json` prints what the API answers,
complete and unabridged.
Tables are colored on a terminal only, and not where `NO_COLOR` is set. All times are UTC. An option that
takes a TIME takes RFC 3339 (`2030-01-31T16:00:00Z`) or a span (`90s`, `30m`, `2h`, `3d`, `1h30m`).

## Settings

All settings are environment variables. `rescind` reads `.env` in the working directory (`NAME=value`, one on a
line); a variable that is set in the environment outranks its line.
"""

_TYPES = {int: "N", float: "N", str: "TEXT", Path: "FILE"}


def document() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    parts: list[str | None] = [HEAD, *_settings(), "## Commands\n", _options(root)]
    for panel in (HERE, THERE):
        parts.append(f"### {panel}\n")
        for name, command in root.commands.items():
            if command.rich_help_panel == panel:
                parts += _command(f"rescind {name}", command)
    return "\n".join(part for part in parts if part is not None)


def _settings() -> Iterator[str]:
    for title, kind in (("The server", Settings), ("The command line as its client", ClientSettings)):
        yield f"{title}:\n\n| variable | default | meaning |\n|---|---|---|"
        for name, field in kind.model_fields.items():
            shown = f"`{written}`" if (written := written_default(field.default)) else ""
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            meaning = " ".join([field.description or "", *([f"One of {', '.join(choices)}."] if choices else [])])
            yield f"| `RESCIND_{name.upper()}` | {shown} | {_cell(meaning)} |"
        yield ""


def _command(path: str, command: Any) -> Iterator[str | None]:
    yield f"#### `{path}`\n\n{inspect.cleandoc(command.help or '')}\n"
    inner = getattr(command, "commands", None)
    if inner is None or command.invoke_without_command:
        yield f"    {' '.join([path, *_usage(command)])}\n"
        yield _options(command)
    for name, each in (inner or {}).items():
        yield from _command(f"{path} {name}", each)


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
    """A table of arguments and options, if there are any."""
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
    return "\n".join(["| | |\n|---|---|", *rows, ""]) if rows else None


def _takes(command: Any, parameter: Any) -> str:
    """What stands after an option: nothing, its choices, or a word for it."""
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    hint = _plain(get_type_hints(command.callback).get(parameter.name, str))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(str(choice.value) for choice in hint)
    return _TYPES.get(hint, "TEXT")


def _plain(hint: Any) -> Any:
    """The type without None, and without the list around it."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    return get_args(hint)[0] if get_origin(hint) is list else hint


def _cell(text: str) -> str:
    """Text as it may stand in a table, also as code."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(document(), encoding="utf-8")
