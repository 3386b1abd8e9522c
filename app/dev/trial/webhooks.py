"""One request as an endpoint takes it: verified, stripped of secrets and parsed, by the code that serves webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from aiohttp.hdrs import METH_POST
from multidict import CIMultiDict, MultiDict

from app.config.resolve import Endpoint
from app.contract import InboundRequest
from app.core.commands import RecordEvents
from app.core.event import event_id
from app.dev.trial.handshakes import handshake_of
from app.dev.trial.keys import KeyAnswer
from app.dev.trial.proof import proof_of, trusted
from app.dev.trial.report import Proof, TrialEvent, TrialWebhook
from app.web.parsing import ParsedWebhook, parse_webhook
from app.web.received import CONTENT_ENCODING, redacted, uncompressed

BODY_MAX = 1_048_576
"""In bytes: the default of RESCIND_BODY_MAX."""
RECEIPT = "rcp_0000000000000000"
"""Stands for the receipt of a webhook that is tried."""


@dataclass(frozen=True, slots=True)
class Given:
    """One request to try."""

    name: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    query: Sequence[tuple[str, str]] = ()
    method: str = "POST"
    url: str = ""
    """As the source calls it."""
    trusted: str = ""
    """Why it is taken for authentic, although it has no proof; empty: it is verified."""

    @property
    def inbound(self) -> InboundRequest:
        """The request as a handler gets it."""
        return InboundRequest(CIMultiDict(self.headers), MultiDict(self.query), self.body, self.method, self.url)

    @property
    def looks_like_fixture(self) -> bool:
        """Whether the body is a document about a webhook, as the fixtures of recipes are."""
        try:
            keys = msgspec.json.decode(self.body, type=dict[str, msgspec.Raw]).keys()
        except ValueError:
            return False
        return {"provenance", "request"} <= keys


def receive(
    endpoint: Endpoint, given: Given, now: datetime, keys: Sequence[KeyAnswer] = ()
) -> tuple[TrialWebhook, tuple[RecordEvents, ...]]:
    """What becomes of a request, and the commands that would record its events; `keys` are what a source publishes."""
    if len(given.body) > BODY_MAX:
        reason = f"its body has {len(given.body)} bytes, and a server takes {BODY_MAX} (RESCIND_BODY_MAX) by default"
        return TrialWebhook(name=given.name, status="refused", http_status=413, reason=reason), ()
    early = given.method != METH_POST or endpoint.post_handshakes == "any"
    greeted = handshake_of(endpoint, given.name, given.inbound) if early else None
    if greeted is not None:
        return greeted, ()
    if given.method != METH_POST:
        reason = f"the provider's handler answers no {given.method}: it takes webhooks by POST only"
        if endpoint.account.handler.handshake is not None:
            reason = f"it fits no challenge or handshake of the account, and webhooks come by POST, not {given.method}"
        return TrialWebhook(name=given.name, status="refused", http_status=405, reason=reason), ()
    proof = proof_of(endpoint, given.inbound, now, keys) if not given.trusted else trusted(endpoint, given.trusted)
    if not proof.ok:
        return TrialWebhook(name=given.name, status="refused", http_status=401, proof=proof), ()
    if endpoint.post_handshakes:
        greeted = handshake_of(endpoint, given.name, given.inbound, proof)
        if greeted is not None:
            return greeted, ()
    raw = [(name.encode(), value.encode()) for name, value in given.headers]
    request = msgspec.structs.replace(
        given.inbound, proven_headers=endpoint.proven_headers, proven_body=endpoint.proven_body
    )
    inbound = redacted(raw, request, endpoint.redactor, BODY_MAX).inbound
    parsed = parse_webhook(endpoint.account, inbound, now, RECEIPT, BODY_MAX)
    return _result(endpoint, given.name, proof, inbound, parsed), parsed.commands


def _result(
    endpoint: Endpoint, name: str, proof: Proof, inbound: InboundRequest, parsed: ParsedWebhook
) -> TrialWebhook:
    result = TrialWebhook(
        name=name,
        status="accepted",
        http_status=200,
        proof=proof,
        reason=endpoint.redactor.clean(parsed.reason),
        cause=parsed.cause,
        notices=list(parsed.notices),
    )
    if parsed.status == "quarantined":
        quarantine(endpoint, result, parsed.reason, parsed.cause)
    elif parsed.status == "ignored":
        result.status = "ignored"
    else:
        result.events = _events(endpoint, inbound, parsed.commands)
    return result


def quarantine(endpoint: Endpoint, webhook: TrialWebhook, reason: str, cause: str) -> None:
    """Have the webhook go to quarantine."""
    webhook.status, webhook.http_status = "quarantined", endpoint.spec.quarantine_status
    webhook.reason, webhook.cause = endpoint.redactor.clean(reason), cause


def _events(endpoint: Endpoint, inbound: InboundRequest, commands: Sequence[RecordEvents]) -> list[TrialEvent]:
    """The events with their keys, which the log keeps only as a part of their ids."""
    account = endpoint.account
    plain = uncompressed(inbound, BODY_MAX) if CONTENT_ENCODING in inbound.headers else inbound
    parsed = account.handler.parse(plain, account.config)
    keys = {event_id(account.spec.id, one.order, one.type, one.key): one.key for one in parsed}  # type: ignore[union-attr]
    return [
        TrialEvent(
            order=event.order,
            type=event.type,
            key=endpoint.redactor.clean(_key_text(keys.get(event.id, b""))),
            id=event.id,
            occurred_at=event.occurred_at,
            facts=msgspec.to_builtins(endpoint.redactor.clean_facts(event.facts)),
        )
        for command in commands
        for event in command.events
    ]


def _key_text(key: bytes) -> str:
    """A key in words: its parts are separated by NUL, and one that is no text is a digest."""
    return " ".join(map(_part_text, key.split(b"\0", 1)))


def _part_text(part: bytes) -> str:
    try:
        text = part.decode().replace("\0", " ")
    except UnicodeDecodeError:
        return part.hex()
    return text if text.isprintable() else part.hex()
