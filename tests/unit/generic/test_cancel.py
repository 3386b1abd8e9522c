from __future__ import annotations

import json
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unit.generic.support import CALL, NOW, SMALL, canceled, make, order, probed, refused, sent

from app.contract import CancelOutcome, CancelRequest, Context, Facts, HttpResponse, Phase, ProbeUnavailable
from handlers.generic.cancel import cancel

JSON = {"content-type": "application/json"}


def reply(status: int, body: Any = None, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return HttpResponse(status, {**JSON, **{name.replace("_", "-"): text for name, text in headers.items()}}, raw)


# -- The request ------------------------------------------------------------------------------


def test_a_call_is_made_of_its_templates() -> None:
    request = sent(
        order(attributes={"n": 3, "region": "EU west"}),
        "late",
        "too late",
        method="DELETE",
        url="/v{{ order.attributes.n }}/orders/{{ order.id }}?region={{ order.attributes.region }}&why={{ reason }}",
        headers={"Authorization": "Bearer {{ secrets.api_key }}", "X-Other": "{{ secrets.more }}-{{ order.version }}"},
        body={"reason": "{{ reason }}", "note": "{{ note }}", "n": "{{ order.attributes.n }}", "all": True},
        secrets={"more": "m0re"},
    )
    assert request.method == "DELETE"
    assert request.url == "https://api.example.com/v2/v3/orders/o-1?region=EU%20west&why=late"
    assert request.headers == {
        "Authorization": f"Bearer {SMALL['api_key']}",
        "X-Other": "m0re-1",
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    assert json.loads(request.body) == {"reason": "late", "note": "too late", "n": 3, "all": True}
    assert not request.repeatable


def test_a_form_is_a_form() -> None:
    body = {"id": "{{ order.id }}", "yes": True, "n": 3, "none": None, "note": "{{ note }}"}
    request = sent(order("ä b"), note="a&b=c", url="/cancel", encoding="form", body=body)
    assert request.body == b"id=%C3%A4+b&yes=true&n=3&none=&note=a%26b%3Dc"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_header_of_the_configuration_outranks_the_usual_one() -> None:
    request = sent(order(), headers={"content-type": "application/merge-patch+json", "ACCEPT": "*/*"}, body={})
    assert request.headers == {"content-type": "application/merge-patch+json", "ACCEPT": "*/*"}
    assert request.body == b"{}"


def test_a_text_is_sent_as_it_is() -> None:
    xml = '<cancel order="{{ order.id }}">\n  <why>{{ reason }}</why>\n</cancel>'
    request = sent(order("ä"), body=xml, headers={"content-type": "application/xml"})
    assert request.body == '<cancel order="ä">\n  <why>late</why>\n</cancel>'.encode()
    assert request.headers == {"content-type": "application/xml", "Accept": "application/json"}
    assert sent(order(), body="{{ order.id }}").headers["Content-Type"] == "text/plain; charset=utf-8"
    # An expression that gives no text is JSON as ever.
    request = sent(order(), body="{{ {'id': order.id} }}")
    assert (request.body, request.headers["Content-Type"]) == (b'{"id":"o-1"}', "application/json")


def test_without_a_body_none_is_sent() -> None:
    assert "Content-Type" not in sent(order(), body={}, encoding="form").headers
    assert "Content-Type" not in sent(order(), body="{{ note }}").headers
    request = sent(order())
    assert (request.body, request.headers) == (b"", {"Accept": "application/json"})


@examples(200)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12))
def test_an_id_never_leads_to_another_path(id: str) -> None:
    """Whatever an order is called, it is one part of the path, or nothing is sent."""
    config = make()
    request, result = canceled(config, order(id), HttpResponse(200))
    if id in (".", "..") or {"/", "\\"} & set(id):
        assert (request, result.outcome) == (None, "refused")
        return
    assert request is not None
    path = request.url.removeprefix("https://api.example.com/v2")
    assert path.split("/")[:2] == ["", "orders"]
    assert len(path.split("/")) == 4
    assert not {"?", "#", "\\", " "} & set(path)


@pytest.mark.parametrize("id", [".", ".."])
def test_dots_alone_would_be_another_path(id: str) -> None:
    assert "nothing but dots" in refused(order(id))
    assert "nothing but dots" in refused(
        order(".", attributes={"a": "."}), url="/x/{{ order.id }}{{ order.attributes.a }}"
    )


