"""What the operator configures: resource files, accounts, endpoints, keys, pauses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_cli_support import (
    ACCOUNT,
    API_KEY,
    ENDPOINT,
    RESOURCES,
    TOKEN,
    Machine,
    Terminal,
    machine,
    stop,
)

CHANGED = RESOURCES.replace(
    "endpoints:", "    limits: {requests: 7, per_s: 60}\n    unknown_orders: reject\nendpoints:"
)
POLICY = """\
policies:
  - id: unscheduled
    accounts: [acme-photos]
    when: size(order.appointments) == 0
    cancel: {reason: duplicate_order, note: "We sent it twice."}
    mode: enforce
"""
UNCONFIRMED = "Policy unscheduled would cancel for real, and was never backtested or shadowed in this version."
FEWER = RESOURCES.partition("endpoints:")[0]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        made.serve()
        made.write("rescind.yaml", RESOURCES)
        yield made


def test_apply_shows_what_it_changed(there: Machine):
    first = there.run("apply", "-f", "rescind.yaml")
    assert first.out.splitlines() == [f"+ create     account {ACCOUNT}", f"+ create     endpoint {ENDPOINT}"]
    assert first.err == "2 created, 0 updated, 0 deleted, 0 unchanged.\n"
    assert there.run("apply", "-f", "rescind.yaml").err == "0 created, 0 updated, 0 deleted, 2 unchanged.\n"
    there.write("changed.yaml", CHANGED)
    second = there.run("apply", "--file", "changed.yaml").out
    assert "~ update" in second
    assert 'unknown_orders: (not set) -> "reject"' in second
    assert "requests: 7" not in second.partition("limits")[0]
    assert all(secret not in first.out + second for secret in (API_KEY, TOKEN))


def test_a_changed_secret_is_told_and_not_shown(there: Machine):
    there.run("apply", "-f", "rescind.yaml")
    there.env["PLANOMATIC_API_KEY"] = "another-secret-key"
    ran = there.run("diff", "-f", "rescind.yaml", code=1)
    assert "only a secret" in ran.out
    assert "another-secret-key" not in ran.out + ran.err


def test_diff_and_dry_run_change_nothing(there: Machine):
    assert (
        there.run("diff", "-f", "rescind.yaml", code=1).err
        == "Would be: 2 created, 0 updated, 0 deleted, 0 unchanged.\n"
    )
    assert "Would be" in there.run("apply", "-f", "rescind.yaml", "--dry-run").err
    assert there.json("accounts", "list")["data"] == []
    there.run("apply", "-f", "rescind.yaml")
    assert there.run("diff", "-f", "rescind.yaml").err == "Would be: 0 created, 0 updated, 0 deleted, 2 unchanged.\n"
    there.write("fewer.yaml", FEWER)
    assert "delete" not in there.run("diff", "-f", "fewer.yaml").out
    assert f"- delete     endpoint {ENDPOINT}" in there.run("diff", "-f", "fewer.yaml", "--prune", code=1).out
    assert len(there.json("endpoints", "list")["data"]) == 1


def test_prune_removes_what_the_file_does_not_name(there: Machine):
    there.run("apply", "-f", "rescind.yaml")
    there.write("fewer.yaml", FEWER)
    plan = there.json("apply", "-f", "fewer.yaml", "--prune")
    assert [(each["action"], each["id"]) for each in plan["changes"]] == [("unchanged", ACCOUNT), ("delete", ENDPOINT)]
    assert there.run("endpoints", "list").err == "None found.\n"


def test_apply_and_accounts_show_warn_of_what_should_be_changed(there: Machine):
    deprecated = "accounts: [{id: nbn, provider: superloop, config: {access_token: t0ken, api_version: 1}}]"
    there.write("nbn.yaml", deprecated)
    for command in (("apply", "-f", "nbn.yaml"), ("accounts", "show", "nbn")):
        assert "Warning: account nbn: config.api_version" in there.run(*command).out
    [account] = there.json("accounts", "list")["data"]
    assert "deprecated version 1" in account["warnings"][0]
    [finding] = [each for each in there.json("doctor")["data"] if each["what"] == "account nbn"]
    assert (finding["state"], "deprecated version 1" in finding["detail"]) == ("notice", True)


def test_apply_reads_standard_input(there: Machine):
    assert "2 created" in there.run("apply", "-f", "-", stdin=RESOURCES).err


def test_files_that_cannot_be_applied(there: Machine):
    assert "cannot be read" in there.run("apply", "-f", "nix.yaml", code=1).err
    assert "is not YAML" in there.run("apply", "-f", there.write("x.yaml", "a: ["), code=1).err
    del there.env["HOOK_SECRET"]
    assert "HOOK_SECRET is not set" in there.run("apply", "-f", "rescind.yaml", code=1).err
    unknown = there.run("apply", "-f", there.write("y.yaml", "customers: []"), "--json", code=1)
    assert unknown.json["type"] == "urn:rescind:problem:invalid-request"
    assert unknown.err == (
        "error: y.yaml:1:1: customers: there is no such setting; there are: accounts, endpoints, policies, "
        "subscriptions.\n"
    )


WRONG = """\
accounts:
  - id: acme-photos
    provider: planomatic
    config: {base_url: "ftp://x", api_kye: x}
  - {id: other, provider: planomatik}
