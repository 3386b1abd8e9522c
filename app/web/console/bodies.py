"""Bodies of receipts as a page shows them: laid out, cut, and with marks at the values that became events."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from app.web.console.layout import is_json, lay_out

SHOWN_MAX = 30_000
"""Characters of a body that a page shows."""
HEX_MAX = 4096
"""Bytes of a body that is not text that a page shows."""
JSON_MAX = 1 << 20
"""A larger body is shown as it came: to learn whether it is JSON would hold up the event loop."""
MARKS_MAX = 9
"""Events named at one value."""
_SCALAR = re.compile(r'^\s*(?:"(?:[^"\\]|\\.)*":\s*)?("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*),?$')
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")


class Line(Struct):
    """A line of a body, and the numbers of the events that have its value."""

    text: str
    events: Sequence[int] = ()


class Body(Struct, kw_only=True):
    """A body as a page shows it."""

    kind: str
    """`JSON`, `text`, `hexadecimal`, `hidden`, `expunged` or `empty`."""
    lines: Sequence[Line] = ()
    cut: bool = False
    """Whether there is more than is shown."""


def body_of(receipt: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()) -> Body:
    """The body of a receipt (of the API), with the numbers of `events`, from 1, at their values."""
    if receipt.get("expunged_at"):
        return Body(kind="expunged")
    if not receipt["size"]:
        return Body(kind="empty")
    text = receipt.get("body")
    if text is None:
        return _hexadecimal(receipt.get("body_base64"))
    if len(text) <= JSON_MAX and is_json(text):
        kind, (shown, cut) = "JSON", lay_out(text, SHOWN_MAX)
    else:
        kind, shown, cut = "text", text[:SHOWN_MAX], len(text) > SHOWN_MAX
    values = _values(events) if kind == "JSON" else {}
    lines = [Line(line, _marks(line, values)) for line in shown.split("\n")]
    return Body(kind=kind, lines=lines, cut=cut)


def _hexadecimal(encoded: str | None) -> Body:
    if encoded is None:
        return Body(kind="hidden")
    raw = b64decode(encoded[: HEX_MAX // 3 * 4])
    lines = []
    for start in range(0, len(raw), 16):
        row = raw[start : start + 16]
        plain = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)  # noqa: PLR2004
        lines.append(Line(f"{start:06x}  {row.hex(' '):<47}  {plain}"))
    return Body(kind="hexadecimal", lines=lines, cut=len(encoded) > HEX_MAX // 3 * 4)


def _values(events: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Value → the numbers of the events that state it."""
    numbers: dict[str, list[int]] = {}
    for number, event in enumerate(events, 1):
        facts = {name: value for name, value in event["facts"].items() if name != "phase"}
        for value in {*_leaves(facts), event["order"], event["type"], _plain(event["occurred_at"])}:
            listed = numbers.setdefault(value, [])
            if len(listed) < MARKS_MAX:
                listed.append(number)
    return numbers


def _leaves(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        inner = pending.pop()
        if isinstance(inner, dict):
            pending.extend(inner.values())
        elif isinstance(inner, list):
            pending.extend(inner)
        elif isinstance(inner, str) and inner:
            yield _plain(inner)
            # An alias has its kind before it: `request:r-1`.
            yield inner.partition(":")[2] or _plain(inner)
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            yield str(inner)


def _marks(line: str, values: Mapping[str, Sequence[int]]) -> Sequence[int]:
    scalar = _SCALAR.match(line) if values else None
    if scalar is None:
        return ()
    value = scalar[1]
    if value.startswith('"'):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return ()
    return values.get(_plain(value), ())


def _plain(text: str) -> str:
    """The text; of a time with its offset, the instant."""
    if not _TIME.match(text):
        return text
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return time.astimezone(UTC).isoformat() if time.tzinfo else text
