"""What a connection is for: queries of one use do not wait for those of another."""

from __future__ import annotations

from enum import Enum


class Use(Enum):
    """What a connection is for."""

    LOOKUPS = "lookups"
    """What an HTTP request needs: an order, a cancellation, the stored response to an Idempotency-Key."""
    WORK = "work"
    """Lanes and timers."""
    LISTS = "lists"
    """Pages of lists, histories."""
    SEARCHES = "searches"
    """Lists whose filter no index serves."""
    DELIVERIES = "deliveries"
    """Workers that send messages to subscribers."""
    LOG = "log"
    """Those who follow the log."""
