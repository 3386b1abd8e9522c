"""The calls to a source, made of the account's templates: cancel an order, and ask how it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
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
from app.kit.ids import is_id, path_segment
from handlers.generic.call import Call, Probe
from handlers.generic.config import Config
from handlers.generic.path import find
from handlers.generic.payload import UNTRUSTED, facts_of, order_of
from handlers.generic.responses import Answer, read
from handlers.generic.template import CALL, SECRETS, Template, filled, template

_CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
_TEXT = "text/plain; charset=utf-8"
_NOT_FOUND = (404, 410)
_NO_PROBE = "This account has no call to ask by: configure `probe`."


class UnfitNameError(ExpressionFailed):
    """The order's id can be none, or cannot stand in the path of the URL: no other try will have it otherwise."""


class Made(msgspec.Struct, frozen=True):
    """A request, and what of it must not show anywhere."""

    request: HttpRequest
    hidden: tuple[str, ...]


def cancel(requests: Sequence[CancelRequest], config: Config, context: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own."""
    call, results = config.cancel, list[CancelResult]()
    if call is None:
        return [CancelResult(CancelOutcome.REFUSED, str(config.no_cancel()))] * len(requests)
    for each in requests:
        try:
            made = _made(call, each.order, config, context, reason=each.reason, note=each.note or "")
        except ExpressionFailed as error:
            results.append(_unsent(error, config))
            continue
        response = yield made.request
        answer = read(response, call, made.hidden)
        results.append(
            CancelResult(
                answer.outcome,
                answer.detail,
                answer.after_s,
                doubtful=answer.doubtful,
                ambiguous=answer.doubtful and response.status == HTTPStatus.INTERNAL_SERVER_ERROR,
            )
        )
    return results


def _unsent(error: ExpressionFailed, config: Config) -> CancelResult:
    """What a call that cannot be made comes to: what it lacks, a probe may tell."""
    words = excerpt(str(error), *config.secret_values.values())
    detail = f"The call that `cancel` describes cannot be made for this order, and nothing was sent: {words}."
    if isinstance(error, UnfitNameError):
        return CancelResult(CancelOutcome.REFUSED, detail)
    if config.probe is None:
        return CancelResult(CancelOutcome.REFUSED, f"{detail} {_NO_PROBE}")
    return CancelResult(CancelOutcome.PROBE_FIRST, detail)


def probe(orders: Sequence[Order], config: Config, context: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""
    results: list[Facts | ProbeUnavailable] = []
    for order in orders:
        if config.probe is None:
            results.append(ProbeUnavailable(_NO_PROBE, outcome=CancelOutcome.INDETERMINATE))
            continue
        try:
            made = _made(config.probe, order, config, context, reason="", note="")
        except ExpressionFailed as error:
            words = excerpt(str(error), *config.secret_values.values())
            detail = f"The call that `probe` describes cannot be made for this order: {words}."
            outcome = CancelOutcome.REFUSED if isinstance(error, UnfitNameError) else CancelOutcome.RETRY
            results.append(ProbeUnavailable(detail, outcome=outcome))
            continue
        response = yield made.request
        answer = read(response, config.probe, made.hidden)
        results.append(_snapshot(order, answer, response.status, config.probe, config))
    return results


def _made(call: Call, order: Order, config: Config, context: Context, *, reason: str, note: str) -> Made:
    """The request. Raises `ExpressionFailed`."""
    if not is_id(order.id):
        raise UnfitNameError("no order can be called so: its id is empty, too long, or holds what cannot be printed")
    values = {**order_values(order, context.now), "reason": reason, "note": note}
    url = config.base_url + _target(call.url, values)
    secrets = config.secret_values
    values.update((SECRETS + name, secret) for name, secret in secrets.items())
    scope = config.scope
    headers = {name: _header(name, template(text, scope).text(values)) for name, text in call.headers.items()}
    hidden = [*secrets.values()]
    for name, text in call.headers.items():
        if SECRETS in text:
            # Credentials that were put together (user and password in base64) are secrets as well.
            hidden += [headers[name], headers[name].rpartition(" ")[2]]
    made, body = None, b""
    if call.body is not None:
        made = filled(call.body, scope, values)
        body = _encoded(made, call.encoding)
    if body:
        # What a text is, the account's own headers say.
        _default(headers, "Content-Type", _TEXT if isinstance(made, str) else _CONTENT_TYPES[call.encoding])
    _default(headers, "Accept", "application/json")
    request = HttpRequest(
        method=call.method,
        url=url,
        headers=headers,
        body=body,
        timeout_s=config.timeout_s,
        repeatable=isinstance(call, Probe),
    )
    return Made(request, tuple(sorted(hidden, key=len, reverse=True)))


def _target(text: str, values: Mapping[str, Any]) -> str:
    """Path and query. What an order is called must not lead to another path than the one that was configured."""
    target = ""
    for each in template(text, CALL).parts:
        if isinstance(each, str):
            target += each
            continue
        target += _quoted(Template((each,)).text(values), each, in_path="?" not in target)
    if not {".", ".."}.isdisjoint(target.partition("?")[0].split("/")):
        raise ExpressionFailed("a part of the URL's path would be nothing but dots")
    return target


def _quoted(value: str, source: Expression, *, in_path: bool) -> str:
    if not in_path:
        return quote(value, safe="")
    segment = path_segment(value)
    if segment is None:
        # What else is known of the order may come to be known otherwise.
        kind = UnfitNameError if source.names == {"order.id"} else ExpressionFailed
        raise kind(
            f"{source.text.strip()} is empty, holds a slash or a control character, or is nothing but dots, "
            "and stands in the path of the URL"
        )
    return segment


def _header(name: str, value: str) -> str:
    if not value.isprintable():
        raise ExpressionFailed(f"the header {name} would hold a line break, or something else that cannot be printed")
    return value.strip()


def _default(headers: dict[str, str], name: str, value: str) -> None:
    if name.lower() not in {each.lower() for each in headers}:
        headers[name] = value


def _encoded(body: Any, encoding: str) -> bytes:
    try:
        if isinstance(body, str):
            return body.encode()
        if encoding == "json":
            return msgspec.json.encode(body)
        fields = {}
        for key, value in body.items():
            if isinstance(value, (dict, list)):
                raise ExpressionFailed(f"the field {key} of the form would be a list or an object")
            fields[key] = _as_field(value)
        return urlencode(fields).encode()
    except (TypeError, ValueError, OverflowError) as error:
        raise ExpressionFailed(f"the body cannot be written as {encoding} ({type(error).__name__})") from error


def _as_field(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _snapshot(order: Order, answer: Answer, status: int, call: Probe, config: Config) -> Facts | ProbeUnavailable:
    if answer.outcome is not CancelOutcome.SUCCEEDED:
        return ProbeUnavailable(answer.detail, outcome=_outcome(answer, status), after_s=answer.after_s)
    try:
        document = answer.body if call.read_as is None else find(call.read_as, answer.body)
        named = order_of(document, config)
        facts = facts_of(document, None, config, UNTRUSTED)
    except MalformedPayload as error:
        hint = "" if call.read_as else "; if its shape is not that of an event, set probe.read_as"
        return ProbeUnavailable(f"The source's answer cannot be read: {error}{hint}.")
    names = {named, *facts.aliases}
    if names.isdisjoint({order.id, *order.aliases}):
        return ProbeUnavailable(f"The source answered with order {named} when asked for {order.id}.")
    if facts.phase is None:
        return ProbeUnavailable("The source's answer states no status that `phases` could tell: see fields.status.")
    # What the source's present word on the whole order does not list is no longer there.
    complete = config.fields.appointments is not None
    return replace(facts, aliases=tuple(sorted(names - {order.id})), appointments_complete=complete, snapshot=True)


def _outcome(answer: Answer, status: int) -> CancelOutcome:
    """What an answer that tells nothing of the order means for a probe."""
    if answer.outcome in (CancelOutcome.UNAUTHORIZED, CancelOutcome.THROTTLED) or answer.by_table:
        return answer.outcome
    # In the source's own words there is no such order; a bare 404 may be anybody's.
    is_word = status in _NOT_FOUND and answer.body is not None
    return CancelOutcome.REFUSED if is_word else CancelOutcome.RETRY
