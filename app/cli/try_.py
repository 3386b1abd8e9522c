"""`rescind try`: a resource file or a recipe, tried on webhooks and answers without a server."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import typer

from app.cli import output
from app.cli.environment import load_env_file
from app.cli.failure import FAILED, MISUSED, Failure
from app.cli.options import Json
from app.cli.try_input import (
    STANDARD_INPUT,
    name_of,
    read_answers,
    read_bytes,
    read_headers,
    read_key_answers,
    read_pairs,
)
from app.cli.try_options import (
    DEFAULT_URL,
    PUBLIC_URL,
    AccountId,
    AnswerHeaders,
    Answers,
    At,
    Destination,
    EndpointId,
    EnvFile,
    File,
    FlowName,
    Headers,
    Keys,
    Method,
    Note,
    OrderId,
    Query,
    Reason,
    Sign,
    SourceUrl,
    Statuses,
    Unsigned,
    Webhooks,
)

if TYPE_CHECKING:
    from app.config.resolve import Account, Endpoint
    from app.dev.trial.keys import KeyAnswer
    from app.dev.trial.run import Wanted
    from app.dev.trial.source import TrialSource
    from app.dev.trial.webhooks import Given

POST = "POST"
_UNKNOWN_URL = (
    f"the source signs the URL that it calls, and {PUBLIC_URL} is not set: set it as the server has it, or give --url"
)


@dataclass(frozen=True, slots=True)
class _Options:
    """What the request is made of."""

    files: Sequence[str]
    headers: Sequence[tuple[str, str]]
    at: datetime
    base: str
    """Where the server is for the source."""
    method: str
    query: Sequence[tuple[str, str]]
    url: str | None


def try_source(
    file: File,
    webhook: Webhooks = None,
    header: Headers = None,
    method: Method = "POST",
    query: Query = None,
    url: SourceUrl = None,
    endpoint: EndpointId = None,
    account: AccountId = None,
    at: At = None,
    unsigned: Unsigned = False,
    keys: Keys = None,
    order: OrderId = None,
    reason: Reason = None,
    note: Note = None,
    answer: Answers = None,
    status: Statuses = None,
    answer_header: AnswerHeaders = None,
    flow: FlowName = "cancel",
    sign: Sign = False,
    to: Destination = None,
    env_file: EnvFile = None,
    json: Json = False,
) -> None:
    """Try an account and its endpoint without a server: what a webhook gives, and how its order would be canceled."""
    _check(webhook, order, answer, status, answer_header, to, needs_body=not sign and method.upper() == POST)
    if [file, *(webhook or []), *(answer or []), *(keys or [])].count(STANDARD_INPUT) > 1:
        raise typer.BadParameter("- stands for standard input, which can be read only once")
    if env_file is not None:
        _load(env_file)
    now = at or datetime.now(UTC)
    source = _read(file, now)
    target = _target(source, endpoint, account)
    # A server that does not know its URL answers no challenge that depends on it.
    base = os.environ.get(PUBLIC_URL) or (DEFAULT_URL if method.upper() == POST else "")
    options = _Options(
        webhook or [], read_headers(header or []), now, base, method.upper(), read_pairs(query or []), url
    )
    from app.config.resolve import Account
    from app.dev.trial.run import Wanted

    given: list[Given] = []
    key_answers: list[KeyAnswer] = []
    notes: list[str] = []
    if isinstance(target, Account):
        _check_no_webhooks(target, requests=bool(webhook or sign or keys) or method.upper() != POST)
    else:
        key_answers = read_key_answers(target, keys or [], unsigned=unsigned)
        given, notes = _webhooks(options, target), _notes(target, url)
        if sign:
            _print_notes(notes)
            _print_signed(source, target, given, options, to, as_json=json)
            return
        if unsigned:
            from app.dev.trial.signing import proven

            given = [proven(target, one, now) for one in given]
    answers = read_answers(answer or [], status or [], read_headers(answer_header or []))
    wanted = Wanted(now, order, reason, note, answers, flow, keys=key_answers, notes=notes)
    _try(source, target, given, wanted, as_json=json)


def _try(
    source: TrialSource, target: Endpoint | Account, given: Sequence[Given], wanted: Wanted, *, as_json: bool
) -> None:
    from app.config.resolve import Account
    from app.config.secret_values import secrets_in
    from app.dev.trial.run import run
    from app.runtime.log import set_up
    from app.runtime.redaction import Redactor

    # The traceback of a handler that fails, on standard error.
    set_up("console", "error", Redactor(secrets_in(target.config)) if isinstance(target, Account) else target.redactor)
    trial = run(source, target, given, wanted)
    if as_json:
        output.print_json(trial)
    else:
        from app.cli.try_view import show_trial

        show_trial(trial)
    if not trial.ok:
        raise typer.Exit(FAILED)


def _notes(endpoint: Endpoint, url: str | None) -> list[str]:
    """What else to know of the trial."""
    from app.kit.signing import signs_url

    is_unknown = signs_url(endpoint.verify) and not (url or os.environ.get(PUBLIC_URL))
    return [_UNKNOWN_URL] if is_unknown else []


def _check(
    webhook: Sequence[str] | None,
    order: str | None,
    answer: Sequence[str] | None,
    status: Sequence[int] | None,
    answer_header: Sequence[str] | None,
    to: str | None,
    *,
    needs_body: bool,
) -> None:
    """Raise a usage error for options that do not go together."""
    if needs_body and not (webhook or order):
        raise typer.BadParameter("give a --webhook, an --order, or --sign")
    if to is not None and needs_body:
        raise typer.BadParameter("--to is for --sign")
    if answer_header and not (answer or status):
        raise typer.BadParameter("--answer-header is for a response: give --answer or --status")


def _load(env_file: Path) -> None:
    if not env_file.is_file():
        raise typer.BadParameter(f"there is no file {env_file}")
    load_env_file(env_file)


def _read(file: str, now: datetime) -> TrialSource:
    from app.config.faults import InvalidResourceError
    from app.config.file import MissingVariablesError
    from app.dev.trial.source import read_source

    try:
        return read_source(_path(file), os.environ, now)
    except MissingVariablesError as error:
        cure = f"Set {', '.join(error.names)}: in the environment, in .env, or in a file for --env-file."
        raise Failure(f"{_sentences(str(error))}\n{cure}", MISUSED) from error
    except InvalidResourceError as error:
        raise Failure(_sentences(str(error)), MISUSED) from error


def _path(file: str) -> Path:
    """The file; of a recipe also its folder, or the name of one of this release."""
    from app.dev.recipes.shipped import FILE, names, shipped

    if file == STANDARD_INPUT:
        return Path("/dev/stdin")
    path = Path(file)
    if path.is_dir():
        if not (path / FILE).exists():
            raise typer.BadParameter(f"{file} is a folder without a {FILE}: give a resource file, or a recipe's folder")
        return path / FILE
    return shipped() / file / FILE if not path.exists() and file in names() else path


def _target(source: TrialSource, endpoint: str | None, account: str | None) -> Endpoint | Account:
    """What is tried: an endpoint, or an account without one."""
    from app.dev.trial.source import UnclearEndpointError

    if endpoint is not None and account is not None:
        raise typer.BadParameter("give --endpoint or --account: an endpoint has its account")
    try:
        return source.target(endpoint, account)
    except UnclearEndpointError as error:
        raise typer.BadParameter(str(error)) from error


def _check_no_webhooks(account: Account, *, requests: bool) -> None:
    """Raise a usage error for requests to an account that no endpoint takes webhooks for."""
    if requests:
        raise typer.BadParameter(
            f"no endpoint of the file takes webhooks for the account {account.spec.id}: give only an --order, and with "
            "--flow probe --answer FILE what its source answers"
        )


def _webhooks(options: _Options, endpoint: Endpoint) -> list[Given]:
    from app.dev.trial.webhooks import Given

    url = _url(options, endpoint)
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    if options.method != POST and not options.files:
        return [Given(f"{options.method} {endpoint.spec.id}", options.headers, b"", query, options.method, url)]
    headers = list(options.headers)
    if "content-type" not in {name.lower() for name, _ in headers}:
        headers.append(("Content-Type", "application/json"))
    return [Given(name_of(file), headers, read_bytes(file), query, options.method, url) for file in options.files]


def _url(options: _Options, endpoint: Endpoint) -> str:
    """The URL that the source calls, with the query."""
    url = options.url or f"{options.base.rstrip('/')}/webhooks/{endpoint.spec.id}"
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options.query)}" if options.query else url


def _signed(endpoint: Endpoint, given: Given, now: datetime) -> Given:
    from app.dev.trial import signing
    from app.kit.sign import CannotSign

    try:
        return signing.sign(endpoint, given, now)
    except CannotSign as error:
        raise Failure(f"It cannot be signed: {error}.") from error


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        output.say(f"{note[0].upper()}{note[1:]}.")


def _print_signed(
    source: TrialSource, endpoint: Endpoint, given: Sequence[Given], options: _Options, to: str | None, *, as_json: bool
) -> None:
    from app.dev.trial import signing
    from app.kit.sample import NoSample

    try:
        made = list(given) or [signing.sample(endpoint, _url(options, endpoint), options.at)]
    except NoSample as error:
        raise Failure(f"There is no sample: {error}, with --webhook.") from error
    url = signing.target(to or options.base or DEFAULT_URL, endpoint.spec.id)
    commands, variables = [], dict[str, None]()
    for number, one in enumerate(made):
        signed = _signed(endpoint, one, options.at)
        file = options.files[number] if options.files else STANDARD_INPUT
        # A signature may be within the body.
        kept = file if file != STANDARD_INPUT and signed.body == one.body else None
        try:
            command, used = signing.curl(endpoint, signed, url, source.variables, kept)
        except signing.NotInlineError as error:
            raise Failure(f"{error}.".capitalize()) from error
        commands.append(command)
        variables |= dict.fromkeys(used)
    if as_json:
        output.print_json({"commands": commands, "url": url, "variables": [*variables]})
        return
    for command in commands:
        # As it is: a line for a shell, of which nothing may be wrapped or escaped.
        sys.stdout.write(f"{command}\n")
    if variables:
        output.say(f"It needs {', '.join(variables)} in the environment of the shell: export it there.")


def _sentences(text: str) -> str:
    return "\n".join(line if line.endswith((".", "?")) else f"{line}." for line in text.splitlines())
