"""Links between files of the repository lead somewhere, and modules that the documentation names exist.

What MkDocs checks of the site (pages, anchors, navigation) is checked by building it: `tests/integration/test_site.py`.
"""

from __future__ import annotations

import re
from functools import cache

from generator.markdown import anchor
from pages import NAMES, ROOT, prose, read

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
MODULE = re.compile(r"`((?:app|handlers|tests|docs|deploy|requirements)/[\w./-]*)`")
NO_FILES = {"app/uninstalled"}
"""A webhook's topic at Shoplazza."""
MADE_AT_BUILD = re.compile(r"docs/(providers/(?!index)|project/|reference/(ready-policies|recipes))")


@cache
def anchors(name: str) -> set[str]:
    """The anchors of a file's headings."""
    return {anchor(heading.replace("`", "")) for heading in HEADING.findall(prose(name))}


def leads_somewhere(name: str, path: str, fragment: str) -> bool:
    target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
    inside = str(target.relative_to(ROOT))
    if MADE_AT_BUILD.match(inside):
        return True
    return target.exists() and (not fragment or target.suffix != ".md" or fragment in anchors(inside))


def test_relative_links_resolve() -> None:
    links = [(name, path, fragment) for name in NAMES for path, fragment in LINK.findall(prose(name))]
    assert len(links) > 100
    assert [link for link in links if not leads_somewhere(*link)] == []


def test_named_files_exist() -> None:
    named = {(name, path) for name in NAMES for path in MODULE.findall(read(name)) if path not in NO_FILES}
    assert len(named) > 20
    missing = [
        (name, path) for name, path in named if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()
    ]
    assert missing == []
