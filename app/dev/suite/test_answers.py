"""What every handler must do with its provider's answers, and what it sends; see `cases` for what its folder brings."""

from __future__ import annotations

import pytest

from app.contract import CancelResult, Facts, Handler, ProbeUnavailable
from app.dev.suite.cases import Fixture, answers, as_json, ask, chosen, config_of, context, ids, scenario, secrets_of

ANSWERS, HANDLERS = list(answers()), list(chosen().values())
FACTS = [each for each in ANSWERS if each.data["outcome"] == "facts"]
OTHER_ANSWERS = [each for each in ANSWERS if each.data["outcome"] != "facts"]
by_handler = pytest.mark.parametrize("handler", HANDLERS, ids=[each.name for each in HANDLERS])
by_answer = pytest.mark.parametrize("answer", ANSWERS, ids=ids(ANSWERS))
by_facts = pytest.mark.parametrize("answer", FACTS, ids=ids(FACTS))
by_other_answer = pytest.mark.parametrize("answer", OTHER_ANSWERS, ids=ids(OTHER_ANSWERS))


@by_facts
def test_facts_are_found_in_answers(answer: Fixture) -> None:
    asked = ask(answer)
    assert asked.hold_s == answer.data.get("hold_s", 0.0)
    assert isinstance(asked.result, Facts)
    assert as_json(asked.result) == answer.data["facts"]


@by_other_answer
def test_answers_are_understood(answer: Fixture) -> None:
    asked = ask(answer)
    assert asked.hold_s == answer.data.get("hold_s", 0.0)
    result = asked.result
    assert not isinstance(result, Facts)
    assert result.outcome == answer.data["outcome"]
    assert result.after_s == answer.data.get("after_s")
    detail = str(result) if isinstance(result, ProbeUnavailable) else result.detail
    assert answer.data.get("detail", "") in detail
    assert detail.endswith((".", "!"))
    if isinstance(result, CancelResult):
        assert result.doubtful == answer.data.get("doubtful", False)


@by_answer
def test_requests_are_fit_to_send(answer: Fixture) -> None:
    config = config_of(answer.handler, answer.data.get("config"))
    known = tuple(each for each in config.model_dump(mode="json").values() if str(each).startswith("http"))
    asked = ask(answer).requests
    assert asked
    for each in asked:
        assert each.url.startswith(known or "https://")
        assert not any(secret in each.url for secret in secrets_of(config))
        assert 0 < each.timeout_s <= 120
        assert each.repeatable or answer.data["flow"] == "cancel"
    if answer.data["flow"] == "cancel" and answer.data["outcome"] in ("succeeded", "accepted", "indeterminate"):
        assert not asked[-1].repeatable, "what cancels may not be sent twice blindly"


@by_answer
def test_an_exchange_replays(answer: Fixture) -> None:
    first, again = ask(answer), ask(answer)
    assert first.requests == again.requests
    assert as_json(first.requests[0].headers) == first.requests[0].headers
    assert repr(first.result) == repr(again.result)


@by_handler
def test_every_handler_has_secrets_and_shows_none(handler: Handler) -> None:
    config = config_of(handler)
    hidden = secrets_of(config)
    assert hidden
    shown = [repr(config), str(config), config.model_dump_json(), repr(handler)]
    with pytest.raises(ValueError, match="validation error") as caught:
        handler.config.model_validate({**scenario(handler)["config"], "unknown_key": 1})
    shown.append(str(caught.value))
    for answer in ANSWERS:
        if answer.handler is handler:
            asked = ask(answer)
            shown.extend([repr(asked), str(asked.result), repr(context())])
    for each in shown:
        assert not any(secret in each for secret in hidden)
