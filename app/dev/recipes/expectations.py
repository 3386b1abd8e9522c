"""Writes what fixtures and answers of a recipe give where they do not say it, or say something else.

For authors of a recipe: what is written is what the configuration makes of a request, not what a document
states.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any

from msgspec import Struct

from app.contract import CancelResult, Facts, Ignored, MalformedPayload, RegistrationFailed, Unrecognized
from app.dev.recipes import trials
from app.dev.recipes.folder import ANSWERS, Recipe, read
from app.dev.recipes.model import FACTS, FAILED, OUTCOMES, REGISTRATIONS, AnswerSpec, FixtureSpec
from app.dev.recipes.trials import Trial, TrialError, trial_of

PASSES_MAX = 3
"""Answers rest on the facts of one another: those of a cancel on those of the probe before it."""
_DRAFT: dict[str, dict[str, Any]] = {
    "cancel": {"outcome": "succeeded"},
    "probe": {"outcome": FACTS, "facts": {}},
}
"""What stands for the outcome of an answer that has none yet, by its flow."""
_OTHER_DRAFT = {"outcome": REGISTRATIONS, "registrations": []}

Changes = dict[str, Any]
"""Key → its new value; None: the key is left out."""


class Written(Struct, kw_only=True):
    """A file that was changed."""

    file: str
    diff: str
    """Unified, of the file before and after."""


def write_expected(folder: Path) -> list[Written]:
    """Write what the fixtures and answers of a recipe give; returns the files that changed.

    Raises `RecipeError`, `InvalidResourceError`, and `KeyError` for a variable that the recipe does not ask for.
    """
    before: dict[Path, str] = {}
    for _ in range(PASSES_MAX):
        recipe = read(folder, draft=draft)
        changed = _pass(recipe, trial_of(recipe))
        for file, text in changed.items():
            before.setdefault(file, file.read_text(encoding="utf-8"))
            file.write_text(text, encoding="utf-8")
        if not changed:
            break
    return [_written(folder, file, text) for file, text in before.items()]


def draft(entry: dict[str, Any], model: type[Any]) -> dict[str, Any]:
    """A fixture or an answer as it can be read, where it says nothing of its result yet."""
    if model is FixtureSpec and not any(entry.get(name) is not None for name in OUTCOMES):
        return {**entry, "events": []}
    if model is AnswerSpec and entry.get("outcome") is None:
        given = {key: value for key, value in entry.items() if value is not None}
        return {**_DRAFT.get(str(entry.get("flow")), _OTHER_DRAFT), **given}
    return entry


def _pass(recipe: Recipe, trial: Trial) -> dict[Path, str]:
    """File → its new text, of those that change."""
    secrets = {ask.example: name for name, ask in recipe.spec.asks.items() if ask.secret}
    texts: dict[Path, str] = {}
    for name, fixture in recipe.fixtures.items():
        file = recipe.folder / "fixtures" / f"{name}.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        is_draft = draft(content, FixtureSpec) is not content
        changes = _tried(lambda name=name, fixture=fixture: _of_fixture(trial, name, fixture))  # type: ignore[misc]
        if _apply(content, {**({"events": []} if is_draft and not changes else {}), **changes}, secrets):
            texts[file] = _text(content)
    answers = recipe.folder / ANSWERS
    if recipe.answers:
        content = json.loads(answers.read_text(encoding="utf-8"))
        entries = content if isinstance(content, list) else [content]
        changed = [
            _apply(entry, _tried(lambda entry=entry, answer=answer: _of_answer(trial, answer, entry)), secrets)  # type: ignore[misc]
            for entry, answer in zip(entries, recipe.answers, strict=True)
        ]
        if any(changed):
            texts[answers] = _text(content)
    return texts


def _tried(changes: Callable[[], Changes]) -> Changes:
    """The changes; none of what cannot be run, which the test names."""
    try:
        return changes()
    except (TrialError, MalformedPayload):
        return {}


def _of_fixture(trial: Trial, name: str, fixture: FixtureSpec) -> Changes:
    given = trial.handshake(fixture)
    if given is not None and (fixture.response is not None or fixture.events == ()):
        shown = trials.shown_response(given, fixture.response)
        same = fixture.response is not None and shown == fixture.response.model_dump()
        return {} if same else _instead("response", shown)
    try:
        parsed = trial.parse(fixture.request)
    except MalformedPayload as error:
        return _why("malformed", fixture, str(error))
    if isinstance(parsed, Ignored | Unrecognized):
        return _why(type(parsed).__name__.lower(), fixture, parsed.reason)
    events, orders = trials.shown_events(list(parsed)), trials.standings(trial, name, fixture)[0]
    stated = {id: standing.model_dump() for id, standing in fixture.orders.items()}
    same = list(fixture.events or ()) == events and fixture.events is not None
    changes = {} if same else _instead("events", events)
    return changes if stated == orders else {**changes, "orders": orders}


def _why(outcome: str, fixture: FixtureSpec, reason: str) -> Changes:
    expected = getattr(fixture, outcome)
    return {} if expected is not None and expected in reason else _instead(outcome, reason)


def _instead(outcome: str, value: Any) -> Changes:
    """The outcome in place of any other."""
    return {**dict.fromkeys((*OUTCOMES, "orders")), outcome: value}


def _of_answer(trial: Trial, answer: AnswerSpec, entry: dict[str, Any]) -> Changes:
    """The changes of an answer, which `entry` may hold as a draft."""
    ran = trial.exchange(answer)
    result, changes = ran.result, dict[str, Any]()
    given: dict[str, Any] = {"facts": None, "registrations": None}
    detail = ""
    if isinstance(result, Facts):
        given |= {"outcome": FACTS, "facts": trials.facts_of(result)}
    elif isinstance(result, RegistrationFailed):
        given["outcome"], detail = FAILED, str(result)
    elif answer.flow in ("cancel", "probe"):
        is_cancel = isinstance(result, CancelResult)
        detail = result.detail if is_cancel else str(result)
        given |= {"outcome": str(result.outcome), "after_s": result.after_s}
        given["may_have_applied"] = is_cancel and result.may_have_applied
    else:
        listed = [{"id": one.id, "url": one.url, "topic": one.topic} for one in result or ()]
        given |= {"outcome": REGISTRATIONS, "registrations": listed}
    if answer.flow == "unregister":
        del given["registrations"]  # they are what is given to it
    given["hold_s"] = ran.hold_s
    stated = answer.model_dump(mode="json")
    defaults = {"after_s": None, "may_have_applied": False, "hold_s": 0.0}
    for key, value in {**defaults, **given}.items():
        is_new = "outcome" not in entry and key not in entry
        if stated[key] != value or (is_new and value != defaults.get(key)):
            changes[key] = None if value == defaults.get(key) else value
    if answer.detail not in detail:
        changes["detail"] = detail or None
    if answer.requests is not None and len(answer.requests) == len(ran.calls):
        pairs = zip(ran.calls, answer.requests, strict=True)
        calls = [trials.shown_call(call, expected) for call, expected in pairs]
        if calls != [expected.model_dump() for expected in answer.requests]:
            changes["requests"] = calls
    return changes


def _apply(entry: dict[str, Any], changes: Changes, secrets: Mapping[str, str]) -> bool:
    """Make the changes. Returns whether there were any."""
    before = dict(entry)
    for key, value in changes.items():
        if value is None:
            entry.pop(key, None)
        else:
            entry[key] = _concealed(value, secrets)
    return entry != before


def _concealed(value: Any, secrets: Mapping[str, str]) -> Any:
    """The value with `${NAME}` for each secret's example, which must stand nowhere in full."""
    text = json.dumps(value)
    for example, name in secrets.items():
        text = text.replace(json.dumps(example)[1:-1], f"${{{name}}}")
    return json.loads(text)


def _text(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _written(folder: Path, file: Path, before: str) -> Written:
    name = str(file.relative_to(folder))
    after = file.read_text(encoding="utf-8")
    lines = unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=2)
    return Written(file=name, diff="\n".join(lines))
