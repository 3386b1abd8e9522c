"""What every handler must do, run over every folder in `handlers/`; `handler_cases` says how one plugs in."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from app.contract import (
    Cancelable,
    CancelResult,
    Facts,
    Handler,
    Ignored,
    InboundRequest,
    InvalidCancel,
    MalformedPayload,
    Order,
    Phase,
    ProbeUnavailable,
    Unrecognized,
    VerificationError,
    VerifyOptions,
)
from app.core.event import Source, stamp
from app.core.order import fold
from app.core.signing import OPTIONS, PROOF_IN_HEADERS
from app.core.verdict import judge
from app.registry import handlers
from app.suite.cases import (
    NOW,
    Fixture,
    answers,
    as_json,
    ask,
    chosen,
    config_of,
    context,
    fixtures,
    folder,
    observed,
    options_of,
    rules_of,
    scenario,
    secrets_of,
    strings,
    verify,
)

OUTCOMES = ("events", "ignored", "unrecognized", "malformed")
FIXTURES, ANSWERS, HANDLERS = list(fixtures()), list(answers()), list(chosen().values())
EVENTS = [each for each in FIXTURES if "events" in each.data]
SIGNED = [each for each in FIXTURES if "verify" in each.data]


def ids(cases: list[Fixture]) -> list[str]:
    return [f"{each.handler.name}-{each.name}" for each in cases]


def proof(fixture: Fixture) -> dict[str, Any]:
    found: dict[str, Any] = scenario(fixture.handler)["proof"]
    return found


SILENT = [each for each in FIXTURES if "events" not in each.data]
SIGNED_BODY = [each for each in SIGNED if proof(each)["signs_body"]]
"""A token proves the sender, not the body."""
SIGNED_TIME = [each for each in SIGNED if proof(each)["tolerance_s"] is not None]
"""Where no time is signed, that replays are dropped is the log's business."""
FACTS = [each for each in ANSWERS if each.data["outcome"] == "facts"]
OTHER_ANSWERS = [each for each in ANSWERS if each.data["outcome"] != "facts"]
by_handler = pytest.mark.parametrize("handler", HANDLERS, ids=[each.name for each in HANDLERS])
by_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=ids(FIXTURES))
by_event = pytest.mark.parametrize("fixture", EVENTS, ids=ids(EVENTS))
by_signed = pytest.mark.parametrize("fixture", SIGNED, ids=ids(SIGNED))
by_silent = pytest.mark.parametrize("fixture", SILENT, ids=ids(SILENT))
by_signed_body = pytest.mark.parametrize("fixture", SIGNED_BODY, ids=ids(SIGNED_BODY))
by_signed_time = pytest.mark.parametrize("fixture", SIGNED_TIME, ids=ids(SIGNED_TIME))
by_answer = pytest.mark.parametrize("answer", ANSWERS, ids=ids(ANSWERS))
by_facts = pytest.mark.parametrize("answer", FACTS, ids=ids(FACTS))
by_other_answer = pytest.mark.parametrize("answer", OTHER_ANSWERS, ids=ids(OTHER_ANSWERS))


# -- What comes in ---------------------------------------------------------------------------


def test_there_is_a_handler() -> None:
    assert "planomatic" in handlers()


@by_handler
def test_every_handler_says_what_it_is(handler: Handler) -> None:
    assert handler.title
    assert all(each.startswith("https://") for each in handler.docs)
    assert handler.docs
    assert (folder(handler).parent / "README.md").read_text(encoding="utf-8").startswith("# ")
    assert handler.words or "phases" in handler.config.model_fields, "its words are neither known nor configuration"
    assert handler.cancel_batch_max >= 1
    assert handler.probe_batch_max >= 1
    registers = (handler.registrations, handler.register, handler.unregister)
    assert all(registers) or not any(registers)
    assert bool(handler.topics) == all(registers)


@by_fixture
def test_every_fixture_says_where_it_is_from(fixture: Fixture) -> None:
    assert fixture.data["provenance"] in {"recorded", "documented", "synthetic"}
    assert len(fixture.data["document"]) > 3
    assert sum(outcome in fixture.data for outcome in OUTCOMES) == 1


@by_event
def test_every_fixture_gives_the_events_that_it_says(fixture: Fixture) -> None:
    shown = as_json(fixture.parse())
    for each in shown:
        del each["key"]
    assert shown == fixture.data["events"]


@by_silent
def test_every_fixture_without_events_says_why_there_are_none(fixture: Fixture) -> None:
    if "malformed" in fixture.data:
        with pytest.raises(MalformedPayload) as caught:
            fixture.parse()
        assert fixture.data["malformed"] in str(caught.value)
    else:
        parsed = fixture.parse()
        assert isinstance(parsed, Ignored | Unrecognized)
        assert fixture.data[type(parsed).__name__.lower()] in parsed.reason


