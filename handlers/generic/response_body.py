"""The JSON of a source's response, and what stands in it by the paths of the configuration."""

from __future__ import annotations

from typing import Any

from app.contract import HttpResponse, MalformedPayload
from app.kit.paths.path import find
from app.kit.payload import decode_any

_SOURCE = "the source"
NO_JSON = object()
"""The body of a response that has none, or another format."""


def json_of(response: HttpResponse) -> Any:
    """The response's JSON, or `NO_JSON`."""
    try:
        return decode_any(response.body, _SOURCE)
    except MalformedPayload:
        return NO_JSON


def at(path: str, body: Any) -> Any:
    """What stands at `path`; None also where the path does not fit the response."""
    try:
        return None if body is NO_JSON else find(path, body)
    except MalformedPayload:
        return None


def holds(path: str | None, body: Any) -> bool:
    """Whether what stands at `path` is true for JMESPath: 0 is, and what is empty is not. None: always."""
    if path is None:
        return True
    value = at(path, body)
    return value is not None and value is not False and value not in ("", [], {})
