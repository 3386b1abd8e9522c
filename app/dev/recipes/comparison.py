"""How an account in a file differs from the recipe that made it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config.faults import InvalidResourceError
from app.config.file import VARIABLE, parse
from app.dev.recipes.folder import Recipe, RecipeError, open_recipe
from app.dev.recipes.written import NOTE

_IDS = ("id", "account")
"""Fields of resources that the operator chooses."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not the recipe's. None: it is not there."""

    path: str
    file: Any
    recipe: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """An account with its endpoints, and the recipe of this release."""

    account: str
    recipe: str
    changed: bool
    """Whether the recipe is another than the one that made the account."""
    differences: tuple[Difference, ...]


def comparisons(path: Path) -> list[Comparison]:
    """Every account in a file that a recipe has made. Raises `RecipeError`."""
    try:
        text = path.read_text(encoding="utf-8")
        _, content = parse(text, str(path))
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"{path} cannot be read: {cause}") from error
    except InvalidResourceError as error:
        raise RecipeError(*str(error).splitlines()) from error
    found = [*NOTE.finditer(text)]
    if not found or not isinstance(content, dict):
        raise RecipeError(
            f"{path} has no account with the comment `# recipe: …` that `rescind recipe add` writes above it"
        )
    return [_comparison(match, content) for match in found]


def _comparison(note: re.Match[str], content: Mapping[str, Any]) -> Comparison:
    recipe, account = open_recipe(note["name"]), note["account"]
    differences = [*_differences(recipe, account, content)]
    return Comparison(account, recipe.name, recipe.digest != note["digest"], tuple(differences))


def _differences(recipe: Recipe, account: str, content: Mapping[str, Any]) -> Iterator[Difference]:
    accounts, endpoints = content.get("accounts") or [], content.get("endpoints") or []
    made = [body for body in accounts if body.get("id") == account]
    taken = [body for body in endpoints if body.get("account") == account]
    for kind, own, theirs in (("account", made, recipe.spec.accounts), ("endpoint", taken, recipe.spec.endpoints)):
        if bool(own) != bool(theirs):
            yield Difference(kind, "none" if not own else "there", "none" if not theirs else "there")
        for body in own:
            for other in theirs:
                yield from _changes(_without_ids(body), _without_ids(other), kind)


def _without_ids(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in _IDS}


def _changes(file: Any, recipe: Any, path: str) -> Iterator[Difference]:
    """The values that differ, at any depth; a value that the recipe asks for may be any."""
    if isinstance(file, dict) and isinstance(recipe, dict):
        for key in dict.fromkeys([*recipe, *file]):
            yield from _changes(file.get(key), recipe.get(key), f"{path}.{key}")
    elif isinstance(file, list) and isinstance(recipe, list) and len(file) == len(recipe):
        for number, (own, other) in enumerate(zip(file, recipe, strict=True)):
            yield from _changes(own, other, f"{path}.{number}")
    elif file != recipe and not _asked(file, recipe):
        yield Difference(path, file, recipe)


def _asked(file: Any, recipe: Any) -> bool:
    """Whether the recipe's text becomes the file's by some values for its `${NAME}`."""
    if not isinstance(recipe, str) or VARIABLE.search(recipe) is None or not isinstance(file, str):
        return False
    literals = VARIABLE.split(recipe)[::2]
    return re.fullmatch("(.+)".join(map(re.escape, literals)), file, re.DOTALL) is not None
