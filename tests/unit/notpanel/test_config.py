from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from handlers.notpanel.config import Config

KEY = "np_live_0123456789abcdef"

UNDOCUMENTED = {
    *("event_keys", "order_keys", "status_keys", "service_keys", "flag_keys", "time_keys", "id_keys"),
    *("phases", "event_phases", "queued_texts"),
    *("list_webhooks_action", "remove_webhook_action", "webhook_id_keys"),
}


def make(**given: Any) -> Config:
    return Config.model_validate({"key": KEY, **given})


def test_only_the_key_is_needed() -> None:
    config = make()
    assert (config.base_url, config.key.get_secret_value()) == ("https://notpanel.com", KEY)
    with pytest.raises(ValidationError, match="key"):
        Config.model_validate({})


def test_the_key_is_never_shown() -> None:
    config = make()
    assert KEY not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"


@pytest.mark.parametrize("bad", [{"key": f" {KEY}"}, {"key": f"{KEY}\n"}, {"key": 123456}, {"more": KEY}])
def test_an_error_does_not_show_the_key(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        make(**bad)
    assert KEY not in str(caught.value)
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"key": ""}, "at least 1"),
        ({"key": " k"}, "white space"),
        ({"base_url": "notpanel.com"}, "http or https"),
        ({"base_url": ""}, "http or https"),
        ({"base_url": "https://notpanel.com/api/v2"}, "leave /api/v2 out"),
        ({"base_url": "https://notpanel.com/api/v2/"}, "leave /api/v2 out"),
        ({"phases": {"x": "done"}}, "phases"),
        ({"event_phases": {"x": 1}}, "event_phases"),
        ({"queued_texts": ["queued", " "]}, "every error"),
        ({"catalog_ttl_s": 1}, "60"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"timeout_s": 1000}, "120"),
        ({"api_key": "x"}, "api_key"),
    ],
)
def test_what_is_wrong_is_said(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make(**bad)


def test_a_slash_at_the_end_is_dropped() -> None:
    assert make(base_url="http://127.0.0.1:8701/notpanel/").base_url == "http://127.0.0.1:8701/notpanel"


def test_every_field_is_described_and_what_is_undocumented_is_marked() -> None:
    assert all(each.description for each in Config.model_fields.values())
    marked = {name for name, each in Config.model_fields.items() if each.json_schema_extra == {"undocumented": True}}
    assert marked == UNDOCUMENTED
