from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract import Cancelable, InvalidCancel, Order, Phase
from handlers.kibo.rules import Rules, check, verdict
from handlers.kibo.words import ORDER_STATUSES

NOW = datetime(2026, 3, 2, 16, tzinfo=UTC)
RULES = Rules()
YES, NO, UNKNOWN = Cancelable.YES, Cancelable.NO, Cancelable.UNKNOWN


def order(phase: Phase, status: str | None = None, /, since: str = "evt_probe", **attributes: Any) -> Order:
    """An order that was probed; `since` is the event that last spoke of how it stands."""
    sources = {"phase": since}
    if status is not None:
        sources["provider_status"] = "evt_probe"
    return Order("a", "1", phase=phase, provider_status=status, attributes=attributes, version=2, sources=sources)


PARTIAL = {"fulfillmentStatus": "PartiallyFulfilled"}
RESTRICTED = {"restrictCancellation": True}


@pytest.mark.parametrize(
    ("known", "cancelable", "reason"),
    [
        (order(Phase.CANCELED, "Cancelled"), NO, "already_canceled"),
        (order(Phase.CANCELED, since="evt_webhook"), NO, "already_canceled"),
        (order(Phase.COMPLETED, "Completed"), NO, "completed"),
        (order(Phase.COMPLETED, "Accepted", since="evt_fulfilled"), NO, "completed"),
        *((order(Phase.OPEN, status), YES, "status_cancelable") for status in ("Pending", "Submitted", "Validated")),
        *((order(Phase.OPEN, status), YES, "status_cancelable") for status in ("Pending Review", "Accepted", "READY")),
        (order(Phase.OPEN, "PENDING_REVIEW"), YES, "status_cancelable"),
        (
            order(Phase.OPEN, "Accepted", restrictCancellation=False, fulfillmentStatus="NotFulfilled"),
            YES,
            "status_cancelable",
        ),
        (order(Phase.OPEN, "Accepted", **RESTRICTED), NO, "cancellation_restricted"),
        (order(Phase.IN_PROGRESS, "Processing", **RESTRICTED, **PARTIAL), NO, "cancellation_restricted"),
        (order(Phase.OPEN, "Accepted", restrictCancellation="true"), YES, "status_cancelable"),
        (order(Phase.IN_PROGRESS, "Processing", **PARTIAL), UNKNOWN, "partially_fulfilled"),
        (order(Phase.IN_PROGRESS, "Accepted", fulfillmentStatus="Partially Fulfilled"), UNKNOWN, "partially_fulfilled"),
        (order(Phase.IN_PROGRESS, "Processing"), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "Errored"), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "Abandoned"), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "never heard of"), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN), UNKNOWN, "status_unclear"),
        # A webhook came after the probe: what the probe said proves nothing any more, either way.
        (order(Phase.UNKNOWN, "Accepted", since="evt_updated"), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "Accepted", since="evt_updated", **RESTRICTED), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, "Accepted", since="evt_updated", **PARTIAL), UNKNOWN, "status_unclear"),
    ],
)
def test_the_verdict(known: Order, cancelable: Cancelable, reason: str) -> None:
    found = verdict(known, RULES, NOW)
    assert (found.cancelable, found.reason) == (cancelable, reason)
    assert found.changes_at is None
    assert found.evidence
    assert set(found.evidence) <= set(known.sources.values())


def test_no_status_makes_a_no_that_the_documents_do_not_state() -> None:
    for status, phase in ORDER_STATUSES.items():
        found = verdict(order(phase, status), RULES, NOW)
        assert (found.cancelable is NO) == (phase in (Phase.COMPLETED, Phase.CANCELED)), status


