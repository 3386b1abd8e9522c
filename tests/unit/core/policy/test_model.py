"""Policies in resource files: which are refused, and at which place; and the clauses of a condition."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.models import PolicySpec
from app.core.policy.expression import InvalidPolicy, split
from app.core.policy.model import Mode, Policy, make, matches

GIVEN: dict[str, Any] = {"id": "p", "accounts": ["acme"], "when": "true", "cancel": {"reason": "because"}}


def made(**more: Any) -> Policy:
    return PolicySpec.model_validate({**GIVEN, **more}).policy()


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"when": "order.phaze == 'open'"}, "when", "line 1, column 7: there is no order.phaze"),
        ({"when": "true &&\n  order.version == 'x'"}, "when", "line 2, column 17"),
        ({"when": "order.version"}, "when", "must give a bool"),
        ({"wait": "soon"}, "wait", "is not a duration"),
        (
            {"wait": "48h since order.opened"},
            "wait",
            "there is no order.opened; do you mean order.opened_at?",
        ),
        ({"wait": "48h since order.phase"}, "wait", "must give a timestamp"),
        ({"wait": "4000d"}, "wait", "is not a duration"),
        ({"before_close": "-3h"}, "before_close", "is not a duration"),
        ({"wait": "1h", "before_close": "1h"}, "before_close", "one moment"),
        ({"approve_within": "30s"}, "approve_within", "a minute"),
        ({"duplicates_within": "near"}, "duplicates_within", "is not a duration"),
        ({"when": "order.duplicates[0].foo == ''"}, "when", "records have no foo"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_saved(more: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidPolicy) as refused:
        made(**more)
    assert refused.value.field == field
    assert said in str(refused.value)


def test_a_policy_as_it_is_written() -> None:
    policy = made(
        on=["appointment.*"],
        when="order.phase == 'open' && event.type != 'x'",
        wait="1d12h since order.opened_at",
        mode="approve",
        limits={"per_hour": 5},
    )
    assert (policy.wait, policy.mode, policy.limits.per_hour) == (timedelta(hours=36), Mode.APPROVE, 5)
    assert [clause.text for clause in policy.clauses] == ["order.phase == 'open'", "event.type != 'x'"]
    assert policy.reads_event
    assert not policy.reads_duplicates
    assert policy.names == {"order.phase", "event.type", "order.opened_at"}


def test_a_policy_is_in_shadow_unless_said_otherwise() -> None:
    assert made().mode is Mode.SHADOW


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"mode": "enforce"}, True),
        ({"limits": {"per_day": 3}}, True),
        ({"description": "why"}, True),
        ({"when": "false"}, False),
        ({"wait": "1h"}, False),
        ({"accounts": ["acme", "other"]}, False),
        ({"on": ["x"]}, False),
        ({"cancel": {"reason": "otherwise"}}, False),
    ],
)
def test_the_condition_hash_is_of_what_decides(changed: dict[str, Any], same: bool) -> None:
    assert (made(**changed).condition_hash == made().condition_hash) is same


def test_every_release_gives_a_policy_the_same_condition_hash() -> None:
    """Hashes are stored: with another one a policy is no longer proven, and shadow decisions repeat."""
    spec = PolicySpec.model_validate(
        {
            "id": "p",
            "accounts": ["a"],
            "on": ["order.*"],
            "when": "size(order.appointments) == 0",
            "wait": "48h since order.opened_at",
            "cancel": {"reason": "duplicate_order", "note": "n"},
        }
    )
    assert spec.policy().condition_hash == "99604a694078"


@pytest.mark.parametrize(
    ("pattern", "type", "so"),
    [("a.b", "a.b", True), ("a.b", "a.bc", False), ("a.*", "a.b", True), ("a.*", "b.a", False), ("*", "x", True)],
)
def test_patterns_of_types(pattern: str, type: str, so: bool) -> None:
    assert matches(pattern, type) is so


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        ("a && b", ["a", "b"]),
        ("(a && b) && c", ["(a && b)", "c"]),
        ("a || b && c", ["a || b && c"]),
        ("a && (b || c)", ["a", "(b || c)"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ("x.exists(d, d.a && d.b) && c", ["x.exists(d, d.a && d.b)", "c"]),
        ('a == "x && y" && b', ['a == "x && y"', "b"]),
        (r"a == 'it\'s && so' && b", [r"a == 'it\'s && so'", "b"]),
        ("a == r'\\' && b", ["a == r'\\'", "b"]),
        ("a // or && so\n&& b", ["a // or && so", "b"]),
        ('a == """&& "q" """ && b', ['a == """&& "q" """', "b"]),
        ("{'k': a && b}.k && [a && b][0]", ["{'k': a && b}.k", "[a && b][0]"]),
    ],
)
def test_a_condition_taken_apart(text: str, parts: list[str]) -> None:
    assert split(text) == parts


atoms = st.sampled_from(
    ["order.phase == 'open'", "order.version > 1", "size(order.aliases) == 0", "(true || false)", "'&&' != '||'"]
)


@given(st.lists(atoms, min_size=1, max_size=4), st.sampled_from([" && ", "&&", "\n&& "]))
def test_the_parts_are_what_was_joined(given: list[str], joint: str) -> None:
    policy = make(id="p", when=joint.join(given), reason="because")
    assert [clause.text for clause in policy.clauses] == given