@pytest.mark.parametrize(
    ("id", "says"),
    [
        *((id, "stands in the path") for id in ("a/b", "a\\b", "..")),
        *((id, "no order can be called so") for id in ("", " ", "a\0b", "a\nb", "a\udcff")),
    ],
)
def test_a_name_that_fits_into_no_path_is_not_sent(id: str, says: str) -> None:
    assert says in refused(order(id))
    found = probed(make(), order(id))
    assert isinstance(found, ProbeUnavailable)
    # To ask again would be in vain.
    assert found.outcome is CancelOutcome.REFUSED
    assert says in str(found)


def test_a_name_in_a_query_may_hold_a_slash() -> None:
    assert sent(order("a/b&c"), url="/orders?id={{ order.id }}").url.endswith("/orders?id=a%2Fb%26c")


def test_nothing_would_be_another_path() -> None:
    """`DELETE /orders/` may be the end of all orders."""
    empty = order(attributes={"a": "", "none": None})
    for name in ("a", "none"):
        url = f"/orders/{{{{ order.attributes.{name} }}}}"
        assert f"order.attributes.{name} is empty" in refused(empty, "probe_first", method="DELETE", url=url)
    assert sent(empty, url="/orders?a={{ order.attributes.a }}&b={{ note }}").url.endswith("/orders?a=&b=")


def test_a_header_never_names_another_order() -> None:
    """HTTP drops spaces around a header's value."""
    for id in (" 12", "12 "):
        for text in ("{{ order.id }}", " {{ order.id }} ", "{{ order.id }}, {{ order.id }}"):
            said = refused(order(id), "probe_first", url="/cancel", headers={"X-Order": text})
            assert "X-Order would begin or end with a space" in said, (id, text)
        made = sent(order(id), url="/cancel", headers={"X-Order": '"{{ order.id }}" ', "X-Note": "Note: {{ note }}"})
        assert (made.headers["X-Order"], made.headers["X-Note"]) == (f'"{id}"', "Note:")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"url": "/x/{{ order.attributes.missing }}"}, 'no key "missing"'),
        ({"headers": {"X-A": "{{ order.attributes.text }}"}}, "the header X-A would hold a line break"),
        ({"headers": {"X-A": "{{ order.attributes.list }}"}}, "cannot stand inside of text"),
        ({"body": {"a": "{{ order.attributes.missing }}"}}, 'no key "missing"'),
        (
            {"body": {"a": "{{ order.attributes.list }}"}, "encoding": "form"},
            "the field a of the form: a list cannot stand",
        ),
        ({"body": {"a": "{{ type(1) }}"}}, "cannot be written as json"),
    ],
)
def test_a_call_that_cannot_be_made_is_not_sent(call: dict[str, Any], says: str) -> None:
    """What is known of the order may be behind: a probe may tell what the call lacks."""
    known = order(attributes={"text": "a\r\nX-Evil: b", "list": [1]})
    detail = refused(known, "probe_first", **call)
    assert says in detail
    assert "nothing was sent" in detail
    assert detail.endswith(".")
    request, result = canceled(make(cancel={**CALL, **call}, probe=None), known, None)
    assert (request, result.outcome) == (None, "refused")
    assert "configure `probe`" in result.detail


def test_no_answer_can_mean_that_nothing_was_sent() -> None:
    with pytest.raises(ValidationError, match="an answer cannot mean probe_first"):
        make(cancel={**CALL, "answers": [{"status": 409, "outcome": "probe_first"}]})


def test_each_order_has_a_call_of_its_own() -> None:
    config = make()
    requests = [CancelRequest(order(id), "late") for id in ("o-1", ".", "o-3")]
    flow = cancel(requests, config, Context(NOW))
    assert next(flow).url.endswith("/o-1/cancel")
    assert flow.send(reply(409)).url.endswith("/o-3/cancel")
    with pytest.raises(StopIteration) as end:
        flow.send(reply(200))
    assert [each.outcome for each in end.value.value] == ["refused", "refused", "succeeded"]


# -- The answer -------------------------------------------------------------------------------


