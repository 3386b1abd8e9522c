"""Rescind as it is installed from its wheel: a clean virtual environment, and a folder outside the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
_LOCKED = re.compile(r"^(\S+==[^\\\n]+?)\s*\\?$", re.MULTILINE)
_OURS = ("RESCIND_", "SLIPCOVER_", "PYTHON", "VIRTUAL_ENV", "COLUMNS")
"""Variables of this process that a command in the new environment must not see."""


@dataclass
class Installed:
    """An environment with Rescind in it, and the folder in which commands are run."""

    environment: Path
    folder: Path

    @property
    def program(self) -> str:
        return str(self.environment / "bin/rescind")

    @property
    def site(self) -> Path:
        (site,) = self.environment.glob("lib/python*/site-packages")
        return site

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a user who has set nothing of Rescind's."""
        return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}

    def run(self, *args: str, code: int = 0, program: str = "", **env: str) -> tuple[str, str]:
        """Run `rescind`, or another program, which must end with this exit code; its output and its errors."""
        done = subprocess.run(
            [program or self.program, *args],
            cwd=self.folder,
            env={**self.variables, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout, done.stderr


def install(folder: Path) -> Installed:
    """Build the sdist, the wheel from that, and install it with the locked runtime requirements and nothing else.

    The requirements are links into the environment that runs the tests, where they were installed from a lock of the
    same versions and hashes (`deploy/checks/test_release.py` compares the two); so no test needs the network.
    """
    wheel = build(folder)[-1]
    work = folder / "work"
    work.mkdir()
    installed = Installed(folder / "environment", work)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(installed.environment)], check=True)
    link(installed, locked(ROOT / "requirements/runtime.txt"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    # Nothing is looked up: all that the wheel requires is there, or this fails.
    into = ["--python", str(installed.environment / "bin/python"), "install", "--no-index"]
    subprocess.run([*pip, *into, str(wheel)], check=True)
    return installed


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel that is built from the repository, and the one that is built from the sdist in an empty folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory"]
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run([*command, str(folder / "dist")], cwd=ROOT, env=env, check=True, capture_output=True)
    (sdist,) = (folder / "dist").glob("rescind-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    again = [*command, str(folder / "again"), "--target", "wheel"]
    subprocess.run(again, cwd=source, env=env, check=True, capture_output=True)
    (wheel,), (second,) = ((folder / name).glob("rescind-*.whl") for name in ("dist", "again"))
    return wheel, second


def locked(lock: Path) -> list[Requirement]:
    """The requirements of a lock that hold on this machine."""
    requirements = map(Requirement, _LOCKED.findall(lock.read_text(encoding="utf-8")))
    return [each for each in requirements if each.marker is None or each.marker.evaluate()]


def extra(name: str) -> list[Requirement]:
    """What the extra of that name adds, with all that this requires in turn."""
    return _required("rescind", name, {})


def _required(of: str, extra_name: str, seen: dict[str, Requirement]) -> list[Requirement]:
    for text in distribution(of).requires or ():
        requirement = Requirement(text)
        is_of_extra = requirement.marker is not None and "extra" in str(requirement.marker)
        holds = requirement.marker is None or requirement.marker.evaluate({"extra": extra_name})
        if holds and is_of_extra == bool(extra_name) and requirement.name not in seen:
            seen[requirement.name] = requirement
            _required(requirement.name, "", seen)
    return list(seen.values())


def link(installed: Installed, requirements: list[Requirement]) -> None:
    """Link the files of distributions into the environment."""
    for requirement in requirements:
        source = distribution(requirement.name)
        assert requirement.specifier.contains(source.version), f"{requirement} is locked, {source.version} is installed"
        for path, original in _files(requirement.name):
            target = installed.site / path
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(original)


def _files(name: str) -> Iterator[tuple[Path, Path]]:
    """The files of a distribution below site-packages, with what is compiled of them already."""
    source = distribution(name)
    for file in source.files or ():
        path, original = Path(file), Path(str(source.locate_file(file)))
        if ".." not in path.parts and original.is_file():
            yield path, original
            if path.suffix == ".py" and (compiled := Path(cache_from_source(str(original)))).is_file():
                yield path.parent / "__pycache__" / compiled.name, compiled
