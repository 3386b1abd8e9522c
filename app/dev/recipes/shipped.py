"""Where the recipes of this release are."""

from __future__ import annotations

import sysconfig
from pathlib import Path

FILE = "recipe.yaml"


def shipped() -> Path:
    """The folder with the recipes of this release: in the repository, or where an installation has shared data."""
    own = Path(__file__).resolve().parents[3] / "deploy" / "recipes"
    return own if own.is_dir() else Path(sysconfig.get_path("data")) / "share" / "rescind" / "recipes"


def names() -> list[str]:
    """The names of the recipes of this release."""
    return sorted(file.parent.name for file in shipped().glob(f"*/{FILE}"))
