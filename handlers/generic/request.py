"""Make a call to a source from its templates, and read the response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from app.contract import CancelOutcome, Context, Flow, HttpRequest, HttpResponse, ProbeUnavailable
from app.kit.cel.expression import Expression, ExpressionFailed, Scope
from app.kit.ids import path_segment
from app.kit.responses import ProviderResponse, ResponseKind
from app.kit.tokens import Session, send_authorized
from handlers.generic.call import Call
from handlers.generic.config import Config
from handlers.generic.credentials import tokens_of
from handlers.generic.message import default_header, header_text, with_content
from handlers.generic.responses import read
from handlers.generic.template import SECRETS, filled, reads, template, text_of
from handlers.generic.throttle import Throttle
from handlers.generic.token import TOKEN

_WITHOUT_TOKEN = {
    CancelOutcome.UNAUTHORIZED: ResponseKind.NOT_ALLOWED,
    CancelOutcome.THROTTLED: ResponseKind.THROTTLED,
}
"""What it means for a call that there was no token; otherwise it may be tried again, as nothing was sent."""


class UnfitNameError(ExpressionFailed):
    """The order's id is no id, or fits into no URL's path: no later call can be made either."""


def make_call(
    call: Call,
    config: Config,
    values: Mapping[str, Any],
    context: Context,
    *,
    repeatable: bool,
    confidential: bool = False,
    url: str | None = None,
) -> Flow[ProviderResponse]:
    """Make the call, and read its response. Raises `ExpressionFailed` where it cannot be made: nothing is sent then.

    Args:
        call: the call's templates.
        config: the account's.
        values: of the names in `call.names`.
        context: the flow's; it is held where the response says so.
        repeatable: see `HttpRequest`.
        confidential: see `HttpRequest`.
        url: instead of that of `url_of`: another page of what the call lists.
    """
    requests = list[HttpRequest]()

    def build(token: str = "") -> HttpRequest:
        made = request_of(call, config, values, repeatable=repeatable, confidential=confidential, token=token)
        requests.append(made if url is None else replace(made, url=url))
        return requests[-1]

    tokens = tokens_of(config)
    # What cannot be made is told before a token is fetched for it.
    request = build()
    authorize = config.authorization()
    if authorize is not None:
        response = yield from send_authorized(request, authorize, config, context)
    else:
        refresh_on = () if config.token is None else config.token.refresh_on
        response = (yield request) if tokens is None else (yield from Session(tokens, context, refresh_on).call(build))
    if isinstance(response, ProbeUnavailable):
        kind = _WITHOUT_TOKEN.get(response.outcome, ResponseKind.NOT_OFFERED)
        return ProviderResponse(kind, str(response), after_s=response.after_s)
    secrets = [*config.secret_values.values(), *context.concealed]
    for name in (name for name, text in call.headers.items() if SECRETS in text or TOKEN in text):
        # Credentials made of secrets, such as user and password in base64, are secrets too.
        secrets += [requests[-1].headers[name], requests[-1].headers[name].rpartition(" ")[2]]
    return _throttled(read(response, call, tuple(secrets)), response, call.throttle or config.throttle, context)


def _throttled(
    read: ProviderResponse, response: HttpResponse, throttle: Throttle | None, context: Context
) -> ProviderResponse:
    """The response with the wait that it asks for; holds the account for the one that comes with what it has left."""
    if throttle is None:
        return read
    hold_s = throttle.hold_s(response, read.body, context.now)
    if hold_s is not None:
        context.hold(hold_s)
    if read.kind is not ResponseKind.THROTTLED or read.after_s is not None:
        return read
    return replace(read, after_s=throttle.wait_s(response, read.body, context.now))


def request_of(
    call: Call,
    config: Config,
    values: Mapping[str, Any],
    *,
    repeatable: bool,
    confidential: bool = False,
    token: str = "",
) -> HttpRequest:
    """The call's templates, filled with `values`, the secrets and the token. Raises `ExpressionFailed`."""
    url = url_of(call, config, values)
    values = {**values, **{SECRETS + name: secret for name, secret in config.secret_values.items()}}
    values, scope = {**values, TOKEN: token}, config.scope_of(call)
    filled_in = {name: header_text(name, text, scope, values) for name, text in call.headers.items()}
    content = None if call.body is None else filled(call.body, scope, values)
    headers, body = with_content(filled_in, content, call.encoding)
    if config.token is not None and not any(reads(text, scope, TOKEN) for text in call.headers.values()):
        default_header(headers, "Authorization", f"Bearer {token}")
    return HttpRequest(
        call.method, url, headers, body, config.timeout_s, repeatable=repeatable, confidential=confidential
    )


def url_of(call: Call, config: Config, values: Mapping[str, Any]) -> str:
    """Where the call goes. Raises `ExpressionFailed`."""
    return config.base_url + _target(call.url, call.names, values)


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
