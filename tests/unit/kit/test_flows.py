"""Flows over several orders, and what a snapshot must show."""

from __future__ import annotations

from typing import Any

from contract.handler_cases import drive

from app.contract import (
    CancelOutcome,
    Facts,
    Flow,
    HttpRequest,
    HttpResponse,
    MalformedPayload,
    Order,
    Phase,
    ProbeUnavailable,
)
from app.kit.flows import (
    cancel_unsendable,
    flow_per_order,
    json_call,
    per_order,
    probe_unsendable,
    read_snapshot,
    same_order,
)
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable

ORDER = Order("a", "1", aliases=("request:7",))
TABLE = ResponseTable("Acme")


def get(path: str) -> HttpRequest:
    return json_call("GET", path, timeout_s=3.0)


def test_each_is_asked_for_in_turn_and_what_cannot_be_is_not() -> None:
    flow = per_order(
        ["/1", "", "/2"],
        lambda path: get(path) if path else "nothing to ask",
        lambda path, response: f"{path} {response.status}",
    )
    results, requests = drive(flow, [HttpResponse(200), HttpResponse(404)])
    assert results == ["/1 200", "nothing to ask", "/2 404"]
    assert [request.url for request in requests] == ["/1", "/2"]


def test_an_order_may_need_several_calls() -> None:
    def flow(path: str) -> Flow[int]:
        first = yield get(path)
        second = yield get(f"{path}/again")
        return first.status + second.status

    results, requests = drive(flow_per_order(["/1", "/2"], flow), [HttpResponse(status) for status in (200, 1, 200, 2)])
    assert results == [201, 202]
    assert [request.url for request in requests] == ["/1", "/1/again", "/2", "/2/again"]


def test_only_what_reads_is_repeatable_unless_told() -> None:
    assert get("/").repeatable
    assert get("/").headers == {"Accept": "application/json"}
    call = json_call("POST", "/", {"a": 1}, headers={"Accept": "text/plain", "Key": "k"}, timeout_s=3.0)
    assert not call.repeatable
    assert call.body == b'{"a":1}'
    assert call.headers == {"Accept": "text/plain", "Content-Type": "application/json", "Key": "k"}
    assert json_call("POST", "/", timeout_s=3.0, repeatable=True).repeatable


def test_an_order_is_the_same_by_any_of_its_names() -> None:
    assert same_order(ORDER, "1")
    assert same_order(ORDER, "2", "request:7")
    assert not same_order(ORDER, "7")
    assert not same_order(ORDER)


def snapshot(answer: tuple[str, Facts] | MalformedPayload, kind: ResponseKind = ResponseKind.DONE) -> Any:
    def read_order(_: Any) -> tuple[str, Facts]:
        if isinstance(answer, MalformedPayload):
            raise answer
        return answer

    response = ProviderResponse(kind, "Acme said so.", {}, 7.0)
    return read_snapshot(ORDER, response, TABLE, read_order, no_status="Acme states no status; set status_keys.")


def test_a_snapshot_is_of_the_order_that_was_asked_for() -> None:
    facts = snapshot(("5", Facts(phase=Phase.OPEN, aliases=("request:7", "1"))))
    assert facts == Facts(phase=Phase.OPEN, aliases=("5", "request:7"), snapshot=True)
    other = snapshot(("2", Facts(phase=Phase.OPEN, aliases=("request:8",))))
    assert isinstance(other, ProbeUnavailable)
    assert str(other) == "Acme answered with order 2 when asked for 1."
    assert other.outcome is CancelOutcome.RETRY


def test_what_is_no_snapshot_says_why() -> None:
    said = {
        "Acme's answer cannot be read: it has no id.": snapshot(MalformedPayload("it has no id")),
        "Acme states no status; set status_keys.": snapshot(("1", Facts())),
        "Acme said so.": snapshot(("1", Facts(phase=Phase.OPEN)), ResponseKind.THROTTLED),
    }
    for text, unavailable in said.items():
        assert isinstance(unavailable, ProbeUnavailable)
        assert str(unavailable) == text
    assert said["Acme said so."].outcome is CancelOutcome.THROTTLED
    assert said["Acme said so."].after_s == 7.0


def test_an_id_that_fits_into_no_call_is_shown_short_and_escaped() -> None:
    order = Order("a", "é\u202e" + 200 * "x")
    result, unavailable = cancel_unsendable("Acme", order), probe_unsendable("Acme", order)
    assert result.outcome is unavailable.outcome is CancelOutcome.REFUSED
    assert result.detail == str(unavailable)
    assert result.detail == f"No order at Acme can be called 'é\\u202e{78 * 'x'}': nothing was sent."
