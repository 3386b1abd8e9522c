"""How many examples hypothesis tries: a few for who works on the code, all where the environment names CI."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

CI = bool(os.environ.get("CI"))
FEWEST = 20

settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", settings.get_profile("ci"), max_examples=FEWEST)
settings.load_profile("ci" if CI else "dev")


def examples(number: int, *suppress: HealthCheck, **more: Any) -> settings:
    """So many examples in CI, and a fifth of them elsewhere."""
    number = number if CI else max(FEWEST, number // 5)
    return settings(max_examples=number, suppress_health_check=[HealthCheck.too_slow, *suppress], **more)
