"""Workflows of continuous integration fit their schemas, and zizmor finds no risk in them."""

from __future__ import annotations

from programs import ROOT, run

GITHUB = ROOT / ".github"


def test_workflows_and_dependabot_fit_their_schemas() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *sorted(GITHUB.glob("workflows/*.yml")))
    run("check-jsonschema", "--builtin-schema", "vendor.dependabot", GITHUB / "dependabot.yml")


def test_zizmor_finds_no_risk() -> None:
    run("zizmor", "--offline", "--no-progress", "--quiet", GITHUB)