endpoints:
  - id: acme-photos-in
    account: acme-photo
    verify: {secrets: [x], schem: token}
policies:
  - id: unscheduled
    accounts: [gone]
    whne: "true"
    mode: enforced
    cancel: {reason: duplicate_order}
  - id: other
    accounts: [acme-photos]
    when: order.phase == "opened"
    wait: at once
    approve_within: 1s
    limits: {per_hour: 0}
"""


def test_all_that_is_wrong_is_said_at_once_with_its_place(there: Machine):
    there.write("wrong.yaml", WRONG)
    for command, code in (("apply", 1), ("diff", 2)):
        said = there.run(command, "-f", "wrong.yaml", code=code).err.replace("error: ", "").split("\n")
        lines = [line.strip() for line in said if line.strip()]
        for expected in (
            "wrong.yaml:5:17: account other: provider: there is no provider 'planomatik'",
            "wrong.yaml:9:28: endpoint acme-photos-in: verify.schem: there is no such setting; did you mean 'scheme'?",
            "wrong.yaml:13:5: policy unscheduled: whne: there is no such setting; did you mean 'when'?",
            "wrong.yaml:11:5: policy unscheduled: when: is required.",
            "wrong.yaml:14:5: policy unscheduled: mode: must be 'shadow', 'approve' or 'enforce'.",
            "wrong.yaml:4:5: account acme-photos: config.api_key: is required.",
            "wrong.yaml:4:35: account acme-photos: config.api_kye: there is no such setting; did you mean 'api_key'?",
            "wrong.yaml:8:5: endpoint acme-photos-in: account: there is no account 'acme-photo'",
            "wrong.yaml:12:16: policy unscheduled: accounts.0: there is no account 'gone'",
            "wrong.yaml:18:5: policy other: when: line 1, column 16: order.phase is never 'opened'",
            "wrong.yaml:19:5: policy other: wait: 'at once' is not a duration",
            "wrong.yaml:20:5: policy other: approve_within: give a person at least a minute.",
            "wrong.yaml:21:14: policy other: limits.per_hour: must be greater than or equal to 1.",
        ):
            assert any(line.startswith(expected) for line in lines), (expected, lines)
        assert lines == sorted(lines, key=lambda line: [int(part) for part in line.split(":")[1:3]])
    started = there.run("serve", "--apply", "wrong.yaml", code=1, env={"RESCIND_DATABASE_URL": "sqlite:///o.db"}).err
    assert "wrong.yaml:13:5: policy unscheduled: whne" in started
    tried = there.run("policies", "test", "wrong.yaml", "acme-photos", "1", "--policy", "unscheduled", code=1).err
    assert "wrong.yaml:13:5: policy unscheduled: whne: there is no such setting; did you mean 'when'?" in tried
    tried = there.run("policies", "test", "wrong.yaml", "acme-photos", "1", "--policy", "other", code=1).err
    assert all(f"wrong.yaml:{line}: policy other: " in tried for line in ("18:5", "19:5", "20:5", "21:14")), tried


def test_diff_shows_what_it_would_create_and_what_apply_would_refuse(there: Machine):
    file = there.write("both.yaml", RESOURCES + POLICY)
    shown = there.run("diff", "-f", file, code=1).out
    assert '    provider: "planomatic"' in shown
    assert '    mode: "enforce"' in shown
    assert API_KEY not in shown
    assert "Warning: `apply` refuses it without --yes" in shown
    there.run("diff", "-f", "nix.yaml", code=2)
    there.run("diff", "-f", file, code=2, env={"RESCIND_URL": "http://127.0.0.1:1"})


def test_accounts(there: Machine):
    there.run("apply", "-f", "rescind.yaml")
    assert there.run("accounts", "list").out.splitlines()[1].split()[:3] == [ACCOUNT, "planomatic", "idle"]
    shown = there.run("accounts", "show", ACCOUNT).out
    assert "**********" in shown
    assert API_KEY not in shown
    assert "0 of 100 calls used" in shown
    assert there.json("accounts", "show", ACCOUNT)["lane"]["state"] == "idle"
    assert there.run("accounts", "delete", ACCOUNT, "--yes", code=1).err.startswith("error: ")
    there.run("endpoints", "delete", ENDPOINT, "--yes")
    assert there.run("accounts", "delete", ACCOUNT, "--yes").err == f"Account {ACCOUNT} is deleted.\n"
    assert "There is no account" in there.run("accounts", "show", ACCOUNT, code=1).err


def test_endpoints_tell_their_url(there: Machine):
    there.run("apply", "-f", "rescind.yaml")
    url = f"{there.env['RESCIND_URL']}/webhooks/{ENDPOINT}"
    assert there.run("endpoints", "list").out.splitlines()[1].split()[-1] == url
    shown = there.run("endpoints", "show", ENDPOINT).out
    assert shown.splitlines()[0].split() == ["url", url]
    assert TOKEN not in shown
    assert there.json("endpoints", "show", ENDPOINT)["account"] == ACCOUNT


def test_an_endpoint_from_its_creation_to_its_rotation(there: Machine):
    there.run("apply", "-f", "rescind.yaml")
    made = there.run("endpoints", "create", ACCOUNT, "--id", "hook")
    assert "Its secret is not shown again." in made.err
    assert "set RESCIND_PUBLIC_URL" in made.err
    [pasted] = re.findall(r"http\S+/webhooks/hook\?token=\S+", made.out)
    first = pasted.partition("=")[2]
    tested = there.run("endpoints", "test", "hook")
    assert [line.split()[:2] for line in tested.out.splitlines()[1:6]] == [
        [step, "ok"] for step in ("signed", "reached", "enabled", "verified", "parsed")
    ]
    assert "order.processed" in tested.out
    assert there.run("orders", "list").err == "None found.\n"
    rotated = there.json("endpoints", "rotate", "hook", "--overlap", "2h")
    assert rotated["secret"] not in (None, first)
    shown = there.run("endpoints", "show", "hook").out
    assert "last used never" in shown
    assert first not in shown
    assert there.run("endpoints", "disable", "hook").err == "Endpoint hook is disabled; senders get 404.\n"
    assert "failed at step enabled" in there.run("endpoints", "test", "hook", code=1).err
    assert "disabled" in there.run("endpoints", "list").out
    there.run("endpoints", "enable", "hook")
    some = ("--allow-from", "203.0.113.0/24", "--allow-from", "2001:db8::/32", "--silent-after", "6h")
    there.run("endpoints", "create", ACCOUNT, "--id", "some", *some)
    created = there.json("endpoints", "show", "some")
    assert (created["allow_from"], created["silent_after"]) == (["203.0.113.0/24", "2001:db8::/32"], "6h")
    assert there.run("endpoints", "refusals", "hook").err == "None found.\n"
    own = there.run("endpoints", "create", ACCOUNT, "--scheme", "stripe", "--secret", "whsec_of-stripe", "--json").json
    assert "secret" not in own
    assert "whsec_of-stripe" not in str(own)
    body = there.run("endpoints", "test", own["id"], "--body", "{", code=1)
    assert "failed at step parsed" in body.err
    assert there.run("endpoints", "create", ACCOUNT, "--id", "hook", code=1).err.startswith(
        "error: endpoint 'hook' exists already"
    )


def test_endpoints_tell_the_url_that_the_world_knows(there: Machine):
    stop(there.running[0])
    there.env["RESCIND_PUBLIC_URL"] = "https://hooks.example/"
    there.serve("--apply", "rescind.yaml", log="again.log")
    url = f"https://hooks.example/webhooks/{ENDPOINT}"
    assert url in there.run("endpoints", "show", ENDPOINT).out
    assert url in there.run("endpoints", "list").out


def test_keys(there: Machine):
    assert there.run("keys", "list").err == "None found.\n"
    made = there.run("keys", "create", "a script", "--scope", "write")
    key = made.out.strip()
    assert key.startswith("rk_")
    (known,) = there.json("keys", "list")["data"]
    assert (known["name"], known["scope"]) == ("a script", "write")
    assert known["id"] in made.err
    assert key not in there.run("keys", "list").out
    there.run("orders", "list", env={"RESCIND_API_KEY": key})
    assert "requires scope admin" in there.run("keys", "list", code=1, env={"RESCIND_API_KEY": key}).err
    assert there.run("keys", "revoke", known["id"], "--yes").err == f"{known['id']} is revoked.\n"
    assert "was revoked" in there.run("orders", "list", code=1, env={"RESCIND_API_KEY": key}).err
    assert "in force" in there.run("keys", "revoke", known["id"], "--yes", code=1).err
    assert there.json("keys", "create", "other")["key"].startswith("rk_")


def test_pause_and_resume(there: Machine):
    there.run("apply", "-f", "rescind.yaml")
    everything = there.run("pause", "--reason", "a break").out.splitlines()[1]
    assert everything.startswith("everything ")
    assert everything.endswith(" bootstrap  a break")
    both = there.run("pause", "--account", ACCOUNT).out
    assert f"account {ACCOUNT}" in both
    assert "paused" in there.run("accounts", "list").out
    assert [each["scope"] for each in there.json("resume")["paused"]] == [f"account:{ACCOUNT}"]
    assert there.run("resume", "--account", ACCOUNT).err.endswith("Nothing is paused now.\n")
    assert "There is no account 'nix'" in there.run("pause", "--account", "nix", code=1).err


# -- Policies that would cancel for real --------------------------------------------------------


@pytest.fixture
def confirming(there: Machine) -> Machine:
    """With a file that has a policy of which nobody has seen what it does."""
    there.run("apply", "-f", "rescind.yaml")
    there.write("policy.yaml", POLICY)
    return there


def saved(there: Machine) -> list[str]:
    return [each["id"] for each in there.json("policies", "list")["data"]]


def test_nobody_is_asked_where_there_is_no_terminal(confirming: Machine):
    ran = confirming.run("apply", "-f", "policy.yaml", code=1)
    assert ran.out == ""
    assert ran.err.startswith(f"error: {UNCONFIRMED} ")
    assert all(way in ran.err for way in ("`rescind policies backtest`", "shadow", "--yes"))
    problem = confirming.json("apply", "-f", "policy.yaml", code=1)
    assert problem["type"] == "urn:rescind:problem:confirmation-needed"
    assert problem["policies"] == ["unscheduled"]
    assert saved(confirming) == []


@pytest.mark.parametrize("answer", ["n", "", "no"])
def test_a_person_says_no(confirming: Machine, answer: str):
    with Terminal(confirming, "apply", "-f", "policy.yaml") as terminal:
        terminal.sees(f"{UNCONFIRMED} Save it anyway? [y/N]: ")
        terminal.types(f"{answer}\n")
        assert terminal.ends() == 1
        assert terminal.seen.endswith("error: Nothing was changed.\n")
    assert saved(confirming) == []


def test_a_person_breaks_off(confirming: Machine):
    with Terminal(confirming, "apply", "-f", "policy.yaml") as terminal:
        terminal.sees("[y/N]: ")
        terminal.types("\x04")
        assert terminal.ends() == 1
        assert "Traceback" not in terminal.seen
    assert saved(confirming) == []


def test_a_person_says_yes(confirming: Machine):
    with Terminal(confirming, "apply", "-f", "policy.yaml") as terminal:
        terminal.sees("[y/N]: ")
        terminal.types("y\n")
        assert terminal.ends() == 0
        assert "+ create     policy unscheduled\n" in terminal.seen
    assert saved(confirming) == ["unscheduled"]


@pytest.mark.parametrize("yes", ["--yes", "-y"])
def test_yes_may_be_said_beforehand(confirming: Machine, yes: str):
    assert confirming.run("apply", "-f", "policy.yaml", yes).out == "+ create     policy unscheduled\n"


def test_what_was_in_shadow_mode_needs_no_yes(confirming: Machine):
    confirming.write("shadow.yaml", POLICY.replace("enforce", "shadow"))
    confirming.run("apply", "-f", "shadow.yaml")
    diff = confirming.run("diff", "-f", "policy.yaml", code=1).out
    assert diff == '~ update     policy unscheduled\n    mode: "shadow" -> "enforce"\n'
    assert confirming.run("apply", "-f", "policy.yaml").out == diff
    confirming.write("other.yaml", POLICY.replace("== 0", "== 1"))
    assert confirming.run("apply", "-f", "other.yaml", code=1).err.startswith(f"error: {UNCONFIRMED}")
    assert "- delete     policy unscheduled\n" in confirming.run("apply", "-f", "rescind.yaml", "--prune").out


def test_a_start_with_such_a_policy_fails(there: Machine):
    process = there.running[0]
    there.run("apply", "-f", "rescind.yaml")
    assert stop(process) == 0
    there.write("both.yaml", RESOURCES + POLICY)
    refused = there.run("serve", "--apply", "both.yaml", code=1).err
    assert refused.splitlines()[-1].startswith(f"error: {UNCONFIRMED} ")
    assert "--yes" in refused.splitlines()[-1]
    there.serve("--apply", "both.yaml", "--yes", log="yes.log")
    assert saved(there) == ["unscheduled"]
    assert stop(there.running[-1]) == 0
    there.serve("--apply", "both.yaml", log="again.log")
    assert saved(there) == ["unscheduled"]
    assert "--yes needs --apply" in there.run("serve", "--yes", code=2).err
