"""Alert rules fire in time, by Prometheus' own tests of rules. Apart from the others, which run beside it."""

from __future__ import annotations

from programs import DEPLOY, run

FOLDER = DEPLOY / "observability"


def test_prometheus_takes_the_rules_and_they_fire_in_time() -> None:
    run("promtool", "check", "rules", FOLDER / "alerts.yaml", FOLDER / "alerts-postgresql.yaml")
    tests = ("alerts_test.yaml", "alerts_days_test.yaml", "alerts_postgresql_test.yaml")
    run("promtool", "test", "rules", *(FOLDER / name for name in tests))
