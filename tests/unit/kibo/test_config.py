from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from handlers.kibo.config import Config
from handlers.kibo.rules import Rules

TENANT = {"tenant": "10001"}


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://10001-translation.mozu.com"),
        ({"sandbox": True}, "https://10001-translation.sandbox.mozu.com"),
        ({"tenant": "t10001"}, "https://t10001-translation.mozu.com"),
        ({"tenant": 10001}, "https://10001-translation.mozu.com"),
        ({"base_url": "http://127.0.0.1:8701/kibo/"}, "http://127.0.0.1:8701/kibo"),
        ({"base_url": "http://127.0.0.1:8701/kibo", "sandbox": True}, "http://127.0.0.1:8701/kibo"),
    ],
)
def test_where_the_api_is(given: dict[str, Any], url: str) -> None:
    assert Config.model_validate({**TENANT, **given}).api_url == url


@pytest.mark.parametrize(
    "tenant", ["", " 1", "1/evil.example.com", "evil.example.com#", "a.b", "-a", "a-", "ü", "x" * 64]
)
def test_a_tenant_is_part_of_a_host_name(tenant: str) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"tenant": tenant})


@pytest.mark.parametrize(
    "path", ["api/v2/order/{id}", "/api/v2/order", "/{id}/{id}", "/order/{id} ", "/order/{id}#x", ""]
)
@pytest.mark.parametrize("name", ["order_path", "entity_order_path"])
def test_a_path_has_one_place_for_the_id(name: str, path: str) -> None:
    with pytest.raises(ValidationError, match="a path that begins with / and holds"):
        Config.model_validate({**TENANT, name: path})


@pytest.mark.parametrize("credential", ["", "Bearer x\n", " x", "a\0b"])
def test_a_credential_is_fit_for_a_header(credential: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({**TENANT, "credential": credential})
    assert credential.strip() == "" or credential not in str(caught.value)


def test_only_the_tenant_is_required() -> None:
    config = Config.model_validate(TENANT)
    assert (config.shared_secret, config.credential, config.hidden) == (None, None, ())
    assert not config.sandbox
    with pytest.raises(ValidationError, match="tenant"):
        Config.model_validate({})


def test_secrets_are_hidden() -> None:
    config = Config.model_validate({**TENANT, "shared_secret": "s3cret-one", "credential": "s3cret-two"})
    assert config.hidden == ("s3cret-one", "s3cret-two")
    assert "s3cret" not in repr(config) + config.model_dump_json()


def test_what_is_not_documented_is_marked_so() -> None:
    marked = {
        name
        for model in (Config, Rules)
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("undocumented")
    }
    assert marked == {
        *("credential", "credential_header", "order_path", "entity_order_path", "entity_id_keys", "status_keys"),
        *("opened_at_keys", "ignored_families"),
        *("cancelable_statuses", "not_cancelable_statuses", "partially_fulfilled", "disposition_reasons"),
    }
    assert all(field.description for model in (Config, Rules) for field in model.model_fields.values())
