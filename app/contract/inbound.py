"""What comes in: webhook requests, who sent them, and what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from app.contract.knowledge import Facts
from app.contract.published_keys import KeySource, PublishedKeys


class InboundRequest(Struct, frozen=True):
    """One webhook request as it was received."""

    headers: Mapping[str, str]
    """Looked up without regard to case."""
    query: Mapping[str, str]
    body: bytes
    method: str = "POST"
    url: str = ""
    """`RESCIND_PUBLIC_URL`, the path and the query as they were sent: some senders sign it. "" for a stored receipt."""
    proven: bool = False
    """Whether `verify` accepted it; only for `Handler.handshake`."""
    keys: PublishedKeys | None = None
    """Public keys that sources publish; None where no server runs."""
    proven_headers: frozenset[str] | None = None
    """Headers that the proof of the sender covers, in lower case: anyone who has a copy of the request can repeat it
    with any other header changed. None: all are as proven as the body (a token proves the sender of all of it)."""
    proven_body: str | None = None
    """What the proof covers of the body, as a text with places (`{form}`, `{json:KEY.KEY}`); None: every byte."""


_HMAC_ALGORITHMS = ("sha1", "sha256", "sha512")
_OF_BODY = re.compile(r"\{(?:body|form|sha256|crc32|json:[^{}]+)\}")


class VerifyOptions(BaseModel):
    """How an endpoint authenticates its requests; `scheme: handler` is the provider's own way.

    The other schemes are `app.kit.signing`'s and serve any provider. What only some of them take says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    scheme: Literal[
        "handler",
        "token",
        "basic",
        "hmac",
        "standard_webhooks",
        "github",
        "stripe",
        "shopify",
        "public_key",
        "sns",
    ] = "handler"
    secrets: tuple[SecretStr, ...] = ()
    """All are accepted: add the new one, wait until the provider uses it, drop the old one. None: with the scheme
    `handler` the secret in the account's config counts, where the provider has one there."""
    header: str | None = None
    """Where the token or signature stands, if not at the scheme's usual place."""
    tolerance_s: float | None = Field(None, ge=0, allow_inf_nan=False)
    """How far a signed time may be from now, in seconds; by default the scheme's own."""
    timestamp_header: str | None = None
    """`hmac`, `public_key`: the header with the time that is signed, where one is."""
    timestamp_format: Literal["unix", "unix_ms", "iso8601"] = "unix"
    """How that time is spelled: unix time in seconds or milliseconds, or ISO 8601 with an offset."""
    signed: str | None = Field(None, max_length=2000)
    """`hmac`, `public_key`: what is signed, made of `{body}`, `{form}` (its form fields, sorted by name, names and
    values joined), `{json:KEY.KEY}` (one value of its JSON), `{sha256}` and `{crc32}` (digests of it), `{timestamp}`,
    `{url}` (under `RESCIND_PUBLIC_URL`), `{method}` and `{header:NAME}`; by default the body, after the timestamp and a
    full stop where there is one. With `{json:…}` nothing but those values is proven."""
    algorithm: Literal[
        "sha1",
        "sha256",
        "sha512",
        "ecdsa-sha1",
        "ecdsa-sha256",
        "ecdsa-sha512",
        "rsa-sha1",
        "rsa-sha256",
        "rsa-sha512",
        "rsa-pss-sha256",
        "ed25519",
    ] = "sha256"
    """`hmac`: the digest of the HMAC: sha1, sha256 or sha512. `public_key`: one of the others, which must be named."""
    key: Literal["text", "hex", "base64"] = "text"
    """`hmac`: how the secret spells the key: the secret itself is the key, or it is written in hex or base64."""
    encoding: Literal["hex", "base64"] = "hex"
    """`hmac`, `public_key`: how the signature is written; `public_key`: base64, unless this says otherwise."""
    prefix: str = ""
    """`hmac`, `public_key`: what stands before the signature in its header (`sha256=`)."""
    signature: str | None = Field(None, max_length=200)
    """`hmac`: where the signature stands in the JSON body, or in each of its items (`additionalData.hmacSignature`);
    by default in the header. `public_key`: `{header:NAME:KEY}` (a header that is base64 of JSON) or `{json:KEY.KEY}`
    (the body), if it is not a whole header."""
    items: str | None = Field(None, max_length=200)
    """`hmac`: where the list of items stands, each of which is signed by itself: `KEY.KEY`, and after `[].` what wraps
    an item (`notificationItems[].NotificationRequestItem`). `{json:…}` and `signature` begin at the item."""
    username: str = ""
    """`basic`: the user; the secret is the password."""
    key_id: str | None = Field(None, max_length=200)
    """`public_key`: where the key id stands (`{header:NAME}`, `{header:NAME:KEY}`, `{json:KEY}`), or a fixed one."""
    keys: KeySource | None = None
    """`public_key`: where the source publishes its keys; without it they are in `secrets`, in PEM or base64 DER."""
    topics: tuple[str, ...] = Field((), max_length=100)
    """`sns`: ARNs of the topics that may send here. Amazon signs for all of its customers."""

    # A fault names its option: what a validator looks at besides it stands above it.
    @field_validator("signed")
    @classmethod
    def _check_signed(cls, signed: str | None, info: ValidationInfo) -> str | None:
        if signed is not None and _OF_BODY.search(signed) is None:
            raise ValueError(
                "signed must hold {body}, {form}, {sha256}, {crc32} or {json:KEY}: else the signature proves nothing "
                "of what was sent"
            )
        takes_time = info.data.get("scheme") in ("hmac", "public_key")
        if takes_time and "{timestamp}" in (signed or "") and info.data.get("timestamp_header") is None:
            raise ValueError("signed holds {timestamp}: say in timestamp_header where it stands")
        return signed

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, algorithm: str, info: ValidationInfo) -> str:
        if info.data.get("scheme") == "hmac" and algorithm not in _HMAC_ALGORITHMS:
            raise ValueError(f"the algorithm of hmac is {', '.join(_HMAC_ALGORITHMS)}: the others are for public_key")
        return algorithm


