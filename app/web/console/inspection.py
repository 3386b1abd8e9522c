"""All pages about the log, the receipts and the cancellations."""

from __future__ import annotations

from app.web.console import batches, bulk, cancellations, events, messages, quarantine, receipts
from app.web.console.page import PageRoute

PAGES: list[PageRoute] = [
    *events.PAGES,
    *receipts.PAGES,
    *quarantine.PAGES,
    *cancellations.PAGES,
    *batches.PAGES,
    *bulk.PAGES,
    *messages.PAGES,
]
FILES: list[PageRoute] = [*events.FILES, *receipts.FILES]
