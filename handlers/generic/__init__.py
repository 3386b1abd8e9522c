"""Any source of orders, without code: paths, tables, conditions and templates in the account's configuration.

A source whose calls or webhooks have a protocol of their own takes a small handler that `source_handler` makes: it
supplies that, and has everything else from here.
"""

from __future__ import annotations

from handlers.generic.config import Config
from handlers.generic.handler import HANDLER
from handlers.generic.source import source_handler

__all__ = ["HANDLER", "Config", "source_handler"]
