"""Mail addresses, as configuration may name them."""

from __future__ import annotations

from email.errors import MessageError
from email.headerregistry import Address


def check_address(address: str) -> str:
    """`address`, if it is a plain one; raises ValueError. Nothing in it could begin another header or command."""
    try:
        parsed = Address(addr_spec=address)
    except (MessageError, ValueError, IndexError) as error:
        raise ValueError(f"{address[:100]!r} is not a mail address, such as ops@example.com") from error
    plain = address.isascii() and address.isprintable() and not set(address) & set(' "<>(),;:\\[]')
    if not plain or not parsed.username or "." not in f"{parsed.domain}." or not parsed.domain or len(address) > 254:  # noqa: PLR2004 - RFC 5321
        raise ValueError(f"{address[:100]!r} is not a mail address, such as ops@example.com")
    return address
