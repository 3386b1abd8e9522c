from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from unit.generic.support import CALL, SMALL, example, make

from handlers.generic.call import AnswerRow, Call, Probe
from handlers.generic.config import AppointmentFields, Config, Fields, Handshake
from handlers.generic.words import MappedEvent

KEY = SMALL["api_key"]


def test_little_is_needed() -> None:
    config = make()
    assert config.base_url == "https://api.example.com/v2"
    assert config.cancel is not None
    assert (config.cancel.method, config.unknown_events, config.unknown_statuses) == ("POST", "quarantine", "uncertain")
    assert config.probe is not None
    assert config.probe.method == "GET"


def test_what_is_shown_can_be_given_again() -> None:
    config = Config.model_validate(example()["accounts"][0]["config"])
    shown = config.model_dump(mode="json", exclude_unset=True)
    assert shown["api_key"] == "**********"
    shown["api_key"] = "another"
    again = Config.model_validate(shown)
    assert again.model_dump(exclude={"api_key"}) == config.model_dump(exclude={"api_key"})


def test_secrets_are_never_shown() -> None:
    config = make(secrets={"password": "p4ssw0rd-of-ours"})
    call = config.cancel
    assert call is not None
    shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()} {config.scope_of(call)!r}"
    assert KEY not in shown
    assert "p4ssw0rd" not in shown
    assert config.secret_values == {"api_key": KEY, "password": "p4ssw0rd-of-ours"}


