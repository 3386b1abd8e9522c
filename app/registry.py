"""Finds handlers: every package under `handlers/` that exports `HANDLER`."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

import handlers as _packages
from app.contract import Handler


class UnknownHandlerError(KeyError):
    """No folder under `handlers/` has that name; the message lists those there are."""

    def __str__(self) -> str:
        return str(self.args[0])


@cache
def handlers() -> dict[str, Handler]:
    """All handlers by name, in alphabetical order."""
    found = {}
    for module in sorted(pkgutil.iter_modules(_packages.__path__), key=lambda each: each.name):
        exported = getattr(import_module(f"{_packages.__name__}.{module.name}"), "HANDLER", None)
        if isinstance(exported, Handler):
            found[exported.name] = exported
    return found


def handler(name: str) -> Handler:
    """The handler of that name. Raises `UnknownHandlerError`."""
    try:
        return handlers()[name]
    except KeyError as error:
        known = ", ".join(handlers()) or "none"
        raise UnknownHandlerError(f"there is no provider {name!r}; known are: {known}") from error
