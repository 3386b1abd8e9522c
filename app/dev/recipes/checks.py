"""What every recipe must hold: the contract suite over recipes. Each fault names the file and the field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from app.config.faults import InvalidResourceError
from app.config.file import VARIABLE
from app.config.secret_values import secrets_in
from app.contract import (
    CancelOutcome,
    CancelResult,
    Facts,
    HttpRequest,
    Ignored,
    MalformedPayload,
    ParsedEvent,
    Phase,
    ProbeUnavailable,
    RegistrationFailed,
    Unrecognized,
)
from app.dev.recipes import trials
from app.dev.recipes.folder import Recipe, RecipeError
from app.dev.recipes.model import FACTS, FAILED, AnswerSpec, FixtureSpec, Missing
from app.dev.recipes.proofs import faults_in_proofs
from app.dev.recipes.trials import Trial, TrialError, trial_of
from app.dev.recipes.written import written
from app.dev.suite.cases import NOW

Faults = Iterator[str]
_SHOWN_MAX = 4000
"""Characters of what was found instead of what was expected."""
_DONE: dict[str, set[str]] = {"cancel": {CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED}, "probe": {FACTS}}
"""Outcomes of a flow that did what it is for."""


def faults_of(recipe: Recipe) -> list[str]:
    """Everything that is wrong with a recipe; empty: nothing is."""
    faults = [*_faults_in_variables(recipe), *_faults_in_words(recipe)]
    try:
        trial = trial_of(recipe)
    except KeyError:
        return faults  # it is listed already
    except InvalidResourceError as error:
        listed = error.faults
        kinds = {"accounts": 0, "endpoints": 0}
        placed = [f"{recipe.place(fault.kind, kinds.get(fault.kind, 0), *fault.path)}: {fault}" for fault in listed]
        return [*faults, *(placed or [str(error)])]
    for check in _CHECKS:
        faults += check(trial)
    return faults


def _faults_in_variables(recipe: Recipe) -> Faults:
    """Each `${NAME}` is asked for, each that is asked for is used, and secrets stand nowhere in full."""
    used = {match[1] for match in VARIABLE.finditer(json.dumps(recipe.resources))}
    yield from (
        f"{recipe.place('accounts')}: ${{{name}}} is not in `asks`" for name in sorted(used - recipe.examples.keys())
    )
    for name in sorted(recipe.examples.keys() - used):
        yield f"{recipe.place('asks', name)}: asks.{name}: the resources do not use it: leave it out"
    secrets = {name: ask.example for name, ask in recipe.spec.asks.items() if ask.secret}
    files = [*(recipe.folder / "fixtures").glob("*.json"), recipe.folder / "answers.json"]
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.exists()}
    texts |= {"accounts and endpoints": recipe.resources_text}
    for where, text in texts.items():
        yield from (
            f"{where}: the example of {name} stands here in full: write ${{{name}}}"
            for name, value in secrets.items()
            if value in text
        )


def _faults_in_words(recipe: Recipe) -> Faults:
    """The name, the cells, and what is guessed."""
    spec = recipe.spec
    if recipe.account_id != recipe.name:
        yield f"{recipe.place('accounts', 0)}: accounts.0.id: must be the recipe's name, {recipe.name}"
    for endpoint in spec.endpoints:
        if (endpoint.get("id"), endpoint.get("account")) != (f"{recipe.name}-in", recipe.name):
            wanted = f"id and account must be {recipe.name}-in and {recipe.name}"
            yield f"{recipe.place('endpoints', 0)}: endpoints.0: {wanted}"
    events_missing = isinstance(spec.cells.events, Missing)
    if not spec.endpoints and not events_missing:
        yield f"{recipe.place('cells', 'events')}: cells.events: there is no endpoint: say what is missing"
    made_up = [name for name, fixture in recipe.fixtures.items() if fixture.provenance == "synthetic"]
    made_up += [answer.name for answer in recipe.answers if answer.provenance == "synthetic"]
    if made_up and not spec.guessed:
        yield f"{recipe.place()}: guessed: {', '.join(made_up)} are synthetic: say what no document states"
    if spec.example.fixture is not None and spec.example.fixture not in recipe.fixtures:
        yield f"{recipe.place('example', 'fixture')}: example.fixture: there is no fixtures/{spec.example.fixture}.json"


def _faults_in_writing(trial: Trial) -> Faults:
    """`add` can write it, under any id."""
    recipe = trial.recipe
    try:
        written(recipe, recipe.examples, "another")
    except RecipeError as error:
        yield f"{recipe.place('accounts')}: {error}: quote it"


def _faults_in_secrets(trial: Trial) -> Faults:
    """Every secret of the configuration comes from a secret that is asked for."""
    recipe = trial.recipe
    examples = [ask.example for ask in recipe.spec.asks.values() if ask.secret]
    models = [trial.account.config, *([trial.endpoint.verify] if trial.endpoint else [])]
    for value in secrets_in(models):
        if not any(example in value for example in examples):
            text = "a secret field holds no secret: take it from a ${NAME} with secret: true"
            yield f"{recipe.place('accounts', 0)}: {text}"


def _faults_in_headers(trial: Trial) -> Faults:
    """The header with an event's id is read: the source signs it, or its events state their times."""
    if trial.endpoint is not None and trial.endpoint.unread_header is not None:
        yield f"{trial.recipe.place('accounts', 0, 'config', 'key_header')}: {'; '.join(trial.endpoint.warnings)}"


