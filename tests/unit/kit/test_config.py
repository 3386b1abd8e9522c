"""Fields of an account's configuration that most handlers have."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.contract import BaseConfig
from app.kit.config import HeaderSecret, PathTemplate, Secret, secret_values, timeout_s, undocumented


class Config(BaseConfig):
    key: Secret
    token: HeaderSecret | None = None
    keys: tuple[str, ...] = undocumented(("a",), "Where it stands.", max_length=2)
    path: PathTemplate = "/orders/{id}"
    timeout_s: float = timeout_s("Acme")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"key": ""}, "at least 1"),
        ({"key": "s3cret\n"}, "white space"),
        ({"token": "s3cret s3cret"}, "header"),
        ({"token": "s3cret\r\n"}, "header"),
        ({"token": "s3crét"}, "header"),
        ({"token": ""}, "at least 1"),
        ({"keys": ["a", "b", "c"]}, "at most 2"),
        ({"path": "/orders"}, "begins with /"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"timeout_s": 121}, "120"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        Config.model_validate({"key": "k", **given})
    assert "s3c" not in str(caught.value)


def test_what_is_right_is_taken() -> None:
    config = Config.model_validate({"key": "two words", "token": "a-token"})
    assert config.key.get_secret_value() == "two words"
    assert (config.keys, config.timeout_s) == (("a",), 15.0)
    assert Config.model_json_schema()["properties"]["keys"]["undocumented"] is True
    assert "Acme" in Config.model_json_schema()["properties"]["timeout_s"]["description"]


def test_all_secrets_are_given_and_nothing_else() -> None:
    assert secret_values(Config.model_validate({"key": "two words", "token": "a-token"})) == ("two words", "a-token")
    assert secret_values(Config.model_validate({"key": "two words"})) == ("two words",)
