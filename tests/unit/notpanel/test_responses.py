from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.notpanel.support import AT, CONFIG, NOW, ask, context, look, response

from app.contract import CancelOutcome, HttpResponse, ProbeUnavailable
from app.kit.responses import WAIT_MAX_S, ResponseKind
from handlers.notpanel.responses import read

RESET = str(int(AT) + 20)


def after_s(headers: dict[str, str], status: int = 429) -> float | None:
    return read(HttpResponse(status, headers, b'{"error":"x"}'), CONFIG, context()).after_s


def held_s(headers: dict[str, str], status: int = 200) -> float:
    flow_context = context()
    read(HttpResponse(status, headers, b"{}"), CONFIG, flow_context)
    return flow_context.hold_s


def date(offset_s: float) -> str:
    return format_datetime(NOW + timedelta(seconds=offset_s), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"x-ratelimit-reset": RESET}, 20),
        ({"x-ratelimit-reset": RESET, "date": date(-3600)}, 3620),
        ({"x-ratelimit-reset": RESET, "date": date(15)}, 5),
        ({"x-ratelimit-reset": RESET, "date": "today"}, 20),
        ({"x-ratelimit-reset": RESET, "retry-after": "30"}, 30),
        ({"x-ratelimit-reset": RESET, "retry-after": "3"}, 20),
        ({"retry-after": "30"}, 30),
        ({"x-ratelimit-reset": str(int(AT))}, None),
        ({"x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-reset": f"{RESET}000"}, None),
        ({"x-ratelimit-reset": "nan"}, None),
        ({"x-ratelimit-reset": "inf"}, None),
        ({"x-ratelimit-reset": ""}, None),
        ({}, None),
    ],
)
def test_a_429_waits_until_the_reset_by_the_provider_s_clock(headers: dict[str, str], wait_s: float | None) -> None:
    assert after_s(headers) == wait_s


@given(st.floats() | st.integers(), st.none() | st.datetimes())
def test_a_wait_is_a_wait_whatever_the_headers_say(reset: float, sent: Any) -> None:
    headers = {"x-ratelimit-reset": str(reset), "x-ratelimit-remaining": "0"}
    if sent is not None and sent.year >= 1000:
        headers["date"] = format_datetime(sent)
    wait_s = after_s(headers)
    assert wait_s is None or 0 < wait_s <= WAIT_MAX_S
    assert 0 <= held_s(headers) <= WAIT_MAX_S


@pytest.mark.parametrize(
    ("headers", "hold_s"),
    [
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET}, 20),
        ({"x-ratelimit-remaining": " 0 ", "x-ratelimit-reset": RESET}, 20),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-tier-remaining": "0", "x-ratelimit-reset": RESET}, 20),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-tier-remaining": "5", "x-ratelimit-reset": RESET}, 0),
        ({"x-ratelimit-remaining": "10", "x-ratelimit-reset": RESET}, 0),
        ({"x-ratelimit-reset": RESET}, 0),
        ({"x-ratelimit-remaining": "0"}, 0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(AT) - 1)}, 0),
    ],
)
def test_an_account_without_a_call_left_is_held(headers: dict[str, str], hold_s: float) -> None:
    assert held_s(headers) == hold_s
    assert held_s(headers, 400) == hold_s
    # A 429 is a denial already: its own wait says it.
    assert held_s(headers, 429) == 0


def test_every_flow_heeds_the_headers() -> None:
    last = {"x_ratelimit_remaining": "0", "x_ratelimit_reset": RESET}
    flow_context = context()
    ask(["1"], response({"cancel": "1"}, **last), flow_context=flow_context)
    assert flow_context.hold_s == 20
    flow_context = context()
    look(["1"], response({"status": "pending"}, **last), flow_context=flow_context)
    assert flow_context.hold_s == 20
    results, _ = ask(["1", "2"], response({"error": "x"}, 429, x_ratelimit_reset=RESET))
    assert [(each.outcome, each.after_s) for each in results] == [(CancelOutcome.THROTTLED, 20)] * 2
    found, _ = look(["1", "2"], response({"error": "x"}, 429, x_ratelimit_reset=RESET))
    assert [isinstance(each, ProbeUnavailable) and each.after_s for each in found] == [20, 20]


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ("ip", "for the IP address"),
        ("KEY", "for the API key"),
        ("tier", "for the account's tier"),
        ("moon", "limit is"),
    ],
)
def test_a_denial_names_its_layer(layer: str, says: str) -> None:
    answer = read(response({"error": "x"}, 429, x_ratelimit_deniedby=layer), CONFIG, context())
    assert (answer.kind, says in answer.detail) == (ResponseKind.THROTTLED, True)


@pytest.mark.parametrize("error", [None, "", 0, False, [], {}])
def test_an_error_that_is_nothing_is_none(error: Any) -> None:
    assert read(response({"error": error}), CONFIG, context()).kind is ResponseKind.DONE


@pytest.mark.parametrize("error", [True, 5, ["x"], {"code": 5}, {"message": "x"}])
def test_an_error_that_is_no_text_is_one_all_the_same(error: Any) -> None:
    for status in (200, 400):
        answer = read(response({"error": error}, status), CONFIG, context())
        assert answer.kind is ResponseKind.REJECTED
        assert answer.words


def test_an_error_may_be_the_message_of_an_object() -> None:
    for status in (200, 400):
        answer = read(response({"error": {"message": "Order not found"}}, status), CONFIG, context())
        assert (answer.kind, answer.words) == (ResponseKind.NOT_FOUND, "Order not found")


@pytest.mark.parametrize("error", [" ", ".", "\\n"])
def test_a_blank_error_is_no_word_of_notpanel_s(error: str) -> None:
    body = b'{"error":"%s"}' % error.encode()
    assert read(HttpResponse(400, {}, body), CONFIG, context()).kind is ResponseKind.MISDIRECTED
