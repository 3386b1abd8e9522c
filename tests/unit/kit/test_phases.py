from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import Phase
from app.kit.phases import furthest

FAR = [None, Phase.OPEN, Phase.UNKNOWN, Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]


@given(st.lists(st.sampled_from(FAR), min_size=1))
def test_the_furthest_counts(phases: list[Phase | None]) -> None:
    assert furthest(*phases) is max(phases, key=FAR.index)


@pytest.mark.parametrize("phase", Phase)
def test_what_says_nothing_does_not_count(phase: Phase) -> None:
    assert furthest(None, phase) is furthest(phase, None) is phase
