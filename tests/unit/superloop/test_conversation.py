"""The handler and the simulator together: OAuth from end to end, and both sides of the 26 hours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from unit.superloop.support import NOW, at, keys, oauth, talk

from app.contract import (
    Cancelable,
    CancelOutcome,
    CancelRequest,
    Facts,
    Ignored,
    InboundRequest,
    Order,
    ParsedEvent,
    Phase,
    Source,
    Unrecognized,
)
from app.core.event import Event, to_event
from app.core.order import fold
from handlers.superloop.cancel import cancel, probe
from handlers.superloop.config import Config
from handlers.superloop.rules import Rules, verdict
from handlers.superloop.simulated_tokens import EXAMPLE_ACCESS_TOKEN
from handlers.superloop.simulator import Superloop
from handlers.superloop.webhook import parse

TOKEN_URL = "http://127.0.0.1:8701/superloop/token"
ACCOUNT = {"base_url": "http://127.0.0.1:8701", "token_url": TOKEN_URL}


def provider_with_orders(*ids: int, **options: Any) -> Superloop:
    client = {"client_id": "acme-client", "key_id": "acme-kid", "public_key": keys()[1], "audience": TOKEN_URL}
    provider = Superloop(**{**client, **options})
    for id in ids:
        provider.act({"do": "create_order", "order_id": id}, NOW.timestamp())
    return provider


def cancel_request(id: int) -> CancelRequest:
    return CancelRequest(Order("a", str(id)), "why")


def test_one_token_serves_many_calls_until_it_runs_out() -> None:
    config = oauth(**ACCOUNT)
    memory: dict[str, Any] = {}
    provider = provider_with_orders(1, 2, 3, token_life_s=300)
    paths = []
    for number, (id, after_s) in enumerate([(1, 0), (2, 269), (3, 270)]):
        now = NOW + timedelta(seconds=after_s)
        [result], said = talk(cancel([cancel_request(id)], config, at(now, f"n-{number}", memory)), provider, now)
        assert result.outcome is CancelOutcome.SUCCEEDED
        paths.append([request.url.rpartition("/")[2] for request, _ in said])
    assert paths == [["token", "cancel"], ["cancel"], ["token", "cancel"]]


def test_a_token_that_the_provider_forgot_is_replaced() -> None:
    config = oauth(**ACCOUNT)
    memory: dict[str, Any] = {}
    provider = provider_with_orders(1, 2)
    talk(cancel([cancel_request(1)], config, at(NOW, "n-1", memory)), provider, NOW)
    provider.act({"do": "expire_tokens"}, NOW.timestamp())
    [result], said = talk(cancel([cancel_request(2)], config, at(NOW, "n-2", memory)), provider, NOW)
    assert result.outcome is CancelOutcome.SUCCEEDED
    assert [answer.status for _, answer in said] == [401, 200, 200]
    [shown] = provider.act({"do": "list", "order_id": 2}, NOW.timestamp())["orders"]
    assert (shown["cancel_calls"], shown["cancel_effects"]) == (1, 1)


@pytest.mark.parametrize(
    ("config", "options", "says"),
    [
        ({}, {"public_key": keys(1)[1]}, "signature"),
        ({"key_id": "another"}, {}, "kid"),
        ({"client_id": "another"}, {}, "client's id"),
        ({"audience": "https://sso.example.com"}, {}, "aud"),
    ],
)
def test_a_client_that_is_not_accepted_pauses_the_account(
    config: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    provider = provider_with_orders(1, **options)
    [result], said = talk(cancel([cancel_request(1)], oauth(**ACCOUNT, **config), at(NOW)), provider, NOW)
    assert (result.outcome, len(said)) == (CancelOutcome.UNAUTHORIZED, 1)
    assert "invalid_client" in result.detail
    assert says in result.detail


@pytest.mark.parametrize(
    ("ahead_s", "outcome"),
    [(-59, "succeeded"), (30, "succeeded"), (-61, "unauthorized"), (32, "unauthorized")],
)
def test_clocks_may_differ_a_little(ahead_s: float, outcome: str) -> None:
    ours = NOW + timedelta(seconds=ahead_s)
    [result], _ = talk(cancel([cancel_request(1)], oauth(**ACCOUNT), at(ours)), provider_with_orders(1), NOW)
    assert result.outcome == outcome


def test_a_token_that_never_works_pauses_the_account() -> None:
    provider = provider_with_orders(1, token_life_s=0.0)
    [result], said = talk(cancel([cancel_request(1)], oauth(**ACCOUNT), at(NOW)), provider, NOW)
    assert result.outcome is CancelOutcome.UNAUTHORIZED
    assert [answer.status for _, answer in said] == [200, 401, 200, 401]


def test_what_a_lost_cancel_did_a_probe_tells() -> None:
    for takes_effect, phase in ((True, Phase.CANCELED), (False, Phase.OPEN)):
        config = oauth(**ACCOUNT)
        memory: dict[str, Any] = {}
        provider = provider_with_orders(1)
        provider.act({"do": "crash", "takes_effect": takes_effect}, NOW.timestamp())
        [result], _ = talk(cancel([cancel_request(1)], config, at(NOW, "n-1", memory)), provider, NOW)
        assert (result.outcome, result.may_have_applied) == (CancelOutcome.RETRY, True)
        [facts], _ = talk(probe([Order("a", "1")], config, at(NOW, "n-2", memory)), provider, NOW)
        assert isinstance(facts, Facts)
        assert facts.phase is phase


# -- Both sides of the rule ------------------------------------------------------------------------------


class Account:
    """An account that hears the simulator's webhooks."""

    def __init__(self, provider: Superloop, config: Config) -> None:
        self.provider, self.config = provider, config
        self.events: list[Event] = []

    def act(self, now: datetime, **action: Any) -> None:
        self.provider.act(action, now.timestamp())
        for webhook in self.provider.emitted():
            parsed = parse(InboundRequest(CIMultiDict(webhook.headers), {}, webhook.body), self.config)
            assert isinstance(parsed, tuple), parsed
            self.events += [
                to_event(each, "a", now, Source.WEBHOOK, None) for each in parsed if isinstance(each, ParsedEvent)
            ]

    @property
    def order(self) -> Order:
        return fold("a", "1", self.events)[0]


