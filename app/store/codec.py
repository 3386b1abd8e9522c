"""Between the application's values and the columns of a database: the same for every database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from app.contract import Cancelable, Facts, Source
from app.core.aggregate import Job, JobKind, OrderAggregate
from app.core.attempt import Attempt, Uptime
from app.core.cancellation import Cancellation
from app.core.event import NO_FACTS, Event, event_key, join_id, order_key
from app.core.lane.state import LaneState
from app.core.outbound.delivery import Delivery, DeliveryAttempt, DeliveryState
from app.core.outbound.health import SubscriptionState
from app.core.outbound.message import Message
from app.core.outbound.told import Told
from app.core.pauses import Pause
from app.runtime import ids
from app.store import upcast
from app.store.compression import Dictionary, unpack
from app.store.records import ApiKey, Receipt, Resource

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _Body(Struct, frozen=True, omit_defaults=True):
    facts: Facts = NO_FACTS
    data: dict[str, Any] = {}
    v: int = 1
    """The version of the schema of `data`."""


_encode = msgspec.json.Encoder().encode
_aggregate = msgspec.json.Decoder(OrderAggregate)
_body = msgspec.json.Decoder(_Body)
_cancellation = msgspec.json.Decoder(Cancellation)
_lane = msgspec.json.Decoder(LaneState)
_subscription_state = msgspec.json.Decoder(SubscriptionState)
_tries = msgspec.json.Decoder(tuple[DeliveryAttempt, ...])
_json = msgspec.json.Decoder()
_pairs = msgspec.json.Decoder(list[tuple[str, str]])


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    past = moment - _EPOCH
    return (past.days * 86400 + past.seconds) * 1_000_000 + past.microseconds


def micros_or_none(moment: datetime | None) -> int | None:
    """The same; None for None."""
    return None if moment is None else micros(moment)


def moment(micros: int) -> datetime:
    """The time that `micros` stands for."""
    return _EPOCH + micros * _MICROSECOND


def moment_or_none(micros: int | None) -> datetime | None:
    """The same; None for None."""
    return None if micros is None else moment(micros)


def to_json_bytes(value: object) -> bytes:
    """`value` as JSON."""
    return _encode(value)


def to_json(value: object) -> str:
    """`value` as JSON text."""
    return _encode(value).decode()


def read_aggregate(text: str) -> OrderAggregate:
    """An aggregate from its JSON."""
    return _aggregate.decode(text)


def read_cancellation(text: str) -> Cancellation:
    """A cancellation from its JSON."""
    return _cancellation.decode(text)


TOLD_COLUMNS = "cancelable, reason, closes_at, closing_notice"


def read_told(row: Sequence[Any]) -> Told:
    """What subscribers were told of an order, from its `TOLD_COLUMNS`."""
    cancelable, reason, closes_at, closing_notice = row
    return Told(Cancelable(cancelable), reason, moment_or_none(closes_at), closing_notice)


ROW_TEXT = """CASE typeof({0}) WHEN 'text' THEN {0} ELSE row_text({0}, dictionary,
    (SELECT content FROM row_dictionaries AS used WHERE used.id = dictionary)) END"""
"""The text of a column of `events` or `orders` that may be compressed (`app.store.row_compression`), in SQL."""
EVENT_BODY = ROW_TEXT.format("body")
ORDER_STATE = ROW_TEXT.format("state")
EVENT_COLUMNS = f"account, name, key, type, source, occurred_at, received_at, receipt, {EVENT_BODY} AS body"
EVENT_STORED = "order_pk, account, name, key, type, source, occurred_at, received_at, receipt, body, dictionary"
"""What is written of an event."""
PackRow = Callable[[str, int, bytes], tuple[str | bytes, int | None]]
"""Takes account, order number and JSON of a row; returns what to store, and the id of the dictionary."""


def plain(_account: str, _order: int, row: bytes) -> tuple[str | bytes, int | None]:
    """`PackRow` that leaves a row as it is."""
    return row.decode(), None


def event_body(event: Event) -> bytes:
    """The JSON of what has no column of its own."""
    return _encode(_Body(event.facts, event.data, upcast.VERSION) if event.data else _Body(event.facts))


def event_row(pk: int, event: Event, pack: PackRow) -> tuple[Any, ...]:
    """The `EVENT_STORED` of an event."""
    return (
        pk,
        event.account,
        event.order,
        event_key(event.id),
        event.type,
        event.source,
        micros(event.occurred_at),
        micros(event.received_at),
        None if event.receipt is None else ids.read(ids.RECEIPT, event.receipt),
        *pack(event.account, pk, event_body(event)),
    )


def read_event(row: Sequence[Any]) -> Event:
    """An event from its `EVENT_COLUMNS`."""
    account, name, key, type, source, occurred_at, received_at, receipt, body = row
    read = _body.decode(body)
    return Event(
        id=join_id(order_key(account, name), key),
        account=account,
        order=name,
        type=type,
        occurred_at=moment(occurred_at),
        received_at=moment(received_at),
        source=Source(source),
        facts=read.facts,
        data=upcast.event_data(type, read.data, read.v) if read.data else read.data,
        receipt=None if receipt is None else ids.show(ids.RECEIPT, receipt),
    )


RECEIPT_COLUMNS = (
    "id, endpoint, account, received_at, status, reason, size, query, headers, body, dictionary, expunged_at, digest"
)
RECEIPT_LISTED = "id, endpoint, account, received_at, status, reason, coalesce(size, length(body)), expunged_at"
RECEIPT_FIELDS = (
    f"{RECEIPT_COLUMNS}, (SELECT content FROM receipt_dictionaries AS used WHERE used.id = receipts.dictionary)"
)
"""What a query selects to read whole receipts; lists are without their content."""
RECEIPT_BODY = """CASE WHEN dictionary IS NULL THEN CAST(body AS TEXT) ELSE receipt_text(body,
    (SELECT content FROM receipt_dictionaries AS used WHERE used.id = receipts.dictionary)) END"""
"""The body of a receipt as text, in SQL."""
DICTIONARY_COLUMNS = "id, account, endpoint, sources, content"


def receipt_row(receipt: Receipt, dictionary: int | None, packed: bytes) -> tuple[Any, ...]:
    """The `RECEIPT_COLUMNS` of a receipt, whose content is `packed` (`app.store.compression`)."""
    return (
        receipt.id,
        receipt.endpoint,
        receipt.account,
        micros(receipt.received_at),
        receipt.status,
        receipt.reason,
        receipt.size,
        *(("[]", "[]") if dictionary is None else ("", "")),
        packed,
        dictionary,
        micros_or_none(receipt.expunged_at),
        receipt.digest or None,
    )


def dictionary_row(dictionary: Dictionary) -> tuple[Any, ...]:
    """The `DICTIONARY_COLUMNS` of a dictionary."""
    sources = to_json(dictionary.sources)
    return (dictionary.id, dictionary.account, dictionary.endpoint, sources, dictionary.content)


def read_listed_receipt(row: Sequence[Any]) -> Receipt:
    """A receipt without its content, from `RECEIPT_LISTED`."""
    id, endpoint, account, received_at, status, reason, size, expunged_at = row
    at = moment(received_at)
    return Receipt(id, endpoint, account, at, status, reason, [], [], b"", size, moment_or_none(expunged_at))


def read_receipt(row: tuple[Any, ...]) -> Receipt:
    """A receipt from its `RECEIPT_FIELDS`."""
    id, endpoint, account, received_at, status, reason, size, query, headers, body, dictionary, *more = row
    expunged_at, digest, content = more
    parts = (_pairs.decode(query), _pairs.decode(headers), bytes(body)) if dictionary is None else unpack(body, content)
    expunged = moment_or_none(expunged_at), bytes(digest or b"")
    return Receipt(id, endpoint, account, moment(received_at), status, reason, *parts, size, *expunged)


MESSAGE_COLUMNS = "id, account, type, order_pk, cause, at, data, snapshot"


def message_row(message: Message) -> tuple[Any, ...]:
    """The `MESSAGE_COLUMNS` of a message."""
    snapshot = None if message.snapshot is None else message.snapshot.decode()
    at, data = micros(message.at), message.data.decode()
    return (message.id, message.account, message.type, message.order_pk, message.cause, at, data, snapshot)


def read_message(row: tuple[Any, ...]) -> Message:
    """A message from its `MESSAGE_COLUMNS`."""
    id, account, type, order_pk, cause, at, data, snapshot = row
    return Message(
        id=id,
        account=account,
        type=type,
        order_pk=order_pk,
        cause=cause,
        at=moment(at),
        data=data.encode(),
        snapshot=None if snapshot is None else snapshot.encode(),
    )


DELIVERY_COLUMNS = "subscription, sequence, state, due_at, tries, attempts"


def read_delivery(row: tuple[Any, ...]) -> Delivery:
    """A delivery from its `DELIVERY_COLUMNS` and the `MESSAGE_COLUMNS` of its message."""
    subscription, sequence, state, due_at, tries, attempts, *message = row
    return Delivery(
        subscription=subscription,
        message=read_message(tuple(message)),
        sequence=sequence,
        state=DeliveryState(state),
        due_at=moment(due_at),
        tries=tries,
        attempts=() if attempts == "[]" else _tries.decode(attempts),
    )


def read_subscription_state(text: str) -> SubscriptionState:
    """How a subscription fares, from its JSON."""
    return _subscription_state.decode(text)


JOB_COLUMNS = "order_pk, account, name, kind, cancellation, due_at, deadline, policy, sending, urgent_by, failures"


def job_row(pk: int, job: Job) -> tuple[Any, ...]:
    """The `JOB_COLUMNS` of a job."""
    due_at, deadline = micros(job.due_at), micros_or_none(job.deadline)
    urgent_by = micros_or_none(job.urgent_by)
    what = (pk, job.account, job.order, job.kind, job.cancellation)
    return (*what, due_at, deadline, job.policy, int(job.sending), urgent_by, job.failures)


def read_job(row: tuple[Any, ...]) -> tuple[int, Job]:
    """(order number, job) from `JOB_COLUMNS`."""
    pk, account, name, kind, cancellation, due_at, deadline, policy, sending, urgent_by, failures = row
    return pk, Job(
        account=account,
        order=name,
        kind=JobKind(kind),
        due_at=moment(due_at),
        cancellation=cancellation,
        deadline=moment_or_none(deadline),
        policy=policy,
        sending=bool(sending),
        urgent_by=moment_or_none(urgent_by),
        failures=failures,
    )


ATTEMPT_COLUMNS = (
    "id, order_pk, account, name, kind, cancellation, started_at, ended_at, calls, outcome, detail, exchanges, "
    "boot, ended_up"
)


def attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    """The `ATTEMPT_COLUMNS` of an attempt."""
    return (
        attempt.id,
        attempt.order_pk,
        attempt.account,
        attempt.order,
        attempt.kind,
        attempt.cancellation,
        micros(attempt.started_at),
        micros_or_none(attempt.ended_at),
        attempt.calls,
        attempt.outcome,
        attempt.detail,
        to_json(attempt.exchanges),
        *(attempt.ended_up or (None, None)),
    )


def read_attempt(row: tuple[Any, ...]) -> Attempt:
    """An attempt from its `ATTEMPT_COLUMNS`."""
    id, pk, account, name, kind, cancellation, started_at, ended_at, calls, outcome, detail, exchanges, *ended_up = row
    return Attempt(
        id=id,
        order_pk=pk,
        account=account,
        order=name,
        kind=JobKind(kind),
        cancellation=cancellation,
        started_at=moment(started_at),
        ended_at=moment_or_none(ended_at),
        calls=calls,
        outcome=outcome,
        detail=detail,
        exchanges=_json.decode(exchanges),
        ended_up=None if ended_up[0] is None else Uptime(*ended_up),
    )


def read_lane(text: str) -> LaneState:
    """What a lane has learned, from its JSON."""
    return _lane.decode(text)


def read_pause(row: tuple[Any, ...]) -> Pause:
    """A pause from (scope, reason, since, by)."""
    scope, reason, since, by = row
    return Pause(scope, reason, moment(since), by)


KEY_COLUMNS = (
    "id, name, scope, hash, created_at, created_by, revoked_at, accounts, expires_at, last_used_at, rotated_from"
)


def read_key(row: tuple[Any, ...]) -> ApiKey:
    """An API key from `KEY_COLUMNS`."""
    id, name, scope, digest, created_at, created_by, revoked_at, accounts, expires_at, last_used_at, rotated_from = row
    return ApiKey(
        id,
        name,
        scope,
        bytes(digest),
        moment(created_at),
        created_by,
        moment_or_none(revoked_at),
        None if accounts is None else tuple(read_json(accounts)),
        moment_or_none(expires_at),
        moment_or_none(last_used_at),
        rotated_from,
    )


def key_row(key: ApiKey) -> tuple[Any, ...]:
    """`KEY_COLUMNS` of an API key."""
    return (
        key.id,
        key.name,
        key.scope,
        key.hash,
        micros(key.created_at),
        key.created_by,
        micros_or_none(key.revoked_at),
        None if key.accounts is None else to_json(key.accounts),
        micros_or_none(key.expires_at),
        micros_or_none(key.last_used_at),
        key.rotated_from,
    )


def read_resource(row: tuple[Any, ...]) -> Resource:
    """A resource from (kind, id, version, updated_at, updated_by, body)."""
    kind, id, version, updated_at, updated_by, body = row
    return Resource(kind, id, version, moment(updated_at), updated_by, bytes(body))


def read_json(text: str) -> Any:
    """Any JSON."""
    return _json.decode(text)
