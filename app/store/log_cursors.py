"""Cursors of the log: the generation, a dot, and the position after which it is followed."""

from __future__ import annotations

from app.store.log import CursorFault, LogCursorError

LATE = 30_000_000
"""Microseconds: a webhook may have been received so long before it was committed, and stand behind later ones."""
_DIGITS = 18
"""The most that a position has: a 64-bit integer holds any of so many."""


def join_cursor(generation: str, position: int) -> str:
    """The cursor after a position of a generation."""
    return f"{generation}.{position}"


def split_cursor(cursor: str) -> tuple[str, int]:
    """(generation, position); a position of -1 for what is no cursor."""
    generation, _, digits = cursor.partition(".")
    valid = generation.isalnum() and digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS
    return (generation, int(digits)) if valid else ("", -1)


def is_of_another_log(cursor: str, present: str, first: int, last: int, end: int) -> bool:
    """Whether events may be missing after a cursor because it is not of the generation `present`.

    Raises `LogCursorError` if it is no cursor, or if events after it were pruned.

    Args:
        cursor: the cursor.
        present: the present generation.
        first: the position before the first event that is left.
        last: the position of the last event.
        end: the position to go on from where it is not known what the follower has.
    """
    generation, position = split_cursor(cursor)
    if generation == present and first <= position <= last:
        return False
    if position < 0:
        raise LogCursorError(
            CursorFault.UNREADABLE, f"{cursor!r} is not a cursor of the log", join_cursor(present, end)
        )
    if generation == present and position < first:
        raise LogCursorError(CursorFault.PRUNED, "events after this cursor were pruned", join_cursor(present, first))
    return True


def other_log(cursor: str, present: str, first: int, end: int, shared: int | None) -> LogCursorError:
    """The refusal of a cursor of another generation.

    Up to `shared`, where the generation after the cursor's began, both have the same events.
    """
    resume = end if shared is None else max(min(shared, split_cursor(cursor)[1]), first)
    message = "this cursor is of another log: the database was restored from a backup, or is not the same"
    return LogCursorError(CursorFault.OTHER_LOG, message, join_cursor(present, resume))
