"""What came of a webhook. Imports nothing else, so that the command line can use it at no cost."""

from __future__ import annotations

from enum import StrEnum


class ReceiptStatus(StrEnum):
    """What came of a webhook."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"
