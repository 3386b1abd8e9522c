"""Many orders at once: from a file in any of its forms, from standard input, and again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from e2e.test_cli_support import ACCOUNT, PATIENCE_S, Machine, Terminal, connected, until

NOTE = ("--note", "We sent it twice.")
WORDS = ("--reason", "duplicate_order", *NOTE)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with connected(tmp_path_factory.mktemp("rescind")) as made:
        yield made


def test_many_orders_are_canceled_from_a_file(there: Machine):
    orders = [there.order() for _ in range(4)]
    file = there.write("orders.txt", "\n".join(orders[:2]) + "\n\n")
    ran = there.run("cancel", ACCOUNT, "--file", file, *WORDS, "--wait", "--yes")
    assert "2 orders: 2 scheduled." in ran.err
    assert "Now: 2 succeeded." in ran.err
    rows = f"order,reason,note\n{orders[2]},duplicate_order,first\n{orders[0]},duplicate_order,again\n"
    ran = there.run("cancel", ACCOUNT, "-f", there.write("orders.csv", rows), "--wait-timeout", "10m", "--yes", code=1)
    assert "2 orders: 1 rejected, 1 scheduled." in ran.err
    assert "Final: 2 of 2" in ran.err
    assert ran.out.splitlines()[1].split()[:2] == [orders[0], "rejected"]
    lines = json.dumps({"order": int(orders[3]), "note": "third"})
    document = there.run(
        "cancel", ACCOUNT, "-f", "-", "--reason", "duplicate_order", "--yes", "--json", stdin=lines
    ).json
    assert (document["total"], document["outcomes"]) == (1, {"scheduled": 1})


def test_repeated_with_the_same_key_nothing_is_asked_for_twice(there: Machine):
    file = there.write("again.txt", there.order())
    args = ("cancel", ACCOUNT, "--file", file, *WORDS, "--idempotency-key", "once", "--yes", "--json")
    assert there.run(*args).json == there.run(*args).json


def test_files_that_cannot_be_read_say_where(there: Machine):
    said = {
        "order,note\n1,a,b\n": "orders, line 2: 3 values under 2 headings",
        'order\n"1\n': "orders, line 2: not CSV",
        '{"order": "1"}\n{"order": \n': "orders, line 2: not JSON",
        '{"order": "1"}\n{"note": "x"}\n': "orders, line 2: no order's id",
        '{"order": ["1"]}\n': "orders, line 1: order is neither text nor a whole number",
        "\n\n": "orders contains no orders",
        "x" * 100_001: "orders, line 1: longer than",
    }
    for text, error in said.items():
        assert error in there.run("cancel", ACCOUNT, "-f", there.write("orders", text), *WORDS, code=1).err, text[:40]
    assert "cannot be read" in there.run("cancel", ACCOUNT, "-f", "nix", *WORDS, code=1).err
    for misused in (("1", "-f", "x"), (), ("-f", "x", "--dry-run")):
        there.run("cancel", ACCOUNT, *misused, *WORDS, code=2)
    file = there.write("one", "no-such-order")
    assert "There is no account 'nobody'" in there.run("cancel", "nobody", "-f", file, *WORDS, "--yes", code=1).out


def test_a_row_that_the_server_does_not_take_is_named(there: Machine):
    too_long = "x" * 201 + ",\n"  # nothing is to come of the first 500, which would keep the others waiting
    file = there.write("soon.csv", f"order,deadline\n{too_long * 501}502,soon\n")
    said = there.run("cancel", ACCOUNT, "-f", file, *WORDS, "--yes", code=1).err
    assert "Order 502: " in said
    assert "cancellations.1.deadline" in said
    assert "The cancels of the first 500 orders were requested, and no others." in said


def test_a_person_sees_a_bar(there: Machine):
    file = there.write("bar.txt", "\n".join(there.order() for _ in range(2)))
    args = ("cancel", ACCOUNT, "--file", file, *WORDS, "--wait")
    assert "This cancels 2 orders in bar.txt" in there.run(*args, code=2).err, "nobody is there to confirm it"
    piped = there.run("cancel", ACCOUNT, "-f", "-", *WORDS, code=2, stdin="9999\n").err
    assert "give --yes" in piped
    with Terminal(there, *args, columns=140) as person:
        person.sees("Go on?")
        person.types("n\n")
        assert person.ends() == 1
        assert "Nothing was changed." in person.seen
    with Terminal(there, *args, columns=140) as person:
        person.sees("Go on?")
        person.types("y\n")
        assert person.ends() == 0
        assert "2/2" in person.seen
        assert "Now: 2 succeeded." in person.seen


def silent(there: Machine, number: int) -> str:
    """An order at the provider of which no webhook tells."""
    return str(there.act("create_order", order_id=number, silent=True)["order_id"])


def test_orders_of_which_nobody_told_are_imported(there: Machine):
    orders = [silent(there, 9001 + number) for number in range(3)]
    file = there.write("open.txt", "\n".join([*orders, "no-such-order"]))
    ran = there.run("orders", "import", ACCOUNT, file)
    assert "4 orders: 4 wanted." in ran.err
    assert "Probed: 4 of 4" in ran.err
    assert "yes" in there.run("orders", "list", "--account", ACCOUNT).out
    again = there.json("orders", "import", ACCOUNT, file, "--no-wait")
    assert again["outcomes"] == {"known": 3, "wanted": 1}
    assert "contains no orders" in there.run("orders", "import", ACCOUNT, there.write("empty", ""), code=1).err


def test_an_import_during_a_pause_says_what_it_waits_for(there: Machine, monkeypatch: pytest.MonkeyPatch):
    for scope, resume in ((), "`rescind resume`"), (("--account", ACCOUNT), f"`rescind resume --account {ACCOUNT}`"):
        there.run("pause", *scope, "--reason", "restored from a backup")
        file = there.write("paused.txt", silent(there, 9200 + len(scope)))
        process = there.start("orders", "import", ACCOUNT, file, log="import.log")
        said = until(lambda: _complete(there, "import.log", "Probed: 0 of 1"), "it says that it waits", process)
        assert "Sending is paused: restored from a backup." in said
        assert resume in said
        with Terminal(there, "orders", "import", ACCOUNT, file, columns=400) as person:
            person.sees("Ctrl-C or `--no-wait` ends the wait")
            person.sees("0/1")
            person.breaks_off()
            assert person.ends() == 130
            assert "with `--no-wait` it does not" in person.seen
        if not scope:
            # With a key that sees this account only, and no status.
            key = there.run("keys", "create", "importer", "--scope", "write", "--account", ACCOUNT).out.split()[-1]
            monkeypatch.setitem(there.env, "RESCIND_API_KEY", key)
            with Terminal(there, "orders", "refresh", ACCOUNT, "no-such-order", columns=400) as person:
                person.sees("`rescind resume` when sending may continue. Ctrl-C or `--wait-timeout` ends the wait")
                person.breaks_off()
                assert person.ends() == 130
            monkeypatch.undo()
        there.run("resume", *scope)
        assert process.wait(PATIENCE_S) == 0
        assert "Sending is resumed." in _complete(there, "import.log", "1 orders: 1 wanted.")


def _complete(there: Machine, log: str, text: str) -> str:
    """What a command has printed, without line breaks, once this text is in it."""
    said = " ".join((there.folder / log).read_text(encoding="utf-8").split())
    return said if text in said else ""


def test_refresh_shows_what_the_provider_says_now(there: Machine):
    order = silent(there, 9100)
    there.run("orders", "refresh", ACCOUNT, order)
    there.act("cancel_by_staff", order_id=int(order), silent=True)
    row = there.run("orders", "refresh", ACCOUNT, order).out.splitlines()[1].split()
    assert row[:4] == [order, "asked", "canceled", "no"]
    (gone,) = there.run("orders", "refresh", ACCOUNT, "no-order", "--json", code=1).json["data"]
    assert gone["outcome"] == "abandoned"
    assert gone["detail"]
