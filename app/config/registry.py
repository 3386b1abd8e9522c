"""Discover handlers: in `handlers/`, in the folders of RESCIND_HANDLERS_PATH, and by entry points of packages."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import handlers as _packages
from app.contract import Handler

GROUP = "rescind.handlers"
"""Entry points of this group name a `Handler`, or a module that exports `HANDLER`."""
PATH_VARIABLE = "RESCIND_HANDLERS_PATH"
_TAKEN = "there is a handler of that name already ({source}): give this one another name"


class UnknownHandlerError(KeyError):
    """No usable handler has that name; the message lists all handlers, or says why this one is broken."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class FoundHandler:
    """A handler and its source."""

    handler: Handler
    source: str
    folder: Path
    """The folder of its package, with `fixtures/` and `README.md`."""


@dataclass(frozen=True, slots=True)
class BrokenHandler:
    """A handler that cannot be loaded. The others still work."""

    name: str
    source: str
    error: str


@dataclass(frozen=True, slots=True)
class _Discovery:
    found: dict[str, FoundHandler]
    broken: list[BrokenHandler]


def handlers() -> dict[str, Handler]:
    """All handlers by name, in alphabetical order."""
    return _by_name()


def found_handlers() -> dict[str, FoundHandler]:
    """All handlers with their sources, by name."""
    return _discover().found


def broken_handlers() -> list[BrokenHandler]:
    """All handlers that cannot be loaded."""
    return _discover().broken


def handler(name: str) -> Handler:
    """The handler of that name. Raises `UnknownHandlerError`."""
    try:
        return _by_name()[name]
    except KeyError as error:
        for broken in broken_handlers():
            if broken.name == name:
                raise UnknownHandlerError(
                    f"the handler {name!r} ({broken.source}) is broken: {broken.error}"
                ) from error
        names = ", ".join(_by_name()) or "none"
        raise UnknownHandlerError(f"there is no provider {name!r}; known are: {names}") from error


@cache
def _by_name() -> dict[str, Handler]:
    return {name: found.handler for name, found in _discover().found.items()}


@cache
def _discover() -> _Discovery:
    found: dict[str, FoundHandler] = {}
    broken: list[BrokenHandler] = []
    for name, source, load in [*_in_folders(broken), *_in_packages()]:
        try:
            loaded = _load(load, source)
        except Exception as error:  # noqa: BLE001 - a handler's module may fail in any way
            broken.append(BrokenHandler(name, source, f"{type(error).__name__}: {error}"))
            continue
        if loaded is None:
            continue
        first = found.setdefault(loaded.handler.name, loaded)
        if first is not loaded:
            broken.append(BrokenHandler(loaded.handler.name, source, _TAKEN.format(source=first.source)))
    return _Discovery(dict(sorted(found.items())), broken)


def _in_folders(broken: list[BrokenHandler]) -> Iterator[tuple[str, str, Any]]:
    built_in = list(_packages.__path__)
    for directory in filter(None, os.environ.get(PATH_VARIABLE, "").split(os.pathsep)):
        path = str(Path(directory).resolve())
        if not Path(path).is_dir():
            broken.append(BrokenHandler("-", f"{PATH_VARIABLE}={directory}", "there is no such folder"))
        elif path not in [str(Path(folder).resolve()) for folder in _packages.__path__]:
            # `rescind new-handler` writes modules that are imported as `handlers.NAME`.
            _packages.__path__.append(path)
    sources: dict[str, str] = {}
    for folder in _packages.__path__:
        for module in pkgutil.iter_modules([folder]):
            source = "built in" if folder in built_in else folder
            taken = sources.setdefault(module.name, source)
            if taken != source:
                # Only the first module of a name can be imported.
                broken.append(BrokenHandler(module.name, source, _TAKEN.format(source=taken)))
    for name, source in sorted(sources.items()):
        yield name, source, lambda name=name: import_module(f"{_packages.__name__}.{name}")


def _in_packages() -> Iterator[tuple[str, str, Any]]:
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.dist.name if entry.dist is not None else entry.value
        yield entry.name, f"package {package}", entry.load


def _load(load: Any, source: str) -> FoundHandler | None:
    """The handler that `load` returns; None for a built-in module without one. Raises whatever its code raises."""
    loaded = load()
    exported = loaded if isinstance(loaded, Handler) else getattr(loaded, "HANDLER", None)
    if not isinstance(exported, Handler):
        if source == "built in":
            return None
        raise TypeError("it exports no HANDLER that is a Handler of app.contract")
    module = sys.modules[getattr(loaded, "__name__", "") or exported.parse.__module__]
    return FoundHandler(exported, source, Path(str(module.__file__)).parent)
