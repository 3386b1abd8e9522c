"""The index of the alerts: their rules, and the first sentence of each runbook."""

from __future__ import annotations

from pathlib import Path

import yaml

from generator.markdown import table

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "observability" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"


def index() -> str:
    """A table of all alerts, in the order of the rules."""
    rules = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    rows = [
        (
            f"[{rule['alert']}](runbooks/{rule['alert']}.md)",
            rule["labels"]["severity"],
            "at once" if rule["for"] == "0m" else rule["for"],
            meaning(rule["alert"]),
        )
        for rule in rules
    ]
    return table(("alert", "severity", "after", "meaning"), rows)


def meaning(alert: str) -> str:
    """What the runbook begins with, after the severity."""
    paragraph = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8").split("\n\n")[1]
    return paragraph.partition(".* ")[2]
