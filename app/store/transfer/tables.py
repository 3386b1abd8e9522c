"""What is copied: the tables, and how a row on SQLite becomes one on PostgreSQL.

There, nothing is compressed with dictionaries: rows are plain JSON, and a receipt is deflated by itself. What is asked
of a JSON text is a column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.store.compression import NO_DICTIONARY, deflate, inflate
from app.store.row_compression import DamagedRowError

HOUR_US = 3_600_000_000
NUL, SHOWN_NUL = "\x00", "\u2400"
"""PostgreSQL's texts hold no NUL: its symbol stands for it."""

Row = tuple[Any, ...]


def same(values: Sequence[Any]) -> Row:
    """The row as it is."""
    return tuple(values)


@dataclass(frozen=True, slots=True)
class Table:
    """One table."""

    name: str
    columns: tuple[str, ...]
    """On PostgreSQL."""
    key: tuple[str, ...]
    """Columns on SQLite that its rows are read by, in their order."""
    expressions: tuple[str, ...] = ()
    """On SQLite, what `convert` gets; none: the columns of the same names."""
    source: str = ""
    """What it is selected from on SQLite; "": the table `name` as t."""
    convert: Callable[[Sequence[Any]], Row] = same
    sequence: str = ""
    """The column whose numbers are drawn from a sequence."""

    @property
    def select(self) -> str:
        """Selects the key, and what `convert` gets, of all rows."""
        shown = self.expressions or tuple(f"t.{column}" for column in self.columns)
        return f"SELECT {self.key_columns}, {', '.join(shown)} FROM {self.source or f'{self.name} t'}"

    @property
    def key_columns(self) -> str:
        """The key's columns, comma-separated."""
        return ", ".join(f"t.{column}" for column in self.key)


def _table(name: str, columns: str, key: str, **more: Any) -> Table:
    if "expressions" in more:
        more["expressions"] = tuple(part.strip() for part in more["expressions"].split(";"))
    return Table(name, tuple(columns.split()), tuple(key.split()), **more)


def _field(text: str, name: str) -> Any:
    """A field of a JSON object; None where there is none."""
    value = msgspec.json.decode(text)
    return value.get(name) if isinstance(value, dict) else None


def _whole(values: Sequence[Any]) -> Row:
    """The row, whose last column is JSON. Raises `DamagedRowError` if that could not be decompressed."""
    if not values[-1]:
        raise DamagedRowError(f"a row is damaged: {values[:-1]!r:.200}")
    return tuple(values)


