"""Parsing a stored receipt again, and recording what it becomes."""

from __future__ import annotations

from msgspec.structs import replace
from multidict import CIMultiDict, MultiDict

from app.config.resolve import Account
from app.contract import InboundRequest
from app.node import Node
from app.runtime import ids
from app.store import Receipt
from app.web.ingest import record_or_quarantine
from app.web.parsing import ParsedWebhook, parse_off_loop


async def parse_again(node: Node, account: Account, receipt: Receipt) -> ParsedWebhook:
    """What a receipt is parsed to now. It was verified when it came in.

    What its proof covered, the endpoint says as it is now. If that is gone, no header is taken for proven: the receipt
    may be a copy of another under a new id.
    """
    endpoint = node.config.endpoints.get(receipt.endpoint)
    inbound = InboundRequest(
        CIMultiDict(receipt.headers),
        MultiDict(receipt.query),
        receipt.body,
        proven_headers=frozenset() if endpoint is None else endpoint.proven_headers,
        proven_body=None if endpoint is None else endpoint.proven_body,
    )
    name = ids.show(ids.RECEIPT, receipt.id)
    return await parse_off_loop(account, inbound, receipt.received_at, name, node.settings.body_max)


async def record_again(node: Node, receipt: Receipt, parsed: ParsedWebhook) -> None:
    """Record what a receipt was parsed to, and set its status. Events that the log has already are not repeated.

    Raises `LedgerFullError`, `LedgerClosedError` or `StoreError` where nothing was stored.
    """
    if parsed.status != "accepted" or receipt.status not in ("accepted", "duplicate"):
        receipt.status, receipt.reason = parsed.status, parsed.reason
    commands = [replace(command, again=True) for command in parsed.commands]
    await record_or_quarantine(node.ledger, receipt, commands, stored=True)
