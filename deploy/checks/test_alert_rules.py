"""Alert rules fire in time, by Prometheus' own tests of rules. Apart from the others, which run beside it."""

from __future__ import annotations

from programs import DEPLOY, run

FOLDER = DEPLOY / "observability"


def test_prometheus_takes_the_rules_and_they_fire_in_time() -> None:
    run("promtool", "check", "rules", FOLDER / "alerts.yaml")
    run("promtool", "test", "rules", FOLDER / "alerts_test.yaml", FOLDER / "alerts_days_test.yaml")
