"""Workflows use actions by commit hash only, and the files under `.github` are valid YAML of the expected form."""

from __future__ import annotations

import re
from itertools import chain

import yaml
from pages import ROOT

WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))
PINNED = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def test_actions_are_pinned_by_hash() -> None:
    lines = chain.from_iterable(file.read_text(encoding="utf-8").splitlines() for file in WORKFLOWS)
    uses = [line for line in lines if re.search(r"\buses:", line)]
    assert len(uses) > 4
    assert [line for line in uses if not PINNED.search(line)] == []


def test_workflows_have_few_rights_and_end() -> None:
    for file in WORKFLOWS:
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, file
        assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values()), file


def test_issue_forms_ask_for_something() -> None:
    for file in FORMS:
        form = yaml.safe_load(file.read_text(encoding="utf-8"))
        if file.name != "config.yml":
            fields = [field for field in form["body"] if field["type"] != "markdown"]
            assert form["name"], file
            assert len({field["id"] for field in fields}) == len(fields) > 0, file


def test_dependabot_looks_where_the_locks_are() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    folders = {update["directory"].strip("/") for update in updates if update["package-ecosystem"] == "pip"}
    assert folders == {str(file.parent.relative_to(ROOT)) for file in ROOT.glob("requirements/*.txt")}
