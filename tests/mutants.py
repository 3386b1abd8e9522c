"""Put a sample of bugs into the code, one at a time, and tell which of them no test finds.

Usage: python -m tests.mutants [COUNT] [SEED]. The bugs go into a copy of the tree. Each is run against the tests that
are nearest to its file, and against all unit and contract tests where those do not find it.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALL = ["tests/unit", "tests/contract"]
ENDLESS_S = 300.0
"""Tests that take longer have met a bug that does not end."""
PLACES = ("app/core", "app/kit", "handlers")
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
Change = Callable[[], None]


def changes(tree: ast.AST) -> Iterator[tuple[int, str, Change]]:
    """Every bug that a tree can be given: the line, what it is, and how to put it in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            opposite = _OPPOSITE[type(node.ops[0])]
            yield node.lineno, opposite.__name__, lambda node=node, new=opposite: node.ops.__setitem__(0, new())
        elif isinstance(node, ast.BoolOp):
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield node.lineno, other.__name__, lambda node=node, new=other: setattr(node, "op", new())
        elif isinstance(node, (ast.If, ast.IfExp)):
            negated = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            yield node.lineno, "Not", lambda node=node, new=negated: setattr(node, "test", new)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
            sign = ast.Sub if isinstance(node.op, ast.Add) else ast.Add
            yield node.lineno, sign.__name__, lambda node=node, new=sign: setattr(node, "op", new())
        elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
            nothing = ast.copy_location(ast.Constant(None), node.value)
            yield node.lineno, "return None", lambda node=node, new=nothing: setattr(node, "value", new)


def found(copy: Path, tests: list[str]) -> bool:
    """Do these tests fail, as they should?"""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "--dist", "loadfile", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=ENDLESS_S, check=False)
    except subprocess.TimeoutExpired:
        return True
    assert run.returncode in {0, 1, 2, 4}, run.stdout[-2000:]
    return run.returncode != 0


def nearest(file: str) -> list[str]:
    """The tests that should know the file best."""
    if file.startswith("handlers/"):
        handler = file.split("/")[1]
        return [f"tests/unit/{handler}"]
    return ["tests/unit/kit"] if file.startswith("app/kit") else ["tests/unit/core", "tests/unit/policies"]


def main(count: int, seed: int) -> None:
    """Print a line for each bug, and the survivors' count at the end."""
    files = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py") if "simulat" not in path.name)
    places = [
        (file, number)
        for file in files
        for number in range(sum(1 for _ in changes(ast.parse(file.read_text("utf-8")))))
    ]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__")
        )
        assert not found(copy, ALL), "the tests must pass before a bug is put in"
        for file, number in random.Random(seed).sample(places, count):  # noqa: S311 - a sample
            name, text = str(file.relative_to(ROOT)), file.read_text("utf-8")
            tree = ast.parse(text)
            line, what, change = list(changes(tree))[number]
            change()
            (copy / name).write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
            by = "nearest" if found(copy, nearest(name)) else "all" if found(copy, ALL) else "-"
            survivors += by == "-"
            sys.stdout.write(f"{by:8} {name}:{line} {what}\n")
            sys.stdout.flush()
            (copy / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{count - survivors} of {count} found\n")


if __name__ == "__main__":
    main(*map(int, (sys.argv[1:] + ["60", "1"][len(sys.argv) - 1 :])))
