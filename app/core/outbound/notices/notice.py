"""What people are told of a message, before a destination's format; and how text that others wrote is made harmless."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

TITLE_CHARS_MAX = 150
TEXT_CHARS_MAX = 1000
VALUE_CHARS_MAX = 300
FIELDS_MAX = 10


class Severity(StrEnum):
    """How bad it is; PagerDuty's words."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Link(Struct, frozen=True):
    """Where to go from a notice."""

    label: str
    url: str


class Alert(Struct, frozen=True):
    """A condition that begins with one message and may end with another."""

    key: str
    """The same for the message that begins it and the one that ends it."""
    ends: bool = False


class Notice(Struct, frozen=True, kw_only=True):
    """What people are told. Every text is one line of printable characters, within its length."""

    id: str
    """The id of the message, as its receivers see it."""
    type: str
    at: datetime
    account: str
    title: str
    text: str
    fields: tuple[tuple[str, str], ...] = ()
    """(name, value) in the order in which they are shown."""
    severity: Severity = Severity.INFO
    link: Link | None = None
    hint: str = ""
    """A command that shows more, or does what the link would do."""
    alert: Alert | None = None
    test: bool = False
    """It was sent to try the subscription out."""


class Digest(Struct, frozen=True, kw_only=True):
    """Several notices that are told as one."""

    id: str
    """The id of its first message."""
    title: str
    notices: tuple[Notice, ...]
    """The first of them, in the order in which they happened."""
    more: int = 0
    """How many others there are."""
    counts: tuple[tuple[str, int], ...] = ()
    """(type, how many of all), the most frequent first."""

    @property
    def severity(self) -> Severity:
        """The worst of its notices."""
        order = list(Severity)
        return max((notice.severity for notice in self.notices), key=order.index, default=Severity.INFO)


def one_line(text: str, chars_max: int) -> str:
    """`text` in one line of at most so many characters, without any that do not print or that reorder others.

    It takes no longer than its result is long, whatever it is given.
    """
    # Marks that turn the direction of text, or that have no width, count as not printable.
    kept = "".join(char if char.isprintable() else " " for char in text[: chars_max + 1])
    return kept if len(kept) <= chars_max else kept[: chars_max - 1] + "…"


def shown_time(moment: datetime) -> str:
    """A time for people: `Sun 22 Nov 2026, 14:05 UTC`."""
    local = moment.astimezone(UTC)
    day, month = _WEEKDAYS[local.weekday()], _MONTHS[local.month - 1]
    return f"{day} {local.day} {month} {local.year}, {local.hour:02}:{local.minute:02} UTC"


_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
