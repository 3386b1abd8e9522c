"""What a body is: JSON or a form, and JSON inside of either."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError
from unit.generic.support import JSON, NOW, SMALL, STRUCTURED, make, observe, read

from app.contract import Ignored, MalformedPayload, Phase, Unrecognized
from app.kit.payload import ATTRIBUTE_BYTES_MAX
from app.kit.sample import NoSample
from handlers.generic.setup import sample

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
FIELDS = {"order": "id", "status": "status"}
INNER = {
    "fields": {
        "order": "split(order.gid, '/')[-1]",
        "status": "lower(order.state)",
        "attributes": {"total": "order.total", "note": "note"},
    },
    "events_path": "[merge(@, {order: from_json(payload)})]",
}


def test_a_form_is_read_by_its_content_type() -> None:
    seen = observe(b"id=o-1&status=placed", FORM)
    assert (seen.order, seen.facts.phase) == ("o-1", Phase.OPEN)
    for headers in (JSON, {}):
        with pytest.raises(MalformedPayload, match="not the JSON"):
            read(b"id=o-1&status=placed", headers)


def test_json_under_the_content_type_of_a_form_is_json_as_before() -> None:
    for body in (b'{"id": "o-1", "status": "sent"}', b' \n{"id":"o-1","status":"sent"}'):
        assert observe(body, FORM).facts.phase is Phase.IN_PROGRESS
    assert observe(b'[{"id":"o-1","status":"sent"}]', FORM, events_path="@").order == "o-1"


def test_the_configuration_outranks_the_content_type() -> None:
    for headers in (JSON, STRUCTURED, {"ce-specversion": "1.0", "Content-Type": "text/plain"}):
        assert observe(b"id=o-1&status=gone", headers, format="form").facts.phase is Phase.CANCELED
    assert observe(b'{"id": "o-1", "status": "gone"}', FORM, format="json").facts.phase is Phase.CANCELED
    with pytest.raises(MalformedPayload, match="not the JSON"):
        read(b"id=o-1&status=placed", FORM, format="json")
    with pytest.raises(ValidationError, match="'auto', 'json' or 'form'"):
        make(format="xml")


def test_a_body_of_another_format_is_told_with_what_to_change() -> None:
    form, document, large = b"id=o-1&status=placed", b' {"id": "o-1", "status": "placed"}', b"a=1&" * 3000
    for body, headers, changes, parts in (
        (form, JSON, {"format": "json"}, ("not the JSON", "`format` is json,", "set format to form")),
        (form, JSON, {}, ("`format` is auto, and the Content-Type is 'application/json'", "set format to form")),
        (form, {}, {}, ("`format` is auto, and there is no Content-Type", "set format to form")),
        (b"<order/>", JSON, {}, ("other formats cannot be read",)),
        (document, JSON, {"format": "form"}, ("the body is JSON; `format` is form,", "set format to json")),
        (large, FORM, {}, ("fields", "`format` is auto", "set format to json")),
    ):
        with pytest.raises(MalformedPayload) as caught:
            read(body, headers, **changes)
        assert all(part in str(caught.value) for part in parts), (body[:30], str(caught.value))
    # What only begins like JSON is a form, if the configuration says so.
    odd = {"order": '"[id]"', "status": "status"}
    assert observe(b"[id]=o-1&status=placed", FORM, format="form", fields=odd).order == "o-1"


def test_fields_of_a_form_are_plain_names() -> None:
    fields = {**FIELDS, "order": '"order[id]"', "aliases": "ref", "attributes": {"tags": "tag", "cost": "cost"}}
    seen = observe(b"order%5Bid%5D=7&status=placed&ref=a&ref=b&tag=x&tag=y&cost=1.50", FORM, fields=fields)
    assert (seen.order, seen.facts.shared_aliases) == ("7", ("a", "b"))
    assert seen.facts.attributes == {"tags": ["x", "y"], "cost": "1.50"}


def test_json_in_a_field_is_read_once_for_all_paths() -> None:
    payload = '{"gid": "gid://shop/Order/17", "state": "PLACED", "total": 12.50}'
    for body, headers in (
        (urlencode({"payload": payload, "note": "n"}).encode(), FORM),
        (json.dumps({"payload": payload, "note": "n"}).encode(), JSON),
    ):
        seen = observe(body, headers, **INNER)
        assert (seen.order, seen.facts.phase) == ("17", Phase.OPEN)
        assert seen.facts.attributes == {"total": "12.50", "note": "n"}, "money as it is spelled"


def test_what_is_no_json_in_a_field_states_nothing() -> None:
    with pytest.raises(MalformedPayload, match="names no order"):
        read(urlencode({"payload": '{"gid": '}).encode(), FORM, **INNER)
    parsed = read(b"id=o&status=%7B", FORM, fields={**FIELDS, "status": "from_json(status).x"})
    assert isinstance(parsed, Unrecognized)


def test_no_nul_and_nothing_large_comes_from_where_the_raw_body_does_not_show_it() -> None:
    """NUL as `%00`, as an escape that JSON in JSON hides, and from a literal; and text that a path makes longer."""
    fields: dict[str, Any] = {**FIELDS, "attributes": {"a": "a"}}
    assert observe(b"id=o&status=placed&a=x%00y", FORM, fields=fields).facts.attributes == {"a": "xy"}
    hidden = b'{"id": "o", "status": "placed", "a": "{\\"b\\": \\"x\\u005cu0000y\\"}"}'
    assert b"\\u0000" not in hidden
    fields["attributes"] = {"a": "from_json(a).b"}
    assert observe(hidden, fields=fields).facts.attributes == {"a": "xy"}
    more = {"fields": {**FIELDS, "attributes": {"a": "b"}}, "events_path": "[merge(@, from_json(a))]"}
    assert observe(hidden, **more).facts.attributes == {"a": "xy"}
    fields["attributes"] = {"a": "replace(a, 'x', `\"\\u0000\"`)"}
    assert observe({"id": "o", "status": "placed", "a": "xy"}, fields=fields).facts.attributes == {"a": "y"}
    fields["attributes"] = {"a": "replace(a, 'x', 'xxxxx')", "b": "id"}
    body = {"id": "o", "status": "placed", "a": "x" * (ATTRIBUTE_BYTES_MAX // 2)}
    assert observe(body, fields=fields).facts.attributes == {"b": "o"}


def test_a_form_that_is_too_large_waits_in_quarantine() -> None:
    with pytest.raises(MalformedPayload, match="256 KiB"):
        read(b"id=o&status=placed&a=" + b"x" * 300_000, FORM)


def test_events_of_a_form_are_told_apart() -> None:
    one, two = (observe(f"id=o&status=placed&n={number}".encode(), FORM) for number in (1, 2))
    assert one.key != two.key
    events = {"ping": "ignore", "made": {"phase": "open"}}
    fields = {**FIELDS, "event": "kind", "event_id": "sid"}
    same = [observe(f"id=o&kind=made&sid=S1&n={n}".encode(), FORM, fields=fields, events=events) for n in (1, 2)]
    assert same[0].key == same[1].key
    assert isinstance(read(b"id=o&kind=ping", FORM, fields=fields, events=events), Ignored)


def test_the_sample_of_a_form_is_one() -> None:
    config = make(format="form", fields={**FIELDS, "event": "kind"}, events={"made": {"phase": "open"}})
    webhook = sample(config, NOW)
    assert webhook.headers["Content-Type"] == "application/x-www-form-urlencoded"
    seen = observe(
        webhook.body,
        webhook.headers,
        **{key: getattr(config, key) for key in ("format", "events")},
        fields={**FIELDS, "event": "kind"},
    )
    assert (seen.order, seen.type, seen.facts.phase) == ("rescind-test-order", "made", Phase.OPEN)
    for fields in ({**FIELDS, "order": "order.id"}, {**FIELDS, "order": '"order[id]"'}):
        with pytest.raises(NoSample):
            sample(make(format="form", fields=fields), NOW)
    assert SMALL["fields"] == FIELDS


def test_all_paths_of_one_request_share_a_budget() -> None:
    attributes = {f"a{number}": "list[].{a: a, b: b}" for number in range(100)}
    fields = {**FIELDS, "attributes": attributes}
    for items, taken in ((30, True), (100, False)):
        body = json.dumps({"id": "o-1", "status": "placed", "list": [{"a": 1}] * items}).encode()
        if taken:
            assert len(observe(body, JSON, fields=fields).facts.attributes) == 100
            continue
        for _ in range(2):
            with pytest.raises(MalformedPayload, match="all paths together would go through more than 30,000"):
                read(body, JSON, fields=fields)
        assert observe(body, JSON, fields={**FIELDS, "attributes": {"a": "list[].a"}}).order == "o-1"
    events = json.dumps({"all": [{"id": "o-1", "status": "placed", "list": [1] * 40}] * 1000}).encode()
    with pytest.raises(MalformedPayload, match="have fewer events sent at once"):
        read(events, JSON, events_path="all", fields={**FIELDS, "attributes": {"a": "list[*]"}})
    assert len(read(events, JSON, events_path="all", fields={**FIELDS, "attributes": {"a": "list"}})) == 1000


def test_functions_and_comparisons_are_counted_by_the_text_that_they_read() -> None:
    text = {"id": "o-1", "status": "placed", "t": "x" * 700_000, "u": {"t": "y" * 700_000}, "v": ["x"] * 20_000}
    for path in ("contains(t, 'z')", "reverse(t)", "to_string(u)", "t == t", "v == v", "starts_with(t, t)"):
        with pytest.raises(MalformedPayload, match="or too much text"):
            read(json.dumps(text).encode(), JSON, fields={**FIELDS, "attributes": {"a": path}})
