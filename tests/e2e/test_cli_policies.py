"""Policies as a person tries them, watches them and holds them back, with a real server and a simulated provider.

All tests share a server. So that no policy touches another test's orders, each waits for a tag of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from e2e.test_cli_support import ACCOUNT, TOKEN, Machine, Terminal, connected, fetch

from app.cli.cancellations import WaitingChoice
from app.core.cancellation import Waiting

CANCEL = {"reason": "duplicate_order", "note": "We sent it twice."}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with connected(tmp_path_factory.mktemp("rescind")) as made:
        yield made


def policy(id: str, **more: Any) -> dict[str, Any]:
    """A policy for open orders with its own name as a tag."""
    when = f'order.phase == "open" && "{id}" in order.tags'
    return {"id": id, "accounts": [ACCOUNT], "when": when, "cancel": CANCEL, "mode": "shadow", **more}


def write(there: Machine, *policies: dict[str, Any]) -> str:
    """A resource file with these policies."""
    return there.write(f"{policies[0]['id']}.yaml", json.dumps({"policies": policies}))


def saved(there: Machine, id: str, **more: Any) -> None:
    """Save a policy, and have it known that it cancels for real."""
    there.run("apply", "-f", write(there, policy(id, **more)), "--yes")


def tagged(there: Machine, *tags: str) -> str:
    """A new order with tags."""
    order = there.order()
    there.run("orders", "tag", ACCOUNT, order, *tags)
    return order


def values(there: Machine, *args: str, code: int = 0) -> dict[str, str]:
    """The names and values that a command shows above its tables."""
    lines = there.run(*args, code=code).out.partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in lines)}


# -- Show and remove ---------------------------------------------------------------------------


def test_list_and_show(there: Machine):
    given = policy("seen", description="Is only looked at.", wait="2h since order.opened_at", limits={"per_hour": 5})
    there.run("apply", "-f", write(there, given))
    line = next(line for line in there.run("policies", "list").out.splitlines() if line.startswith("seen "))
    assert line.split()[:3] == ["seen", "shadow", ACCOUNT]
    assert line.endswith('order.phase == "open" && "seen" in order.tags  -')
    shown = there.run("policies", "show", "seen").out
    assert re.search(r"^wait +2h since order\.opened_at$", shown, re.MULTILINE)
    assert re.search(r"^approve within +24h$", shown, re.MULTILINE), "also what was not written"
    assert f"\nCondition\n  {given['when']}\n" in shown
    assert shown.endswith("\nLimits\n  per hour  5\n")
    assert there.json("policies", "show", "seen")["limits"] == {"per_hour": 5}
    assert "seen" in [each["id"] for each in there.json("policies", "list")["data"]]


def test_a_condition_of_several_lines_is_shown_as_it_is_written(there: Machine):
    given = policy("lines", when='order.phase == "open"\n  && "lines" in order.tags')
    there.run("apply", "-f", write(there, given))
    assert '\n  order.phase == "open"\n    && "lines" in order.tags\n' in there.run("policies", "show", "lines").out
    assert 'order.phase == "open" && "lines" in order.tags' in there.run("policies", "list").out


def test_delete(there: Machine):
    saved(there, "gone")
    assert there.run("policies", "delete", "gone", "--yes").err == "Policy gone is deleted.\n"
    assert "There is no policy 'gone'" in there.run("policies", "show", "gone", code=1).err
    assert "There is no policy 'gone'" in there.run("policies", "delete", "gone", "--yes", code=1).err


# -- What it decides ---------------------------------------------------------------------------


def test_a_policy_cancels_and_tells_why(there: Machine):
    saved(there, "acts", mode="enforce")
    order = tagged(there, "acts")
    there.wait_for(order, "cancellation.succeeded")
    (line,) = there.run("policies", "decisions", "acts").out.splitlines()[1:2]
    assert line.split(maxsplit=4)[1:] == [ACCOUNT, order, "acted", "The order is being canceled."]
    listed = there.run("cancellations", "list", "--policy", "acts").out.splitlines()
    assert len(listed) == 2
    assert listed[1].split()[1:5] == [ACCOUNT, order, "succeeded", "acts"]
    shown = values(there, "cancellations", "show", listed[1].split()[0])
    assert (shown["policy"], shown["requested"].partition(" by ")[2]) == ("acts", "policy acts")


def test_decisions_are_paged(there: Machine):
    saved(there, "paged")
    orders = [tagged(there, "paged") for _ in range(3)]
    everything = there.json("policies", "decisions", "paged", "--all")["data"]
    told = [each for each in everything if each["data"]["outcome"] == "shadowed"]
    assert [each["order"] for each in told] == orders[::-1]
    assert all(each["data"]["clauses"][1]["value"] is True for each in told)
    first = there.run("policies", "decisions", "paged", "--limit", "1")
    assert len(first.out.splitlines()) == 2
    cursor = there.json("policies", "decisions", "paged", "--limit", "1")["next_cursor"]
    assert f"--cursor {cursor}" in first.err
    rest = there.json("policies", "decisions", "paged", "--cursor", cursor, "--all")["data"]
    assert [each["id"] for each in rest] == [each["id"] for each in everything[1:]]
    assert "There is no policy 'never-was'" in there.run("policies", "decisions", "never-was", code=1).err


def test_explain_says_why_it_was_canceled(there: Machine):
    saved(there, "explained", mode="enforce")
    order = tagged(there, "explained")
    there.wait_for(order, "cancellation.succeeded")
    shown = there.run("orders", "explain", ACCOUNT, order).out
    part, _, timeline = shown.partition("\nPolicies\n")[2].partition("\nTimeline\n")
    lines = part[part.index("  explained: ") :].splitlines()
    assert lines[0].startswith("  explained: acted (")
    assert lines[0].endswith("  The order is being canceled.")
    assert lines[1:3] == ['    order.phase == "open" → true', '    "explained" in order.tags → true']
    (decided,) = [line for line in timeline.splitlines() if "policy explained: acted" in line]
    assert 'The order is being canceled. order.phase == "open" → true; "explained" in order.tags → true' in decided
    explained = there.json("orders", "explain", ACCOUNT, order)
    (told,) = [each for each in explained["policies"] if each["policy"] == "explained"]
    assert told["outcome"] == "acted"


def test_explain_says_why_it_was_not_canceled(there: Machine):
    saved(there, "spares", mode="enforce")
    saved(there, "stumbles", when='"spares-this" in order.tags && order.attributes.no_such_key > 3')
    order = tagged(there, "spares-this")
    shown = there.run("orders", "explain", ACCOUNT, order).out
    assert (
        "  spares: unmatched  Its condition does not hold.\n"
        '    order.phase == "open" → true\n'
        '    "spares" in order.tags → false\n'
    ) in shown
    assert '    order.attributes.no_such_key > 3 → error: there is no key "no_such_key"' in shown
    assert "  stumbles: failed (" in shown
    later = there.json("orders", "explain", ACCOUNT, order, "--at", "3d")
    assert {policy["at"] for policy in later["policies"]} == {later["verdict"]["as_of"]}


# -- Tags ----------------------------------------------------------------------------------------


def test_tags(there: Machine):
    order = there.order()
    assert values(there, "orders", "tag", ACCOUNT, order, "vip", "keep") == {"order": order, "tags": "keep, vip"}
    assert values(there, "orders", "show", ACCOUNT, order)["tags"] == "keep, vip"
    assert there.json("orders", "tag", ACCOUNT, order, "new", "--remove", "vip", "--remove", "keep") == {
        "tags": ["new"]
    }
    assert values(there, "orders", "tag", ACCOUNT, order, "--remove", "new")["tags"] == "none"
    assert "give a tag" in there.run("orders", "tag", ACCOUNT, order, code=2).err
    assert "No event of order 'nix'" in there.run("orders", "tag", ACCOUNT, "nix", "vip", code=1).err
    assert "add" in there.run("orders", "tag", ACCOUNT, order, "two words", code=1).err
    assert "tags keep, vip" in there.run("events", "list", "--account", ACCOUNT, "--order", order).out


# -- Approval --------------------------------------------------------------------------------------


def test_approve(there: Machine):
    saved(there, "asks", mode="approve")
    order = tagged(there, "asks")
    listed = there.run("cancellations", "list", "--waiting", "approval", "--policy", "asks").out.splitlines()
    id = listed[1].split()[0]
    assert "approval, until" in listed[1]
    assert values(there, "cancellations", "approve", id)["detail"] == "Approved by bootstrap."
    there.wait_for(order, "cancellation.succeeded")
    again = there.run("cancellations", "approve", id, code=1)
    assert "Only a cancellation that waits for approval can be approved" in again.err
    assert there.run("cancellations", "list", "--waiting", "approval", "--policy", "asks").err == "None found.\n"
    assert there.run("cancellations", "list", "--waiting", "godot", code=2)


def test_every_wait_can_be_asked_for():
    assert {*get_args(WaitingChoice)} == {*Waiting} - {Waiting.NOTHING}


def test_a_window_that_time_closes_is_shown(there: Machine):
    config = {"base_url": f"{there.env['SANDBOX_URL']}/superloop", "access_token": "a-token-of-the-provider"}
    account = {"id": "broadband", "provider": "superloop", "config": config}
    verify = {"scheme": "token", "secrets": [TOKEN]}
    resources = {"accounts": [account], "endpoints": [{"id": "bb-in", "account": "broadband", "verify": verify}]}
    there.run("apply", "-f", there.write("broadband.yaml", json.dumps(resources)))
    there.run("pause", "--account", "broadband")
    starts_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    bodies: dict[str, dict[str, Any]] = {
        "order.created.event": {"id": 10, "type": "New", "isCancellable": True},
        "appointment.booked.event": {
            "orderId": 10,
            "id": 5,
            "status": "Booked",
            "startTime": starts_at.isoformat(),
            "endTime": (starts_at + timedelta(hours=4)).isoformat(),
        },
    }
    for type, body in bodies.items():
        url = f"{there.env['RESCIND_URL']}/webhooks/bb-in?token={TOKEN}"
        assert fetch(url, body, headers={"z-event-type": type})["status"] == "accepted"
    id = there.json("cancel", "broadband", "10", "--reason", "no longer wanted", "--deadline", "30d")["id"]
    shown = values(there, "cancellations", "show", id)
    closes_at = (starts_at - timedelta(hours=26)).isoformat().replace("+00:00", "Z")
    assert shown["window closes"].startswith(f"{closes_at} (in 7 d ")
    assert shown["must be sent by"] <= shown["window closes"]
    listed = there.run("orders", "list", "--account", "broadband", "--closes-before", "8d").out
    assert "CLOSES" in listed
    assert f"{closes_at} (in 7 d" in " ".join(listed.split())
    assert there.run("orders", "list", "--account", "broadband", "--closes-before", "7d").err == "None found.\n"
    there.run("cancellations", "revoke", id)


# -- Pause -------------------------------------------------------------------------------------------


def test_pause_policies(there: Machine):
    saved(there, "paused", mode="enforce", limits={"per_hour": 1})
    lines = there.run("pause", "--policy", "paused", "--reason", "a break").out.splitlines()
    assert lines[0].split() == ["PAUSED", "SINCE", "BY", "WHY"]
    assert next(line for line in lines if line.startswith("policy paused  ")).endswith(" bootstrap  a break")
    order = tagged(there, "paused")
    assert "paused: held  The policy is paused since" in there.run("orders", "explain", ACCOUNT, order).out
    line = next(line for line in there.run("policies", "list").out.splitlines() if line.startswith("paused "))
    assert line.endswith("  paused by bootstrap")
    assert there.run("policies", "show", "paused").out.partition("\nPaused\n")[2].split()[:3] == [
        "what",
        "policy",
        "paused",
    ]
    scopes = [line.split("  ")[0] for line in there.run("pause", "--policies").out.splitlines()[1:]]
    assert {"policy paused", "all policies"} <= set(scopes)
    assert [each["scope"] for each in there.json("resume", "--policies")["paused"] if "polic" in each["scope"]] == [
        "policy:paused"
    ]
    there.run("resume", "--policy", "paused")
    there.wait_for(order, "cancellation.succeeded")
    assert "There is no policy 'nix'" in there.run("pause", "--policy", "nix", code=1).err


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize(
    "both",
    [("--policies", "--account", ACCOUNT), ("--policies", "--policy", "p"), ("--policy", "p", "--account", ACCOUNT)],
)
def test_a_pause_has_one_scope(there: Machine, command: str, both: tuple[str, ...]):
    assert "give only one of --account, --policy and --policies" in said(there.run(command, *both, code=2).err)


def said(box: str) -> str:
    """What stands in the box that a wrong call is answered with, on one line."""
    return " ".join(box.replace("│", " ").split())


# -- Try -----------------------------------------------------------------------------------------------


def test_what_it_would_do(there: Machine):
    order, other = tagged(there, "tries"), there.order()
    file = write(there, policy("tries"))
    yes = there.run("policies", "test", file, ACCOUNT, order).out
    assert "outcome  shadowed: It would have the order canceled now.\n" in yes
    assert "verdict  yes (status_cancelable)\n" in yes
    assert [line.split()[-1] for line in yes.partition("\nClauses\n")[2].splitlines()] == ["VALUE", "true", "true"]
    no = there.run("policies", "test", file, ACCOUNT, other, code=1).out
    assert "outcome  unmatched: Its condition does not hold.\n" in no
    assert '"tries" in order.tags  false' in no
    assert there.json("policies", "test", file, ACCOUNT, other, code=1)["outcome"] == "unmatched"
    waits = write(there, policy("tries", wait="48h since order.opened_at"))
    assert "outcome  waiting: It waits until " in there.run("policies", "test", waits, ACCOUNT, order, code=1).out
    assert "shadowed" in there.run("policies", "test", waits, ACCOUNT, order, "--at", "3d").out
    assert there.json("cancellations", "list", "--account", ACCOUNT, "--order", order)["data"] == []


def test_an_error_in_a_clause_is_shown(there: Machine):
    order = tagged(there, "errs")
    file = write(there, policy("errs", when='"errs" in order.tags && order.attributes.no_such_key == 1'))
    shown = there.run("policies", "test", file, ACCOUNT, order, code=1).out
    assert "outcome  failed: Its condition cannot be evaluated: " in shown
    head, _, last = shown.partition("\nClauses\n")[2].splitlines()
    assert head.split() == ["CLAUSE", "VALUE", "ERROR"]
    assert last.startswith('order.attributes.no_such_key == 1  error  there is no key "no_such_key"')
    with Terminal(there, "policies", "test", file, ACCOUNT, order, columns=60) as terminal:
        assert terminal.ends() == 1
        assert max(map(len, terminal.seen.splitlines())) <= 60


def test_an_order_that_is_made_up(there: Machine):
    file = write(there, policy("made-up", when='"vip" in order.tags && size(order.duplicates) == 1'))
    order = {"phase": "open", "provider_status": "ordered", "opened_at": "2026-01-01T00:00:00Z"}
    fixture = {"account": ACCOUNT, "order": order, "tags": ["vip"], "duplicates": [{"id": "2"}]}
    as_json = there.write("fixture.json", json.dumps(fixture))
    assert "shadowed" in there.run("policies", "test", file, "--fixture", as_json).out
    yaml = f"account: {ACCOUNT}\norder:\n  phase: open\n  opened_at: 2026-01-01T00:00:00Z\ntags: [other]\n"
    no = there.run("policies", "test", file, "--fixture", there.write("fixture.yaml", yaml), code=1).out
    assert '"vip" in order.tags          false' in no
    assert "cannot be read" in there.run("policies", "test", file, "--fixture", "nix.json", code=1).err
    assert "must be a mapping" in there.run("policies", "test", file, "--fixture", there.write("f", "[]"), code=1).err
    assert "not YAML" in there.run("policies", "test", file, "--fixture", there.write("f", "{"), code=1).err
    nobody = there.write("fixture.json", json.dumps({**fixture, "account": "nix"}))
    assert "There is no account 'nix'" in there.run("policies", "test", file, "--fixture", nobody, code=1).err


def test_what_is_tried_may_be_saved_or_one_of_several(there: Machine):
    saved(there, "kept")
    order = tagged(there, "kept")
    assert "policy   kept\n" in there.run("policies", "test", "kept", ACCOUNT, order).out
    several = write(there, policy("first"), policy("second", when='"kept" in order.tags'))
    assert "policy   second\n" in there.run("policies", "test", several, ACCOUNT, order, "--policy", "second").out
    alone = json.dumps({"policies": [policy("from-stdin", when='"kept" in order.tags')]})
    assert "from-stdin" in there.run("policies", "test", "-", ACCOUNT, order, stdin=alone).out
    there.env["TAG"] = "kept"
    filled = write(there, policy("filled", when='"${TAG}" in order.tags'))
    assert '"kept" in order.tags  true' in there.run("policies", "test", filled, ACCOUNT, order).out


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("nix", "{account}", "1"), 1, "nix is neither a file nor a saved policy"),
        (("nix.yaml", "{account}", "1"), 1, "nix.yaml cannot be read"),
        (("several.yaml", "{account}", "1"), 2, "has several policies: choose one with --policy (one, two)"),
        (("several.yaml", "{account}", "1", "--policy", "six"), 2, "several.yaml has no policy six"),
        (("nix", "{account}", "1", "--policy", "six"), 2, "there is no file nix"),
        (("rescind.yaml", "{account}", "1"), 1, "rescind.yaml has no policies"),
        (("nameless.yaml", "{account}", "1"), 1, "policies[0] has no id"),
        (("wrong.yaml", "{account}", "1"), 1, "policy wrong: when: "),
        (("one.yaml",), 2, "give an account and an order of it, or --fixture"),
        (("one.yaml", "{account}"), 2, "give an account and an order of it, or --fixture"),
        (("one.yaml", "{account}", "1", "--fixture", "f"), 2, "give an account and an order of it"),
        (("one.yaml", "{account}", "never-seen"), 1, "No event of order 'never-seen'"),
    ],
)
def test_what_cannot_be_tried(there: Machine, args: tuple[str, ...], code: int, text: str):
    there.write("several.yaml", json.dumps({"policies": [policy("one"), policy("two")]}))
    there.write("one.yaml", json.dumps({"policies": [policy("one")]}))
    there.write("wrong.yaml", json.dumps({"policies": [policy("wrong", when="order.")]}))
    there.write("nameless.yaml", json.dumps({"policies": [{"when": "true"}]}))
    ran = there.run("policies", "test", *(each.format(account=ACCOUNT) for each in args), code=code)
    assert text in said(ran.err)
    assert ran.out == ""


def test_a_key_that_json_has_not_is_told(there: Machine):
    file = there.write("true.yaml", "policies:\n  - {id: a, true: [x], accounts: [acme-photos], when: 'true'}\n")
    for command in (["policies", "test", file, ACCOUNT, "1"], ["apply", "-f", file]):
        assert "true.yaml:2:13: policy a: true: there is no such setting" in there.run(*command, code=1).err
