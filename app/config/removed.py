"""The handler of removed accounts: their orders stay, with an unknown verdict."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.config.faults import InvalidResourceError
from app.contract import (
    BaseConfig,
    Cancelable,
    Handler,
    InboundRequest,
    Limits,
    Order,
    Rules,
    Verdict,
    VerifyOptions,
)


def _refuse(*_: Any, **__: Any) -> Any:
    raise InvalidResourceError("the account was removed")


def _refuse_request(_request: InboundRequest, _options: VerifyOptions, _now: datetime) -> None:
    _refuse()


def _unknown(order: Order, _rules: Any, _now: datetime) -> Verdict:
    text = "The account was removed, and its rules with it."
    return Verdict(Cancelable.UNKNOWN, "account_removed", text, order.evidence("phase"))


REMOVED = Handler(
    name="removed",
    title="An account that was removed",
    docs=(),
    config=BaseConfig,
    rules=Rules,
    limits=Limits(),
    verify=_refuse_request,
    parse=_refuse,
    verdict=_unknown,
    check=_refuse,
    cancel=_refuse,
    personal=frozenset({"*"}),  # what its handler declared is gone with it
)
