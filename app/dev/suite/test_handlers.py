"""What every handler must do with webhooks; `cases` describes the files of its folder."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from app.config.registry import handlers
from app.contract import (
    Facts,
    Handler,
    Ignored,
    InboundRequest,
    InvalidCancel,
    KeySource,
    MalformedPayload,
    Source,
    Unrecognized,
    VerificationError,
    VerifyOptions,
)
from app.core.event import to_event
from app.dev.suite.cases import (
    NOW,
    Fixture,
    as_json,
    config_of,
    folder,
    ids,
    observed,
    options_of,
    responses,
    rules_of,
    scenario,
    strings,
    verify,
)
from app.dev.suite.parameters import EVENTS, FIXTURES, by_event, by_fixture, by_handler
from app.kit.sample import sample_of, signed
from app.kit.signing import OPTIONS, PROOF_IN_HEADERS

OUTCOMES = ("events", "ignored", "unrecognized", "malformed")
SIGNED = [each for each in FIXTURES if "verify" in each.data]


def proof(fixture: Fixture) -> dict[str, Any]:
    declared: dict[str, Any] = scenario(fixture.handler)["proof"]
    return declared


SILENT = [each for each in FIXTURES if "events" not in each.data]
SIGNED_BODY = [each for each in SIGNED if proof(each)["signs_body"]]
"""Fixtures whose proof covers the body; a token proves only the sender."""
SIGNED_TIME = [each for each in SIGNED if proof(each)["tolerance_s"] is not None]
"""Fixtures whose proof covers the time; otherwise replays are dropped by the log."""
by_signed = pytest.mark.parametrize("fixture", SIGNED, ids=ids(SIGNED))
by_silent = pytest.mark.parametrize("fixture", SILENT, ids=ids(SILENT))
by_signed_body = pytest.mark.parametrize("fixture", SIGNED_BODY, ids=ids(SIGNED_BODY))
by_signed_time = pytest.mark.parametrize("fixture", SIGNED_TIME, ids=ids(SIGNED_TIME))


# -- Parsing ----------------------------------------------------------------------------------


def test_there_is_a_handler() -> None:
    assert "planomatic" in handlers()


@by_handler
def test_every_handler_is_described(handler: Handler) -> None:
    assert handler.title
    assert all(each.startswith("https://") for each in handler.docs)
    assert handler.docs
    assert (folder(handler).parent / "README.md").read_text(encoding="utf-8").startswith("# ")
    assert handler.words or "phases" in handler.config.model_fields, (
        "its statuses are neither in `words` nor configured by `phases`"
    )
    assert handler.cancel_batch_max >= 1
    assert handler.probe_batch_max >= 1
    registers = (handler.registrations, handler.register, handler.unregister)
    assert all(registers) or not any(registers)
    assert not handler.topics(config_of(handler)) or all(registers)


@by_fixture
def test_every_fixture_says_where_it_is_from(fixture: Fixture) -> None:
    assert fixture.data["provenance"] in {"recorded", "documented", "synthetic"}
    assert len(fixture.data["document"]) > 3
    assert sum(outcome in fixture.data for outcome in OUTCOMES) == 1


@by_handler
def test_a_sample_is_accepted_and_gives_events(handler: Handler) -> None:
    config, options = config_of(handler), options_of(handler, *scenario(handler)["secrets"])
    webhook = signed(handler, sample_of(handler, config, NOW), options, NOW)
    request = InboundRequest(CIMultiDict(webhook.headers), dict(parse_qsl(urlsplit(webhook.url).query)), webhook.body)
    verify(handler, request, options, NOW)
    parsed = handler.parse(request, config)
    assert not isinstance(parsed, Ignored | Unrecognized), parsed.reason
    assert len(parsed) > 0


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
    for exchange in responses():
        if exchange.handler is handler:
            seen.update(strings(exchange.data["responses"]))
    assert not set(handler.words) - seen


@by_event
def test_a_redelivery_has_the_same_ids(fixture: Fixture) -> None:
    later = NOW + timedelta(minutes=6)
    first = [to_event(each, "account", NOW, Source.WEBHOOK, "one").id for each in observed(fixture.parse())]
    again = [to_event(each, "account", later, Source.WEBHOOK, "two").id for each in observed(fixture.parse())]
    assert first == again


@by_handler
def test_different_webhooks_have_different_ids(handler: Handler) -> None:
    events = [each for fixture in EVENTS if fixture.handler is handler for each in observed(fixture.parse())]
    bodies = {fixture.request.body for fixture in EVENTS if fixture.handler is handler}
    assert len({to_event(each, "account", NOW, Source.WEBHOOK, None).id for each in events}) >= len(bodies)


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
def test_parse_fails_on_no_body_but_by_malformed_payload(fixture: Fixture) -> None:
    request = fixture.request
    odd = [body.encode() + end for body in ODD_BODIES for end in (b"", b"\xff")]
    for each in (*odd, request.body[: len(request.body) // 2], request.body.decode().encode("utf-16")):
        with suppress(MalformedPayload):
            fixture.parse(replace(request, body=each))


# -- Verification ----------------------------------------------------------------------------


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
    "timestamp_format": "iso8601",
    "signed": "before {body}",
    "algorithm": "sha512",
    "key": "hex",
    "encoding": "base64",
    "prefix": "before ",
    "signature": "nowhere",
    "items": "nowhere",
    "username": "robin",
    "key_id": "{header:X-Nowhere}",
    "keys": KeySource(jwks_url="https://example.com/jwks"),
    "topics": ("arn:aws:sns:us-east-1:1:nowhere",),
}
"""Values of options with which every authentic request fails, if the handler heeds the option."""


@by_handler
def test_the_options_that_a_handler_heeds_are_declared(handler: Handler) -> None:
    """A declared option makes a difference and no other does: an endpoint with others is refused."""
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
def test_the_place_of_the_proof_is_declared(fixture: Fixture) -> None:
    """If the proof is in the headers, it is checked before the body is read."""
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
def test_an_order_s_own_id_is_accepted(handler: Handler) -> None:
    id = scenario(handler)["order"]["id"]
    handler.check_order(id)
    assert id not in handler.other_names(id)
    for name in handler.other_names(id):
        handler.check_order(name)
