"""Webhooks that outrun a snapshot: which do, which do not, and what a bucket remembers of calls that run."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from unit.core.support import ACCOUNT, ORDER, fact, phase

from app.contract import Facts, Limits, Phase, Source
from app.core import order as orders
from app.core.lane.pacing import AdaptiveLimit, LeakyBucket

ASKED_AT = 100
SNAPSHOT = phase("asked", ASKED_AT, Phase.IN_PROGRESS, snapshot=True)
RACER = phase("racer", 90, Phase.COMPLETED, heard=101)


def phase_of(*events: orders.Event) -> Phase:
    return orders.fold(ACCOUNT, ORDER, events)[0].phase


def test_a_webhook_that_came_in_after_the_question_and_says_more_counts() -> None:
    assert phase_of(SNAPSHOT, RACER) is Phase.COMPLETED


@pytest.mark.parametrize(
    "other",
    [
        phase("known", 90, Phase.COMPLETED, heard=ASKED_AT),
        replace(RACER, source=Source.PROVIDER),
        replace(RACER, facts=Facts(phase=Phase.COMPLETED, snapshot=True)),
        phase("old", -21, Phase.COMPLETED, heard=101),
        phase("less", 90, Phase.OPEN, heard=101),
    ],
    ids=["known when asked", "no webhook", "an older snapshot", "too old", "less far along"],
)
def test_no_other_does(other: orders.Event) -> None:
    assert phase_of(SNAPSHOT, other) is Phase.IN_PROGRESS


def test_what_says_the_same_or_nothing_of_the_phase_leaves_the_snapshot_its_last_word() -> None:
    snapshot = fact("asked", ASKED_AT, Facts(phase=Phase.OPEN, attributes={"a": "asked"}, snapshot=True))
    unsaid = replace(snapshot, facts=replace(snapshot.facts, phase=None))
    for facts in (Facts(attributes={"a": "racer"}), Facts(phase=Phase.OPEN, attributes={"a": "racer"})):
        same = fact("racer", 90, facts, heard=101)
        assert orders.fold(ACCOUNT, ORDER, [snapshot, same])[0].attributes == {"a": "asked"}
    silent = fact("racer", 90, Facts(attributes={"a": "racer"}), heard=101)
    assert orders.fold(ACCOUNT, ORDER, [unsaid, silent])[0].attributes == {"a": "asked"}


def test_a_bucket_passes_on_what_has_not_leaked_and_not_what_runs() -> None:
    bucket = LeakyBucket(5, 1.0)
    for _ in range(4):
        bucket.start(0)
    for _ in range(3):
        bucket.end(0)
    assert bucket.recent(0) == [0] * 3
    assert bucket.recent(1) == [1] * 2


def test_a_bucket_s_learned_limit_rises_each_time_it_could_have_drained() -> None:
    learned, bucket = AdaptiveLimit(Limits(burst=40, rate_per_s=2.0)), LeakyBucket(40, 2.0)
    for _ in range(21):
        bucket.start(0)
    learned.denied(bucket, 0)
    assert (learned.current, bucket.limit) == (20, 20)
    period_s = bucket.period_s
    learned.passed(bucket, period_s - 0.5)
    assert learned.current == 20
    learned.passed(bucket, period_s)
    assert (learned.current, bucket.limit) == (22, 22)


def test_a_snapshot_that_a_webhook_brings_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was asked for by nobody, so nothing outruns it; comparing each with all others would take quadratic time."""
    told = [phase(str(n), n / 10, Phase.OPEN, snapshot=True) for n in range(50)]
    told = [replace(each, source=Source.WEBHOOK) for each in told]
    monkeypatch.setattr(orders, "_outranks", None)
    assert orders.placed(told) == told
