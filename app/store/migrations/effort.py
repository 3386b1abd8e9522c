"""What each migration does, in a sentence, and what it takes: so that one knows before an upgrade how long it will be.

Times are processor time for each row of a table. Those of migrations 9, 15, 18, 22, 24, 26 and 28 were measured on
copies of databases of earlier releases. Those of 2, 3, 4, 7, 8, 20 and 25 are estimates, after what the measured ones
took for work of the same kind. What has no time changes no rows. `_INDEX_BYTES` is an estimate. A new migration gets a
line here with the numbers of its own measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Effort:
    """What one step takes."""

    what: str
    us: Mapping[str, float] = field(default_factory=dict)
    """Microseconds for each row of a table."""
    bytes: Mapping[str, float] = field(default_factory=dict)
    """Bytes that it writes for each row of a table; they are in the write-ahead log at once."""

    def seconds(self, rows: Mapping[str, int]) -> float:
        """How long it takes with so many rows."""
        return sum(us * rows.get(table, 0) for table, us in self.us.items()) / 1e6

    def written(self, rows: Mapping[str, int]) -> float:
        """How many bytes it writes with so many rows."""
        return sum(each * rows.get(table, 0) for table, each in self.bytes.items())


_INDEX_BYTES = 40.0

EFFORTS: Mapping[int, Effort] = {
    1: Effort("Makes the tables."),
    2: Effort("Indexes orders that time alone changes.", {"orders": 2.0}, {"orders": _INDEX_BYTES}),
    3: Effort("Adds policies; indexes orders anew.", {"orders": 2.0}, {"orders": _INDEX_BYTES}),
    4: Effort("Counts the failures of jobs in lanes.", {"jobs": 10.0}, {"jobs": 200.0}),
    5: Effort("Adds references that orders share."),
    6: Effort("Indexes calls under way."),
    7: Effort(
        "Indexes what waits for a person and what comes in.",
        {"cancellations": 5.0, "receipts": 2.0},
        {"cancellations": _INDEX_BYTES, "receipts": _INDEX_BYTES},
    ),
    8: Effort("Indexes events by policy.", {"events": 10.0}, {"events": _INDEX_BYTES}),
    9: Effort(
        "Rewrites orders and cancellations under the names of today.",
        {"orders": 8.0, "cancellations": 40.0},
        {"orders": 300.0, "cancellations": 1700.0},
    ),
    10: Effort("Adds subscriptions, messages and deliveries."),
    11: Effort("Adds restrictions and ends of API keys."),
    12: Effort("Adds counts of what comes to endpoints."),
    13: Effort("Adds keys that Rescind makes for itself."),
    14: Effort("Adds generations of the log."),
    15: Effort("Indexes orders by when their windows close.", {"orders": 1.0}, {"orders": _INDEX_BYTES}),
    16: Effort("Adds dictionaries of compressed receipts; receipts that are there stay as they are."),
    17: Effort("Adds the hash chain; the server seals the log in the background."),
    18: Effort(
        "Indexes messages by order and attempts by account.",
        {"messages": 2.0, "attempts": 2.0},
        {"messages": _INDEX_BYTES, "attempts": _INDEX_BYTES},
    ),
    19: Effort("Adds retention and erasure."),
    20: Effort("Indexes the audit trail.", {"resource_changes": 2.0}, {"resource_changes": _INDEX_BYTES}),
    21: Effort("Adds contexts of traces."),
    22: Effort(
        "Drops an index of events; the server makes the search index, a second file, in the background.",
        {"events": 0.2},
        {"events": 30.0},
    ),
    23: Effort("Adds sessions of the console."),
    24: Effort("Rewrites orders, to list them by indexes.", {"orders": 32.0}, {"orders": 1000.0}),
    25: Effort("Indexes stored responses.", {"answers": 2.0}, {"answers": _INDEX_BYTES}),
    26: Effort("Indexes cancellations by account and policy.", {"cancellations": 2.0}, {"cancellations": _INDEX_BYTES}),
    27: Effort("Adds a column to messages."),
    28: Effort("Rewrites deliveries, to list them by type.", {"deliveries": 7.0}, {"deliveries": 190.0}),
    29: Effort("Adds dictionaries of rows; the server compresses what is there in the background."),
    30: Effort("Moves decisions of policies to a table of their own.", {"events": 0.5}, {"events": 30.0}),
    31: Effort("Adds steps in which orders are checked again."),
    32: Effort("Changes nothing: nodes share a database on PostgreSQL only."),
    33: Effort("Adds a table of backtests that are queued or under way."),
    34: Effort("Adds what flows of an account keep durably: refresh tokens."),
}
