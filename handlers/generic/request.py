"""Make a call to a source from its templates, and read the response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from app.contract import Flow, HttpRequest
from app.kit.cel.expression import Expression, ExpressionFailed, Scope
from app.kit.ids import path_segment
from app.kit.responses import ProviderResponse
from handlers.generic.call import Call
from handlers.generic.config import Config
from handlers.generic.responses import read
from handlers.generic.template import SECRETS, filled, plain_text, template, text_of

_CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
_TEXT = "text/plain; charset=utf-8"


class UnfitNameError(ExpressionFailed):
    """The order's id is no id, or fits into no URL's path: no later call can be made either."""


def make_call(
    call: Call, config: Config, values: Mapping[str, Any], *, repeatable: bool, confidential: bool = False
) -> Flow[ProviderResponse]:
    """Make the call, and read its response. Raises `ExpressionFailed` where it cannot be made: nothing is sent then.

    Args:
        call: the call's templates.
        config: the account's.
        values: of the names in `call.names`.
        repeatable: see `HttpRequest`.
        confidential: see `HttpRequest`.
    """
    request = request_of(call, config, values, repeatable=repeatable, confidential=confidential)
    secrets = [*config.secret_values.values()]
    for name in (name for name, text in call.headers.items() if SECRETS in text):
        # Credentials made of secrets, such as user and password in base64, are secrets too.
        secrets += [request.headers[name], request.headers[name].rpartition(" ")[2]]
    response = yield request
    return read(response, call, tuple(secrets))


def request_of(
    call: Call, config: Config, values: Mapping[str, Any], *, repeatable: bool, confidential: bool = False
) -> HttpRequest:
    """The call's templates, filled with `values` and the secrets. Raises `ExpressionFailed`."""
    url = config.base_url + _target(call.url, call.names, values)
    values = {**values, **{SECRETS + name: secret for name, secret in config.secret_values.items()}}
    scope = config.scope_of(call)
    headers = {name: _header(name, template(text, scope).text(values)) for name, text in call.headers.items()}
    content = filled(call.body, scope, values)
    body = b"" if call.body is None else _encoded(content, call.encoding)
    if body:
        # The account's own headers say what a text is.
        _default(headers, "Content-Type", _TEXT if isinstance(content, str) else _CONTENT_TYPES[call.encoding])
    _default(headers, "Accept", "application/json")
    return HttpRequest(
        call.method, url, headers, body, config.timeout_s, repeatable=repeatable, confidential=confidential
    )


def _target(text: str, scope: Scope, values: Mapping[str, Any]) -> str:
    """Path and query. No value leads to another path than the configured one."""
    target = ""
    for part in template(text, scope).parts:
        if isinstance(part, str):
            target += part
        elif "?" in target:
            target += quote(text_of(part, values), safe="")
        else:
            target += _segment(part, values)
    if not {".", ".."}.isdisjoint(target.partition("?")[0].split("/")):
        raise ExpressionFailed("a part of the URL's path would be nothing but dots")
    return target


def _segment(part: Expression, values: Mapping[str, Any]) -> str:
    segment = path_segment(text_of(part, values))
    if segment is None:
        # Anything but the id may change with a later event.
        kind = UnfitNameError if part.names == {"order.id"} else ExpressionFailed
        raise kind(
            f"{part.text.strip()} is empty, holds a slash or a control character, or is nothing but dots, "
            "and stands in the path of the URL"
        )
    return segment


def _header(name: str, value: str) -> str:
    if not value.isprintable():
        raise ExpressionFailed(f"the header {name} would hold a line break, or something else that cannot be printed")
    return value.strip()


def _default(headers: dict[str, str], name: str, value: str) -> None:
    if name.lower() not in {own.lower() for own in headers}:
        headers[name] = value


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
