"""What queries select of a row, as `app.store.codec` reads it: rows stand uncompressed, but for receipts."""

from __future__ import annotations

from app.store import codec

EVENT_COLUMNS = "account, name, key, type, source, occurred_at, received_at, receipt, body"
"""What `codec.read_event` reads, and what leaves are made of."""
RECEIPT_FIELDS = f"{codec.RECEIPT_COLUMNS}, NULL::bytea AS content"
"""What `codec.read_receipt` reads: no receipt needs a dictionary of others."""
DELIVERY_WITH_MESSAGE = ", ".join(
    [f"delivery.{column}" for column in codec.DELIVERY_COLUMNS.split(", ")]
    + [f"message.{column}" for column in codec.MESSAGE_COLUMNS.split(", ")]
)
"""What `codec.read_delivery` reads."""
DELIVERY_JOIN = "JOIN @messages AS message ON message.account = delivery.account AND message.id = delivery.message"
