"""Valid requests for an endpoint: signed as its source would sign them, and as a command for `curl`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from app.config.resolve import Endpoint
from app.contract import HttpRequest, VerifyOptions
from app.dev.trial.webhooks import Given
from app.kit.sample import sample_of, signed
from app.kit.sign import CannotSign

INLINE_MAX = 100_000
"""In bytes: systems limit the length of an argument."""
SECRET = "SECRET"  # noqa: S105 - the name of a variable
_POST = "POST"


class NotInlineError(Exception):
    """A body does not fit into a command; the message says what to do."""


def sample(endpoint: Endpoint, url: str, now: datetime) -> Given:
    """What the source would send to this account about an order that does not exist. Raises `NoSample`."""
    made = sample_of(endpoint.account.handler, endpoint.account.config, now)
    return Given("the sample", [*made.headers.items()], made.body, url=url)


def sign(endpoint: Endpoint, given: Given, now: datetime) -> Given:
    """The request with the proof that the endpoint asks for. Raises `CannotSign`."""
    options = endpoint.verify
    bare = HttpRequest(given.method, given.url, dict(given.headers), given.body)
    made = signed(endpoint.account.handler, bare, _without_query(endpoint, options), now, given.url)
    query = parse_qsl(urlsplit(made.url).query, keep_blank_values=True)
    return Given(given.name, [*made.headers.items()], made.body, query, given.method, made.url)


def proven(endpoint: Endpoint, given: Given, now: datetime) -> Given:
    """The request as `sign` makes it; or taken for authentic, where only the source can sign."""
    try:
        return sign(endpoint, given, now)
    except CannotSign as error:
        return replace(given, trusted=f"not checked: {error}")


def _without_query(endpoint: Endpoint, options: VerifyOptions) -> VerifyOptions:
    """A token stands in a header, not in the URL, so that a command can take it from a variable as it is."""
    handler = endpoint.account.handler
    is_token = options.scheme == "token" or (
        options.scheme == "handler" and handler.sign is None and handler.proof_in_headers
    )
    return options.model_copy(update={"header": "Authorization"}) if is_token and options.header is None else options


def target(url: str, endpoint: str) -> str:
    """Where an endpoint is served: the path is added to a URL that has none."""
    return f"{url.rstrip('/')}/webhooks/{endpoint}" if urlsplit(url).path in ("", "/") else url


def curl(
    endpoint: Endpoint, given: Given, url: str, variables: Mapping[str, str], file: str | None
) -> tuple[str, Sequence[str]]:
    """(a command for a POSIX shell that sends the request to `url` with its query, the variables that it needs).

    Secrets are written as variables: those of the file that is tried, or SECRET for one that the file spells out.
    `file` is where the body is; None puts it into the command. Raises `NotInlineError`.
    """
    names = {value: name for name, value in variables.items()}
    secrets = {secret: names.get(secret, SECRET) for secret in endpoint.secrets}
    query = urlsplit(given.url).query
    words = ["curl", "-sS", "-i", "-X", given.method, _word(url if not query else f"{url}?{query}", secrets)]
    for name, value in given.headers:
        if endpoint.verify.scheme == "basic" and value.startswith("Basic "):
            first = endpoint.verify.secrets[0].get_secret_value()
            words += ["-u", _word(f"{endpoint.verify.username}:{first}", secrets)]
        else:
            words += ["-H", _word(f"{name}: {value}" if value else f"{name};", secrets)]
    if given.body or given.method == _POST:
        words += ["--data-binary", shlex.quote(f"@{file}")] if file else ["--data-raw", _inline(given.body)]
    command = " ".join(words)
    return command, [name for name in dict.fromkeys(secrets.values()) if f'"${{{name}}}"' in command]


def _word(text: str, secrets: Mapping[str, str]) -> str:
    """A word of a shell, with secrets as variables."""
    for secret, name in secrets.items():
        before, found, after = text.partition(secret)
        if found:
            rest = _word(after, secrets) if after else ""
            return f'{shlex.quote(before) if before else ""}"${{{name}}}"{rest}'
    return shlex.quote(text)


def _inline(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(body) > INLINE_MAX:
        raise NotInlineError("the body is too long for a command, or is no text: give it as a file")
    return shlex.quote(text)
