"""What the tests of the documentation share: the Markdown files, their code blocks, their links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("handlers/*/README.md"), *ROOT.glob("deploy/**/*.md")]
)
NAMES = [str(file.relative_to(ROOT)) for file in FILES]
_FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block, and where it begins."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(*languages: str) -> Iterator[Block]:
    for name in NAMES:
        text = read(name)
        for found in _FENCE.finditer(text):
            if not languages or found[2] in languages:
                body = "\n".join(line.removeprefix(found[1]) for line in found[3].splitlines())
                yield Block(name, text.count("\n", 0, found.start()) + 1, found[2], body)


def prose(name: str) -> str:
    """A file's text without its code blocks."""
    return _FENCE.sub("", read(name))
