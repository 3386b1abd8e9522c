"""What people are told of each type of message: a title, a sentence or two, fields, and what to do.

Data that others wrote (ids, reasons, a provider's words) is made harmless here; the markup of a destination is escaped
by its format.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from app.core.outbound.message import Message
from app.core.outbound.notices.notice import (
    FIELDS_MAX,
    TEXT_CHARS_MAX,
    TITLE_CHARS_MAX,
    VALUE_CHARS_MAX,
    Alert,
    Digest,
    Link,
    Notice,
    Severity,
    one_line,
    shown_time,
)

Data = Mapping[str, Any]
NAME_CHARS_MAX = 80
"""How many characters of an order's id a title shows."""
CLAUSES_SHOWN = 5
DIGEST_NOTICES_MAX = 100


class _Draft(Struct):
    """A notice before it is put together."""

    title: str
    text: str
    severity: Severity = Severity.INFO
    fields: tuple[tuple[str, Any], ...] = ()
    alert: Alert | None = None
    hint: str = ""


def notice_of(id: str, message: Message, link: Link | None = None) -> Notice:
    """The notice of a message; `id` is its public id, and `link` where it leads to."""
    data: dict[str, Any] = msgspec.json.decode(message.data)
    draft = _DRAFTS.get(message.type, _of_unknown_type)(message.type, data)
    test = bool(data.get("test"))
    subject = (("Order", data.get("order")), ("Account", data.get("account") or message.account))
    fields = [(name, _value(value)) for name, value in (*subject, *draft.fields) if value not in (None, "", [], ())]
    return Notice(
        id=id,
        type=message.type,
        at=message.at,
        account=message.account,
        title=one_line(f"{'Test: ' if test else ''}{draft.title}", TITLE_CHARS_MAX),
        text=one_line(draft.text, TEXT_CHARS_MAX),
        fields=tuple(fields[:FIELDS_MAX]),
        severity=draft.severity,
        link=link,
        hint=one_line(draft.hint, VALUE_CHARS_MAX + 100) if link is None and not test else "",
        alert=None if test else draft.alert,
        test=test,
    )


def digest_of(notices: list[Notice]) -> Digest:
    """Several notices as one; the first `DIGEST_NOTICES_MAX` are told, the rest are counted."""
    counts: dict[str, int] = {}
    for notice in notices:
        counts[notice.type] = counts.get(notice.type, 0) + 1
    return Digest(
        id=notices[0].id,
        title=f"{len(notices)} notices since {shown_time(min(notice.at for notice in notices))}",
        notices=tuple(notices[:DIGEST_NOTICES_MAX]),
        more=max(0, len(notices) - DIGEST_NOTICES_MAX),
        counts=tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:FIELDS_MAX]),
    )


