"""What a sender is answered that asks whether its webhooks are wanted, before it sends any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

PostHandshakes = Literal["", "proven", "any"]
"""Which POST requests may be handshakes and no webhooks: none; those that have proved their sender; any."""


class HandshakeResponse(Struct, frozen=True):
    """The response to a handshake.

    It is sent under the origin of the console, so its Content-Type is `text/plain` or `application/json`, whatever
    `headers` say, and it is never cached.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    confirm: str = ""
    """An https URL that is called once (GET, no redirects) before this response is sent; if that fails, 503 is sent
    instead, so that the sender repeats its request. Only for requests that have proved their sender."""
