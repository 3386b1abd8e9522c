from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unit.generic.support import NOW, example, order

from app.contract import Appointment, Cancelable, InvalidCancel, Phase, Verdict
from handlers.generic.rules import Rules, check, verdict


def rules(*conditions: dict[str, Any], **more: Any) -> Rules:
    given = [{"cancelable": "no", "reason": f"rule_{number}", **each} for number, each in enumerate(conditions)]
    return Rules.model_validate({"conditions": given, **more})


# -- By the phase -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "cancelable", "reason"),
    [
        (Phase.OPEN, "yes", "open"),
        (Phase.IN_PROGRESS, "no", "in_progress"),
        (Phase.COMPLETED, "no", "completed"),
        (Phase.CANCELED, "no", "already_canceled"),
        (Phase.UNKNOWN, "unknown", "status_unclear"),
    ],
)
def test_without_conditions_the_phase_decides(phase: Phase, cancelable: str, reason: str) -> None:
    found = verdict(order(phase=phase, provider_status="theirs"), Rules(), NOW)
    assert (found.cancelable, found.reason, found.evidence) == (cancelable, reason, ("evt_1",))
    assert found.changes_at is None


@pytest.mark.parametrize("cancelable", list(Cancelable))
def test_what_in_progress_means_is_configured(cancelable: Cancelable) -> None:
    found = verdict(order(phase=Phase.IN_PROGRESS), rules(in_progress=cancelable), NOW)
    assert (found.cancelable, found.reason) == (cancelable, "in_progress")


def test_a_status_is_told_in_the_explanation() -> None:
    assert "(status theirs)" in verdict(order(provider_status="theirs"), Rules(), NOW).explanation


# -- By conditions ----------------------------------------------------------------------------


def test_the_first_condition_that_holds_decides() -> None:
    given = rules(
        {"when": "false", "cancelable": "no"},
        {"when": "order.attributes.kind == 'a'", "cancelable": "unknown", "explanation": " Nobody knows "},
        {"when": "true", "cancelable": "yes"},
    )
    found = verdict(order(attributes={"kind": "a"}), given, NOW)
    assert (found.cancelable, found.reason, found.explanation) == ("unknown", "rule_1", "Nobody knows.")
    assert verdict(order(attributes={"kind": "b"}), given, NOW).reason == "rule_2"


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.IN_PROGRESS, Phase.UNKNOWN])
def test_a_condition_outranks_the_phase(phase: Phase) -> None:
    found = verdict(order(phase=phase), rules({"when": "true", "cancelable": "yes"}), NOW)
    assert (found.cancelable, found.reason) == ("yes", "rule_0")


@pytest.mark.parametrize("phase", [Phase.CANCELED, Phase.COMPLETED])
def test_no_condition_opens_what_is_closed(phase: Phase) -> None:
    found = verdict(order(phase=phase), rules({"when": "true", "cancelable": "yes"}), NOW)
    assert found.cancelable is Cancelable.NO


def test_a_no_rests_on_the_events_behind_the_order() -> None:
    sources = {"phase": "evt_1", "provider_status": "evt_2", "appointments": "evt_3"}
    found = verdict(order(sources=sources), rules({"when": "true"}), NOW)
    assert (found.cancelable, found.evidence) == ("no", ("evt_1", "evt_2", "evt_3"))


def test_a_no_without_evidence_is_none() -> None:
    found = verdict(order(sources={}), rules({"when": "true"}), NOW)
    assert (found.cancelable, found.reason, found.evidence) == ("unknown", "rule_0", ())
    assert found.explanation.endswith("But no event proves it.")


def test_what_is_uncertain_is_never_a_no() -> None:
    found = verdict(order(phase=Phase.UNKNOWN), rules({"when": "true"}), NOW)
    assert (found.cancelable, found.reason) == ("unknown", "rule_0")
    assert found.explanation.endswith("probe it.")


def test_a_condition_that_cannot_be_judged_says_so() -> None:
    given = rules({"when": "order.attributes.locked == true"}, {"when": "true", "cancelable": "yes"})
    found = verdict(order(), given, NOW)
    assert (found.cancelable, found.reason) == ("unknown", "condition_unclear")
    assert "rule_0" in found.explanation
    assert 'no key "locked"' in found.explanation
    assert verdict(order(attributes={"locked": False}), given, NOW).reason == "rule_1"


# -- By time alone ----------------------------------------------------------------------------

HOUR = {"when": "now - order.opened_at >= duration('1h')", "changes_at": "order.opened_at + duration('1h')"}


def test_a_window_that_closes_by_time_says_when() -> None:
    opened = order(opened_at=NOW)
    before = verdict(opened, rules(HOUR), NOW + timedelta(minutes=59))
    assert (before.cancelable, before.changes_at) == ("yes", NOW + timedelta(hours=1))
    after = verdict(opened, rules(HOUR), NOW + timedelta(hours=1))
    assert (after.cancelable, after.changes_at) == ("no", None)


def test_of_several_times_the_next_one_counts() -> None:
    later = {"when": "false", "changes_at": "order.opened_at + duration('2h')"}
    past = {"when": "false", "changes_at": "order.opened_at - duration('2h')"}
    found = verdict(order(opened_at=NOW), rules(past, later, HOUR), NOW)
    assert found.changes_at == NOW + timedelta(hours=1)
    # What stands behind the condition that holds was not looked at.
    holds = {"when": "true", "cancelable": "yes"}
    assert verdict(order(opened_at=NOW), rules(later, holds, HOUR), NOW).changes_at == NOW + timedelta(hours=2)


