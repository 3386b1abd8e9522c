"""Time that passes when a test says so, and not by waiting for it."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from types import ModuleType

import pytest


def shift(patch: pytest.MonkeyPatch, by: timedelta, *modules: ModuleType) -> None:
    """For these modules it is so much later than it is, or earlier."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + by

    for module in modules:
        patch.setattr(module, "datetime", Shifted)