def _order(values: Sequence[Any]) -> Row:
    *row, last_event_at, state = _whole(values)
    return (*row, last_event_at, None if last_event_at is None else last_event_at // HOUR_US, state)


def _receipt(values: Sequence[Any]) -> Row:
    *row, body, dictionary, content = values
    if dictionary is None:
        return (*row, body, None)  # expunged, or of a release that did not compress
    if dictionary != NO_DICTIONARY:
        body = deflate(inflate(body, content or b""))
    return (*row, body, NO_DICTIONARY)


def _cancellation(values: Sequence[Any]) -> Row:
    return (*values, _field(values[-1], "waiting"))


def _backtest(values: Sequence[Any]) -> Row:
    return (*values, _field(values[-1], "events") or 0)


def _subscription_state(values: Sequence[Any]) -> Row:
    return (*values, _field(values[-1], "purge_until") or None)


_JSON = "CASE WHEN t.dictionary IS NULL THEN t.{0} ELSE row_text(t.{0}, t.dictionary, d.content) END"

TABLES = (
    # What little there is comes first: a mistake in it shows at once.
    _table("resources", "kind id version updated_at updated_by body", "kind id"),
    _table("resource_changes", "seq kind id version at by action body", "seq", sequence="seq"),
    _table(
        "api_keys",
        "id name scope hash created_at created_by revoked_at accounts expires_at last_used_at rotated_from",
        "id",
    ),
    _table("sealed_keys", "name key", "name"),
    _table("pauses", "scope reason since by", "scope"),
    _table("lanes", "account state", "account"),
    _table("account_secrets", "account sealed", "account"),
    _table("retention", "what position", "what"),
    _table("console_sessions", "id key_id started_at expires_at", "id"),
    _table("log_generations", "number id began_at began_after pruned_through", "number", sequence="number"),
    _table(
        "pending_rechecks",
        "account closing_lead at position fingerprint",
        "account closing_lead",
        expressions="t.account; t.closing_lead; t.at; t.position; 0",
    ),
    _table(
        "subscription_states",
        "subscription state purge_until",
        "subscription",
        expressions="t.subscription; t.state",
        convert=_subscription_state,
    ),
    _table("endpoint_counts", "account endpoint status cause count last_at", "account endpoint status cause"),
    _table("endpoint_refusals", "account endpoint id at cause detail headers address", "account endpoint id"),
    _table(
        "endpoint_states",
        "account endpoint authentic_at refused_run refused_since failing_at silent_at",
        "account endpoint",
    ),
    _table(
        "backtests",
        "id policy condition_hash at by report events",
        "id",
        expressions="t.id; t.policy; t.condition_hash; t.at; t.by; t.report",
        convert=_backtest,
    ),
    _table("answers", "key digest answer created_at", "key"),
    _table(
        "log_blocks",
        "number first_position last_position received_from received_until root sealed_at signature marks",
        "number",
    ),
    _table(
        "erasures",
        "account position number event leaf",
        "position number",
        expressions="coalesce(e.account, ''); t.position; t.number; t.event; t.leaf",
        source="erasures t LEFT JOIN events e ON e.seq = t.position",
    ),
    _table("shared_aliases", "account name order_pk", "account name order_pk"),
    _table(
        "jobs",
        "account order_pk name kind cancellation due_at deadline policy sending urgent_by failures",
        "order_pk",
    ),
    _table(
        "cancellations",
        "seq account id order_pk state policy requested_at batch body waiting",
        "seq",
        expressions="t.seq; t.account; t.id; t.order_pk; t.state; t.policy; t.requested_at; t.batch; t.body",
        convert=_cancellation,
        sequence="seq",
    ),
    _table(
        "orders",
        "account pk id phase cancelable reason fingerprint opened_at closes_at closing_notice next_check_at "
        "last_event_at quiet_hour state",
        "pk",
        expressions="t.account; t.pk; t.id; t.phase; t.cancelable; t.reason; t.fingerprint; t.opened_at; t.closes_at; "
        "t.closing_notice; t.next_check_at; t.last_event_at; " + _JSON.format("state"),
        source="orders t LEFT JOIN row_dictionaries d ON d.id = t.dictionary",
        convert=_order,
    ),
    _table("names", "account key name order_pk", "key account name"),
    _table(
        "policy_decisions",
        "policy position account outcome",
        "policy position",
        expressions="t.policy; t.position; coalesce(e.account, ''); t.outcome",
        source="policy_decisions t LEFT JOIN events e ON e.seq = t.position",
    ),
    _table(
        "attempts",
        "account id order_pk name kind cancellation started_at ended_at calls outcome detail exchanges boot ended_up",
        "id",
    ),
    _table("messages", "account id type order_pk cause at data snapshot expunged_at", "id"),
    _table(
        "deliveries",
        "subscription message account type sequence state due_at tries attempts",
        "subscription message",
    ),
    _table("trace_contexts", "id traceparent", "id"),
    _table(
        "receipts",
        "account id endpoint received_at status reason size query headers expunged_at digest body dictionary",
        "id",
        expressions="t.account; t.id; t.endpoint; t.received_at; t.status; t.reason; t.size; t.query; t.headers; "
        "t.expunged_at; t.digest; t.body; t.dictionary; d.content",
        source="receipts t LEFT JOIN receipt_dictionaries d ON d.id = t.dictionary",
        convert=_receipt,
    ),
    _table(
        "events",
        "account order_pk key seq name type source occurred_at received_at receipt body",
        "seq",
        expressions="t.account; t.order_pk; t.key; t.seq; t.name; t.type; t.source; t.occurred_at; t.received_at; "
        "t.receipt; " + _JSON.format("body"),
        source="events t LEFT JOIN row_dictionaries d ON d.id = t.dictionary",
        convert=_whole,
        sequence="seq",
    ),
)
LEFT_OUT = ("backtest_runs", "receipt_dictionaries", "row_dictionaries", "row_compression")
"""Tables on SQLite that are not copied: they serve compression, or what runs now."""
EMPTY = ("backtest_runs", "nodes", "ownership", "commits", "shared_versions", "errands")
"""Tables on PostgreSQL that are not filled: what nodes share."""
EVENTS_SEQUENCE = "events_seq"
