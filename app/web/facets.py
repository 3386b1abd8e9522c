"""Counts by facet: how many rows of a list there are, by the values of some of their fields."""

from __future__ import annotations

from msgspec import Struct

from app.store import index_protocol as stored
from app.web.examples import example

VALUES_MAX = 500
"""Values of one field that are shown, those with most rows; days are shown all."""


class FacetValue(Struct):
    """How many rows have a value."""

    value: str
    count: int
    complete: bool = True
    """False if there are more rows than were counted."""


class Facets(Struct):
    """How many rows there are for a filter."""

    total: int
    complete: bool
    """False if there are more rows than were counted: the newest of the filter, or so many of each value."""
    facets: dict[str, list[FacetValue]]
    """Field → its values: those with most rows first, days the newest first."""

    @classmethod
    def of(cls, counted: stored.Facets) -> Facets:
        """Counts as the API shows them."""
        facets = {}
        for field, counts in counted.counts.items():
            if field == "day":
                rows = sorted(counts.items(), reverse=True)
            else:
                rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:VALUES_MAX]
            more = counted.more.get(field, ())
            facets[field] = [FacetValue(value, count, value not in more) for value, count in rows]
        return cls(counted.total, counted.complete, facets)


example(FacetValue("order.processed", 128))
example(
    Facets(
        130, complete=True, facets={"type": [FacetValue("order.processed", 128), FacetValue("cancellation.sent", 2)]}
    )
)
