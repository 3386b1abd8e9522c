"""Headers and bodies of calls, as they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from app.kit.cel.expression import Expression, ExpressionFailed, Scope
from handlers.generic.template import plain_text, template, text_of

_CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
_TEXT = "text/plain; charset=utf-8"


def with_content(headers: Mapping[str, str], content: Any, encoding: str) -> tuple[dict[str, str], bytes]:
    """The headers, with those that say what is sent and wanted, and the body. Raises `ExpressionFailed`.

    Args:
        headers: the account's own, which outrank the usual ones.
        content: the body, filled in; None: none.
        encoding: `json` or `form`.
    """
    complete = {name: _header(name, value) for name, value in headers.items()}
    body = b"" if content is None else _encoded(content, encoding)
    if body:
        # The account's own headers say what a text is.
        default_header(complete, "Content-Type", _TEXT if isinstance(content, str) else _CONTENT_TYPES[encoding])
    default_header(complete, "Accept", "application/json")
    return complete, body


def header_text(name: str, text: str, scope: Scope, values: Mapping[str, Any]) -> str:
    """The value of a header whose template is `text`. Raises `ExpressionFailed`.

    HTTP drops spaces around it: an order's id with a space at its end would become that of another order.
    """
    parts = template(text.strip(), scope).parts
    texts = [part if isinstance(part, str) else text_of(part, values) for part in parts]
    first, last = isinstance(parts[0], Expression), isinstance(parts[-1], Expression)
    if (first and texts[0] != texts[0].lstrip()) or (last and texts[-1] != texts[-1].rstrip()):
        raise ExpressionFailed(f"the header {name} would begin or end with a space, which HTTP does not keep")
    return "".join(texts)


def default_header(headers: dict[str, str], name: str, value: str) -> None:
    """Set a header that is not there yet."""
    if name.lower() not in {own.lower() for own in headers}:
        headers[name] = value


def _header(name: str, value: str) -> str:
    if not value.isprintable():
        raise ExpressionFailed(f"the header {name} would hold a line break, or something else that cannot be printed")
    return value.strip()


def _encoded(body: Any, encoding: str) -> bytes:
    try:
        if isinstance(body, str):
            return body.encode()
        if encoding == "json":
            return msgspec.json.encode(body)
        fields = {name: plain_text(value, f"the field {name} of the form") for name, value in body.items()}
        return urlencode(fields).encode()
    except (TypeError, ValueError, OverflowError) as error:
        raise ExpressionFailed(f"the body cannot be written as {encoding} ({type(error).__name__})") from error
