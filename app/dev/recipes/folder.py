"""Reads recipes: those of this release, or one in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.config.faults import InvalidResourceError
from app.config.file import VARIABLE, load, place_of, substitute
from app.dev.recipes.model import AnswerSpec, FixtureSpec, RecipeSpec, VectorSpec
from app.dev.recipes.shipped import FILE, names, shipped
from app.runtime.validation_messages import validation_message

M = TypeVar("M", bound=BaseModel)

ANSWERS = "answers.json"
RESOURCES = ("accounts", "endpoints")
DIGEST_CHARS = 12


class RecipeError(Exception):
    """A recipe cannot be read; `faults` names each field, and says what to do."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Recipe:
    """A recipe with its fixtures."""

    name: str
    folder: Path
    spec: RecipeSpec
    text: str
    """`recipe.yaml` as it is written."""
    root: yaml.Node
    fixtures: dict[str, FixtureSpec]
    answers: tuple[AnswerSpec, ...]
    vectors: tuple[VectorSpec, ...]

    def place(self, *path: str | int) -> str:
        """`recipe.yaml:line:column` of a value."""
        return place_of(FILE, self.root, path)

    @property
    def account_id(self) -> str:
        """The id of its account, as the recipe writes it."""
        return str(self.spec.accounts[0].get("id", ""))

    @property
    def endpoint_id(self) -> str | None:
        """The id of its endpoint."""
        return str(self.spec.endpoints[0].get("id", "")) if self.spec.endpoints else None

    @property
    def resources(self) -> dict[str, list[dict[str, Any]]]:
        """Its accounts and endpoints, with `${NAME}` as written."""
        kinds = {"accounts": self.spec.accounts, "endpoints": self.spec.endpoints}
        return {kind: list(bodies) for kind, bodies in kinds.items() if bodies}

    @cached_property
    def examples(self) -> dict[str, str]:
        """The stand-in of every value that it asks for."""
        return {name: ask.example for name, ask in self.spec.asks.items()}

    @cached_property
    def example_resources(self) -> dict[str, list[dict[str, Any]]]:
        """Its resources with the stand-ins. Raises `KeyError` for a variable that it does not ask for."""
        filled: dict[str, list[dict[str, Any]]] = substitute(self.resources, self.examples)
        return filled

    @cached_property
    def resources_text(self) -> str:
        """The part of `recipe.yaml` that an operator gets: accounts and endpoints, with their comments."""
        keys = (key for key, _ in getattr(self.root, "value", ()) if key.value in RESOURCES)
        return self.text[min(key.start_mark.index for key in keys) :]

    @cached_property
    def digest(self) -> str:
        """What tells this version of the resources from any other."""
        return sha256(self.resources_text.encode()).hexdigest()[:DIGEST_CHARS]


def folder_of(given: str) -> Path | None:
    """The folder of a recipe that is given by its folder or its file; None: by no path. Raises `RecipeError`."""
    path = Path(given)
    if (path / FILE).is_file():
        return path
    if not path.is_file():
        return None
    if path.name != FILE:
        raise RecipeError(f"{given} is no recipe: give its folder, or the {FILE} in it")
    return path.parent


def open_recipe(given: str) -> Recipe:
    """A recipe by its name, its folder or its file. Raises `RecipeError`."""
    folder = folder_of(given)
    if folder is not None:
        return read(folder)
    if given in names():
        return read(shipped() / given)
    listed = ", ".join(names()) or "none here"
    raise RecipeError(f"There is no recipe {given!r}, nor a folder with a {FILE}; there are: {listed}")


def _as_it_is(entry: Any, _: type[BaseModel]) -> Any:
    return entry


def read(folder: Path, draft: Callable[[Any, type[Any]], Any] = _as_it_is) -> Recipe:
    """The recipe in a folder. Raises `RecipeError` with all faults of its files.

    `draft` completes a fixture or an answer that says nothing of its result yet.
    """
    file = folder / FILE
    try:
        root, content = load(file, FILE)
        text = file.read_text(encoding="utf-8")
    except InvalidResourceError as error:
        raise RecipeError(*str(error).splitlines()) from error
    if root is None or not isinstance(content, dict):
        raise RecipeError(f"{FILE} must hold a mapping with source, asks, cells, accounts and so on")
    faults = [*_faults_in_order(root)]
    try:
        spec = RecipeSpec.model_validate(content)
    except ValidationError as error:
        faults += [f"{place_of(FILE, root, path)}: {text}" for path, text in _faults_in(error, RecipeSpec)]
        raise RecipeError(*faults) from None
    examples = {name: ask.example for name, ask in spec.asks.items()}
    fixtures: dict[str, FixtureSpec] = {}
    for path in sorted((folder / "fixtures").glob("*.json")):
        for fixture in _read_json(path, f"fixtures/{path.name}", FixtureSpec, examples, faults, draft):
            fixtures[path.stem] = fixture
    answers = tuple(_read_list(folder / ANSWERS, AnswerSpec, examples, faults, draft))
    vectors = tuple(_read_list(folder / "vector.json", VectorSpec, {}, faults, draft))
    if faults:
        raise RecipeError(*faults)
    return Recipe(folder.resolve().name, folder, spec, text, root, fixtures, answers, vectors)


def _faults_in_order(root: yaml.Node) -> Iterator[str]:
    """`add` writes the end of the file, so the resources must be there."""
    keys = [key.value for key, _ in getattr(root, "value", ())]
    given = [key for key in keys if key in RESOURCES]
    if keys[len(keys) - len(given) :] != given:
        yield f"{FILE}: accounts and endpoints must be the last keys of the file: `add` writes them as they stand"


def _read_list(
    file: Path, model: type[M], examples: dict[str, str], faults: list[str], draft: Callable[[Any, type[Any]], Any]
) -> Iterator[M]:
    """The entries of a file that holds a list, or one entry; none where there is no file."""
    if not file.exists():
        return
    yield from _read_json(file, file.name, model, examples, faults, draft)


def _read_json(
    file: Path,
    name: str,
    model: type[M],
    examples: dict[str, str],
    faults: list[str],
    draft: Callable[[Any, type[Any]], Any],
) -> Iterator[M]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        faults.append(f"{name}: this is not JSON: {error}")
        return
    entries = content if isinstance(content, list) else [content]
    for number, entry in enumerate(entries):
        where = f"{name}[{number}]" if isinstance(content, list) else name
        unknown = sorted({*_variables(entry)} - examples.keys()) if examples else ()
        faults += [f"{where}: ${{{variable}}} is not in `asks`" for variable in unknown]
        if unknown:
            continue
        try:
            filled = substitute(entry, examples) if examples else entry
            yield TypeAdapter(model).validate_python(draft(filled, model) if isinstance(filled, dict) else filled)
        except ValidationError as error:
            faults += [f"{where}: {text}" for _, text in _faults_in(error, model)]


def _variables(value: Any) -> Iterator[str]:
    """The names of `${NAME}` in a JSON value."""
    return (match[1] for match in VARIABLE.finditer(json.dumps(value)))


def _faults_in(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Sequence[str | int], str]]:
    for details in error.errors(include_input=False, include_url=False):
        path, text = details["loc"], validation_message(details, model)
        yield path, f"{'.'.join(map(str, path))}: {text}" if path else text
