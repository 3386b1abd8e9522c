"""Write the generated pages of the documentation: `python docs/generate.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from generator.pages import ROOT, generated


def outdated() -> dict[Path, str]:
    """Files that differ from what the code gives today, with the text they should have."""
    texts = {ROOT / path: text for path, text in generated().items()}
    return {file: text for file, text in texts.items() if not file.exists() or file.read_text(encoding="utf-8") != text}


def main() -> int:
    """Write what is out of date, and say so."""
    for file, text in outdated().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(f"wrote {file.relative_to(ROOT)}")  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
