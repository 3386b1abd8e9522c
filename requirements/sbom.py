"""Write the SBOM of the locked runtime requirements (CycloneDX, JSON): `python requirements/sbom.py FILE`.

`cyclonedx-py` makes the components of the lock. Added to them is what the lock does not say and the distributions do
that are installed here, in the same versions: licenses, and who requires whom.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements/runtime.txt"
NAME = "rescind"
_SEPARATORS = re.compile(r"[-_.]+")


def sbom() -> dict[str, Any]:
    """The SBOM, as JSON."""
    command = [Path(sys.executable).with_name("cyclonedx-py"), "requirements", LOCK]
    options = ["--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--no-validate", "--sv", "1.6"]
    # It warns that nobody requires anything, which is added below.
    made = subprocess.run([*command, *options], capture_output=True, text=True, check=True)  # noqa: S603 - no user's input
    document: dict[str, Any] = json.loads(made.stdout)
    version = distribution(NAME).version
    root = document["metadata"]["component"]
    root |= {"version": version, "purl": f"pkg:pypi/{NAME}@{version}"}
    components = {canonical(component["name"]): component for component in document["components"]}
    for name, component in components.items():
        del component["description"]  # the line of the lock
        if licenses := _licenses(name):
            component["licenses"] = licenses
    refs = {name: component["bom-ref"] for name, component in components.items()} | {NAME: root["bom-ref"]}
    document["dependencies"] = [
        {"ref": ref, "dependsOn": sorted({refs[other] for other in _requires(name) if other in refs})}
        for name, ref in sorted(refs.items())
    ]
    return document


def fault(text: str) -> str | None:
    """What is wrong with an SBOM by the schema of CycloneDX 1.6; None if it is valid."""
    error = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6).validate_str(text)
    return None if error is None else str(error)


def canonical(name: str) -> str:
    """A distribution's name in the spelling by which names are compared."""
    return _SEPARATORS.sub("-", name).lower()


def _licenses(name: str) -> list[dict[str, Any]]:
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:  # of another platform
        return []
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License :: ")]
    names = [line.rpartition(" :: ")[2] for line in classifiers] or [metadata.get("License", "")]
    return [{"license": {"name": license}} for license in names if license]


def _requires(name: str) -> list[str]:
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return []
    requirements = map(Requirement, lines)
    return [canonical(each.name) for each in requirements if each.marker is None or "extra" not in str(each.marker)]


if __name__ == "__main__":
    written = json.dumps(sbom(), indent=2, sort_keys=True) + "\n"
    if problem := fault(written):
        sys.exit(f"The SBOM is not valid: {problem}")
    Path(sys.argv[1]).write_text(written, encoding="utf-8")