@pytest.mark.parametrize(
    "bad",
    [
        {"api_key": f"{KEY}\n"},
        {"api_key": 4711},
        {"secrets": {"a": f" {KEY}"}},
        {"secrets": {"A-B": KEY}},
        {"secrets": {"a": {"b": KEY}}},
        {"secrets": KEY},
        {"more": KEY},
        {"cancel": {**CALL, "headers": {"Authorization": f"Bearer {KEY}"}}},
        {"cancel": {**CALL, "headers": {"Bad name": KEY}}},
        {"cancel": {**CALL, "more": KEY}},
    ],
)
def test_an_error_does_not_show_them(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        make(**bad)
    assert KEY not in str(caught.value)
    assert "4711" not in str(caught.value)


def where_and_what(bad: dict[str, Any]) -> str:
    """As a resource's error says it."""
    with pytest.raises(ValidationError) as caught:
        make(**bad)
    first = caught.value.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def call(**changes: Any) -> dict[str, Any]:
    return {"cancel": {**CALL, **changes}}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"base_url": ""}, "base_url: .*http or https"),
        ({"base_url": "ftp://x.example"}, "base_url: .*http or https"),
        ({"api_key": ""}, "api_key: .*at least 1"),
        ({"api_key": " k"}, "api_key: .*white space"),
        ({"secrets": {"a": ""}}, "secrets.a: .*at least 1"),
        ({"secrets": {"Bad": "x"}}, "secrets.Bad.*pattern"),
        ({"secrets": {"api_key": "x"}}, "secrets: .*field of its own"),
        ({"secrets": {"in": "x"}}, "secrets: .*word of CEL's own"),
        ({"timezone": "Mars/Olympus"}, "timezone: .*IANA"),
        ({"timeout_s": 0}, "timeout_s: .*greater than 0"),
        ({"fields": {"status": "s"}}, "fields.order: Field required"),
        ({"fields": {"order": "a["}}, "fields.order: .*ends too early"),
        ({"fields": {"order": "a", "status": "shout(a)"}}, "fields.status: .*no function shout"),
        ({"fields": {"order": "a", "attributes": {"x": "b c"}}}, "fields.attributes.x: .*column 3"),
        ({"fields": {"order": "a", "status": "s", "appointments": {"id": "x"}}}, "appointments.list: Field required"),
        ({"fields": {"order": "a"}}, "fields.status: phases are told by the status"),
        ({"phases": {}}, "without phases here or in events nothing is ever known"),
        ({"phases": {}, "events": {"x": "ignore", "y": {"type": "order.seen"}}}, "nothing is ever known"),
        ({"phases": {"placed": "opened"}}, "phases.placed: .*'open', 'in_progress', 'completed'"),
        ({"events": {"x": "skip"}}, "events.x.ignore: .*'ignore'"),
        ({"events": {"x": {}}}, "events.x.*say what it means"),
        ({"events": {"x": {"type": "created"}}}, "events.x.*type: .*pattern"),
        ({"events": {"x": {"type": "probe.failed"}}}, "events.x.*type: .*Rescind's own"),
        ({"events": {"x": {"type": "cancellation.x"}}}, "events.x.*type: .*Rescind's own"),
        ({"event_header": "X Topic"}, "event_header: .*pattern"),
        ({"unknown_events": "drop"}, "unknown_events: .*'quarantine', 'uncertain' or 'ignore'"),
        ({"handshake": {"origin": "x"}}, "handshake.origin: .*not permitted"),
        ({"handshake": {"per_min": 0}}, "handshake.per_min: .*greater than or equal to 1"),
        ({"cancel": None}, "cancel: "),
        (call(url="orders"), "cancel.url: .*begin with one slash"),
        (call(url="//evil.example/x"), "cancel.url: .*begin with one slash"),
        (call(url="https://evil.example/x"), "cancel.url: .*begin with one slash"),
        (call(url="{{ order.id }}"), "cancel.url: .*begin with one slash"),
        (call(url="/a b"), "cancel.url: .*no spaces"),
        (call(url="/a#b"), "cancel.url: .*no #"),
        (call(url="/a/../b"), "cancel.url: .*dots"),
        (call(url="/é"), "cancel.url: .*as a URL is sent"),
        (call(url="/orders/{{ order.idd }}"), "cancel.url: .*line 1, column 18: there is no order.idd"),
        (call(url="/o?key={{ secrets.api_key }}"), "cancel.url: .*not in a URL"),
        (call(method="HEAD"), "cancel.method: "),
        (
            call(headers={"X-Key": "{{ secrets.other }}"}),
            "cancel.headers.X-Key: line 1, column 12: there is no secrets.o",
        ),
        (call(headers={"X:": "x"}), "cancel.headers: .*no name of a header"),
        (call(headers={"Host": "x"}), "cancel.headers: .*leave out Host"),
        (call(headers={"content-length": "1"}), "cancel.headers: .*leave out content-length"),
        (call(headers={"Authorization": "Bearer abc"}), "cancel.headers: .*from api_key or secrets"),
        (call(body={"a": [{"b": "{{ 1 + }}"}]}), "cancel.body.a.0.b: line 1, column 8: it ends too early"),
        (call(encoding="form"), "cancel: .*a form needs a body"),
        (call(encoding="form", body={"a": ["b"]}), "cancel: .*text, not lists"),
        (call(answers=[{"outcome": "refused"}]), "cancel.answers.0: .*say which answers"),
        (call(answers=[{"status": 600, "outcome": "refused"}]), "cancel.answers.0.status: .*give a status such as 409"),
        (call(answers=[{"status": "4x", "outcome": "refused"}]), "cancel.answers.0.status: .*class of them"),
        (call(answers=[{"status": True, "outcome": "refused"}]), "cancel.answers.0.status: "),
        (call(answers=[{"status": 409, "outcome": "denied"}]), "cancel.answers.0.outcome: .*'refused'"),
        (call(answers=[{"status": 409, "when": "a ==", "outcome": "refused"}]), "cancel.answers.0.when: .*too early"),
        (call(detail="a["), "cancel.detail: .*too early"),
        ({"probe": {"url": "/x", "method": "DELETE"}}, "probe.method: .*a probe reads"),
        (
            {"probe": {"url": "/x", "answers": [{"status": 202, "outcome": "accepted"}]}},
            "probe.answers: .*cannot mean acc",
        ),
        ({"probe": {"url": "/x", "read_as": "{"}}, "probe.read_as: .*too early"),
        ({"probe": {"url": "/x", "headers": {"A": "{{ x }}"}}}, "probe.headers.A: line 1, column 4: there is no x"),
        ({"colour": 1}, "colour: .*not permitted"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(bad: dict[str, Any], says: str) -> None:
    assert re.search(says, where_and_what(bad)), where_and_what(bad)


@pytest.mark.parametrize("status", [409, "409", "4xx", "2xx"])
def test_a_status_or_a_class_of_them(status: Any) -> None:
    row = AnswerRow.model_validate({"status": status, "outcome": "refused"})
    assert row.fits(409) == (str(status) != "2xx")
    assert row.fits(204) == (str(status) == "2xx")
    assert not row.fits(500)


@pytest.mark.parametrize("model", [Config, Call, Probe, AnswerRow, Handshake, MappedEvent])
def test_every_field_is_described(model: type[BaseModel]) -> None:
    undescribed = [name for name, field in model.model_fields.items() if not field.description]
    assert undescribed == []


def test_the_schema_can_be_made() -> None:
    """The console's form and the documentation come from it."""
    schema = Config.model_json_schema()
    assert set(schema["required"]) == {"base_url", "fields", "cancel"}
    assert {Fields.__name__, AppointmentFields.__name__, "Cancel", "Probe"} <= set(schema["$defs"])
