"""Pages of the site that are kept elsewhere in the repository: each is read where it is, and copied nowhere.

MkDocs calls `on_files` when it collects the pages. A relative link in such a page is rewritten so that it leads to the
page made of the same file; a link to a file that is no page of the site becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
POLICIES = "deploy/policies/README.md"
ELSEWHERE = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    POLICIES: "reference/ready-policies.md",
    "deploy/recipes/README.md": "reference/recipes.md",
    **{
        f"handlers/{readme.parent.name}/README.md": f"providers/{readme.parent.name}.md"
        for readme in ROOT.glob("handlers/*/README.md")
    },
}
_LINK = re.compile(r"\[([^]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are kept elsewhere."""
    for source, page in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source == POLICIES:
            text += "".join(_policy(file) for file in sorted((ROOT / source).parent.glob("*.yaml")))
        files.append(File.generated(config, page, content=rewritten(text, source, page)))
    return files


def _policy(file: Path) -> str:
    return f"\n## {file.name}\n\n```yaml\n{file.read_text(encoding='utf-8')}```\n"


def rewritten(text: str, source: str, page: str) -> str:
    """The text of the file `source`, with relative links that hold at `page`."""

    def replace(found: re.Match[str]) -> str:
        words, path, fragment = found[1], found[2], found[3] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if source == POLICIES and path.endswith(".yaml"):
            return f"[{words}](#{path.replace('.', '')})"
        if target in ELSEWHERE:
            target = f"docs/{ELSEWHERE[target]}"
        if not target.startswith("docs/"):
            return words
        return f"[{words}]({posixpath.relpath(target.removeprefix('docs/'), posixpath.dirname(page))}{fragment})"

    return _LINK.sub(replace, text)