@by_event
def test_facts_are_json_that_every_store_holds(fixture: Fixture) -> None:
    for each in observed(fixture.parse()):
        raw = msgspec.json.encode(each.facts)
        assert b"\\u0000" not in raw
        assert msgspec.json.decode(raw, type=Facts) == each.facts


@by_handler
def test_every_word_has_a_fixture(handler: Handler) -> None:
    seen: set[str] = set()
    for fixture in EVENTS:
        if fixture.handler is handler:
            seen.update(strings(fixture.data["request"]))
    for answer in ANSWERS:
        if answer.handler is handler:
            seen.update(strings(answer.data["responses"]))
    assert not set(handler.words) - seen


@by_event
def test_a_redelivery_has_the_same_ids(fixture: Fixture) -> None:
    later = NOW + timedelta(minutes=6)
    first = [stamp(each, "account", NOW, Source.WEBHOOK, "one").id for each in observed(fixture.parse())]
    again = [stamp(each, "account", later, Source.WEBHOOK, "two").id for each in observed(fixture.parse())]
    assert first == again


@by_handler
def test_different_webhooks_have_different_ids(handler: Handler) -> None:
    events = [each for fixture in EVENTS if fixture.handler is handler for each in observed(fixture.parse())]
    bodies = {fixture.request.body for fixture in EVENTS if fixture.handler is handler}
    assert len({stamp(each, "account", NOW, Source.WEBHOOK, None).id for each in events}) >= len(bodies)


ODD_BODIES = [
    "",
    "null",
    "[]",
    '"x"',
    "{",
    "{}",
    "\ufeff{}",
    "[" * 99_999,
    '{"a":' * 900 + "1" + "}" * 900,
    "\0",
    "a=b",
]


