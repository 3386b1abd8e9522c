"""Which options a subscription's format takes, and how its URL is shown."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.config.bodies import with_kept_secrets, without_secrets
from app.config.formats import secrets_in_url
from app.config.subscriptions import SubscriptionSpec, is_signed
from app.runtime.redaction import Redactor

HOOK = "https://hooks.slack.com/services/T0AAA/B0BBB/cCcCcCcCcCcCcCcCcCcCcCcC"
SLACK = {"id": "ops", "format": "slack", "url": HOOK}
PAGER = {"id": "oncall", "format": "pagerduty", "routing_key": "R0123456789ABCDEF"}
MAIL = {"id": "mail", "format": "email", "url": "mailto:ops@acme.example,lead@acme.example"}
OWN = {
    "id": "chat",
    "format": "template",
    "url": "https://chat.example/hooks/abcdefghijklmn?sig=0123456789abcdef",
    "template": {"body": "{}"},
}
NIGHT = {"from": "22:00", "to": "07:00", "timezone": "Europe/Berlin"}


def spec(body: dict[str, Any], **more: Any) -> SubscriptionSpec:
    return SubscriptionSpec.model_validate({**body, **more})


def fault(body: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        spec(body, **more)
    [error] = caught.value.errors()
    return ".".join(map(str, error["loc"])) + ": " + error["msg"].removeprefix("Value error, ")


def test_every_format_takes_its_own_options():
    for body in (SLACK, MAIL, OWN):
        assert spec(body, digest="1h", quiet_hours=NIGHT, urgent=["breaker.*"], approval_links="view").schedule.gathers
    assert spec(PAGER, quiet_hours=NIGHT).url == "https://events.pagerduty.com/v2/enqueue"
    assert (
        spec(PAGER, url="https://events.eu.pagerduty.com/v2/enqueue").url
        == "https://events.eu.pagerduty.com/v2/enqueue"
    )
    assert not spec({"id": "crm"}).schedule.gathers


def test_faults_name_the_field_and_what_to_do():
    assert (
        fault({"id": "crm"}, digest="1h")
        == ": digest is for format slack or email or template: leave it out, or set format"
    )
    assert fault(PAGER, digest="1h").startswith(": digest is for")
    assert fault(SLACK, routing_key="R0123456789ABCDEF").startswith(": routing_key is for format pagerduty")
    assert fault(SLACK, template={"body": ""}).startswith(": template is for format template")
    assert fault(MAIL, headers={"X-A": "b"}).startswith(": headers is for")
    assert fault({"id": "a", "format": "pagerduty"}).startswith(": format pagerduty needs routing_key")
    assert fault({**OWN, "template": None}).startswith(": format template needs template")
    assert fault({"id": "a", "format": "slack"}) == ": format slack needs a url"
    assert fault(SLACK, digest="10s") == "digest: must be a duration from 1m to 7d, such as 1h"
    assert fault(SLACK, quiet_hours={**NIGHT, "to": "25:00"}) == "quiet_hours.to: must be a time of day, such as 22:00"
    assert fault(SLACK, quiet_hours={**NIGHT, "to": "22:00"}).startswith("quiet_hours: is always quiet")
    assert fault(SLACK, quiet_hours={**NIGHT, "timezone": "Mars/Base"}).startswith("quiet_hours.timezone: no IANA")
    assert fault(OWN, template={"body": "", "headers": {"Content-Type": "a"}}).endswith("set template.content_type")
    assert fault({"id": "a", "url": "mailto:a@b.example"}) == "url: is a mail address: set format to email"


def test_no_header_carries_another():
    for value in ("a\r\nX-Evil: 1", "a\nb", "a\0b", "a\x7f", "a ", "\u2028", "x" * 4097):
        said = fault({"id": "crm", "url": "https://crm.example"}, headers={"X-A": value})
        assert said.startswith("headers: the value of X-A has "), value
        assert "Evil" not in said
    assert spec({"id": "crm", "url": "https://crm.example"}, headers={"X-A": "Bearer é!"}).headers


def test_no_mail_address_carries_another_header_or_command():
    for address in (
        "a@b.example\nBcc: x@y.example",
        "a@b.example%0d%0aBcc:x@y.example",
        "<a@b.example>",
        "a b@c.example",
        "a@b.example>\r\nRCPT TO:<x@y.example",
        "x",
        "a@",
        "@b.example",
        '"a"@b.example',
        "ä@b.example",
        "",
    ):
        assert "is not a mail address" in fault({**MAIL, "url": f"mailto:{address}"}), address
    assert "must be mailto:" in fault({**MAIL, "url": "mailto:a@b.example?bcc=x@y.example"})


def test_a_url_that_is_a_secret_is_shown_without_its_path_and_kept_when_given_back():
    for body, host in ((SLACK, "https://hooks.slack.com/"), (OWN, "https://chat.example/")):
        shown = without_secrets("subscriptions", body)
        assert shown["url"] == f"{host}**********"
        assert with_kept_secrets(shown, body) == {**body, **{key: shown[key] for key in shown if key != "url"}}
        assert body["url"] not in repr(spec(body))
    with pytest.raises(Exception, match="not known here"):
        with_kept_secrets({"url": "https://evil.example/**********"}, SLACK)
    assert without_secrets("subscriptions", PAGER)["routing_key"] == "**********"
    assert without_secrets("subscriptions", MAIL)["url"] == MAIL["url"]
    assert without_secrets("subscriptions", {**SLACK, "quiet_hours": NIGHT})["quiet_hours"] == NIGHT


def test_a_secret_url_is_removed_from_text_in_part_and_as_a_whole():
    redactor = Redactor([*secrets_in_url("slack", HOOK), *secrets_in_url("template", OWN["url"])])
    for text in (
        HOOK,
        "T0AAA/B0BBB/cCcCcCcCcCcCcCcCcCcCcCcC",
        "the token cCcCcCcCcCcCcCcCcCcCcCcC",
        OWN["url"],
        "0123456789abcdef",
    ):
        cleaned = redactor.clean(text)
        assert "cCcC" not in cleaned
        assert "0123456789" not in cleaned
        assert "abcdefghijklmn" not in cleaned


def test_only_formats_that_are_signed_get_a_signing_secret():
    assert is_signed({"id": "crm"})
    assert is_signed(OWN)
    assert not any(map(is_signed, (SLACK, PAGER, MAIL)))
