"""Orders, cancellations, events and receipts as a person follows them, with a real server and a simulated provider."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from e2e.test_cli_support import ACCOUNT, ENDPOINT, PATIENCE_S, Machine, connected, fetch, stop, until
from processes import Process, lasting_port

CANCEL_OPTIONS = ("--reason", "duplicate_order", "--note", "We sent it twice.")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with connected(tmp_path_factory.mktemp("rescind")) as made:
        yield made


@pytest.fixture
def paused(there: Machine) -> Iterator[Machine]:
    there.run("pause", "--reason", "a break")
    yield there
    there.run("resume")


def scheduled(there: Machine) -> str:
    """An order that can no longer be canceled."""
    order = there.order()
    there.act("schedule_appointment", order_id=int(order), starts_at="2030-01-31T16:00:00Z")
    there.wait_for(order, "appointment.scheduled")
    return order


# -- orders ----------------------------------------------------------------------------------


def test_orders_list(there: Machine):
    order, closed = there.order(), scheduled(there)
    lines = there.run("orders", "list", "--account", ACCOUNT, "--all").out.splitlines()
    assert lines[0].split() == ["ACCOUNT", "ORDER", "PHASE", "STATUS", "CANCELABLE", "REASON", "LAST", "EVENT"]
    assert next(line for line in lines if f" {order} " in line).split()[2:6] == [
        "open",
        "ordered",
        "yes",
        "status_cancelable",
    ]
    no = [each["id"] for each in there.json("orders", "list", "--cancelable", "no", "--phase", "in_progress")["data"]]
    assert closed in no
    assert order not in no
    by_name = there.json("orders", "list", "--text", order, "--reason", "status_cancelable")["data"]
    assert [each["id"] for each in by_name] == [order]
    assert there.json("orders", "list", "--closes-after", "0s", "--closes-before", "1s")["data"] == []
    assert there.run("orders", "list", "--phase", "completed").err == "None found.\n"
    none = there.json("orders", "list", "--phase", "completed")
    assert (none["data"], none["has_more"], none["next_cursor"], none["complete"]) == ([], False, None, True)


def test_lists_go_on_where_they_ended(there: Machine):
    for _ in range(4):
        there.order()
    everything = there.json("orders", "list", "--all")
    assert (everything["has_more"], everything["next_cursor"]) == (False, None)
    seen, cursor = [], []
    while True:
        part = there.json("orders", "list", "--limit", "3", *cursor)
        seen += [each["id"] for each in part["data"]]
        if not part["has_more"]:
            break
        cursor = ["--cursor", part["next_cursor"]]
    assert seen == [each["id"] for each in everything["data"]]
    assert (
        f"--cursor {there.json('orders', 'list', '--limit', '1')['next_cursor']}"
        in there.run("orders", "list", "--limit", "1").err
    )


def test_a_long_list_takes_many_pages(there: Machine):
    """More than the server gives at once (500), still one answer."""
    for number in range(60):
        event = {"event": "order.processed", "order_id": "many", "occurred_at": f"2026-01-01T00:00:{number:02}Z"}
        there.webhook(json.dumps({**event, "status": "ordered"}).encode())
    query = ("events", "list", "--account", ACCOUNT, "--order", "many")
    assert len(there.json(*query, "--limit", "55")["data"]) == 55
    assert len(there.json(*query, "--all")["data"]) == 60
    assert len(there.run(*query, "--all").out.splitlines()) == 61


def test_orders_show(there: Machine):
    order = scheduled(there)
    shown = there.run("orders", "show", ACCOUNT, order).out
    assert "no (appointment_confirmed)" in shown
    assert "An appointment is confirmed for 2030-01-31 16:00 UTC" in shown
    assert "appointment.scheduled" in shown.partition("Evidence")[2]
    raw = there.json("orders", "show", ACCOUNT, order)
    assert raw["verdict"]["evidence"][0] in shown
    assert there.json("orders", "show", ACCOUNT, raw["aliases"][0])["id"] == order


def test_orders_show_as_they_were_known(there: Machine):
    order = there.order()
    before = there.json("events", "list", "--account", ACCOUNT, "--order", order)["data"][0]["received_at"]
    there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--wait")
    known = there.json("orders", "show", ACCOUNT, order, "--known-at", before)
    assert (known["phase"], known["verdict"]["cancelable"]) == ("open", "yes")
    (scheduled_event,) = there.json(
        "events", "list", "--type", "cancellation.scheduled", "--account", ACCOUNT, "--order", order
    )["data"]
    then = scheduled_event["received_at"]
    shown = there.run("orders", "show", ACCOUNT, order, "--known-at", then, "--at", then).out
    assert "scheduled" in shown.partition("Live cancellation")[2], "the live cancellation, as it was then"
    assert "canceled" in there.run("orders", "show", ACCOUNT, order).out


def test_orders_explain(there: Machine):
    order = scheduled(there)
    shown = there.run("orders", "explain", ACCOUNT, order).out
    evidence, _, timeline = shown.partition("Evidence")[2].partition("Timeline")
    assert "appointment.scheduled" in evidence
    clauses = shown.partition("\nClauses\n")[2].partition("\nEvidence\n")[0]
    decisive = clauses.partition("  appointment_confirmed: true, which decides\n")[2].splitlines()
    assert decisive[0] == "    An appointment is confirmed, and no later event contradicts it."
    assert "by appointment.scheduled of" in decisive[1]
    assert decisive[2].startswith('    rules.confirmed_appointment_statuses = ["scheduled"')
    assert "scheduled for 2030-01-31T16:00:00Z" in evidence
    kinds = [line.split()[1:3] for line in timeline.splitlines() if line.startswith("2")]
    assert kinds[:2] == [["event", "order.processed"], ["verdict", "yes"]]
    assert kinds[-1] == ["verdict", "no"]
    explained = there.json("orders", "explain", ACCOUNT, order)
    assert explained["verdict"]["cancelable"] == "no"
    assert explained["evidence"][0]["type"] == "appointment.scheduled"
    before = explained["timeline"][0]["at"]
    known = there.json("orders", "explain", ACCOUNT, order, "--known-at", before)
    assert known["verdict"]["cancelable"] == "yes"
    assert [each["kind"] for each in known["timeline"]] == ["event", "verdict"]
    assert (
        there.json("orders", "explain", ACCOUNT, order, "--at", "3d")["verdict"]["as_of"]
        > explained["verdict"]["as_of"]
    )


@pytest.mark.parametrize("order", ["a/b?c#d%e f", "[red]", "\u00e9", "x" * 200])
def test_an_order_may_have_any_name(there: Machine, order: str):
    there.webhook(json.dumps({"event": "order.processed", "order_id": order, "status": "ordered"}).encode())
    assert there.json("orders", "show", ACCOUNT, order)["id"] == order
    assert there.json("orders", "explain", ACCOUNT, order)["evidence"][0]["order"] == order
    assert order in there.run("orders", "list", "--account", ACCOUNT).out


def test_what_is_not_there(there: Machine):
    assert "No event of order 'nix'" in there.run("orders", "show", ACCOUNT, "nix", code=1).err
    assert "There is no account 'nix'" in there.run("orders", "show", "nix", "1", code=1).err
    assert there.run("orders", "show", ACCOUNT, "nix", "--json", code=1).json["type"] == "urn:rescind:problem:not-found"


# -- cancel ----------------------------------------------------------------------------------


def test_cancel_and_wait(there: Machine):
    order = there.order()
    ran = there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--wait")
    assert "succeeded" in ran.out
    assert "is scheduled" in ran.err
    assert [each["status"] for each in there.act("list", order_id=int(order))["orders"]] == ["canceled"]
    again = there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, code=1)
    assert "no (already_canceled)" in again.out


def test_cancel_in_vain_says_why(there: Machine):
    order = scheduled(there)
    ran = there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--wait", code=1)
    assert "no (appointment_confirmed)" in ran.out
    assert "An appointment is confirmed" in ran.out
    assert "appointment.scheduled" in ran.out.partition("Evidence")[2]
    assert ran.err == "error: The order cannot be canceled; nothing was sent.\n"
    problem = there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--json", code=1).json
    assert problem["type"] == "urn:rescind:problem:order-not-cancelable"
    assert problem["verdict"]["evidence"]
    known = there.json("cancellations", "show", problem["cancellation"]["id"])
    assert known["state"] == "rejected"
    assert there.act("list", order_id=int(order))["orders"][0]["cancel_calls"] == 0


def test_force_sends_it_all_the_same(there: Machine):
    order = scheduled(there)
    ran = there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--force", "--wait", "--json", code=1)
    assert (ran.json["state"], ran.json["forced"]) == ("refused", True)
    assert there.act("list", order_id=int(order))["orders"][0]["cancel_calls"] == 1


def test_dry_run_changes_nothing(there: Machine):
    order, closed = there.order(), scheduled(there)
    assert "would be sent" in there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--dry-run").out
    assert there.json("cancel", ACCOUNT, closed, *CANCEL_OPTIONS, "--dry-run", code=1)["would"] == "reject"
    assert "would be rejected" in there.run("cancel", ACCOUNT, closed, *CANCEL_OPTIONS, "--dry-run", code=1).out
    assert there.json("cancel", ACCOUNT, "never-seen", *CANCEL_OPTIONS, "--dry-run")["would"] == "probe"
    assert there.json("cancellations", "list", "--account", ACCOUNT, "--order", order)["data"] == []


def test_the_provider_limits_the_arguments(there: Machine):
    order = there.order()
    assert "The field note" in there.run("cancel", ACCOUNT, order, "--reason", "duplicate_order", code=1).err
    # Whether a reason is required, the provider's handler says.
    assert "The field reason: PlanOmatic accepts only" in there.run("cancel", ACCOUNT, order, code=1).err
    assert "duplicate_order" in there.run("cancel", ACCOUNT, order, "--reason", "x", "--note", "y", code=1).err


def test_the_same_key_asks_once(paused: Machine):
    order = paused.order()
    first = paused.json("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--idempotency-key", "one")
    again = paused.json("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--idempotency-key", "one")
    assert first == again
    other = paused.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--idempotency-key", "two", code=1)
    assert first["id"] in other.out
    assert "follow it, or revoke it first" in other.err


@pytest.mark.parametrize(("given", "seconds"), [("2h", 7200), ("30m", 1800), ("3d", 259_200)])
def test_deadlines_may_be_spans(paused: Machine, given: str, seconds: int):
    order, before = paused.order(), datetime.now(UTC)
    known = paused.json("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--deadline", given)
    asked_at = datetime.fromisoformat(known["deadline"]) - timedelta(seconds=seconds)
    assert before - timedelta(seconds=1) < asked_at <= datetime.now(UTC)


def test_deadlines_may_be_times(paused: Machine):
    known = paused.json("cancel", ACCOUNT, paused.order(), *CANCEL_OPTIONS, "--deadline", "2030-01-31T17:00:00+01:00")
    assert known["deadline"] == "2030-01-31T16:00:00Z"
    assert (
        "in the past"
        in paused.run("cancel", ACCOUNT, "1", *CANCEL_OPTIONS, "--deadline", "2020-01-01T00:00:00Z", code=1).err
    )


def test_waiting_ends_with_what_became_of_it(paused: Machine):
    order = paused.order()
    expired = paused.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--deadline", "8s", "--wait", code=1)
    assert "expired" in expired.out
    assert "waiting for" in expired.err


def start_waiting(there: Machine, order: str) -> Process:
    return Process(["cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--wait"], env=there.env, cwd=there.folder)


def test_waiting_survives_until_somebody_decides(paused: Machine):
    order = paused.order()
    with start_waiting(paused, order) as waiting:
        found = until(
            lambda: paused.json("cancellations", "list", "--order", order, "--account", ACCOUNT)["data"], "it"
        )
        assert "revoked" in paused.run("cancellations", "revoke", found[0]["id"]).out
        out, _ = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 1
    assert "Revoked by bootstrap." in out


def test_waiting_can_be_broken_off(paused: Machine):
    order = paused.order()
    with start_waiting(paused, order) as waiting:
        path = f"/v1/cancellations?account={ACCOUNT}&order={order}"
        (known,) = until(lambda: paused.api(path)["data"], "it was asked for")
        until(lambda: known["id"] in waiting.written("err"), "it says what it waits for", waiting)
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 130
    assert f"rescind cancellations show {known['id']}" in err
    assert paused.json("cancellations", "show", known["id"])["state"] == "scheduled"


# -- cancellations ---------------------------------------------------------------------------


def test_cancellations_list_and_show(paused: Machine):
    order = paused.order()
    known = paused.json("cancel", ACCOUNT, order, *CANCEL_OPTIONS)
    listed = paused.run("cancellations", "list", "--state", "scheduled", "--account", ACCOUNT, "--order", order).out
    assert listed.splitlines()[1].split()[:4] == [known["id"], ACCOUNT, order, "scheduled"]
    shown = paused.run("cancellations", "show", known["id"]).out
    assert "paused (a break), until" in shown
    assert "yes (status_cancelable)" in shown
    assert "Live cancellation" in paused.run("orders", "show", ACCOUNT, order).out


def test_what_was_sent_cannot_be_revoked(there: Machine):
    known = there.json("cancel", ACCOUNT, there.order(), *CANCEL_OPTIONS, "--wait")
    assert known["state"] == "succeeded"
    assert "Only a scheduled cancellation" in there.run("cancellations", "revoke", known["id"], code=1).err


def test_resolve_settles_what_nobody_knows(there: Machine):
    order = there.order()
    url = f"{there.env['SANDBOX_URL']}/_sandbox/planomatic/faults"
    fetch(url, {"fault": "reset_before", "times": 50, "path": "/api/v3/orders/cancel"})
    fetch(url, {"fault": "status", "status": 502, "times": 50, "path": "/api/v3/orders/retrieve"})
    id = there.json("cancel", ACCOUNT, order, *CANCEL_OPTIONS)["id"]
    until(lambda: there.api(f"/v1/cancellations/{id}")["state"] == "indeterminate", "nobody knows")
    settled = there.run("cancellations", "resolve", id, "--outcome", "refused", "--note", "They rang back.").out
    assert "refused" in settled
    assert "They rang back." in settled
    assert there.run("cancellations", "resolve", id, "--outcome", "eaten", "--note", "x", code=2)
    fetch(url, method="DELETE")


# -- events and receipts ----------------------------------------------------------------------


def test_events(there: Machine):
    order = there.order()
    there.run("cancel", ACCOUNT, order, *CANCEL_OPTIONS, "--wait")
    mine = ("events", "list", "--account", ACCOUNT, "--order", order)
    types = [each["type"] for each in there.json(*mine, "--type", "cancellation.*")["data"]]
    assert types == ["cancellation.succeeded", "cancellation.sending", "cancellation.scheduled"]
    (sent,) = there.json(*mine, "--type", "cancellation.sending")["data"]
    assert sent["id"] in there.run(*mine).out
    assert "claimed" in there.run("events", "show", sent["id"]).out
    links = {"cancellations": [sent["data"]["cancellation"]], "messages": []}
    assert there.json("events", "show", sent["id"]) == {**sent, **links}
    assert there.json(*mine, "--until", "1h")["data"] == []
    assert len(there.json(*mine, "--since", "1h", "--type", "order.processed", "--text", "ordered")["data"]) == 1
    assert there.json(*mine, "--text", "eaten")["data"] == []
    assert "is not the id of an event" in there.run("events", "show", "nix", code=1).err


def test_receipts_and_quarantine(there: Machine):
    receipt = there.webhook(b'{"event":"order.eaten","order_id":5,"note":"\\u001b[31m"}')["receipt"]
    spoiled = there.webhook(b"\xff\xfe\x00 not text")["receipt"]
    listed = there.run("receipts", "list", "--status", "quarantined", "--endpoint", ENDPOINT).out
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [spoiled, receipt]
    shown = there.run("receipts", "show", receipt).out
    assert "order.eaten" in shown
    assert "Authorization" in shown
    assert "\x1b" not in shown
    assert "(not text)" in there.run("receipts", "show", spoiled).out
    assert there.json("receipts", "show", receipt)["status"] == "quarantined"
    unconfirmed = there.run("receipts", "reprocess", "--quarantined", code=2)
    assert "2 receipts would become: 2 quarantined." in unconfirmed.err
    preview = there.json("receipts", "reprocess", "--status", "quarantined", "--reason", "order.eaten", "--dry-run")
    assert ([each["id"] for each in preview["data"]], preview["counts"]) == ([receipt], {"quarantined": 1})
    again = there.run("receipts", "reprocess", "--quarantined", "--yes", "--json", code=1)
    assert {each["id"] for each in again.json["data"]} == {receipt, spoiled}
    assert "2 of 2 are still in quarantine." in again.err
    assert "no receipt" in there.run("receipts", "reprocess", receipt, "rcp_0000000000000001", code=1).err
    there.run("receipts", "reprocess", code=2)
    there.run("receipts", "reprocess", receipt, "--quarantined", code=2)


def test_a_receipt_s_exact_bytes(there: Machine, tmp_path: Path):
    body = b"\xff\xfe\x00\x1b[31m not text\r\n"
    receipt = there.webhook(body)["receipt"]
    file = tmp_path / "body.bin"
    assert f"Wrote {len(body)} bytes" in there.run("receipts", "show", receipt, "--raw", "-o", str(file)).err
    assert file.read_bytes() == body
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"mine")
    nowhere = tmp_path / "none" / "body.bin"
    assert "cannot be written" in there.run("receipts", "show", receipt, "--raw", "-o", str(nowhere), code=1).err
    told = b'{"event": "order.processed",\n"order_id": "77", "status": "ordered"}'
    receipt = there.webhook(told)["receipt"]
    assert there.run("receipts", "show", receipt, "--raw").out.encode() == told, "to a pipe byte for byte"
    headers = there.run("receipts", "show", receipt, "--headers").out
    assert "Content-Type" in headers
    assert "order_id" not in headers
    there.run("receipts", "show", receipt, "--headers", "--raw", code=2)


# -- The server comes and goes ------------------------------------------------------------------


def test_waiting_outlasts_a_restart(tmp_path: Path):
    with connected(tmp_path, lasting_port()) as there:
        order = there.order()
        there.run("pause")
        with start_waiting(there, order) as waiting:
            path = f"/v1/cancellations?account={ACCOUNT}&order={order}"
            until(lambda: there.api(path)["data"], "it was asked for")
            assert stop(there.running[0]) == 0
            there.serve(log="again.log")
            there.run("resume")
            out, err = waiting.communicate(timeout=PATIENCE_S)
        assert (waiting.returncode, "succeeded" in out) == (0, True), err


def test_changes_say_who_changed_a_resource(there: Machine):
    rows = there.json("changes", "--kind", "accounts", "--id", ACCOUNT)["data"]
    assert {(row["kind"], row["id"]) for row in rows} == {("accounts", ACCOUNT)}
    listed = there.run("changes", "--kind", "accounts", "--id", ACCOUNT).out
    assert rows[0]["by"] in listed
    assert '"provider":"planomatic"' in listed
    assert "--id needs --kind" in there.run("changes", "--id", ACCOUNT, code=2).err


def test_orders_that_close_soon_are_asked_of_the_server(there: Machine):
    assert there.run("orders", "list", "--closes-before", "1h").err == "None found.\n"
