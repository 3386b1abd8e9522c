"""What a command says when nothing goes on: what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.test_cli_support import ACCOUNT, ENDPOINT, RESOURCES, Machine, machine

WORDS = ("--reason", "duplicate_order", "--note", "We sent it_twice.")
POLICY = """\
policies:
  - id: unscheduled
    accounts: [acme-photos]
    when: size(order.appointments) == 0
    cancel: {reason: duplicate_order, note: "We sent it twice."}
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A server whose account is at a provider that may not be called."""
    with machine(tmp_path_factory.mktemp("rescind")) as made:
        del made.env["RESCIND_ALLOW_NETWORKS"]
        made.serve("--apply", made.write("rescind.yaml", RESOURCES + POLICY))
        yield made


def test_waiting_says_what_it_waits_for_and_ends_in_time(there: Machine):
    there.webhook(b'{"event":"order.processed","order_id":1,"status":"ordered"}')
    ran = there.run("cancel", ACCOUNT, "1", *WORDS, "--wait-timeout", "8s", code=1)
    assert "RESCIND_ALLOW_NETWORKS" in ran.err.splitlines()[-2], "why it waits stands in the progress"
    last = ran.err.splitlines()[-1]
    assert last.startswith("error: Not final yet; `rescind cancellations show can_")
    assert "RESCIND_ALLOW_NETWORKS" in ran.out
    assert "RESCIND_ALLOW_NETWORKS" in there.run("events", "list", "--account", ACCOUNT).out, "spelled as it is"
    assert "client_requested" not in there.run("events", "list").out


def test_who_uses_an_account_is_named(there: Machine):
    said = there.run("accounts", "delete", ACCOUNT, "--yes", code=1).err
    assert f"account {ACCOUNT} is used by endpoint {ENDPOINT}, policy unscheduled" in said


def test_what_is_not_there_is_said(there: Machine):
    for args in (
        ("orders", "list", "--account", "nobody"),
        ("events", "list", "--account", "nobody"),
        ("cancellations", "list", "--account", "nobody"),
    ):
        assert "There is no account 'nobody'; `rescind accounts list` shows all." in there.run(*args, code=1).err
    assert "no endpoint 'nowhere'" in there.run("receipts", "list", "--endpoint", "nowhere", code=1).err
    assert "no policy 'nothing'" in there.run("cancellations", "list", "--policy", "nothing", code=1).err
    said = there.run("orders", "list", "--cursor", "there", code=1).err
    assert "The query parameter cursor: give a cursor that a page of this list has." in said


def test_a_server_without_tls_is_told_from_none(there: Machine):
    url = there.env["RESCIND_URL"].replace("http://", "https://")
    assert "what listens there speaks no TLS" in there.run("orders", "list", code=1, env={"RESCIND_URL": url}).err


def test_registering_says_first_that_the_provider_has_no_api(there: Machine):
    for command in ("register", "registrations", "unregister"):
        said = there.run("endpoints", command, ENDPOINT, code=1).err
        assert "PlanOmatic has no API to register webhooks" in said, command


def test_resume_says_what_it_resumed(there: Machine):
    there.run("pause", "--policies", "--reason", "a_look first")
    said = there.run("resume", "--policies").err
    assert said.startswith("Resumed: all policies, paused by bootstrap (a_look first).")
    assert there.run("resume", "--policies").err.startswith("There was no pause of all policies; nothing was resumed.")
    assert there.json("resume", "--policies")["resumed"] == []


def test_paths_keep_their_spelling(there: Machine):
    said = there.run("serve", "--apply", "nix.yaml", code=1, env={"RESCIND_DATABASE_URL": "sqlite:///other.db"}).err
    assert said.startswith("error: nix.yaml cannot be read")
