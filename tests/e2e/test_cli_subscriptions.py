"""Subscriptions by the command line: secrets shown once, rotated, disabled, declared in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_cli_support import Machine, machine

URL = "https://crm.example/hooks"
FILE = """\
subscriptions:
  - {id: erp, url: "https://erp.example/hooks", events: ["order.*"], ordered: true}
"""


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        made.serve()
        yield made


def test_created_rotated_disabled_and_deleted(there: Machine):
    created = there.run("subscriptions", "create", URL, "--id", "crm", "--events", "cancellation.*", "--full")
    secret = created.out.strip()
    assert secret.startswith("whsec_")
    assert created.err == "Subscription crm is created. The signing secret is not shown again:\n"
    shown = there.run("subscriptions", "show", "crm").out
    assert all(text in shown for text in (URL, "cancellation.*", "full", "active"))
    rotated = there.run("subscriptions", "rotate", "crm", "--overlap", "1h")
    assert rotated.out.strip().startswith("whsec_")
    assert "the former one signs too for 1 h" in rotated.err
    assert "former secret" in there.run("subscriptions", "show", "crm").out
    assert "are held" in there.run("subscriptions", "disable", "crm").err
    [row] = there.run("subscriptions", "list").out.splitlines()[1:]
    assert row.split()[:3] == ["crm", "disabled", "0"]
    assert "is enabled" in there.run("subscriptions", "enable", "crm").err
    assert there.run("subscriptions", "deliveries", "crm").err == "None found.\n"
    assert there.run("subscriptions", "recover", "crm", "--since", "1h").err.endswith("No delivery had failed.\n")
    there.run("subscriptions", "resend", "crm", "msg_0000000000000001", code=1)
    assert secret not in there.run("subscriptions", "show", "crm", "--json").out
    assert "exists already" in there.run("subscriptions", "create", URL, "--id", "crm", code=1).err
    there.run("subscriptions", "delete", "crm", "--yes")
    assert "There is no subscription 'crm'" in there.run("subscriptions", "show", "crm", code=1).err


def test_mistyped_types_are_refused_and_accounts_that_are_not_there_are_named(there: Machine):
    for given, said in (
        ("cancelation.*", "events.0: no type of message matches 'cancelation.*'; did you mean 'cancellation.*'?\n"),
        ("order.closing", "events.0: no type of message matches 'order.closing'; did you mean 'order.closing_soon'?\n"),
        ("zzz", "events.0: no type of message matches 'zzz'; `rescind trigger --list` shows all types.\n"),
    ):
        assert there.run("subscriptions", "create", URL, "--events", given, code=1).err.endswith(said)
    assert there.json("subscriptions", "list")["data"] == []
    there.run("subscriptions", "create", URL, "--events", "*", "--events", "order.c*")
    created = there.run("subscriptions", "create", URL, "--accounts", "acmee-*")
    assert created.out.startswith("whsec_")
    assert "No account matches 'acmee-*' yet" in created.err


def test_a_subscription_that_is_shown_can_be_applied_again(there: Machine):
    there.run("subscriptions", "create", URL, "--id", "crm", "--events", "order.*")
    shown = there.json("subscriptions", "show", "crm")
    body = {name: value for name, value in shown.items() if name not in ("version", "delivery")}
    there.write("again.json", json.dumps({"subscriptions": [body]}))
    differences = there.run("diff", "-f", "again.json", code=1).out
    assert "(not set) -> (not set)" not in differences
    assert 'payload: (not set) -> "thin"' in differences
    there.run("apply", "-f", "again.json")
    assert "unchanged" in there.run("diff", "-f", "again.json").out


def test_queues_and_notices_need_no_secret_shown(there: Machine):
    assert there.run("subscriptions", "create", "--id", "queue").out.startswith("whsec_")
    slack = there.run("subscriptions", "create", "https://hooks.slack.com/services/T0/B0/abcdefgh", "--format", "slack")
    assert slack.out.startswith("sub_")
    listed = there.run("subscriptions", "list").out
    assert "(pulled)" in listed
    assert "abcdefgh" not in listed


def test_the_public_key_of_an_ed25519_subscription_is_shown(there: Machine):
    created = there.run("subscriptions", "create", URL, "--id", "crm", "--ed25519")
    assert created.out.startswith("whpk_")
    assert created.out.strip() in there.run("subscriptions", "show", "crm").out


def test_apply_shows_a_generated_secret_once(there: Machine):
    there.write("rescind.yaml", FILE)
    assert "secret:" not in there.run("apply", "-f", "rescind.yaml", "--dry-run").out.replace('secret: "***', "")
    first = there.run("apply", "-f", "rescind.yaml").out.splitlines()
    assert first[0] == "+ create     subscription erp"
    assert first[1].startswith("    secret: whsec_")
    again = there.run("apply", "-f", "rescind.yaml")
    assert "secret" not in again.out
    assert again.err == "0 created, 0 updated, 0 deleted, 1 unchanged.\n"
    there.write("rescind.yaml", FILE.replace("order.*", "*"))
    assert "secret" not in there.run("apply", "-f", "rescind.yaml").out
