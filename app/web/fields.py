"""Kinds of fields that requests have, taken as strictly as the API's description states them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Strict

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _written_out(value: object) -> object:
    # Numbers, also in a string, would be taken for seconds since 1970.
    if not isinstance(value, datetime) and not (isinstance(value, str) and _TIME.match(value)):
        raise ValueError("give a time as RFC 3339 has it: 2026-03-01T12:00:00Z")
    return value


# What a validator has looked at is no JSON any more to those after it, and a strict one would take no text.
Moment = Annotated[AwareDatetime, Strict(strict=False), BeforeValidator(_written_out)]
"""A time with its offset from UTC."""


def _true_or_false(value: object) -> object:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("give true or false")
        return value == "true"
    return value


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
"""In a query: `true` or `false`."""
