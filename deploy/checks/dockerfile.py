"""Runs a Dockerfile's own steps without a container engine, as far as ours needs: FROM, COPY, RUN, ENV, WORKDIR …

The base image is this machine: its file system, below a layer of each stage's own that takes what the steps write, with
this Python as /usr/local, where the official images have theirs. It needs root, in a mount namespace of its own
(`unshare --mount`), which ends with the process.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pip

_LOCAL = "usr/local"


@dataclass
class Stage:
    """A stage of a Dockerfile: its instructions in turn, and what they set."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    user: str = "0:0"
    folder: str = "/"
    said: dict[str, str] = field(default_factory=dict)
    """Other instructions, the last of each kind: ENTRYPOINT, CMD, HEALTHCHECK, VOLUME …"""


def read(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises ValueError for an instruction that is not understood."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for instruction in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        kind, _, rest = instruction.strip().partition(" ")
        if kind == "FROM":
            stages.append(Stage(rest.partition(" AS ")[2] or str(len(stages))))
        elif kind in ("COPY", "RUN", "ENV", "WORKDIR", "USER"):
            stages[-1].steps.append((kind, rest.strip()))
        elif kind in ("ENTRYPOINT", "CMD", "HEALTHCHECK", "VOLUME", "EXPOSE", "LABEL", "STOPSIGNAL"):
            stages[-1].said[kind] = rest.strip()
        elif kind and kind != "ARG":
            raise ValueError(f"{kind}: this instruction is not understood here")
    return stages


def context(folder: Path, into: Path) -> None:
    """What a build sees of a folder, by its .dockerignore, which has to be an allow-list."""
    rules = [line for line in (folder / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    if rules[0] != "*":
        raise ValueError(".dockerignore has to begin with `*`")
    refused = [rule.removeprefix("**/") for rule in rules[1:] if rule.startswith("**/")]

    def ignored(_: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if any(fnmatch(name, pattern) for pattern in refused)]

    for name in (rule[1:] for rule in rules if rule.startswith("!")):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, into / name, ignore=ignored)
        else:
            shutil.copy2(folder / name, into / name)


class Build:
    """Runs stages in `work`, a folder to which nothing else is written."""

    def __init__(self, context: Path, work: Path) -> None:
        self._context, self._work = context, work
        self.roots: dict[str, Path] = {}
        _call("mount", "--make-rprivate", "/")
        _call("mount", "-t", "tmpfs", "tmpfs", str(work))

    def run(self, stage: Stage) -> Path:
        """Run a stage's steps; returns the root of its file system."""
        root = self.roots[stage.name] = self._base(stage.name)
        for kind, rest in stage.steps:
            if kind == "ENV":
                stage.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            elif kind == "USER":
                stage.user = rest
            elif kind == "WORKDIR":
                stage.folder = rest
                (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif kind == "COPY":
                self._copy(stage, root, rest)
            else:
                command = re.sub(r"--mount=\S+\s+", "", rest)
                _call(*inside(root, stage, ["/bin/sh", "-c", command]))
        return root

    def _base(self, name: str) -> Path:
        root = self._layer(Path("/"), self._work / name)
        self._layer(Path(sys.base_prefix), self._work / f"{name}-local", root / _LOCAL)
        _put_pip(root / _LOCAL)
        # A slim image has no user but root; this machine may have one of any name.
        for file, line in (
            ("passwd", "root:x:0:0::/root:/bin/sh"),
            ("group", "root:x:0:"),
            ("shadow", "root:*:1::::::"),
        ):
            (root / "etc" / file).write_text(f"{line}\n")
        (root / "etc/gshadow").write_text("root:*::\n")
        # As in the official images: this Python's library is the one in /usr/local.
        _call("chroot", str(root), "ldconfig")
        for folder in ("proc", "dev"):
            _call("mount", "--rbind", f"/{folder}", str(root / folder))
        _call("mount", "-t", "tmpfs", "tmpfs", str(root / "tmp"))
        return root

    @staticmethod
    def _layer(lower: Path, place: Path, at: Path | None = None) -> Path:
        upper, work, root = place / "upper", place / "work", at or place / "root"
        for folder in (upper, work, root):
            folder.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        _call("mount", "-t", "overlay", "overlay", "-o", options, str(root))
        return root

    def _copy(self, stage: Stage, root: Path, rest: str) -> None:
        words = shlex.split(rest)
        source = self._context
        if words[0].startswith("--from="):
            source = self.roots[words.pop(0).removeprefix("--from=")]
        *names, to = words
        target = root / os.path.join(stage.folder, to).lstrip("/")  # noqa: PTH118 - an absolute `to` replaces the folder
        for name in names:
            path = source / name.lstrip("/")
            if path.is_dir():
                shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
            else:
                folder = target if to.endswith("/") else target.parent
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / path.name if to.endswith("/") else target)


def inside(root: Path, stage: Stage, command: list[str]) -> list[str]:
    """The command line that runs a command in a stage's file system, as its user, without any capability of root's."""
    user, _, group = stage.user.partition(":")
    drop = [] if user == "0" else ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    env = {"HOME": "/root", **_of_downloads(), **stage.env}
    return [
        *("chroot", str(root), "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *drop),
        *("env", "-i", f"--chdir={stage.folder}", *(f"{name}={value}" for name, value in env.items())),
        *command,
    ]


def exec_form(said: str) -> list[str]:
    """A command in exec form. Raises ValueError for one that needs a shell."""
    words: list[str] = json.loads(said)
    return words


def _of_downloads() -> dict[str, str]:
    """Where this machine's pip downloads from, and through what."""
    kept = re.compile(r"PIP_\w+|\w+_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if kept.fullmatch(name)}


def _put_pip(local: Path) -> None:
    """Put this environment's pip in place of the Python's, which may be old, slow or missing: images have a new one."""
    (site,) = local.glob(f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")
    for old in (*site.glob("pip"), *site.glob("pip-*.dist-info")):
        shutil.rmtree(old)
    package = Path(pip.__file__).parent
    for new in (package, *package.parent.glob("pip-*.dist-info")):
        shutil.copytree(new, site / new.name)


def _call(*command: str) -> None:
    subprocess.run(command, check=True)
