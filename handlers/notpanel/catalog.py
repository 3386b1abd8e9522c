"""The catalog's cancel flags: which services support canceling an order in flight.

“Cancel” has an order in flight depend on the `cancel` of its service in the catalog. The catalog is large and changes
seldom, so that only its flags are kept, for the account, and not asked for more than once per `catalog_ttl_s`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.contract import Context, Flow
from app.kit.ids import id_or_none
from app.kit.responses import ResponseKind
from handlers.notpanel.calls import call
from handlers.notpanel.config import Config
from handlers.notpanel.payload import flag_in
from handlers.notpanel.responses import read

Flags = dict[str, bool]
"""Service → whether it supports canceling."""

AGAIN_AFTER_S = 300.0
"""A catalog that could not be read is asked for again after so long."""
_THROTTLED_S = 1.0
_MEMORY = "catalog"


def flags_of(config: Config, context: Context) -> Flow[Flags]:
    """The catalog's flags, as remembered or by a call; empty where they cannot be had now."""
    known: Flags | None = context.recall(_MEMORY)
    if known is not None:
        return known
    # Should the call fail or the answer be too large, this flow ends there. The next one must not run into it again.
    context.keep(_MEMORY, {}, context.now + timedelta(seconds=AGAIN_AFTER_S))
    response = yield call(config, "services", repeatable=True)
    answer = read(response, config, context)
    if answer.kind is ResponseKind.THROTTLED:
        context.hold(answer.after_s or _THROTTLED_S)
    found = flags_in(answer.body) if answer.kind is ResponseKind.DONE else {}
    if found:
        context.keep(_MEMORY, found, context.now + timedelta(seconds=config.catalog_ttl_s))
    return found


def flags_in(body: Any) -> Flags:
    """Service → its `cancel`, of all services that state one."""
    found: Flags = {}
    for each in body if type(body) is list else ():
        service = id_or_none(each.get("service")) if type(each) is dict else None
        flag = flag_in(each.get("cancel")) if service is not None else None
        if service is not None and flag is not None:
            found[service] = flag
    return found
