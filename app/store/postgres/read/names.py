"""By which names providers referred to orders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from app.store import codec

PROVIDER_NAMES = """SELECT DISTINCT order_pk, name, '' AS body FROM @orders AS orders
    JOIN @events AS events ON events.account = orders.account AND events.order_pk = orders.pk
    WHERE orders.pk = ANY($1::bigint[]) AND source = 'webhook'
    UNION ALL SELECT order_pk, name, body FROM @orders AS orders
    JOIN @events AS events ON events.account = orders.account AND events.order_pk = orders.pk
    WHERE orders.pk = ANY($1::bigint[]) AND source = 'provider' AND position('"snapshot":true' in body) > 0"""
"""Query the names of the orders with these numbers, and the bodies in which there may be more."""


def read_provider_names(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, set[str]]]:
    """(order number, names) from the rows of `PROVIDER_NAMES`."""
    for pk, name, body in rows:
        facts = codec.read_json(body).get("facts", {}) if body else {}
        if not body or facts.get("snapshot"):
            yield pk, {name, *facts.get("aliases", ())}
