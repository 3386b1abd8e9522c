"""A recipe as a resource file: the operator's values in place, secrets left as `${NAME}`, and the version noted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from app.config.faults import InvalidResourceError
from app.config.file import VARIABLE, parse, substitute
from app.dev.recipes.folder import Recipe, RecipeError

NOTE = re.compile(
    r"^ *# recipe: (?P<name>[\w.-]+) (?P<digest>[0-9a-f]+)\b[^\n]*\n *- id: [\"']?(?P<account>[\w.-]+)", re.MULTILINE
)
"""The comment above an account that a recipe has made, and the account's id."""
_TEXT = "tag:yaml.org,2002:str"
_ACCOUNTS = re.compile(r"^accounts:[^\n]*\n(?P<indent> *)", re.MULTILINE)


def written(recipe: Recipe, values: Mapping[str, str], account: str | None = None) -> str:
    """The text of a resource file with an account and an endpoint. Raises `RecipeError` for a value that does not fit.

    Args:
        recipe: the recipe.
        values: for each value that it asks for, what is written: the value, or for a secret `${NAME}`.
        account: the account's id instead of the recipe's; the endpoint's begins with it.
    """
    text = _with_ids(recipe, account or recipe.name)
    _, template = parse(text, recipe.name)
    for name in recipe.examples:
        _require_written(name, values[name], text, template, recipe.examples)
    filled = _filled(text, values)
    found = _ACCOUNTS.search(filled)
    if found is None:
        raise RecipeError("accounts: write it as a list, one line for each key")
    note = f"{found['indent']}# recipe: {recipe.name} {recipe.digest} (compare: rescind recipe diff FILE)\n"
    start = found.start("indent")
    return f"{filled[:start]}{note}{filled[start:]}".rstrip() + "\n"


def _require_written(name: str, value: str, text: str, template: Any, examples: Mapping[str, str]) -> None:
    """Raise `RecipeError` if YAML would read another value than the one that is written."""
    values = {**examples, name: value}
    try:
        _, content = parse(_filled(text, values), name)
    except InvalidResourceError:
        content = None
    if content != substitute(template, values):
        raise RecipeError(
            f"{name}: this value cannot be written into the file: it has a character that YAML reads otherwise"
        )


def _filled(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(match[1], match[0]), text)


def _with_ids(recipe: Recipe, account: str) -> str:
    """The resources' text with the account's id, and the endpoint's after it."""
    text = recipe.resources_text
    root, _ = parse(text, recipe.name)
    for node, id in sorted(_ids(root, account), key=lambda pair: -pair[0].start_mark.index):
        # Of a number, a date or `null` YAML would make no text.
        scalar = id if getattr(yaml.compose(id, yaml.SafeLoader), "tag", "") == _TEXT else f'"{id}"'
        text = f"{text[: node.start_mark.index]}{scalar}{text[node.end_mark.index :]}"
    return text


def _ids(root: yaml.Node | None, account: str) -> Iterator[tuple[yaml.Node, str]]:
    """The nodes that hold ids, each with what it is to hold."""
    ids = {("accounts", "id"): account, ("endpoints", "account"): account, ("endpoints", "id"): f"{account}-in"}
    for kind, listed in getattr(root, "value", ()):
        for resource in listed.value:
            for key, node in resource.value:
                if (kind.value, key.value) in ids:
                    yield node, ids[kind.value, key.value]