VerificationCause = Literal["bad_signature", "missing_signature", "too_old"]


class VerificationError(Exception):
    """The request does not prove who sent it. The message names what is missing or wrong, never a secret.

    `cause` is `bad_signature`, `missing_signature` (nothing in the request claims to be a proof) or `too_old` (the
    signed time is too far from now, before or after).
    """

    def __init__(self, message: str, *, cause: VerificationCause = "bad_signature") -> None:
        super().__init__(message)
        self.cause = cause


class MalformedPayload(Exception):
    """An authentic request whose body is not what the provider documents; it goes to quarantine."""


class ParsedEvent(Struct, frozen=True):
    """One event read out of a webhook, before Rescind stamps its id and time of receipt."""

    order: str
    type: str
    """Dotted, in the provider-independent vocabulary where one fits (`appointment.scheduled`). What begins with
    `cancellation.`, `policy.`, `probe.`, `sending.` or `tags.` is Rescind's own, and refused."""
    key: bytes
    """What is the same in every redelivery of this event and differs in any other event."""
    facts: Facts
    occurred_at: datetime | None = None
    """None where the provider does not say; the time of receipt stands in.

    It, and the times in `facts`, need not be in UTC: without a zone (a time without an offset) it stands for no
    moment, so the time of receipt stands in here too, and in `facts` it is dropped; a local time that the clocks of its
    zone repeat or skip is read so that no window opens by it."""


class Ignored(Struct, frozen=True):
    """An authentic webhook that is understood and says nothing about an order."""

    reason: str


class Unrecognized(Struct, frozen=True):
    """An authentic, well-formed webhook of a kind this handler does not know; it goes to quarantine."""

    reason: str


Parsed = Sequence[ParsedEvent] | Ignored | Unrecognized
