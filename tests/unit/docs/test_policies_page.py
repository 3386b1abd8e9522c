"""docs/concepts/policies.md names everything that there is to say and to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.models import PolicyLimits, PolicySpec
from app.core.policy.model import Mode, Outcome
from app.core.policy.scope import POLICY

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "concepts" / "policies.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        *(name for name, _ in POLICY.names),
        *sorted(POLICY.record_keys),
        *PolicySpec.model_fields,
        *PolicyLimits.model_fields,
        *(each.value for each in (*Mode, *Outcome)),
    ],
)
def test_it_is_described(name: str) -> None:
    assert f"`{name}`" in TEXT or f"`{name}: " in TEXT
