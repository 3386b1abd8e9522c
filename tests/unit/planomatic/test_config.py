from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.contract import zone_of
from handlers.planomatic.config import Config

KEY = "y0Ur-AP1-k3y"


def make(**given: Any) -> Config:
    return Config.model_validate({"api_key": KEY, **given})


def test_only_the_key_is_needed() -> None:
    config = make()
    assert config.base_url == "https://api.planomatic.com"
    assert config.api_key.get_secret_value() == KEY
    assert config.zone is None
    assert make(timezone="America/Denver").zone is zone_of("America/Denver")


def test_the_key_is_never_shown() -> None:
    config = make()
    assert KEY not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"


@pytest.mark.parametrize("bad", [{"api_key": f" {KEY}"}, {"api_key": f"{KEY}\n"}, {"api_key": 123456}, {"more": KEY}])
def test_an_error_does_not_show_the_key(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        make(**bad)
    assert KEY not in str(caught.value)
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"api_key": ""}, "at least 1"),
        ({"api_key": " k"}, "white space"),
        ({"base_url": "api.planomatic.com"}, "http or https"),
        ({"base_url": "ftp://api.planomatic.com"}, "http or https"),
        ({"base_url": ""}, "http or https"),
        ({"base_url": "https://"}, "http or https"),
        ({"base_url": "https://x.example/?a=1"}, "without a query"),
        ({"base_url": "https://me:pass@x.example"}, "fields of their own"),
        ({"timezone": "Mars/Olympus"}, "IANA"),
        ({"timezone": "../etc/passwd"}, "IANA"),
        ({"timezone": "a\0b"}, "IANA"),
        ({"timezone": ""}, "IANA"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"timeout_s": 1000}, "120"),
        ({"api_kee": "x"}, "api_kee"),
    ],
)
def test_what_is_wrong_is_said(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make(**bad)


def test_the_key_is_required() -> None:
    with pytest.raises(ValidationError, match="api_key"):
        Config.model_validate({})


def test_a_slash_at_the_end_is_dropped() -> None:
    assert make(base_url="http://127.0.0.1:8701/planomatic/").base_url == "http://127.0.0.1:8701/planomatic"


def test_every_field_is_described() -> None:
    assert all(each.description for each in Config.model_fields.values())
