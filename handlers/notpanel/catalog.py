"""The catalog's cancel flags: which services support canceling an order in flight.

“Cancel” has an order in flight depend on the `cancel` of its service in the catalog. The catalog is large and changes
seldom, so only its flags are kept, for the account, and the catalog is read at most once per `catalog_ttl_s`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.contract import Context, Flow
from app.kit.ids import id_or_none
from app.kit.responses import ResponseKind
from handlers.notpanel.calls import call
from handlers.notpanel.config import Config
from handlers.notpanel.payload import read_flag
from handlers.notpanel.responses import read

Flags = dict[str, bool]
"""Service → whether it supports canceling."""

AGAIN_AFTER_S = 300.0
"""A catalog that could not be read is asked for again after so long."""
_THROTTLED_S = 1.0
_MEMORY = "catalog"


def flags_of(config: Config, context: Context) -> Flow[Flags]:
    """The catalog's flags, as remembered or by a call; empty where they cannot be had now."""
    remembered: Flags | None = context.recall(_MEMORY)
    if remembered is not None:
        return remembered
    # If the call fails or its response is too large, the flow ends here: the next flow must not call at once again.
    context.keep(_MEMORY, {}, context.now + timedelta(seconds=AGAIN_AFTER_S))
    response = read((yield call(config, "services", repeatable=True)), config, context)
    if response.kind is ResponseKind.THROTTLED:
        context.hold(response.after_s or _THROTTLED_S)
    flags = flags_in(response.body) if response.kind is ResponseKind.DONE else {}
    if flags:
        context.keep(_MEMORY, flags, context.now + timedelta(seconds=config.catalog_ttl_s))
    return flags


def flags_in(body: Any) -> Flags:
    """Service → its `cancel`, of all services that state one."""
    rows = [row for row in body if type(row) is dict] if type(body) is list else []
    stated = [(id_or_none(row.get("service")), read_flag(row.get("cancel"))) for row in rows]
    return {service: flag for service, flag in stated if service is not None and flag is not None}
