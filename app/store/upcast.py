"""Payloads that earlier releases stored, brought to the names of this one.

Events in the log are never rewritten: `event_data` renames when they are read. What is derived from the log (orders,
cancellations) is rewritten once by the migration 0009, which calls `order_state` and `cancellation_state` for each row.

The version of a payload's schema stands beside it in the log. Version 1 was written by release 0.1 and is not marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.core.aggregate import OrderAggregate
from app.core.cancellation import EVENT_PREFIX, Cancellation
from app.core.event_types import POLICY_PREFIX

VERSION = 2
"""The version of the payload schemas that this release writes."""

_CANCELLATION = {
    "attempt": "last_attempt",
    "crashed_alone": "others_unanswered",
    "crashed_at": "ambiguous_since",
    "crashes": "ambiguous_failures",
    "doubted": "refusal_distrusted",
    "doubtful": "may_have_applied",
    "lost": "lost_calls",
    "overridden": "overridden_evidence",
    "request": "request_digest",
    "withdrawn": "revoke_requested",
}
_CAUSES = {"doubted": "outcome_uncertain", "no_answer": "no_response", "withdrawn": "revoke_requested"}
_WAITING = {"answer": "result", "turn": "send_slot"}
_POLICY_STATE = {"since": "matched_since", "substance": "condition_hash", "woken_by": "trigger"}
_PENDING_PROBE = {"refused": "after_refusal"}
_ORDER = {"doubt": "pending_probe", "spared": "exempt_from_policies", "standings": "policy_states"}


def event_data(type: str, data: dict[str, Any], version: int) -> dict[str, Any]:
    """The data of an event under the names of today; `version` is that of the schema they were written by."""
    if version >= VERSION:
        return data
    if type.startswith(EVENT_PREFIX):
        changes = data.get("changes")
        step = {"changes": _cancellation(changes)} if isinstance(changes, dict) else {}
        return _cancellation({**data, **step})
    if type.startswith(POLICY_PREFIX):
        return _renamed(data, _POLICY_STATE)
    return data


def order_state(text: str) -> str:
    """The stored state of an order, under the names of today; text that is none of release 0.1 stays as it is."""
    try:
        state = _renamed(msgspec.json.decode(text), _ORDER)
        if "live" in state:
            state["live"] = [_cancellation(each) for each in state["live"]]
        if "pending_probe" in state:
            state["pending_probe"] = _renamed(state["pending_probe"], _PENDING_PROBE)
        if "policy_states" in state:
            state["policy_states"] = [_renamed(each, _POLICY_STATE) for each in state["policy_states"]]
        return msgspec.json.encode(msgspec.convert(state, OrderAggregate)).decode()
    except (msgspec.MsgspecError, AttributeError, TypeError):
        return text  # `rescind rebuild` finds it, and restores it from the log


def cancellation_state(text: str) -> str:
    """The stored state of a cancellation, in the same way."""
    try:
        state = _cancellation(msgspec.json.decode(text))
        return msgspec.json.encode(msgspec.convert(state, Cancellation)).decode()
    except (msgspec.MsgspecError, AttributeError, TypeError):
        return text


def _cancellation(fields: Mapping[str, Any]) -> dict[str, Any]:
    renamed = _renamed(fields, _CANCELLATION)
    for name, words in (("cause", _CAUSES), ("waiting", _WAITING)):
        if name in renamed:
            renamed[name] = _word(renamed[name], words)
    return renamed


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in fields.items()}


def _word(value: Any, words: Mapping[str, str]) -> Any:
    return words.get(value, value) if isinstance(value, str) else value