@by_fixture
def test_no_body_makes_parse_fail_otherwise(fixture: Fixture) -> None:
    request = fixture.request
    odd = [body.encode() + end for body in ODD_BODIES for end in (b"", b"\xff")]
    for each in (*odd, request.body[: len(request.body) // 2], request.body.decode().encode("utf-16")):
        with suppress(MalformedPayload):
            fixture.parse(replace(request, body=each))


# -- Who sent it -----------------------------------------------------------------------------


@by_handler
def test_some_fixture_proves_its_sender(handler: Handler) -> None:
    assert any(each.handler is handler for each in SIGNED)


def prove(fixture: Fixture, *secrets: str, request: InboundRequest | None = None, after_s: float = 0.0) -> None:
    at = datetime.fromisoformat(fixture.data["verify"]["at"]) + timedelta(seconds=after_s)
    verify(fixture.handler, request or fixture.request, options_of(fixture.handler, *secrets), at)


@by_signed
def test_the_right_secret_is_accepted(fixture: Fixture) -> None:
    prove(fixture, *fixture.data["verify"]["secrets"])


@by_signed
def test_the_right_secret_is_accepted_while_it_rotates(fixture: Fixture) -> None:
    prove(fixture, "a-newer-secret", *fixture.data["verify"]["secrets"])
    prove(fixture, *fixture.data["verify"]["secrets"], "an-older-secret")


@by_signed
@pytest.mark.parametrize("secrets", [(), ("wrong",), ("wrong", "also-wrong"), ("",)])
def test_no_other_secret_is_accepted(fixture: Fixture, secrets: tuple[str, ...]) -> None:
    with pytest.raises(VerificationError) as caught:
        prove(fixture, *secrets)
    assert not any(secret in str(caught.value) for secret in fixture.data["verify"]["secrets"])


@by_signed
def test_nothing_is_accepted_without_a_proof(fixture: Fixture) -> None:
    bare = replace(fixture.request, headers=CIMultiDict(), query={})
    with pytest.raises(VerificationError):
        prove(fixture, *fixture.data["verify"]["secrets"], request=bare)


@by_signed
def test_nothing_is_accepted_without_every_part_of_the_proof(fixture: Fixture) -> None:
    for name in proof(fixture)["headers"]:
        if name not in fixture.request.headers:
            assert "?token" in proof(fixture)["headers"], f"the fixture lacks {name}"
            continue
        headers = CIMultiDict(fixture.request.headers)
        del headers[name]
        with pytest.raises(VerificationError):
            prove(fixture, *fixture.data["verify"]["secrets"], request=replace(fixture.request, headers=headers))


@by_signed_body
def test_a_flipped_byte_is_noticed(fixture: Fixture) -> None:
    for position in (0, len(fixture.request.body) // 2, -1):
        body = bytearray(fixture.request.body)
        body[position] ^= 1
        with pytest.raises(VerificationError):
            prove(fixture, *fixture.data["verify"]["secrets"], request=replace(fixture.request, body=bytes(body)))


STRANGE: dict[str, Any] = {
    "header": "X-Nowhere",
    "tolerance_s": 0.0,
    "timestamp_header": "X-Nowhere",
    "signed": "before {body}",
    "encoding": "base64",
    "prefix": "before ",
    "username": "robin",
}
"""Options that no right request fits."""


@by_handler
def test_the_options_that_a_handler_heeds_are_declared(handler: Handler) -> None:
    """Those that it says it heeds make a difference, and no other does: an endpoint with others is refused."""
    assert handler.verify_options is not None
    assert set(STRANGE) == VerifyOptions.model_fields.keys() - {"scheme", "secrets"}
    for name, strange in STRANGE.items():
        refused = []
        for fixture in SIGNED:
            if fixture.handler is handler:
                options = options_of(handler, *fixture.data["verify"]["secrets"])
                at = datetime.fromisoformat(fixture.data["verify"]["at"]) + timedelta(seconds=1)
                try:
                    verify(handler, fixture.request, options.model_copy(update={name: strange}), at)
                    refused.append(False)
                except VerificationError:
                    refused.append(True)
        heeded = OPTIONS.get(options.scheme, handler.verify_options)
        assert any(refused) == (name in heeded), name


@by_signed
def test_where_the_proof_stands_is_declared(fixture: Fixture) -> None:
    """A body is not taken in before the proof where that stands in the headers."""
    scheme = options_of(fixture.handler, "any").scheme
    early = fixture.handler.proof_in_headers if scheme == "handler" else scheme in PROOF_IN_HEADERS
    assert early is not proof(fixture)["signs_body"]
    if early:
        prove(fixture, *fixture.data["verify"]["secrets"], request=replace(fixture.request, body=b""))


@by_signed_time
def test_a_stale_time_is_not_accepted(fixture: Fixture) -> None:
    tolerance_s = proof(fixture)["tolerance_s"]
    secrets = fixture.data["verify"]["secrets"]
    for after_s in (tolerance_s - 1, 1 - tolerance_s):
        prove(fixture, *secrets, after_s=after_s)
    for after_s in (tolerance_s + 1, -tolerance_s - 1):
        with pytest.raises(VerificationError):
            prove(fixture, *secrets, after_s=after_s)


# -- What it means ---------------------------------------------------------------------------


@by_handler
def test_the_verdict_is_total(handler: Handler) -> None:
    rules = rules_of(handler)
    statuses = [None, "", "never heard of", *handler.words]
    for phase, status, version in itertools.product(Phase, statuses, (0, 1)):
        order = Order("account", "1", phase=phase, provider_status=status, version=version, sources={"phase": "evt_1"})
        found = handler.verdict(order, rules, NOW)
        assert found.reason == found.reason.lower().replace(" ", "_").replace("-", "_")
        assert found.explanation.endswith((".", "!"))
        if phase in (Phase.CANCELED, Phase.COMPLETED):
            assert found.cancelable is Cancelable.NO
        if found.cancelable is Cancelable.NO:
            assert phase is not Phase.UNKNOWN
            assert found.evidence == ("evt_1",)


@by_event
def test_every_event_leads_to_a_verdict_with_evidence(fixture: Fixture) -> None:
    events = [stamp(each, "account", NOW, Source.WEBHOOK, None) for each in observed(fixture.parse())]
    order, _ = fold("account", events[0].order, events)
    found = judge(fixture.handler, rules_of(fixture.handler), order, NOW)
    assert found.reason != "rule_failed"
    assert set(found.evidence) <= {each.id for each in events}
    assert found.evidence or found.cancelable is Cancelable.UNKNOWN


@by_handler
def test_check_keeps_the_provider_s_limits(handler: Handler) -> None:
    given, rules = scenario(handler), rules_of(handler)
    handler.check(given["reason"], given["note"], rules)
    for each in given["invalid"]:
        with pytest.raises(InvalidCancel) as caught:
            handler.check(each["reason"], each["note"], rules)
        assert caught.value.field == each["field"]
        assert str(caught.value)


@by_handler
def test_an_order_s_own_id_passes_the_door(handler: Handler) -> None:
    id = scenario(handler)["order"]["id"]
    handler.check_order(id)
    assert id not in handler.other_names(id)
    for name in handler.other_names(id):
        handler.check_order(name)


# -- What goes out ---------------------------------------------------------------------------


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
