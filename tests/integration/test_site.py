"""The documentation's site builds without a warning, and its pages load nothing from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADING = re.compile(r"<(?:script|img|iframe|source|link|object|embed)\b[^>]*", re.IGNORECASE)
ELSEWHERE = re.compile(r"""\b(?:src|href|data)=["']?(?:https?:)?//""")
IMPORTED = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""")
# What makes the theme's script fetch something: diagrams drawn by mermaid, and a repository's stars and forks.
FETCHING = ('class="mermaid"', 'data-md-component="source"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    made = subprocess.run(
        build, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {str(page.relative_to(site).with_suffix(".md")) for page in site.rglob("*.html")} - {"404.md"}
    written = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    handlers = {f"providers/{readme.parent.name}.md" for readme in ROOT.glob("handlers/*/README.md")}
    project = {f"project/{name}.md" for name in ("changelog", "contributing", "security")}
    assert pages == written | handlers | project | {"reference/ready-policies.md"}


def test_pages_load_nothing_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert [tag for tag in LOADING.findall(text) if ELSEWHERE.search(tag)] == [], page
        assert [mark for mark in FETCHING if mark in text] == [], page
    for style in site.rglob("*.css"):
        assert IMPORTED.search(style.read_text(encoding="utf-8")) is None, style