def _value(value: Any) -> str:
    """A field's value in one line; times as people read them."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return one_line(", ".join(str(item)[:VALUE_CHARS_MAX] for item in value[:CLAUSES_SHOWN]), VALUE_CHARS_MAX)
    return one_line(str(value), VALUE_CHARS_MAX)


def _time(value: Any) -> str:
    """A time of `data` as people read it; "" where there is none."""
    try:
        return shown_time(datetime.fromisoformat(value)) if isinstance(value, str) else ""
    except (ValueError, OverflowError):
        return one_line(value, NAME_CHARS_MAX)


def _order(data: Data) -> str:
    return one_line(str(data.get("order") or "?"), NAME_CHARS_MAX)


def _for_account(data: Data) -> str:
    account = data.get("account")
    return f"account {account}" if account else "all accounts"


def _sentence(text: Any) -> str:
    """Words of others as a sentence: with a capital and a full stop."""
    words = one_line(str(text or ""), TEXT_CHARS_MAX).strip()
    first = words.partition(" ")[0]
    words = f"{words[:1].upper()}{words[1:]}" if first.isalpha() else words
    return words if not words or words.endswith((".", "!", "?", "…")) else f"{words}."


def _command(*words: Any) -> str:
    """A command to type, with what others wrote quoted for the shell."""
    safe = [shlex.quote(one_line(str(word), VALUE_CHARS_MAX)) for word in words]
    return " ".join(["rescind", *safe])


def _explain(data: Data) -> str:
    order = str(data.get("order") or "")
    return _command("orders", "explain", data.get("account") or "", *(["--"] if order.startswith("-") else []), order)


def _verdict_changed(_type: str, data: Data) -> _Draft:
    verdict, previous = data["verdict"], data.get("previous") or {}
    order, closes = _order(data), _time(data.get("closes_at"))
    match verdict.get("cancelable"), previous.get("cancelable"):
        case "no", "yes":
            title = f"Order {order} can no longer be canceled"
        case "no", _:
            title = f"Order {order} cannot be canceled"
        case "yes", "yes":
            title = f"Order {order} can be canceled {f'until {closes}' if closes else 'without a known end'}"
        case "yes", _:
            title = f"Order {order} can be canceled"
        case _:
            title = f"It is not known whether order {order} can be canceled"
    text = _sentence(verdict.get("explanation")) or f"The reason is {verdict.get('reason')}."
    if closes and verdict.get("cancelable") == "yes":
        text = f"{text} The window closes on {closes}."
    fields = (("Cancelable", verdict.get("cancelable")), ("Reason", verdict.get("reason")), ("Closes", closes))
    return _Draft(title, text, fields=(*fields, ("Before", previous.get("cancelable"))), hint=_explain(data))


def _closing_soon(_type: str, data: Data) -> _Draft:
    order, closes, verdict = _order(data), _time(data.get("closes_at")), data.get("verdict") or {}
    text = f"It can be canceled until {closes}. {_sentence(verdict.get('explanation'))}"
    fields = (("Closes", closes), ("Reason", verdict.get("reason")))
    return _Draft(
        f"Order {order} can soon not be canceled any more", text, Severity.WARNING, fields, hint=_explain(data)
    )


_STATES: Mapping[str, tuple[str, str, Severity]] = {
    "rejected": ("was rejected", "The order cannot be canceled, and nothing was sent.", Severity.INFO),
    "scheduled": ("is scheduled", "It is sent when its turn comes.", Severity.INFO),
    "sending": ("is being sent", "The call to the provider is under way.", Severity.INFO),
    "accepted": ("was accepted", "The provider took it on and has not finished.", Severity.INFO),
    "succeeded": ("succeeded", "The order is canceled.", Severity.INFO),
    "refused": ("was refused", "The provider does not cancel the order.", Severity.WARNING),
    "indeterminate": ("has an unknown outcome", "A probe, a webhook or a person decides.", Severity.WARNING),
    "revoked": ("was revoked", "Nothing was sent.", Severity.INFO),
    "expired": ("expired", "It was not sent.", Severity.WARNING),
    "failed": ("failed", "Rescind gave it up; the order is not known to be canceled.", Severity.ERROR),
}
"""State → (what happened, what that means, how bad it is)."""
_WAITING = {"approval": "It waits for a person's approval.", "probe": "A probe of the order comes first."}


def _cancellation(type: str, data: Data) -> _Draft:
    cancel, state = data["cancellation"], type.rpartition(".")[2]
    happened, meaning, severity = _STATES.get(state, (f"is now {state}", "", Severity.INFO))
    waiting = str((cancel.get("waiting") or {}).get("for"))
    if state == "scheduled":
        meaning = _WAITING.get(waiting, meaning)
    if waiting == "approval":  # what policy.proposed began must not end with it
        happened, severity = "waits for approval", Severity.WARNING
    text = f"{meaning} {_sentence(cancel.get('detail'))}".strip()
    fields = (
        ("State", state),
        ("Requested by", cancel.get("requested_by")),
        ("Reason", cancel.get("reason")),
        ("Note", cancel.get("note")),
        ("Attempts", cancel.get("attempts") or None),
        ("Cancellation", cancel.get("id")),
    )
    alert = Alert(f"cancellation:{cancel.get('id')}", ends=severity is Severity.INFO)
    hint = _command("cancellations", "show", cancel.get("id") or "")
    return _Draft(f"The cancel of order {_order(data)} {happened}", text, severity, fields, alert, hint)


def _clauses(data: Data) -> list[str]:
    clauses = [clause for clause in data.get("clauses") or () if isinstance(clause, dict)]
    return [f"{clause.get('text')} is {_clause_value(clause.get('value'))}" for clause in clauses]


def _clause_value(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, "unknown") if isinstance(value, bool) else "unknown"


def _verdict_field(data: Data) -> str:
    verdict = data.get("verdict") or {}
    return f"{verdict.get('cancelable')}: {verdict.get('reason')}"


def _proposed(_type: str, data: Data) -> _Draft:
    policy, until = data.get("policy"), _time(data.get("approve_until"))
    text = f"Policy {policy} asks for approval until {until}. Unless someone approves it, nothing is canceled."
    fields = (
        ("Policy", policy),
        ("Approve until", until),
        ("Reason for the provider", data.get("reason")),
        ("Note for the provider", data.get("note")),
        ("Cancelable", _verdict_field(data)),
        ("Condition", _clauses(data)),
        ("Cancellation", data.get("cancellation")),
    )
    hint = _command("cancellations", "approve", data.get("cancellation") or "")
    alert = Alert(f"cancellation:{data.get('cancellation')}")
    return _Draft(f"Approve the cancel of order {_order(data)}?", text, Severity.WARNING, fields, alert, hint)


def _matched(_type: str, data: Data) -> _Draft:
    fields = (("Policy", data.get("policy")), ("Mode", data.get("mode")), ("Outcome", data.get("outcome")))
    text = _sentence(data.get("detail")) or "Its condition holds."
    title = f"Policy {data.get('policy')} matches order {_order(data)}"
    return _Draft(title, text, fields=(*fields, ("Condition", _clauses(data))), hint=_explain(data))


def _policy_failed(_type: str, data: Data) -> _Draft:
    title = f"Policy {data.get('policy')} cannot be evaluated on order {_order(data)}"
    text = f"{_sentence(data.get('detail'))} It does nothing for this order until that is corrected."
    alert = Alert(f"policy-failing:{data.get('policy')}")
    return _Draft(title, text, Severity.WARNING, (("Policy", data.get("policy")),), alert, _explain(data))


def _policy_pause(type: str, data: Data) -> _Draft:
    policy, state = data.get("policy"), type.rpartition(".")[2]
    name = f"Policy {policy}" if policy else "All policies"
    verb = {"halted": "halted itself", "resumed": "may act again"}.get(state, "was paused" if policy else "are paused")
    text = f"{_sentence(data.get('reason'))} " + (
        "It cancels nothing until someone resumes it." if state != "resumed" else "It acts on orders again."
    )
    alert = Alert(f"policy:{policy or '*'}", ends=state == "resumed")
    severity = {"halted": Severity.ERROR, "paused": Severity.WARNING}.get(state, Severity.INFO)
    hint = _command("resume", "--policy", policy) if policy and state != "resumed" else ""
    return _Draft(f"{name} {verb}", text.strip(), severity, (("By", data.get("by")),), alert, hint)


def _account_pause(type: str, data: Data) -> _Draft:
    ends, account = type.endswith(".resumed"), data.get("account")
    title = f"Sending {'goes on' if ends else 'is paused'} for {_for_account(data)}"
    text = f"{_sentence(data.get('reason'))} " + (
        "Cancels are sent again."
        if ends
        else "No cancel is sent until someone resumes it; webhooks are still taken in."
    )
    alert = Alert(f"account:{account or '*'}", ends=ends)
    hint = "" if ends else _command("resume", *(["--account", account] if account else []))
    severity = Severity.INFO if ends else Severity.ERROR
    return _Draft(title, text.strip(), severity, (("By", data.get("by")),), alert, hint)


def _breaker(type: str, data: Data) -> _Draft:
    alert = Alert(f"breaker:{data.get('account') or '*'}", ends=type.endswith(".closed"))
    if alert.ends:
        fields = (("Since", _time(data.get("opened_at"))),)
        return _Draft(
            f"The provider of {_for_account(data)} works again",
            "Cancels are sent as before.",
            fields=fields,
            alert=alert,
        )
    text = f"{_sentence(data.get('reason'))} Only single trials are sent until it recovers; cancels wait."
    return _Draft(f"The provider of {_for_account(data)} fails for all orders", text, Severity.ERROR, alert=alert)


def _limit_near(_type: str, data: Data) -> _Draft:
    whose = f"policy {data['policy']}" if data.get("policy") else _for_account(data)
    text = f"{data.get('used')} of {data.get('maximum')} are used within {data.get('period_s'):g} s."
    alert = Alert(f"limit:{whose}:{data.get('limit')}")
    fields = (("Limit", data.get("limit")), ("Policy", data.get("policy")))
    return _Draft(f"A limit of {whose} is nearly used up", text, Severity.WARNING, fields, alert)


def _quarantine(_type: str, data: Data) -> _Draft:
    text = f"{_sentence(data.get('reason'))} It is kept, and can be reprocessed after a fix."
    fields = (("Endpoint", data.get("endpoint")), ("Receipt", data.get("receipt")))
    alert = Alert(f"quarantine:{data.get('endpoint')}")
    hint = _command("receipts", "show", data.get("receipt") or "")
    return _Draft(f"A webhook of {_for_account(data)} is in quarantine", text, Severity.WARNING, fields, alert, hint)


def _endpoint(type: str, data: Data) -> _Draft:
    endpoint = data.get("endpoint")
    hint = _command("endpoints", "show", endpoint or "")
    if type.endswith(".silent"):
        last = _time(data.get("last_received_at"))
        text = (
            f"{f'The last request came on {last}.' if last else 'No request ever came.'} Does the provider still send?"
        )
        fields: tuple[tuple[str, Any], ...] = (("Endpoint", endpoint), ("Last received", last))
        return _Draft(
            f"Endpoint {endpoint} is silent", text, Severity.WARNING, fields, Alert(f"silent:{endpoint}"), hint
        )
    text = (
        f"{data.get('failures')} requests were refused since {_time(data.get('since'))}. {_sentence(data.get('cause'))}"
    )
    fields = (("Endpoint", endpoint), ("Refused", data.get("failures")), ("Since", _time(data.get("since"))))
    title = f"Endpoint {endpoint} refuses every request"
    return _Draft(title, text, Severity.ERROR, fields, Alert(f"endpoint:{endpoint}"), hint)


def _subscription(type: str, data: Data) -> _Draft:
    name = data.get("subscription")
    alert, hint = Alert(f"subscription:{name}"), _command("subscriptions", "show", name or "")
    if type.endswith(".disabled"):
        text = f"{_sentence(data.get('reason'))} Its messages are held until someone enables it again."
        return _Draft(f"Subscription {name} was disabled", text, Severity.ERROR, (), alert, hint)
    text = (
        f"{data.get('failures')} deliveries in a row failed since {_time(data.get('since'))}. "
        f"{_sentence(data.get('error'))} It will be disabled on {_time(data.get('disabled_at'))}."
    )
    return _Draft(f"Subscription {name} cannot be delivered to", text, Severity.WARNING, (), alert, hint)


def _of_unknown_type(type: str, data: Data) -> _Draft:
    """What a newer release tells: its plain values."""
    plain = tuple((name, value) for name, value in data.items() if isinstance(value, str | int | float))
    fields = tuple((name, value) for name, value in plain if name not in ("account", "order", "event", "test"))
    return _Draft(one_line(type, NAME_CHARS_MAX), "See the fields.", fields=fields)


_DRAFTS: Mapping[str, Callable[[str, Data], _Draft]] = {
    "order.verdict_changed": _verdict_changed,
    "order.closing_soon": _closing_soon,
    **{f"cancellation.{state}": _cancellation for state in _STATES},
    "policy.matched": _matched,
    "policy.proposed": _proposed,
    "policy.failed": _policy_failed,
    **{f"policy.{state}": _policy_pause for state in ("halted", "paused", "resumed")},
    "account.paused": _account_pause,
    "account.resumed": _account_pause,
    "breaker.opened": _breaker,
    "breaker.closed": _breaker,
    "limit.near": _limit_near,
    "quarantine.added": _quarantine,
    "endpoint.failing": _endpoint,
    "endpoint.silent": _endpoint,
    "subscription.failing": _subscription,
    "subscription.disabled": _subscription,
}
TYPES = frozenset(_DRAFTS)
"""Types that have words of their own."""
