"""Key paths: where a value stands in a payload, such as `status` or `event.name`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from app.contract import MalformedPayload, Unrecognized

STATUS_CHARS_MAX = 100


def find(body: dict[str, Any], key: str) -> Any:
    """What stands at `key`, which may be dotted; None where nothing does."""
    value = body.get(key)
    if value is None and "." in key:
        value = body
        for part in key.split("."):
            value = value.get(part) if type(value) is dict else None
    return value


def first_value(body: dict[str, Any], keys: Iterable[str]) -> Any:
    """What stands at the first of `keys` that has something."""
    for key in keys:
        value = find(body, key)
        if value is not None:
            return value
    return None


def read_status(value: Any) -> str | None:
    """A status or the like, fit to be kept; None where there is none."""
    return value[:STATUS_CHARS_MAX].replace("\0", "") if type(value) is str and value else None


def first_status(body: dict[str, Any], keys: Iterable[str]) -> str | None:
    """The status or the like at the first of `keys` that has one."""
    for key in keys:
        status = read_status(find(body, key))
        if status is not None:
            return status
    return None


def event_name(body: dict[str, Any], keys: Iterable[str], is_known: Callable[[str], bool]) -> str | None:
    """The event's name in a webhook: the first at `keys` that is known, or else the first that is there at all.

    Raises `MalformedPayload` for an object in a name's place.
    """
    unknown = None
    for key in keys:
        name = find(body, key)
        if type(name) is str and name:
            if is_known(name):
                return name
            unknown = unknown or name
        elif type(name) is dict:
            raise MalformedPayload(f"{key} is an object: set event_keys to where in it the name stands ({key}.name)")
    return unknown


def no_event_or_status(event_keys: Iterable[str], status_keys: Iterable[str]) -> Unrecognized:
    """The result for a webhook whose body names neither an event nor a status."""
    return Unrecognized(
        f"the body names neither an event (looked for {', '.join(event_keys)}) nor a status "
        f"(looked for {', '.join(status_keys)}); if it does so elsewhere, set event_keys or status_keys"
    )
