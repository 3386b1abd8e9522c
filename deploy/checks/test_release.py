"""A release's SBOM names what the lock installs, its licenses are allowed, and the locks agree."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from programs import ROOT, run

from app import __version__

REQUIREMENTS = ROOT / "requirements"
SBOM = runpy.run_path(str(REQUIREMENTS / "sbom.py"))
_LINE = re.compile(r"^(\S.*?)((?: *\\\n +--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


def locked(name: str) -> dict[str, tuple[Requirement, set[str]]]:
    """The requirements of a lock by their names, each with its hashes."""
    lines = _LINE.findall((REQUIREMENTS / name).read_text(encoding="utf-8"))
    requirements = [(Requirement(line), {*_HASH.findall(hashes)}) for line, hashes in lines]
    return {SBOM["canonical"](requirement.name): (requirement, hashes) for requirement, hashes in requirements}


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("sbom") / "rescind.cdx.json"
    run("python", REQUIREMENTS / "sbom.py", file)
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_sbom_is_of_this_version_and_holds_the_whole_lock(sbom: Any) -> None:
    root = sbom["metadata"]["component"]
    assert (root["name"], root["version"]) == ("rescind", __version__)
    lock = locked("runtime.txt")
    assert len(lock) == len(
        re.findall(r"^\S+==", (REQUIREMENTS / "runtime.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    components = {component["purl"]: component for component in sbom["components"]}
    assert len(components) == len(sbom["components"]) == len(lock)
    for name, (requirement, hashes) in lock.items():
        version = str(requirement.specifier).removeprefix("==")
        component = components[f"pkg:pypi/{name}@{version}"]
        files = [file for reference in component["externalReferences"] for file in reference["hashes"]]
        assert {file["content"] for file in files if file["alg"] == "SHA-256"} == hashes
        assert hashes
        assert component["licenses"]


def test_the_sbom_says_who_requires_whom(sbom: Any) -> None:
    graph = {row["ref"]: row.get("dependsOn", []) for row in sbom["dependencies"]}
    root, reached = sbom["metadata"]["component"]["bom-ref"], set()
    queue = [root]
    while queue:
        if (ref := queue.pop()) not in reached:
            reached.add(ref)
            queue += graph[ref]
    components = {component["bom-ref"]: component["name"] for component in sbom["components"]}
    assert {components[ref] for ref in components.keys() - reached} <= {"colorama"}, "only on another platform"


def test_all_licenses_are_allowed(tmp_path: Path) -> None:
    names = [
        requirement.name
        for requirement, _ in locked("runtime.txt").values()
        if requirement.marker is None or requirement.marker.evaluate()
    ]
    file = tmp_path / "licenses.md"
    run("pip-licenses", "--packages", *names, "--output-file", file)
    # A title, a line, and a row for each: what is not installed would be left out without a word.
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2 + len(names)


def test_a_server_gets_what_the_tests_ran_with() -> None:
    dev = locked("dev.txt")
    for name, (requirement, hashes) in locked("runtime.txt").items():
        assert requirement.specifier == dev[name][0].specifier
        assert hashes == dev[name][1]
