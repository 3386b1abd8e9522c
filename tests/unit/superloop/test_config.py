from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from pydantic import ValidationError
from unit.superloop.support import keys, oauth

from app.contract import Phase
from handlers.superloop.config import Config


def pem(key: Any, encryption: KeySerializationEncryption | None = None) -> str:
    raw: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return raw.decode()


def test_a_fixed_token_is_enough() -> None:
    config = Config.model_validate({"access_token": "t0ken"})
    assert config.base_url == "https://360-api.superloop.com"
    assert config.api_version == 7
    assert config.order_path == "/api/connect/orders/{id}"


def test_an_oauth_client_is_enough() -> None:
    config = oauth()
    assert config.token_url == "https://sso.superloop.com/auth/realms/superloop/protocol/openid-connect/token"
    assert config.private_key is not None
    assert config.private_key.get_secret_value() == keys()[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "client_id, private_key and key_id missing.*or a fixed access_token"),
        ({"client_id": "c"}, "private_key and key_id missing"),
        ({"client_id": "c", "key_id": "k"}, "private_key missing: an OAuth client needs"),
        ({"key_id": "k"}, "client_id and private_key missing"),
        ({"access_token": "t", "client_id": "c"}, "not both .client_id is there"),
    ],
)
def test_what_is_missing_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Config.model_validate(given)


@pytest.mark.parametrize("spelled", [str.strip, lambda key: key.replace("\n", "\\n"), lambda key: f"\n {key}\n"])
def test_a_key_may_be_spelled_as_environments_do(spelled: Any) -> None:
    config = oauth(private_key=spelled(keys()[0]))
    assert config.private_key is not None
    assert config.private_key.get_secret_value() == keys()[0]


def bad_keys() -> list[tuple[str, str]]:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is refused for this
    return [
        ("", "not a private key in PEM"),
        ("hunter2-hunter2", "not a private key in PEM"),
        (keys()[1], "not a private key in PEM"),
        (keys()[0].replace("PRIVATE", "PUBLIC"), "not a private key in PEM"),
        (keys()[0][:400], "not a private key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nclearly-secret\n-----END PRIVATE KEY-----", "not a private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"),
        (pem(small), "1024 bits"),
        (pem(small, BestAvailableEncryption(b"x")), "encrypted"),
    ]


def test_a_bad_key_is_refused_and_not_shown() -> None:
    for key, says in bad_keys():
        with pytest.raises(ValidationError, match=says) as caught:
            oauth(private_key=key)
        lines = [line for line in key.splitlines() if line and "-----" not in line]
        assert not any(line in f"{caught.value} {caught.value!r}" for line in lines)


def test_no_secret_is_ever_shown() -> None:
    secrets = [line for line in keys()[0].splitlines() if "-----" not in line]
    config = oauth()
    shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
    assert not any(line in shown for line in secrets)
    with pytest.raises(ValidationError) as caught:
        oauth(key_id=" k", token_url="nowhere")
    assert not any(line in str(caught.value) for line in secrets)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"access_token": ""}, "at least 1"),
        ({"access_token": "two words"}, "remove spaces"),
        ({"access_token": "t\n"}, "line ends"),
        ({"access_token": "tökén"}, "ASCII"),
        ({"api_version": 0}, "greater than or equal to 1"),
        ({"api_version": 9}, "no document names api_version 9.*set allow_unknown_api_version: true"),
        ({"base_url": ""}, "http or https"),
        ({"order_path": "/orders"}, "{id}"),
        ({"order_path": "orders/{id}"}, "begins with /"),
        ({"order_path": "/{id}/{id}"}, "once"),
        ({"order_path": "/orders/{id}#f"}, "without #"),
        ({"order_path": "/a b/{id}"}, "without spaces"),
        ({"order_path": "/a\u00a0b/{id}"}, "without spaces"),
        ({"order_path": "/a\0/{id}"}, "without spaces"),
        ({"timezone": "Mars/Olympus"}, "IANA"),
        ({"phases": {"x": "lost"}}, "phases"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_wrong_is_said(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Config.model_validate({"access_token": "t", **bad})


@pytest.mark.parametrize(
    "bad", [{"client_id": " c"}, {"key_id": "k\n"}, {"client_id": "ç"}, {"token_url": ""}, {"token_url": "x?y"}]
)
def test_a_bad_client_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        oauth(**bad)


def test_what_may_be_left_open() -> None:
    config = Config.model_validate(
        {"access_token": "t", "order_path": "", "api_version": 8, "phases": {"On Hold": "unknown"}}
    )
    assert config.phases == {"On Hold": Phase.UNKNOWN}
    assert (config.order_path, config.api_version) == ("", 8)


def test_every_field_is_described_and_what_is_not_documented_is_marked() -> None:
    fields = Config.model_fields
    assert all(each.description for each in fields.values())
    marked = {name for name, each in fields.items() if each.json_schema_extra == {"undocumented": True}}
    assert marked == {"order_path", "status_keys", "appointment_keys", "phases", "time_keys"}


def test_a_version_that_no_document_names_is_taken_where_the_account_says_so() -> None:
    told = {"access_token": "t", "api_version": 9, "allow_unknown_api_version": True}
    assert Config.model_validate(told).api_version == 9


def test_deprecated_versions_are_warned_of() -> None:
    for version in (1, 2):
        [text] = Config.model_validate({"access_token": "t", "api_version": version}).warnings()
        assert f"deprecated version {version}" in text
    for version in range(3, 9):
        assert Config.model_validate({"access_token": "t", "api_version": version}).warnings() == ()
