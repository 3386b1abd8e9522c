"""Copies of a recorded order, with other numbers, names, times, ids and digests."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import datetime
from operator import itemgetter
from typing import Any

from app.core.event import event_id, join_id, order_key, split_id
from app.runtime import ids
from app.store import codec
from tests.bench.recorded import Recording

PACKED = "with content"
"""Stands for the table of receipts where these are to be packed."""
RANK_APART = 8
"""Between two ids of an order of one millisecond: orders whose steps fall together differ by the step."""
_BESIDE = {"quarantined": 6, "long": 7}
"""Written at the moment of another order's first step; no order has so many steps."""
_TIMES = re.compile(r"(at|_at|deadline|urgent_by)$")
_IDS = {
    *(("orders", "pk"), ("events", "receipt"), ("deliveries", "message"), ("deliveries", "sequence")),
    *((table, "id") for table in ("receipts", PACKED, "attempts", "messages")),
    *((table, "order_pk") for table in ("names", "shared_aliases", "events", "cancellations", "attempts", "messages")),
}
_LEFT_OUT = {("events", "seq"), ("cancellations", "seq")}
Values = list[Any]
Row = tuple[str, int, tuple[Any, ...]]
"""(table, when, values)."""


class Copier:
    """Makes orders after a recording."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._values: Values = []
        self._makers: list[tuple[int, Callable[[Values, int], Any]]] = []
        self._slots: dict[Any, int] = {}
        self._of = self._slot("of", None), self._slot("number", None), self._slot("account", None)
        self._first, self._apart, self._lag = 0, 0, 0
        account = f"{recording.kind.provider}-0000"
        self._ids = self._ranks()
        self._events = {
            join_id(order_key(row["account"], row["name"]), row["key"]): (row["name"], row["type"])
            for row in recording.rows.get("events", ())
        }
        city = "Denver"
        self._token = re.compile(
            rf"(?P<number>{recording.number})|(?P<account>{account})|(?P<city>{city})|(?P<event>evt_[0-9a-f]{{32}})"
            r"|(?P<id>(?:rcp|att|msg|can)_[0-9a-f]{16})|(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"
        )
        self._rows = [
            (table, *self._row(table, row), itemgetter(*(self._column(table, row, name) for name in columns)))
            for table, rows in recording.rows.items()
            if table != "jobs"
            for columns in [[name for name in (rows[0] if rows else ()) if (table, name) not in _LEFT_OUT]]
            for row in rows
        ]

    def columns(self) -> dict[str, list[str]]:
        """The columns of each table, in the order of the rows' values."""
        return {
            table: [name for name in rows[0] if (table, name) not in _LEFT_OUT]
            for table, rows in self.recording.rows.items()
            if rows
        }

    def place(self, first_at: int, apart: int, lag: int) -> None:
        """Order 0 begins at this time, the next ones so far apart, with so many of them between two steps of one."""
        self._first, self._apart, self._lag = first_at, apart, lag

    def copy(self, of: int, account: str) -> Iterator[tuple[int, Row]]:
        """(step, row) of everything of the order with this number."""
        values = self._values.copy()
        for slot, value in zip(self._of, (of, str(100_000_000 + of), account), strict=True):
            values[slot] = value
        for slot, make in self._makers:
            values[slot] = make(values, of)
        for table, step, at, row in self._rows:
            yield step, (table, values[at], row(values))

    def _ranks(self) -> dict[int, int]:
        """The ids of the recording in their order: a copy's ids have the same."""
        rows = self.recording.rows.items()
        found = {row[name] for table, of in rows for row in of for name in row if (table, name) in _IDS}
        found |= {ids.read(ids.CANCELLATION, row["id"]) for row in self.recording.rows.get("cancellations", ())}
        return {id: rank for rank, id in enumerate(sorted(found - {None}))}

    def _slot(self, what: Any, make: Callable[[Values, int], Any] | None, value: Any = None) -> int:
        if what not in self._slots:
            self._slots[what] = len(self._values)
            self._values.append(value)
            if make is not None:
                self._makers.append((self._slots[what], make))
        return self._slots[what]

    def _row(self, table: str, row: dict[str, Any]) -> tuple[int, int]:
        """The step at which a row is written, and the slot of its time."""
        name = {
            "events": "received_at",
            "receipts": "received_at",
            PACKED: "received_at",
            "cancellations": "requested_at",
            "attempts": "started_at",
            "messages": "at",
            "deliveries": "due_at",
        }.get(table)
        at = self.recording.began[0] if name is None else row[name]
        return self._step(at)[0], self._time(at)

    def _step(self, at: int) -> tuple[int, int]:
        """(step, microseconds since it began); moments of one step are brought together, as steps of others follow."""
        began = self.recording.began
        step = max(0, bisect_right(began, at) - 1)
        since = at - began[step]
        return step, since // 10 if 0 < since < 60_000_000 else since

    def _time(self, at: int) -> int:
        step, since = self._step(at)
        return self._slot(("time", step, since), lambda _, of: self._at(of, step) + since)

    def _at(self, of: int, step: int) -> int:
        return self._first + (of + step * self._lag) * self._apart

    def _id(self, id: int) -> int:
        if id not in self._ids:
            return self._slot(("constant", id), None, id)
        drawn_at, rank = codec.micros(ids.drawn_at(id)) + 999, self._ids[id]
        (step, since), low = self._step(drawn_at), rank * RANK_APART
        apart = _BESIDE.get(self.recording.kind.name, step)
        return self._slot(
            ("id", id), lambda _, of: ids.at((self._at(of, step) + since) // 1000) + low + apart if id else 0
        )

    def _column(self, table: str, row: dict[str, Any], name: str) -> int:
        """The slot of a column's value."""
        value = row[name]
        if value is None or (table, name) == (PACKED, "dictionary"):
            return self._constant(None)
        if (table, name) in _IDS:
            return self._id(value)
        if (table, name) in {("names", "key"), ("events", "key")}:
            return self._key(table, row)
        if isinstance(value, int) and (name == "fingerprint" or _TIMES.search(name)):
            return self._time(value) if name != "fingerprint" else self._slot(name, lambda _, of: value + of)
        text = row["content"] if (table, name) == (PACKED, "body") else value
        return self._text(text) if isinstance(text, str) else self._constant(value)

    def _constant(self, value: Any) -> int:
        return self._slot(("constant", value), None, value)

    def _key(self, table: str, row: dict[str, Any]) -> int:
        if table == "events":
            text = self._event(join_id(order_key(row["account"], row["name"]), row["key"]))
            return self._slot(("key", text), lambda values, _: split_id(values[text])[1])
        account, name = self._of[2], self._text(row["name"])
        return self._slot(("names", row["name"]), lambda values, _: order_key(values[account], values[name]))

    def _event(self, id: str) -> int:
        given = self._events.get(id)
        if given is None:
            return self._slot(("constant", id), None, id)
        account, name, type = self._of[2], self._text(given[0]), given[1]
        key = str(len(self._slots)).encode()
        return self._slot(id, lambda values, _: event_id(values[account], values[name], type, key))

    def _text(self, value: str) -> int:
        """The slot of a text; what belongs to this one order in it becomes the copy's."""
        parts, slots, end = [], [], 0
        for token in self._token.finditer(value):
            parts.append(value[end : token.start()].replace("%", "%%"))
            slots.append(self._of_token(str(token.lastgroup), token[0]))
            end = token.end()
        if not slots:
            return self._slot(("constant", value), None, value)
        text = "%s".join([*parts, value[end:].replace("%", "%%")])
        if len(slots) == 1:
            return self._slot(("text", value), lambda values, _, slot=slots[0]: text % (values[slot],))  # type: ignore[misc]
        get = itemgetter(*slots)
        return self._slot(("text", value), lambda values, _: text % get(values))

    def _of_token(self, group: str, text: str) -> int:
        if group in ("number", "account"):
            return self._of[1 if group == "number" else 2]
        if group == "city":
            return self._slot("city", lambda _, of: f"city{of * 31 % 9973}")
        if group == "event":
            return self._event(text)
        if group == "id":
            prefix = text[:4]
            id = self._id(ids.read(prefix, text))
            return self._slot(("id", text), lambda values, _: ids.show(prefix, values[id]))
        at = self._time(codec.micros(datetime.fromisoformat(text)))
        return self._slot(("moment", at), lambda values, _: f"{codec.moment(values[at]).isoformat()[:-6]}Z")
