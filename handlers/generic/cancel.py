"""The calls to a source, made of the account's templates: cancel an order, and probe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec.structs import replace

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    HttpRequest,
    MalformedPayload,
    Order,
    ProbeUnavailable,
)
from app.kit.cel.expression import Expression, ExpressionFailed
from app.kit.cel.order_view import order_values
from app.kit.excerpts import excerpt
from app.kit.flows import flow_per_order, read_snapshot
from app.kit.ids import is_id, path_segment
from app.kit.paths.path import find
from app.kit.responses import ProviderResponse
from handlers.generic.call import Call, Probe
from handlers.generic.config import Config
from handlers.generic.payload import UNTRUSTED, facts_of, order_of
from handlers.generic.responses import RESPONSES, read
from handlers.generic.template import CALL, SECRETS, filled, plain_text, template, text_of

_CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
_TEXT = "text/plain; charset=utf-8"
_NO_PROBE = "This account has no call to ask by: configure `probe`."
_NO_STATUS = "The source's answer states no status that `phases` could tell: see fields.status."


class UnfitNameError(ExpressionFailed):
    """The order's id is no id, or fits into no URL's path: no later call can be made either."""


def cancel(requests: Sequence[CancelRequest], config: Config, context: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own."""
    return flow_per_order(requests, partial(_cancel, config=config, context=context))


def probe(orders: Sequence[Order], config: Config, context: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""
    return flow_per_order(orders, partial(_probe, config=config, context=context))


def _cancel(request: CancelRequest, config: Config, context: Context) -> Flow[CancelResult]:
    if config.cancel is None:
        return CancelResult(CancelOutcome.REFUSED, str(config.no_cancel()))
    values = {**order_values(request.order, context.now), "reason": request.reason, "note": request.note or ""}
    try:
        response = yield from _call(config.cancel, request.order, config, values)
    except ExpressionFailed as error:
        return _unsent_cancel(error, config)
    return RESPONSES.cancel_result(response)


def _unsent_cancel(error: ExpressionFailed, config: Config) -> CancelResult:
    """The result of a cancel whose call cannot be made: a probe may find out what it lacks."""
    words = excerpt(str(error), *config.secret_values.values())
    detail = f"The call that `cancel` describes cannot be made for this order, and nothing was sent: {words}."
    if isinstance(error, UnfitNameError):
        return CancelResult(CancelOutcome.REFUSED, detail)
    if config.probe is None:
        return CancelResult(CancelOutcome.REFUSED, f"{detail} {_NO_PROBE}")
    return CancelResult(CancelOutcome.PROBE_FIRST, detail)


def _probe(order: Order, config: Config, context: Context) -> Flow[Facts | ProbeUnavailable]:
    if config.probe is None:
        return ProbeUnavailable(_NO_PROBE, outcome=CancelOutcome.INDETERMINATE)
    values = {**order_values(order, context.now), "reason": "", "note": ""}
    try:
        response = yield from _call(config.probe, order, config, values)
    except ExpressionFailed as error:
        words = excerpt(str(error), *config.secret_values.values())
        detail = f"The call that `probe` describes cannot be made for this order: {words}."
        outcome = CancelOutcome.REFUSED if isinstance(error, UnfitNameError) else CancelOutcome.RETRY
        return ProbeUnavailable(detail, outcome=outcome)
    order_in = partial(_order_in, read_as=config.probe.read_as, config=config)
    return read_snapshot(order, response, RESPONSES, order_in, no_status=_NO_STATUS)


def _order_in(body: Any, read_as: str | None, config: Config) -> tuple[str, Facts]:
    """The order in the response to a probe, with all its appointments. Raises `MalformedPayload`."""
    try:
        document = body if read_as is None else find(read_as, body)
        id, facts = order_of(document, config), facts_of(document, None, config, UNTRUSTED)
    except MalformedPayload as error:
        hint = "" if read_as else "; if its shape is not that of an event, set probe.read_as"
        raise MalformedPayload(f"{error}{hint}") from error
    # An appointment that the order as a whole does not list exists no more.
    return id, replace(facts, appointments_complete=config.fields.appointments is not None)


def _call(call: Call, order: Order, config: Config, values: dict[str, Any]) -> Flow[ProviderResponse]:
    """Make the call, and read its response. Raises `ExpressionFailed` where it cannot be made: nothing is sent then."""
    request = _request(call, order, config, values)
    secrets = [*config.secret_values.values()]
    for name in (name for name, text in call.headers.items() if SECRETS in text):
        # Credentials made of secrets, such as user and password in base64, are secrets too.
        secrets += [request.headers[name], request.headers[name].rpartition(" ")[2]]
    response = yield request
    return read(response, call, tuple(secrets))


def _request(call: Call, order: Order, config: Config, values: dict[str, Any]) -> HttpRequest:
    """The call's templates, filled with `values` and the secrets. Raises `ExpressionFailed`."""
    if not is_id(order.id):
        raise UnfitNameError("no order can be called so: its id is empty, too long, or holds what cannot be printed")
    url = config.base_url + _target(call.url, values)
    values = {**values, **{SECRETS + name: secret for name, secret in config.secret_values.items()}}
    scope = config.scope
    headers = {name: _header(name, template(text, scope).text(values)) for name, text in call.headers.items()}
    content = filled(call.body, scope, values)
    body = b"" if call.body is None else _encoded(content, call.encoding)
    if body:
        # The account's own headers say what a text is.
        _default(headers, "Content-Type", _TEXT if isinstance(content, str) else _CONTENT_TYPES[call.encoding])
    _default(headers, "Accept", "application/json")
    return HttpRequest(call.method, url, headers, body, config.timeout_s, repeatable=isinstance(call, Probe))


def _target(text: str, values: Mapping[str, Any]) -> str:
    """Path and query. No value of the order leads to another path than the configured one."""
    target = ""
    for part in template(text, CALL).parts:
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