@pytest.mark.parametrize(
    ("rules", "known", "cancelable", "reason"),
    [
        ({"cancelable_statuses": ["Accepted"]}, order(Phase.OPEN, "Pending"), UNKNOWN, "status_unclear"),
        ({"cancelable_statuses": ["processing"]}, order(Phase.IN_PROGRESS, "Processing"), YES, "status_cancelable"),
        ({"cancelable_statuses": ["Errored"]}, order(Phase.UNKNOWN, "Errored"), YES, "status_cancelable"),
        ({"cancelable_statuses": ["Errored"]}, order(Phase.UNKNOWN, "Errored", since="e"), UNKNOWN, "status_unclear"),
        ({"cancelable_statuses": ["Completed"]}, order(Phase.COMPLETED, "Completed"), NO, "completed"),
        (
            {"not_cancelable_statuses": ["Processing"]},
            order(Phase.IN_PROGRESS, "Processing"),
            NO,
            "status_not_cancelable",
        ),
        (
            {"not_cancelable_statuses": ["PROCESSING"]},
            order(Phase.UNKNOWN, "Processing", since="e"),
            UNKNOWN,
            "status_unclear",
        ),
        ({"partially_fulfilled": "no"}, order(Phase.IN_PROGRESS, "Processing", **PARTIAL), NO, "partially_fulfilled"),
        ({"partially_fulfilled": "yes"}, order(Phase.IN_PROGRESS, "Processing", **PARTIAL), YES, "partially_fulfilled"),
        (
            {"partially_fulfilled": "yes"},
            order(Phase.IN_PROGRESS, "Processing", **PARTIAL, **RESTRICTED),
            NO,
            "cancellation_restricted",
        ),
    ],
)
def test_the_account_knows_better(rules: dict[str, Any], known: Order, cancelable: Cancelable, reason: str) -> None:
    found = verdict(known, Rules.model_validate(rules), NOW)
    assert (found.cancelable, found.reason) == (cancelable, reason)


def test_a_status_cannot_be_both() -> None:
    with pytest.raises(ValidationError, match="both"):
        Rules.model_validate({"not_cancelable_statuses": ["PENDING_REVIEW"]})
    with pytest.raises(ValidationError, match="partially_fulfilled"):
        Rules.model_validate({"partially_fulfilled": "perhaps"})


def test_evidence_names_the_event_that_the_verdict_rests_on() -> None:
    assert verdict(order(Phase.COMPLETED, "Accepted", since="evt_fulfilled"), RULES, NOW).evidence == ("evt_fulfilled",)
    assert verdict(order(Phase.OPEN, "Accepted", **RESTRICTED), RULES, NOW).evidence == ("evt_probe",)


# -- The arguments of a cancel ---------------------------------------------------------------


@pytest.mark.parametrize("note", ["x", "x" * 255, "ü" * 255, " x ", "two\nlines", "😀"])
def test_good_explanations(note: str) -> None:
    check("other", note, RULES)


@pytest.mark.parametrize("reason", ["customer_changed_mind", "created_by_mistake", "never heard of", "Other"])
@pytest.mark.parametrize("note", [None, ""])
def test_any_word_is_a_reason(reason: str, note: str | None) -> None:
    check(reason, note, RULES)


@pytest.mark.parametrize(
    ("reason", "note", "field", "says"),
    [
        ("", None, "reason", "requires a dispositionReason"),
        (" \n", None, "reason", "requires a dispositionReason"),
        ("x" * 101, None, "reason", "100"),
        ("a\0b", None, "reason", "one word"),
        ("a\ud800", None, "reason", "one word"),
        ("customer_changed_mind", "x", "note", "only with the reason 'other'"),
        ("customer_changed_mind", " ", "note", "only with the reason 'other'"),
        ("other", None, "note", "1 to 255"),
        ("other", "", "note", "wants an explanation"),
        ("other", " \n", "note", "wants an explanation"),
        ("other", "x" * 256, "note", "256"),
        ("other", "a\0b", "note", "NUL"),
        ("other", "a\ud800", "note", "surrogate"),
    ],
)
def test_bad_arguments_say_how_to_mend_them(reason: str, note: str | None, field: str, says: str) -> None:
    with pytest.raises(InvalidCancel, match=says) as caught:
        check(reason, note, RULES)
    assert caught.value.field == field


def test_who_knows_all_reasons_lists_them() -> None:
    rules = Rules(disposition_reasons=("weather", "other"))
    check("weather", None, rules)
    check("other", "x", rules)
    with pytest.raises(InvalidCancel, match="weather, other"):
        check("customer_changed_mind", None, rules)