def _faults_in_statuses(trial: Trial) -> Faults:
    """The listed statuses are all mapped, and topics are events that the account knows."""
    recipe, config = trial.recipe, trial.account.spec.config
    statuses = recipe.spec.statuses
    phases = config.get("phases", {})
    for word in () if statuses is None else statuses.listed:
        if word not in phases:
            yield f"{recipe.place('statuses')}: statuses.listed: {word!r} is not in config.phases"
    events = config.get("events", {})
    if events and config.get("unknown_events", "quarantine") == "quarantine":
        for topic in recipe.spec.topics:
            if topic not in events:
                yield f"{recipe.place('topics')}: topics: {topic!r} is not in config.events"


def _faults_in_fixtures(trial: Trial) -> Faults:
    for name, fixture in trial.recipe.fixtures.items():
        check = _faults_in_fixture if fixture.response is None else _faults_in_challenge
        yield from (f"fixtures/{name}.json: {fault}" for fault in check(trial, name, fixture))


def _faults_in_challenge(trial: Trial, _: str, fixture: FixtureSpec) -> Faults:
    given, expected = trial.handshake(fixture), fixture.response
    if given is None or expected is None:
        yield "response: it is no challenge"
        return
    shown = trials.shown_response(given, expected)
    if shown != expected.model_dump():
        yield f"response: it is {_json(shown)}"


def _faults_in_fixture(trial: Trial, name: str, fixture: FixtureSpec) -> Faults:
    try:
        parsed = trial.parse(fixture.request)
    except MalformedPayload as error:
        yield from _differs(fixture, "malformed", str(error))
        return
    if isinstance(parsed, Ignored | Unrecognized):
        yield from _differs(fixture, type(parsed).__name__.lower(), parsed.reason)
        return
    events = trials.shown_events(list(parsed))
    if fixture.events is None:
        yield f"{fixture.outcome}: it gives events: {_json(events)}"
        return
    if events != list(fixture.events):
        yield f"events: they are {_json(events)}"
    yield from _faults_in_arrival(fixture, parsed)
    try:
        found, failed = trials.standings(trial, name, fixture)
    except (TrialError, MalformedPayload) as error:
        yield f"after: {error}"
        return
    yield from (f"orders.{id}: {explanation}" for id, explanation in failed.items())
    if found != {id: standing.model_dump() for id, standing in fixture.orders.items()}:
        yield f"orders: they are {_json(found)}"


def _faults_in_arrival(fixture: FixtureSpec, events: Iterable[ParsedEvent]) -> Faults:
    """Without a time of its own a fixture arrives after its events: later ones would all count as of its arrival."""
    arrival = fixture.moment(NOW)
    latest = max((event.occurred_at for event in events if event.occurred_at is not None), default=arrival)
    if fixture.at is None and fixture.verify is None and latest > arrival:
        yield f"at: it arrives at {arrival.isoformat()}, before its event of {latest.isoformat()}: say when it arrives"


def _differs(fixture: FixtureSpec, outcome: str, reason: str) -> Faults:
    expected = getattr(fixture, outcome)
    if expected is None or expected not in reason:
        yield f"{fixture.outcome}: it is {outcome}: {reason}"


def _faults_in_answers(trial: Trial) -> Faults:
    for answer in trial.recipe.answers:
        where = f"answers.json ({answer.name})"
        try:
            yield from (f"{where}: {fault}" for fault in _faults_in_answer(trial, answer))
        except (TrialError, MalformedPayload) as error:
            yield f"{where}: {error}"


def _faults_in_answer(trial: Trial, answer: AnswerSpec) -> Faults:
    ran = trial.exchange(answer)
    if answer.flow in ("cancel", "probe"):
        yield from _faults_in_result(answer, ran.result)
    else:
        yield from _faults_in_registrations(answer, ran.result)
    if ran.hold_s != answer.hold_s:
        yield f"hold_s: it is {ran.hold_s}"
    yield from _faults_in_calls(trial, answer, ran.calls)