ZONES = ["Australia/Sydney", "Australia/Lord_Howe", "UTC"]
TURNS = [datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 16, tzinfo=UTC), NOW]


@examples(150)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(["utc", "offset", "local"]),
    st.sampled_from(TURNS),
    st.integers(-30 * 60, 30 * 60),
    st.integers(-31 * 60, 4 * 60),
    st.booleans(),
)
def test_what_we_call_cancelable_the_provider_cancels(
    zone: str, times: str, turn: datetime, start: int, look: int, with_offset: bool
) -> None:
    """Across changes of daylight saving time, however times are written, nothing is sent in vain."""
    starts_at = turn + timedelta(minutes=start)
    now = starts_at + timedelta(minutes=look)
    provider = Superloop(timezone=zone, times=times)  # type: ignore[arg-type]
    account = Account(provider, Config.model_validate({"access_token": EXAMPLE_ACCESS_TOKEN, "timezone": zone}))
    booked_at = starts_at - timedelta(days=9)
    account.act(booked_at, do="create_order", order_id=1)
    account.act(booked_at, do="book_appointment", order_id=1, starts_at=starts_at.isoformat())
    if not with_offset:
        appointment = _without_offset(provider, account.config)
        account.events[-1] = to_event(appointment, "a", booked_at, Source.WEBHOOK, None)
    found = verdict(account.order, Rules(), now)
    [result], _ = talk(cancel([CancelRequest(account.order, "why")], account.config, at(now)), provider, now)
    if found.cancelable is Cancelable.YES:
        assert result.outcome is CancelOutcome.SUCCEEDED
    if found.cancelable is Cancelable.NO and result.outcome is CancelOutcome.SUCCEEDED:
        # Rejected although it would have worked: only where a local time without an offset means two instants.
        assert times == "local"
        assert not with_offset
        assert starts_at - timedelta(hours=27) <= now


def _without_offset(provider: Superloop, config: Config) -> ParsedEvent:
    """The booking's webhook as a sender without `timezoneOffset` would write it."""
    body = json.loads(provider.handle(_read_order(), 0.0).body)["appointments"][0]
    del body["timezoneOffset"]
    headers = CIMultiDict({"z-event-type": "appointment.booked.event"})
    parsed = parse(InboundRequest(headers, {}, json.dumps(body).encode()), config)
    assert not isinstance(parsed, (Ignored, Unrecognized))
    return parsed[0]


def _read_order() -> Any:
    config = Config.model_validate({"access_token": EXAMPLE_ACCESS_TOKEN})
    return next(probe([Order("a", "1")], config, at(NOW)))
