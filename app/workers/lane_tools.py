"""What every lane works with."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from app.config.secrets import Vault
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import Store


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts of a node that lanes use."""

    store: Store
    ledger: Ledger
    session: aiohttp.ClientSession
    redactor: Redactor
    ids: Ids
    vault: Vault
