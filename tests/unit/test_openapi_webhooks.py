"""The `webhooks` section of the OpenAPI document describes what subscribers are sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from app.core.outbound.examples import NOW, message
from app.core.outbound.types import OUTBOUND_TYPES, payload
from app.web import openapi
from app.web.openapi_webhooks import webhooks
from app.web.server import ROUTES

DOCUMENT = openapi.document(ROUTES, "")


def body_of(type: str) -> dict[str, Any]:
    content: dict[str, Any] = DOCUMENT["webhooks"][type]["post"]["requestBody"]["content"]["application/json"]
    return content


def validator(type: str) -> Draft202012Validator:
    return Draft202012Validator({**body_of(type)["schema"], "components": DOCUMENT["components"]})


def test_every_type_is_described_and_nothing_else():
    assert list(DOCUMENT["webhooks"]) == list(OUTBOUND_TYPES)


@pytest.mark.parametrize("type", OUTBOUND_TYPES)
def test_what_is_sent_and_the_examples_are_as_described(type: str):
    valid = validator(type)
    sent = [msgspec.json.decode(payload(message(1, type, NOW, "acme"), full=full)) for full in (False, True)]
    examples = body_of(type)["examples"]
    for value in (*sent, examples["thin"]["value"], examples["full"]["value"]):
        valid.validate(value)
        for name in value["data"]:
            fewer = {key: inner for key, inner in value["data"].items() if key != name}
            if valid.is_valid({**value, "data": fewer}):
                assert name in ("snapshot", "test", "actor"), name
    assert not valid.is_valid({**sent[0], "type": "another"})
    assert "snapshot" not in examples["thin"]["value"]["data"]
    assert "snapshot" in examples["full"]["value"]["data"]


def test_schemas_of_messages_and_of_responses_do_not_clash():
    _, components = webhooks()
    without = openapi.msgspec.json.schema_components(
        [route.response for route in ROUTES], ref_template="#/components/schemas/{name}"
    )[1]
    for name in components.keys() & without.keys():
        assert components[name] == without[name], name