def test_null_is_never() -> None:
    found = verdict(order(), rules({"when": "true", "changes_at": "order.version > 99 ? now : null"}), NOW)
    assert (found.cancelable, found.changes_at) == ("no", None)


def test_a_time_that_cannot_be_told_counts_only_where_the_condition_holds() -> None:
    of_first = "timestamp(order.appointments[0].starts_at)"
    assert verdict(order(), rules({"when": "false", "changes_at": of_first}), NOW).cancelable is Cancelable.YES
    found = verdict(order(), rules({"when": "true", "changes_at": of_first}), NOW)
    assert (found.cancelable, found.reason) == ("unknown", "condition_unclear")


@examples(60)
@given(st.lists(st.integers(-100, 100), max_size=4), st.integers(-100, 100))
def test_the_example_of_the_readme_changes_when_it_says(starts_h: list[int], now_h: int) -> None:
    """Its verdict is the same until `changes_at`, and another one from then on."""
    given = Rules.model_validate(example()["accounts"][0]["rules"])
    appointments = tuple(
        Appointment(str(number), "booked", NOW + timedelta(hours=hours)) for number, hours in enumerate(starts_h)
    )
    placed, now = order(appointments=appointments), NOW + timedelta(hours=now_h)

    def at(hours: float) -> Verdict:
        return verdict(placed, given, now + timedelta(hours=hours))

    found = at(0)
    closes_h = min(starts_h, default=10_000) - 24
    assert (found.cancelable is Cancelable.NO) == (now_h >= closes_h)
    if found.cancelable is Cancelable.YES and starts_h:
        assert found.changes_at == NOW + timedelta(hours=closes_h)
        assert at(closes_h - now_h - 0.01).cancelable is Cancelable.YES
        assert at(closes_h - now_h).cancelable is Cancelable.NO
    else:
        assert found.changes_at is None


# -- What is wrong when it is saved -----------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "where", "says"),
    [
        ({"when": "order.fase == ''"}, "conditions.0.when", "line 1, column 7: there is no order.fase"),
        ({"when": "order.phase"}, "conditions.0.when", "must give a bool"),
        ({"when": ""}, "conditions.0.when", "empty"),
        ({"when": "true", "changes_at": "order.phase"}, "conditions.0.changes_at", "must give a timestamp"),
        ({"when": "true", "changes_at": "order.opened"}, "conditions.0.changes_at", "do you mean order.opened_at"),
        ({"when": "true", "cancelable": "maybe"}, "conditions.0.cancelable", "'yes', 'no' or 'unknown'"),
        ({"when": "true", "reason": "Too Late"}, "conditions.0.reason", "pattern"),
        ({"when": "true", "until": "now"}, "conditions.0.until", "not permitted"),
        ({"when": "true || secrets.api_key == ''"}, "conditions.0.when", "secrets.api_key"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(bad: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rules(bad)
    [error] = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert says in error["msg"]


def test_every_field_is_described() -> None:
    assert all(each.description for each in Rules.model_fields.values())


# -- A cancel's words -------------------------------------------------------------------------


def refusal(reason: str, note: str | None, given: Rules) -> tuple[str, str]:
    with pytest.raises(InvalidCancel) as caught:
        check(reason, note, given)
    return caught.value.field, str(caught.value)


def test_words_may_be_anything_by_default() -> None:
    check("because", None, Rules())
    check("x" * 255, "y" * 1000, Rules())


@pytest.mark.parametrize(
    ("reason", "note", "field", "says"),
    [
        ("", None, "reason", "give a reason"),
        (" ", None, "reason", "give a reason"),
        ("x" * 256, None, "reason", "255 characters, and this has 256"),
        ("x", "y" * 1001, "note", "1000 characters, and this has 1001"),
        ("a\0", None, "reason", "NUL"),
        ("x", "a\ud800", "note", "surrogate"),
    ],
)
def test_what_no_source_takes(reason: str, note: str | None, field: str, says: str) -> None:
    found = refusal(reason, note, Rules())
    assert found[0] == field
    assert says in found[1]


def test_the_source_s_limits_are_configured() -> None:
    given = rules(reasons=["late", "twice"], note_required=True, note_chars_max=5)
    check("late", "12345", given)
    assert refusal("because", "x", given) == ("reason", "the source accepts only these reasons: late, twice")
    for none in (None, "", " "):
        assert refusal("late", none, given)[0] == "note"
    assert refusal("late", "123456", given)[0] == "note"


def test_a_reason_and_a_note_are_as_the_source_has_them() -> None:
    loose, closed = Rules(reason_required=False, reasons=("late",)), Rules(note_chars_max=0)
    for reason, note, rules in (("", None, loose), ("late", None, loose), ("x", "", closed), ("x", None, closed)):
        check(reason, note, rules)
    for reason, note, rules, says in (
        ("never", None, loose, "only these reasons: late"),
        (" ", None, Rules(), "give a reason"),
        ("x", "They called.", closed, "The source takes no note"),
    ):
        with pytest.raises(InvalidCancel, match=says):
            check(reason, note, rules)