def outcome(answer: HttpResponse, *rows: dict[str, Any], **call: Any) -> CancelOutcome:
    _, result = canceled(make(cancel={**CALL, "answers": rows, **call}), order(), answer)
    assert result.detail.endswith(".")
    return result.outcome


def test_what_is_not_listed_is_never_repeated_blindly() -> None:
    for status in range(200, 600):
        found = outcome(reply(status))
        if status // 100 == 2:
            assert found == "succeeded"
        elif status in (401, 403):
            assert found == "unauthorized"
        elif status == 429:
            assert found == "throttled"
        elif status // 100 == 4 and status != 408:
            assert found == "refused"
        else:
            assert found == "indeterminate"


def test_the_first_row_that_fits_decides() -> None:
    rows = [
        {"status": 409, "when": "code == 'gone'", "outcome": "succeeded"},
        {"status": 409, "outcome": "retry", "doubtful": False},
        {"status": "4xx", "outcome": "indeterminate"},
        {"when": "queued", "outcome": "accepted"},
    ]
    assert outcome(reply(409, {"code": "gone"}), *rows) == "succeeded"
    assert outcome(reply(409, {"code": "x"}), *rows) == "retry"
    assert outcome(reply(409, b"<html>"), *rows) == "retry"
    assert outcome(reply(404), *rows) == "indeterminate"
    assert outcome(reply(200, {"queued": True}), *rows) == "accepted"
    assert outcome(reply(503, {"queued": 1}), *rows) == "accepted"
    for nothing in (False, None, "", [], {}):
        assert outcome(reply(503, {"queued": nothing}), *rows) == "indeterminate"


def test_a_condition_that_cannot_be_applied_does_not_hold() -> None:
    rows = [{"status": 200, "when": "starts_with(code, 'x')", "outcome": "refused"}]
    assert outcome(reply(200, {"code": 1}), *rows) == "indeterminate"


def test_listed_successes_leave_the_others_open() -> None:
    row = {"status": 200, "when": "ok", "outcome": "succeeded"}
    assert outcome(reply(200, {"ok": True}), row) == "succeeded"
    assert outcome(reply(200, {"ok": False}), row) == "indeterminate"
    assert outcome(reply(204), row) == "indeterminate"
    assert outcome(reply(200), {"status": 409, "outcome": "refused"}) == "succeeded"


def test_a_retry_is_doubtful_unless_the_table_knows_better() -> None:
    for doubtful in (True, False):
        row = {"status": 503, "outcome": "retry", "doubtful": doubtful}
        _, result = canceled(make(cancel={**CALL, "answers": [row]}), order(), reply(503, retry_after="7"))
        assert (result.outcome, result.may_have_applied, result.after_s) == ("retry", doubtful, 7.0)


def test_a_wait_is_only_told_where_it_means_something() -> None:
    _, result = canceled(make(), order(), reply(409, retry_after="7"))
    assert result.after_s is None


@pytest.mark.parametrize(
    ("body", "call", "says"),
    [
        ({"message": "Too late!"}, {}, "409, Too late."),
        ({"detail": "First", "message": "second"}, {}, "409, First."),
        ({"error": {"code": 1}, "title": "T"}, {}, "409, T."),
        ({"error": {"why": "Packed."}}, {"detail": "error.why"}, "409, Packed."),
        ({"a": "row"}, {"detail": "b", "answers": [{"status": 409, "outcome": "refused", "detail": "a"}]}, "409, row."),
        ({"a": ["x"]}, {"detail": "a"}, "409."),
        ({"a": 1}, {"detail": "length(a)"}, "409."),
        (["x"], {}, "409."),
        (b"<html>", {}, "409."),
        ({"message": "a\nb\u0007" + "x" * 900}, {}, "409, a b "),
    ],
)
def test_why_is_taken_from_where_it_stands(body: Any, call: dict[str, Any], says: str) -> None:
    _, result = canceled(make(cancel={**CALL, **call}), order(), reply(409, body))
    assert result.detail.startswith(f"The source answered {says}")
    assert result.detail.isprintable()
    assert len(result.detail) < 400


