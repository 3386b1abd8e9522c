"""The table of order sources, from the recipes."""

from __future__ import annotations

from collections import Counter

from app.dev.recipes.folder import Recipe, read
from app.dev.recipes.model import CELLS, Missing
from app.dev.recipes.shipped import names, shipped
from generator.markdown import anchor, table


def sources() -> str:
    """Each source, and which parts of its integration work."""
    return table(("source", "`rescind recipe add`", *CELLS), map(_row, _recipes()))


def details() -> str:
    """A section for each source: how each part works, what is guessed, documents and fixtures."""
    return "\n\n".join(map(_section, _recipes()))


def _recipes() -> list[Recipe]:
    return sorted((read(shipped() / name) for name in names()), key=lambda recipe: recipe.spec.source.lower())


def _row(recipe: Recipe) -> tuple[str, ...]:
    cells = (getattr(recipe.spec.cells, cell) for cell in CELLS)
    marks = ("**missing**" if isinstance(cell, Missing) else "✓" for cell in cells)
    return (f"[{recipe.spec.source}](#{anchor(recipe.spec.source)})", f"`{recipe.name}`", *marks)


def _section(recipe: Recipe) -> str:
    spec = recipe.spec
    cells = ((cell, getattr(spec.cells, cell)) for cell in CELLS)
    parts = table(("part", "how it works"), ((name, _shown(cell)) for name, cell in cells))
    documents = ", ".join(f"[{number}]({url})" for number, url in enumerate(spec.docs, 1))
    counted = Counter(each.provenance for each in (*recipe.fixtures.values(), *recipe.answers))
    fixtures = ", ".join(f"{counted[kind]} {kind}" for kind in ("recorded", "documented", "synthetic") if counted[kind])
    vectors = f", {len(recipe.vectors)} published signatures" if recipe.vectors else ""
    guessed = "\n".join(f"- {sentence}" for sentence in spec.guessed) or "- nothing"
    rests_on = f"Documents: {documents}. Fixtures and answers: {fixtures}{vectors}. No document states:"
    return f"### {spec.source}\n\n{parts}\n\n{rests_on}\n\n{guessed}"


def _shown(cell: Missing | str) -> str:
    return f"**missing**: {cell.missing}" if isinstance(cell, Missing) else cell
