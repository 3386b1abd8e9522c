"""The classes of requests and responses, a module for each tag that first uses them, and those of `APART`."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from generator.client.types import Schema, annotation, references
from generator.docstrings import meanings_of

_WIDTH = 110
APART = {"explanations": ("Explanation",), "probes": ("ProbeResult", "RequestedProbes", "WaitingProbes")}
"""Module → components with what only they refer to, so that a module of all that orders have does not get too long."""
_MUTABLE = {"[]": "list", "{}": "dict"}


def assigned(components: Mapping[str, Schema], used: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Module → its components: those that its operations use, directly or not, and no earlier module has."""
    placed: dict[str, list[str]] = {}
    taken: set[str] = set()
    for module, names in used.items():
        own = [name for name in _closure(components, names) if name not in taken]
        taken.update(own)
        placed[module] = [name for name in own if not _is_page(name)]
    for module, roots in APART.items():
        placed[module] = _take(roots, placed, components)
    return placed


def _take(roots: Sequence[str], placed: Mapping[str, list[str]], components: Mapping[str, Schema]) -> list[str]:
    """Take components out of their modules, with all of the same module that nothing else there refers to."""
    taken: list[str] = []
    for names in placed.values():
        moved = set(_closure(components, [name for name in roots if name in names])) & set(names)
        kept = [name for name in names if name not in moved]
        moved -= set(_closure(components, kept))
        taken += [name for name in names if name in moved]
        names[:] = [name for name in names if name not in moved]
    return taken


def _closure(components: Mapping[str, Schema], names: Sequence[str]) -> list[str]:
    """The components and all that they refer to; what is referred to comes first."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in done:
            for inner in references(components[name]):
                if inner != name:
                    visit(inner)
            done[name] = None

    for name in names:
        visit(name)
    return list(done)


def module_text(
    title: str, names: Sequence[str], components: Mapping[str, Schema], homes: Mapping[str, str], module: str
) -> str:
    """The module of these components."""
    classes = "\n\n\n".join("\n".join(_component(name, components[name])) for name in names)
    imported: dict[str, list[str]] = {}
    for name in dict.fromkeys(references([components[name] for name in names])):
        if homes[name] != module:
            imported.setdefault(homes[name], []).append(name)
    lines = [
        f'"""{title}."""',
        "",
        "from __future__ import annotations",
        "",
        "from datetime import datetime",
        "from collections.abc import Mapping, Sequence",
        "from typing import TYPE_CHECKING, Any, Literal",
        "",
        "from msgspec import field",
        "",
        "from rescind_client.model import Model",
        *[f"from rescind_client.models.{home} import {', '.join(sorted(inner))}" for home, inner in imported.items()],
        "",
        classes,
    ]
    return "\n".join(lines) + "\n"


def _component(name: str, schema: Schema) -> Iterator[str]:
    if "enum" in schema:
        values = ", ".join(f'"{value}"' for value in schema["enum"])
        yield f"if TYPE_CHECKING:\n    {name} = Literal[{values}]"
        yield f"else:\n    {name} = str  # A later server may add values."
        yield _docstring(schema.get("description", name), "")
        return
    sent = schema.get("additionalProperties") is False
    options = ", kw_only=True" + (", omit_defaults=True" if sent else "")
    yield f"class {name}(Model{options}):"
    yield _docstring(schema.get("description") or name, "    ")
    said = meanings_of(name)
    required = schema.get("required", ())
    for wire, given in schema.get("properties", {}).items():
        yield _field(wire, given, is_required=wire in required, sent=sent)
        meaning = given.get("description") or said.get(wire)
        if meaning:
            yield _docstring(meaning, "    ")


def _docstring(text: str, indent: str) -> str:
    """The text as a docstring; one of several lines has a first line of its own."""
    if len(text) < _WIDTH:
        return f'{indent}"""{text}"""'
    return "\n".join(
        [*textwrap.wrap(f'"""{text}', _WIDTH, initial_indent=indent, subsequent_indent=indent), f'{indent}"""']
    )


def _field(wire: str, schema: Schema, *, is_required: bool, sent: bool) -> str:
    name = f"{wire}_" if keyword.iskeyword(wire) else wire
    kind = annotation(schema, sent=sent)
    if is_required:
        default = f'field(name="{wire}")' if name != wire else ""
        return f"    {name}: {kind}{f' = {default}' if default else ''}"
    default = _default(schema, sent=sent)
    if default == "None" and "None" not in kind.split(" | "):
        kind += " | None"
    return f"    {name}: {kind} = {default}"


def _default(schema: Schema, *, sent: bool) -> str:
    """The default of what may be absent. What is sent has the server's, by being left out."""
    value = schema.get("default")
    if sent or value is None:
        return "None"
    if repr(value) in ("()", "[]", "{}"):
        return f"field(default_factory={_MUTABLE['{}' if value == {} else '[]']})"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _is_page(name: str) -> bool:
    return name.startswith(("Page_", "SearchPage_"))


def used_by(operation: dict[str, Any], components: Mapping[str, Schema]) -> list[str]:
    """The components in an operation's responses and in the fields of its body, which are parameters."""
    successes = [given for status, given in operation["responses"].items() if status.startswith("2")]
    body = operation.get("requestBody", {}).get("content", {})
    fields = [components[name] for name in references(body)]
    return references([successes, fields])
