"""Parts of pages about the code: the layers, the commands, the kit."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import tomllib
from collections.abc import Iterator
from typing import Any

import app.core
import app.kit
from app.core.commands import Command
from generator.markdown import table
from generator.tables import ROOT

_LINE_CHARS = 80


def layers() -> str:
    """The layers of `app`, as the linter checks them, highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    names = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    lines = [names[0]]
    for name in names[1:]:
        if len(lines[-1]) + len(name) > _LINE_CHARS:
            lines.append("  ")
        lines[-1] += f" ─▶ {name}"
    return "\n".join(["```text", *lines, "handlers ─▶ kit ─▶ contract", "```"])


def commands() -> str:
    """Every command of the ledger, with the first line of its docstring and the type of its result."""
    for module in pkgutil.walk_packages(app.core.__path__, "app.core."):
        importlib.import_module(module.name)
    rows = [
        (f"`{command.__name__}`", _meaning(command), _result(command), f"`{_file(command)}`")
        for command in sorted(_subclasses(Command), key=lambda command: (command.__module__, _line(command)))
    ]
    return table(("command", "meaning", "result", "file"), rows)


def kit() -> str:
    """The modules of the kit, with the first sentence of each one's docstring."""
    rows = []
    for module in pkgutil.iter_modules(app.kit.__path__, "app.kit."):
        said = inspect.getdoc(importlib.import_module(module.name)) or ""
        rows.append((f"`{module.name}`", said.partition("\n\n")[0]))
    return table(("module", "what it has"), rows)


def _subclasses(parent: type[Command[Any]]) -> Iterator[type[Command[Any]]]:
    for child in parent.__subclasses__():
        if "decide" in vars(child):  # a class without is the base of some commands
            yield child
        yield from _subclasses(child)


def _meaning(command: type[Command[Any]]) -> str:
    return (inspect.getdoc(command) or "").partition("\n\n")[0]


def _result(command: type[Command[Any]]) -> str:
    return f"`{str(inspect.signature(command.decide).return_annotation).replace(' | ', ' or ')}`"


def _file(command: type[Command[Any]]) -> str:
    return command.__module__.replace(".", "/") + ".py"


def _line(command: type[Command[Any]]) -> int:
    return inspect.getsourcelines(command)[1]
