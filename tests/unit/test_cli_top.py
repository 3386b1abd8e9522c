"""What `rescind top` draws: it fits the terminal, and shows what matters first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rich.console import Console

from app.cli.top_view import _shares, picture, spark
from app.web.examples import example_of
from app.web.overview import Overview

URL = "http://127.0.0.1:8700"


def overview(**more: Any) -> dict[str, Any]:
    shown = msgspec.json.decode(msgspec.json.encode(example_of(Overview)))
    return {**shown, **more}


def finding(number: int, state: str = "fault", detail: str = "paused") -> dict[str, Any]:
    what = f"account acme-{number}"
    return {"code": "paused", "what": what, "account": None, "state": state, "detail": detail, "do": "Resume it."}


def lane(number: int, **more: Any) -> dict[str, Any]:
    (given,) = overview()["lanes"]["first"]
    return {**given, "account": f"an-account-with-a-long-name-{number}", **more}


def drawn(shown: dict[str, Any], width: int = 80, height: int = 24, fault: str = "") -> list[str]:
    console = Console(width=width, height=height, highlight=False, markup=False, emoji=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(picture(shown, URL, height, fault))
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 50), (60, 30), (200, 100)])
def test_it_fits_whatever_there_is(width: int, height: int) -> None:
    hours = [
        {"starts_at": "2026-03-02T10:00:00Z", "ends_at": "2026-03-02T11:00:00Z", "orders": n * 9999} for n in range(24)
    ]
    closing = {
        "account": "a" * 60,
        "order": "o" * 60,
        "closes_at": "2026-03-02T11:00:00Z",
        "cancelable": "yes",
        "reason": "r" * 60,
    }
    shown = overview(
        needs_attention=True,
        findings=[finding(n, detail="it is so because of this " * 9) for n in range(40)],
        closing={"hours": hours, "complete": False, "next": [closing] * 20},
        lanes={
            "total": 1000,
            "by_state": {"paused": 1000},
            "due": 99_000,
            "oldest_due_s": 1e6,
            "first": [lane(n, due=99, oldest_due_s=1e6, state="breaker_open", reason="x" * 200) for n in range(100)],
        },
    )
    lines = drawn(shown, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "needs a person" in lines[0]
    assert "Lanes: 1000 paused; 99000 due" in text
    assert "an-account-with-a" in text
    assert "… and 9" in text, "it says that there are more"


def test_names_are_whole_on_eighty_columns() -> None:
    closing = {**overview()["closing"]["next"][0], "account": "acme-photos-europe", "order": "PO-2026-654321"}
    found = {**finding(1), "code": "subscription_disabled", "what": "subscription crm-of-the-sales-team"}
    text = "\n".join(drawn(overview(findings=[found], closing={**overview()["closing"], "next": [closing]})))
    assert "subscription crm-of-the-sales-team  paused" in text
    assert "acme-photos-europe PO-2026-654321  " in text


def test_it_says_how_things_stand() -> None:
    text = "\n".join(drawn(overview(findings=[finding(1, "notice")])))
    assert "nothing needs a person" in text
    assert "90 in the last minute, 1.5/s" in text
    assert "scheduled 2  sending 1  24 h: succeeded 40  refused 1" in text
    assert "Notices" in text
    assert "1 h 15 min" in text
    assert "█░░░░░░░ 12/100" in text
    away = "\n".join(drawn(overview(), fault="No server responds at http://127.0.0.1:8700."))
    assert "No server responds" in away


def test_text_from_outside_controls_nothing() -> None:
    shown = overview(needs_attention=True, findings=[finding(1, detail="\x1b[2J\n[red]")])
    assert "\\x1b[2J\\n[red]" in "\n".join(drawn(shown))


def test_a_line_of_bars() -> None:
    assert spark([0, 1, 4, 8]) == "·▁▄█"
    assert spark([0, 0]) == "··"
    assert spark([]) == ""
    assert spark([1000, 1]) == "█▁"


def test_parts_share_the_rows() -> None:
    assert _shares(30, 40, 20, 100) == [10, 10, 10]
    assert _shares(30, 2, 0, 100) == [2, 0, 28]
    assert _shares(0, 5, 5, 1) == [2, 2, 1]
