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


def built(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Without `--quiet`, which would also keep `--strict` from counting warnings."""
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        "mkdocs.yml",
        "--site-dir",
        str(folder),
    ]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(build, cwd=source, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = built(ROOT, folder)
    assert made.returncode == 0, made.stderr
    return folder


def test_links_that_lead_nowhere_stop_the_build(tmp_path: Path) -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = re.search(r"^validation:\n(?:  .*\n)+", settings, re.MULTILINE)
    assert validation
    links = ("nowhere.md", "other.md#nowhere", "#nowhere", "/other.md")
    (tmp_path / "mkdocs.yml").write_text(f"site_name: A\ntheme: mkdocs\n{validation[0]}", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(" ".join(f"[a link]({link})" for link in links), encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text("# Other\n", encoding="utf-8")
    made = built(tmp_path, tmp_path / "site")
    assert made.returncode == 1
    assert all(f"'{link}'" in made.stderr for link in links), made.stderr


def test_every_page_is_there(site: Path) -> None:
    pages = {str(page.relative_to(site).with_suffix(".md")) for page in site.rglob("*.html")} - {"404.md"}
    written = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    handlers = {f"providers/{readme.parent.name}.md" for readme in ROOT.glob("handlers/*/README.md")}
    project = {f"project/{name}.md" for name in ("changelog", "contributing", "security")}
    read_elsewhere = {"reference/ready-policies.md", "reference/recipes.md"}
    assert pages == written | handlers | project | read_elsewhere


def test_pages_load_nothing_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert [tag for tag in LOADING.findall(text) if ELSEWHERE.search(tag)] == [], page
        assert [mark for mark in FETCHING if mark in text] == [], page
    for style in site.rglob("*.css"):
        assert IMPORTED.search(style.read_text(encoding="utf-8")) is None, style
