from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from app.cli import output
from app.cli.apply import changed_fields
from app.cli.evidence import appointment_in_words, event_in_words, facts_in_words
from app.cli.output import Column
from app.cli.paging import Paging

COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("STATE", lambda row: output.word(row["state"])),
    Column("WHY", lambda row: row["why"], wraps=True),
)


def printed(*, terminal: bool = False, color: bool = True, why: str | None = "because") -> str:
    file = io.StringIO()
    width = 60 if terminal else 1000
    system = "standard" if terminal and color else None
    console = Console(file=file, width=width, force_terminal=terminal, color_system=system, markup=False)
    output.show(output.table(COLUMNS, [{"id": "can_1", "state": "succeeded", "why": why}]), to=console)
    return file.getvalue()


def test_in_a_file_a_table_is_plain_text_without_padding():
    assert printed() == "ID     STATE      WHY\ncan_1  succeeded  because\n"
    assert printed(why=None) == "ID     STATE      WHY\ncan_1  succeeded  -\n"


def test_on_a_terminal_states_have_colors():
    assert "\x1b[32msucceeded" in printed(terminal=True)
    assert "\x1b[" not in printed(terminal=True, color=False).replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_free_text_wraps_and_ids_stay_whole():
    text = printed(terminal=True, why="many words " * 20)
    assert "can_1" in text
    assert all(len(line) <= 80 for line in text.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines())


def on_a_screen(width: int, rows: list[dict[str, str]]) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, markup=False)
    columns = tuple(Column(name.upper(), lambda row, name=name: row[name], wraps=name == "why") for name in rows[0])
    with console.capture() as captured:
        output.show(output.table(columns, rows, to=console), to=console)
        console.print(console.file.getvalue(), end="", soft_wrap=True)  # type: ignore[attr-defined]
    return captured.get().splitlines()


def test_what_does_not_fit_stands_beneath_and_nothing_is_cut():
    id, order = "evt_" + "0" * 32, "order-" + "9" * 70
    rows = [
        {"at": "2026-03-02T12:00:00Z", "account": "acme", "id": id, "order": order, "why": "many words " * 12},
        {"at": "2026-03-02T12:00:00Z", "account": "b", "id": id, "order": "o", "why": ""},
    ]
    for width in (200, 80, 60, 40):
        lines = on_a_screen(width, rows)
        assert all(len(line) <= width and line == line.rstrip() for line in lines), width
        text = "".join(line.strip() for line in lines)
        assert text.count(id) == 2, width
        assert (text.count(order), text.replace(" ", "").count("manywords")) == (1, 12), width
    assert on_a_screen(80, rows)[0] == "AT                    ACCOUNT  ID"
    assert on_a_screen(80, rows)[1].startswith("  ORDER")
    assert [line for line in on_a_screen(400, rows) if id in line][1].split() == [
        "2026-03-02T12:00:00Z",
        "b",
        id,
        "o",
        "-",
    ]


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r", "a\\nb\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\0", "\\x00"),
    ],
)
def test_controls_are_spelled_out(hostile: str, harmless: str):
    assert output.clean(hostile) == harmless
    assert hostile not in printed(why=hostile)
    assert hostile not in output.json_text({"a": hostile})


def test_nothing_from_outside_is_read_as_markup():
    assert printed(why="[bold]x[/bold] :smile:").endswith("[bold]x[/bold] :smile:\n")


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(), st.lists, max_leaves=20))
def test_json_stays_what_it_was(value: object):
    for indent in (0, 2):
        text = output.json_text({"value": value}, indent=indent)
        assert msgspec.json.decode(text) == {"value": value}
        assert not set(text) & {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))} - {"\n"}


def test_facts_in_words():
    appointment = {"id": "a1", "status": "scheduled", "starts_at": "2026-03-01T12:00:00Z"}
    facts = {
        "phase": "in_progress",
        "provider_status": "scheduled",
        "appointments": [appointment],
        "aliases": ["x"],
    }
    assert facts_in_words(facts) == (
        "phase in_progress; provider status scheduled; appointment a1 scheduled for 2026-03-01T12:00:00Z; also named x"
    )
    assert facts_in_words({"appointments_complete": True}) == "no appointments"
    assert facts_in_words({}) == ""


def test_an_appointment_named_after_its_start_is_not_said_twice():
    start = "2026-03-01T12:00:00.123Z"
    assert appointment_in_words({"id": start, "status": "booked", "starts_at": start}) == (
        "appointment booked for 2026-03-01T12:00:00Z"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"cause": "window_closed", "changes": {"detail": "Too late."}}, "Too late."),
        ({"cause": "claimed", "changes": {"detail": ""}}, "claimed"),
        ({"detail": "no luck", "counts": True}, "no luck"),
        ({"scope": "all", "reason": "a break"}, "a break"),
        ({}, ""),
    ],
)
def test_events_about_our_dealings_say_why(data: dict[str, object], said: str):
    assert event_in_words({"facts": {}, "data": data}) == said


def test_changed_fields():
    before = {"limits": {"requests": 100, "per_s": 60}, "rules": {"a": [1]}, "same": 1}
    after = {"limits": {"requests": 50, "per_s": 60}, "same": 1, "mode": None}
    assert list(changed_fields(before, after)) == [
        ("limits.requests", 100, 50),
        ("rules", {"a": [1]}, ""),
        ("mode", "", None),
    ]


def test_a_list_is_short_unless_it_is_asked_for_whole():
    assert Paging() == Paging(limit=50, everything=False, cursor=None)
