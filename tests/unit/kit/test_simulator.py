"""What simulated providers have in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse
from app.kit.simulator import (
    BaseOrder,
    BaseSimulator,
    Book,
    Bucket,
    Faults,
    Window,
    action,
    header,
    json_response,
    retry_after,
    strings,
    time_with_offset,
)


def test_a_crash_may_come_before_or_after_the_effect() -> None:
    crashes, served = Faults(), []

    def serve() -> HttpResponse:
        served.append(1)
        return HttpResponse(200)

    def failed(word: str) -> HttpResponse:
        return HttpResponse(500, {}, word.encode())

    assert crashes.act({"takes_effect": True, "word": "Aborted"}, 0.0) == {"crashes": 1}
    assert crashes.act({"times": 2}, 0.0) == {"crashes": 3}
    answers = [crashes.around(serve, failed) for _ in range(4)]
    assert [(each.status, each.body) for each in answers] == [(500, b"Aborted"), (500, b""), (500, b""), (200, b"")]
    assert len(served) == 2


@pytest.mark.parametrize(
    ("given", "requests", "per_s"), [({}, 3, 2.0), ({"requests": 1}, 1, 2.0), ({"per_s": "0.5"}, 3, 0.5)]
)
def test_a_window_is_set_as_far_as_told(given: dict[str, Any], requests: int, per_s: float) -> None:
    window = Window(3, 2.0)
    assert window.act(given, 0.0) == {"requests": requests, "per_s": per_s}
    assert (window.requests, window.per_s) == (requests, per_s)


@pytest.mark.parametrize("given", [{"requests": 0}, {"per_s": 0}, {"per_s": -1}, {"per_s": "nan"}, {"requests": "x"}])
def test_a_window_that_is_none_changes_nothing(given: dict[str, Any]) -> None:
    window = Window(3, 2.0)
    with pytest.raises(ValueError, match=r"requests|invalid literal"):
        window.act(given, 0.0)
    assert (window.requests, window.per_s) == (3, 2.0)


def test_a_bucket_keeps_its_time_to_empty() -> None:
    bucket = Bucket(40, 2.0)
    assert bucket.act({"burst": 10}, 0.0) == {"burst": 10, "per_s": 20.0}
    assert bucket.rate_per_s == 0.5
    for given in ({"burst": 0}, {"per_s": 0}, {"per_s": "nan"}):
        with pytest.raises(ValueError, match="burst must be"):
            bucket.act(given, 0.0)
    assert (bucket.burst, bucket.rate_per_s) == (10, 0.5)


@pytest.mark.parametrize(("wait_s", "told"), [(0.1, "1"), (1.0, "2"), (29.5, "30")])
def test_a_wait_is_told_in_whole_seconds(wait_s: float, told: str) -> None:
    assert retry_after(wait_s) == {"retry-after": told}


@dataclass(slots=True, kw_only=True)
class Thing(BaseOrder):
    id: str

    def summary(self) -> dict[str, Any]:
        return {"id": self.id, **self.counts()}


class Acme(BaseSimulator[Thing]):
    provider = "Acme"

    def __init__(self) -> None:
        super().__init__(Book("order_id", "request_id"), Window(2, 1.0))
        self.served: list[str] = []

    def serve(self, request: HttpRequest, now: float) -> HttpResponse:
        self.served.append(f"{request.method} {now:g}")
        return json_response(200, {})

    def sign(self, webhook: HttpRequest, now: float) -> HttpRequest:
        return replace(webhook, headers={**webhook.headers, "X-At": f"{now:g}"})

    @action(keys=("color",))
    def create(self, now: float, order_id: str, request_id: str | None = None, **details: str) -> dict[str, Any]:
        self.orders.add(Thing(id=order_id), order_id=order_id, request_id=request_id)
        self.emit({"id": order_id, **details}, now, {"X-Topic": "created"})
        return {"created": order_id}

    @action("ship", "lose")
    def step(self, do: str, **ids: object) -> dict[str, Any]:
        return {"did": do, **self.orders.one(**ids).summary()}


def test_an_action_is_done_by_its_name() -> None:
    acme = Acme()
    assert acme.act({"do": "create", "order_id": "1", "color": "red"}, 5.0) == {"created": "1"}
    assert acme.act({"do": "create", "order_id": "2", "request_id": 7}, 6.0) == {"created": "2"}
    assert acme.act({"do": "lose", "request_id": 7}, 7.0) == {
        "did": "lose",
        "id": "2",
        "cancel_calls": 0,
        "cancel_effects": 0,
    }
    assert [order["id"] for order in acme.act({"do": "list"}, 8.0)["orders"]] == ["1", "2"]
    assert [order["id"] for order in acme.act({"do": "list", "order_id": "2"}, 8.0)["orders"]] == ["2"]
    first, second = acme.emitted()
    assert (first.headers["X-At"], first.headers["X-Topic"], first.body) == (
        "5",
        "created",
        b'{"id":"1","color":"red"}',
    )
    assert second.body == b'{"id":"2"}'
    assert (acme.emitted(), acme.emissions) == ([], 2)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({}, "cannot do ''; it can do"),
        ({"do": "fly"}, "Acme cannot do 'fly'; it can do .*create.*ship"),
        ({"do": "create", "order_id": "9", "wings": 2}, "create takes no wings; it takes color, order_id, request_id"),
        ({"do": "create", "order_id": "9", "now": 1}, "create takes no now"),
        ({"do": "ship", "color": "red"}, "ship takes no color; it takes order_id, request_id"),
        ({"do": "create"}, "create cannot read what it was given"),
        ({"do": "create", "order_id": "1"}, "order_id 1 is there already"),
        ({"do": "create", "order_id": "2", "request_id": "7"}, "request_id 7 is there already"),
        ({"do": "ship"}, "there is no order without an id: give order_id or request_id"),
        ({"do": "ship", "order_id": "3"}, "there is no order with order_id '3'"),
        ({"do": "ship", "order_id": "1", "request_id": "8"}, "there is no order with request_id '8'"),
        ({"do": "set_limits", "burst": 2}, "set_limits takes per_s, requests"),
        ({"do": "set_limits", "requests": 0}, "requests must be 1 or more"),
        ({"do": "crash", "times": "x"}, "invalid literal"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(action: dict[str, Any], says: str) -> None:
    acme = Acme()
    acme.act({"do": "create", "order_id": "1", "request_id": 7}, 1.0)
    acme.emitted()
    with pytest.raises(ValueError, match=says):
        acme.act(action, 2.0)
    assert len(acme.orders) == 1
    assert acme.orders.get("2") is None
    assert acme.emitted() == []


def test_a_call_passes_the_limit_and_the_faults_before_it_is_served() -> None:
    acme = Acme()
    call = HttpRequest("GET", "/")
    acme.act({"do": "crash", "takes_effect": True}, 0.0)
    answers = [acme.handle(call, now) for now in (0.0, 0.5, 0.6, 1.1)]
    assert [answer.status for answer in answers] == [500, 200, 429, 200]
    assert answers[2].headers["retry-after"] == "1"
    assert acme.served == ["GET 0", "GET 0.5", "GET 1.1"]


def test_a_header_is_found_in_any_case() -> None:
    call = HttpRequest("GET", "/", {"AUTHORIZATION": "x"})
    assert (header(call, "Authorization"), header(call, "Accept")) == ("x", "")


def test_parameters_are_read_strictly() -> None:
    assert strings(["a", "b"]) == ("a", "b")
    for given in ("ab", ["a", 1], None):
        with pytest.raises(ValueError, match="list of strings"):
            strings(given)
    assert time_with_offset("2030-01-31T16:00:00Z", "at") == datetime(2030, 1, 31, 16, tzinfo=UTC)
    with pytest.raises(ValueError, match="at '2030-01-31T16:00:00' has no offset"):
        time_with_offset("2030-01-31T16:00:00", "at")
