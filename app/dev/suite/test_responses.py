"""What every handler must do with its provider's responses, and what it sends; `cases` describes the files."""

from __future__ import annotations

import pytest

from app.contract import CancelResult, Facts, Handler, ProbeUnavailable
from app.dev.suite.cases import (
    Fixture,
    as_json,
    chosen,
    config_of,
    context,
    exchange,
    ids,
    responses,
    scenario,
    secrets_of,
)

FIXTURES, HANDLERS = list(responses()), list(chosen().values())
FACTS = [fixture for fixture in FIXTURES if fixture.data["outcome"] == "facts"]
OTHERS = [fixture for fixture in FIXTURES if fixture.data["outcome"] != "facts"]
by_handler = pytest.mark.parametrize("handler", HANDLERS, ids=[handler.name for handler in HANDLERS])
by_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=ids(FIXTURES))
by_facts = pytest.mark.parametrize("fixture", FACTS, ids=ids(FACTS))
by_other = pytest.mark.parametrize("fixture", OTHERS, ids=ids(OTHERS))


@by_facts
def test_facts_are_read_from_responses(fixture: Fixture) -> None:
    ran = exchange(fixture)
    assert ran.hold_s == fixture.data.get("hold_s", 0.0)
    assert isinstance(ran.result, Facts)
    assert as_json(ran.result) == fixture.data["facts"]


@by_other
def test_every_response_has_its_outcome(fixture: Fixture) -> None:
    ran = exchange(fixture)
    assert ran.hold_s == fixture.data.get("hold_s", 0.0)
    result = ran.result
    assert not isinstance(result, Facts)
    assert result.outcome == fixture.data["outcome"]
    assert result.after_s == fixture.data.get("after_s")
    detail = str(result) if isinstance(result, ProbeUnavailable) else result.detail
    assert fixture.data.get("detail", "") in detail
    assert detail.endswith((".", "!"))
    if isinstance(result, CancelResult):
        assert result.may_have_applied == fixture.data.get("may_have_applied", False)


@by_fixture
def test_requests_are_fit_to_send(fixture: Fixture) -> None:
    config = config_of(fixture.handler, fixture.data.get("config"))
    urls = tuple(value for value in config.model_dump(mode="json").values() if str(value).startswith("http"))
    requests = exchange(fixture).requests
    assert requests
    for request in requests:
        assert request.url.startswith(urls or "https://")
        assert not any(secret in request.url for secret in secrets_of(config))
        assert 0 < request.timeout_s <= 120
        assert request.repeatable or fixture.data["flow"] == "cancel"
    if fixture.data["flow"] == "cancel" and fixture.data["outcome"] in ("succeeded", "accepted", "indeterminate"):
        assert not requests[-1].repeatable, "a call that cancels must not be repeatable"


@by_fixture
def test_an_exchange_replays(fixture: Fixture) -> None:
    first, again = exchange(fixture), exchange(fixture)
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
    for fixture in FIXTURES:
        if fixture.handler is handler:
            ran = exchange(fixture)
            shown.extend([repr(ran), str(ran.result), repr(context())])
    for text in shown:
        assert not any(secret in text for secret in hidden)
