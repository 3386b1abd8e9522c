from __future__ import annotations

import pytest

from app.core.policy.scope import POLICY
from app.kit.cel.expression import InvalidExpression, compile  # noqa: A004
from app.kit.cel.order_view import ORDER

NEVER = (
    ('order.phase == "opened"', "line 1, column 16: order.phase is never 'opened'; do you mean 'open'?"),
    ('"opend" != order.phase', "line 1, column 1: order.phase is never 'opend'; do you mean 'open'?"),
    ('order.phase in ["open", "done"]', "it is one of canceled, completed, in_progress, open, unknown"),
    ('order.phase == ""', "order.phase is never ''"),
    ('true &&\n  !(.order.phase == "cancelled")', "line 2, column 21: .* do you mean 'canceled'?"),
)
NEVER_OF_POLICIES = (
    ('order.verdict.cancelable == "maybe"', "it is one of no, unknown, yes"),
    ('event.source == "hook"', "do you mean 'webhook'?"),
    ('order.duplicates.exists(d, d.came == "befor")', "came is never 'befor'; do you mean 'before'?"),
    ('order.duplicates.exists(d, d["canceling"] == "maybe")', "canceling is never 'maybe'"),
    ('order.duplicates.exists(d, d.phase in ["opened"])', "phase is never 'opened'"),
)


def test_a_word_outside_a_closed_set_is_refused_with_its_place() -> None:
    for scope, cases in ((ORDER, NEVER), (POLICY, (*NEVER, *NEVER_OF_POLICIES))):
        for text, message in cases:
            with pytest.raises(InvalidExpression, match=message.replace("?", r"\?")):
                compile(text, scope)


def test_words_of_the_set_and_of_open_sets_are_taken() -> None:
    for text in (
        'order.phase == "in_progress" || order.phase in ["open", "unknown"]',
        'order.provider_status == "opened" && order.attributes.phase == "opened"',
        'order.appointments.exists(a, a.status == "opened")',
        'cel.bind(phase, order.provider_status, phase == "opened")',
        '{"phase": "opened"}.phase == "opened"',
    ):
        compile(text, POLICY)