def test_no_secret_comes_back_in_a_detail() -> None:
    header = "Basic {{ base64.encode(bytes('shop:' + secrets.password)) }}"
    config = make(cancel={**CALL, "headers": {"Authorization": header}}, secrets={"password": "p4ssw0rd"})
    said = "shop:p4ssw0rd k3y-of-the-api Basic c2hvcDpwNHNzdzByZA== c2hvcDpwNHNzdzByZA=="
    request, result = canceled(config, order(), reply(403, {"message": said}))
    assert request is not None
    assert request.headers["Authorization"] == "Basic c2hvcDpwNHNzdzByZA=="
    assert "p4ssw0rd" not in result.detail
    assert "k3y" not in result.detail
    assert "c2hvcDpw" not in result.detail


# -- The probe --------------------------------------------------------------------------------


def test_a_probe_may_be_repeated_and_reads_by_the_same_paths() -> None:
    config = make(probe={"url": "/orders/{{ order.id }}", "read_as": "result"})
    found = probed(config, order(), reply(200, {"result": {"id": "o-1", "status": "sent"}}))
    assert isinstance(found, Facts)
    assert (found.phase, found.provider_status, found.snapshot) == (Phase.IN_PROGRESS, "sent", True)
    assert not found.appointments_complete


def test_what_a_snapshot_does_not_list_is_gone() -> None:
    fields = {"order": "id", "status": "status", "appointments": {"list": "slots", "complete": False}}
    found = probed(make(fields=fields), order(), reply(200, {"id": "o-1", "status": "placed"}))
    assert isinstance(found, Facts)
    assert found.appointments_complete


@pytest.mark.parametrize(
    ("answer", "outcome", "says"),
    [
        (reply(200, {"id": "o-2", "status": "placed"}), "retry", "answered with order o-2 when asked for o-1"),
        (reply(200, {"id": "o-1"}), "retry", "states no status"),
        (reply(200, {"order": {"id": "o-1"}}), "retry", "set probe.read_as"),
        (reply(200, []), "retry", "names no order"),
        (reply(200), "retry", "names no order"),
        (reply(200, b'{"id'), "retry", "does not tell"),
        (reply(404, {"error": "none"}), "refused", "404, none"),
        (reply(410, {}), "refused", "410"),
        (reply(404), "retry", "404"),
        (reply(422, {}), "retry", "422"),
        (reply(500), "retry", "500"),
        (reply(401), "unauthorized", "credentials"),
        (reply(429, retry_after="9"), "throttled", "429"),
    ],
)
def test_what_a_probe_does_not_tell(answer: HttpResponse, outcome: str, says: str) -> None:
    found = probed(make(), order(), answer)
    assert isinstance(found, ProbeUnavailable)
    assert found.outcome == outcome
    assert says in str(found)
    assert found.after_s == (9.0 if outcome == "throttled" else None)


def test_an_alias_is_one_of_the_order_s_names() -> None:
    known, shown = order("r-1"), reply(200, {"id": "o-9", "ref": "r-1", "status": "placed"})
    unique = {"order": "id", "status": "status", "aliases": {"unique": "ref"}}
    found = probed(make(fields=unique), known, shown)
    assert isinstance(found, Facts)
    assert found.aliases == ("o-9",)
    # Of a reference that several orders may carry nobody knows which of them the answer is about.
    shared = {**unique, "aliases": "ref"}
    found = probed(make(fields=shared), known, shown)
    assert isinstance(found, ProbeUnavailable)
    found = probed(make(fields=shared), order("o-9"), shown)
    assert isinstance(found, Facts)
    assert (found.aliases, found.shared_aliases) == ((), ("r-1",))


def test_without_a_call_nobody_is_asked() -> None:
    found = probed(make(probe=None), order())
    assert isinstance(found, ProbeUnavailable)
    assert "configure `probe`" in str(found)


def test_a_probe_that_cannot_be_made_is_not_sent() -> None:
    found = probed(make(), order(".."))
    assert isinstance(found, ProbeUnavailable)
    assert "nothing but dots" in str(found)


def test_where_no_cancel_is_offered_none_is_sent() -> None:
    config = make(cancel="none")
    assert config.model_dump(mode="json")["cancel"] == "none"
    request, result = canceled(config, order(), None)
    assert (request, result.outcome) == (None, "refused")
    assert "offers no cancel" in result.detail
    assert make().no_cancel() is None
    for wrong in ("nothing", None, [], ""):
        with pytest.raises(ValidationError, match="cancel"):
            make(cancel=wrong)
