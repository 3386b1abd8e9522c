from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import Phase
from handlers.notpanel.words import FINAL, ORDER_STATUSES, letters, status_phase

OPEN, IN_PROGRESS, COMPLETED, CANCELED, UNKNOWN = (
    Phase.OPEN,
    Phase.IN_PROGRESS,
    Phase.COMPLETED,
    Phase.CANCELED,
    Phase.UNKNOWN,
)


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("pending", OPEN),
        ("Pending", OPEN),
        (" PENDING ", OPEN),
        ("in_progress", IN_PROGRESS),
        ("In progress", IN_PROGRESS),
        ("InProgress", IN_PROGRESS),
        ("in-progress", IN_PROGRESS),
        ("Processing", IN_PROGRESS),
        ("Completed", COMPLETED),
        ("partial", COMPLETED),
        ("canceled", CANCELED),
        ("cancelled", CANCELED),
        ("Cancelled", CANCELED),
        ("refunded", CANCELED),
        ("failed", UNKNOWN),
        ("cancel", UNKNOWN),
        ("cancelling", UNKNOWN),
        ("uncompleted", UNKNOWN),
        ("pending review", UNKNOWN),
        ("", UNKNOWN),
        ("cancelled by admin", UNKNOWN),
    ],
)
def test_a_status_is_known_by_its_letters(status: str, phase: Phase) -> None:
    assert status_phase(status, {}) is phase


def test_the_three_terminal_states_of_the_document_are_final() -> None:
    assert {ORDER_STATUSES[each] for each in ("completed", "canceled", "refunded")} == FINAL


def test_the_account_s_own_words_outrank_ours() -> None:
    more = {"Partial": CANCELED, "awaiting review": OPEN}
    assert status_phase("partial", more) is CANCELED
    assert status_phase("Awaiting_Review", more) is OPEN
    assert status_phase("completed", more) is COMPLETED


@given(st.text() | st.text("cancel ", min_size=6))
def test_letters_is_idempotent_and_total(status: str) -> None:
    assert letters(letters(status)) == letters(status)
    assert status_phase(status, {}) in Phase
