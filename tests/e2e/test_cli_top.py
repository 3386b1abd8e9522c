"""`rescind top`, and what a person confirms by typing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.test_cli_support import ACCOUNT, Machine, Terminal, connected


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with connected(tmp_path_factory.mktemp("rescind")) as made:
        yield made


def test_once_and_for_programs(there: Machine):
    there.order()
    once = there.run("top", "--once").out
    assert once.startswith("rescind top  nothing needs a person")
    assert "Lanes: 1 idle; 0 due" in once
    shown = there.json("top", "--account", ACCOUNT)
    assert ([lane["account"] for lane in shown["lanes"]["first"]], shown["needs_attention"]) == ([ACCOUNT], False)
    assert there.run("top").out.startswith("rescind top"), "without a terminal it is printed once"
    assert "no account 'nobody'" in there.run("top", "--account", "nobody", code=1).err
    there.run("top", "--interval", "0.1", code=2)


@pytest.mark.parametrize("key", ["q", ""])
def test_it_refreshes_until_a_key_or_ctrl_c_ends_it(there: Machine, key: str):
    there.run("resume")
    with Terminal(there, "top", "--interval", "1", columns=80) as terminal:
        terminal.sees("nothing needs a person")
        there.run("pause", "--reason", "a break")
        terminal.sees("everything  paused since")
        if key:
            terminal.types(key)
        else:
            terminal.breaks_off()
        assert terminal.ends() == 0


def test_a_person_confirms_by_the_number_of_receipts(there: Machine):
    for number in range(2):
        there.webhook(b'{"event":"order.eaten","order_id":%d}' % number)
    command = ("receipts", "reprocess", "--status", "quarantined")
    with Terminal(there, *command, columns=120) as terminal:
        terminal.sees("Type 2 to reprocess them: ")
        terminal.types("y\n")
        terminal.sees("That is not 2. Nothing was changed.")
        assert terminal.ends() == 1
    with Terminal(there, *command, columns=120) as terminal:
        terminal.sees("Type 2 to reprocess them: ")
        terminal.types("2\n")
        terminal.sees("2 of 2 are still in quarantine.")
        assert terminal.ends() == 1