def _faults_in_result(answer: AnswerSpec, result: Facts | CancelResult | ProbeUnavailable) -> Faults:
    if isinstance(result, Facts):
        if answer.outcome != FACTS:
            yield f"outcome: it gives facts: {_json(trials.json_of(result))}"
        elif trials.facts_of(result) != answer.facts:
            yield f"facts: they are {_json(trials.facts_of(result))}"
        return
    detail = result.detail if isinstance(result, CancelResult) else str(result)
    if result.outcome != answer.outcome:
        yield f"outcome: it is {result.outcome} ({detail})"
    if answer.detail not in detail:
        yield f"detail: it is {detail!r}"
    if result.after_s != answer.after_s:
        yield f"after_s: it is {result.after_s}"
    if isinstance(result, CancelResult) and result.may_have_applied != answer.may_have_applied:
        yield f"may_have_applied: it is {str(result.may_have_applied).lower()}"


def _faults_in_registrations(answer: AnswerSpec, result: Any) -> Faults:
    if isinstance(result, RegistrationFailed):
        if answer.outcome != FAILED:
            yield f"outcome: it is failed ({result})"
        elif answer.detail not in str(result):
            yield f"detail: it is {str(result)!r}"
        return
    if answer.outcome == FAILED:
        yield "outcome: it is registrations"
    expected = [one.model_dump() for one in answer.registrations or ()]
    shown = [{"id": one.id, "url": one.url, "topic": one.topic} for one in result or ()]
    if answer.flow != "unregister" and shown != expected:
        yield f"registrations: they are {_json(shown)}"


def _faults_in_calls(trial: Trial, answer: AnswerSpec, calls: list[HttpRequest]) -> Faults:
    secrets = [ask.example for ask in trial.recipe.spec.asks.values() if ask.secret]
    for call in calls:
        if any(secret in call.url for secret in secrets):
            yield "requests: a secret stands in the URL of a call"
    if answer.requests is None:
        return
    if len(calls) != len(answer.requests):
        yield f"requests: {len(calls)} calls are made"
        return
    for number, (call, expected) in enumerate(zip(calls, answer.requests, strict=True)):
        shown = trials.shown_call(call, expected)
        if shown != expected.model_dump():
            yield f"requests.{number}: it is {_json(shown)}"


def _faults_in_coverage(trial: Trial) -> Faults:
    """The fixtures show an order that is open and one that is canceled."""
    recipe = trial.recipe
    phases = {standing.phase for fixture in recipe.fixtures.values() for standing in fixture.orders.values()}
    phases |= {Phase(answer.facts["phase"]) for answer in recipe.answers if answer.facts and "phase" in answer.facts}
    for phase in (Phase.OPEN, Phase.CANCELED):
        if phase not in phases:
            yield f"fixtures: no order is {phase} after any of them, nor after a probe"


def _faults_in_calls_covered(trial: Trial) -> Faults:
    """The answers show each call, and what becomes of it; a call that the account has not is named as missing."""
    recipe, probes = trial.recipe, trial.account.spec.config.get("probe") is not None
    by_flow = {flow: [answer for answer in recipe.answers if answer.flow == flow] for flow in ("cancel", "probe")}
    cells = {"cancel": recipe.spec.cells.cancel, "probe": recipe.spec.cells.probe}
    if trial.account.spec.config.get("registration") and not {"register", "registrations"} <= {
        one.flow for one in recipe.answers
    }:
        yield "answers.json: give the calls of register and registrations: the account has `registration`"
    for flow, has in (("cancel", trial.account.config.no_cancel() is None), ("probe", probes)):
        if has and not any(answer.requests for answer in by_flow[flow]):
            yield f"answers.json: requests: give the call of one {flow}"
        if not has and not isinstance(cells[flow], Missing):
            yield f"{recipe.place('cells', flow)}: cells.{flow}: the account has no {flow}: say what is missing"
        outcomes: set[str] = {answer.outcome for answer in by_flow[flow]}
        if has and (not outcomes & _DONE[flow] or not outcomes - _DONE[flow]):
            yield f"answers.json: give a {flow} that succeeds, and one that does not"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


_CHECKS: tuple[Callable[[Trial], Faults], ...] = (
    _faults_in_writing,
    _faults_in_secrets,
    _faults_in_headers,
    _faults_in_statuses,
    _faults_in_fixtures,
    faults_in_proofs,
    _faults_in_answers,
    _faults_in_coverage,
    _faults_in_calls_covered,
)
