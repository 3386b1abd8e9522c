"""The alert rules for PostgreSQL ask for metrics that there are, and lead to what explains them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from prometheus_client import REGISTRY

from app.runtime import metrics

ROOT = Path(__file__).resolve().parents[3]
RULES = yaml.safe_load((ROOT / "deploy" / "observability" / "alerts-postgresql.yaml").read_text(encoding="utf-8"))
TESTED = (ROOT / "deploy" / "observability" / "alerts_postgresql_test.yaml").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "operations" / "postgresql.md").read_text(encoding="utf-8")


def test_each_rule_asks_for_what_there_is_and_is_explained() -> None:
    assert metrics.LOG_DELAY
    names = {f"{metric.name}{end}" for metric in REGISTRY.collect() for end in ("", "_total", "_count", "_bucket")}
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len(rules) == len({rule["alert"] for rule in rules}) > 0
    for rule in rules:
        asked = set(re.findall(r"\brescind_\w+", rule["expr"]))
        assert asked
        assert asked <= names
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page).is_file()
        section = PAGE.lower().partition(f"\n## {anchor}\n")[2].partition("\n## ")[0]
        assert rule["alert"].lower() in section
        assert f"- name: {rule['alert']}\n" in TESTED
