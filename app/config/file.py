"""Resource files: YAML or JSON, with `${NAME}` for environment variables, and the position of every value."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.config.faults import InvalidResourceError

VALUES_MAX = 200_000
"""Most values in a file, with every alias (`*name`) counted as its content."""
FAULTS_MAX = 50
"""Faults of a file that are shown."""
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""`${NAME}` in a value; the group is the name."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2 booleans: `on`, a key of policies, is text."""


_BOOL = "tag:yaml.org,2002:bool"
# The problems of PyYAML whose words do not say what to change.
_YAML_ADVICE = {"mapping values are not allowed here": " (put a value that holds a colon and a space in quotes)"}
_Loader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


@dataclass(frozen=True, slots=True)
class ResourceFile:
    """A resource file, read."""

    name: str
    resources: dict[str, Any]
    _root: yaml.Node
    variables: tuple[str, ...] = ()
    """The variables that it refers to."""

    def place(self, kind: str, id: str, number: int | None, path: Sequence[str | int]) -> str:
        """`FILE:line:column` of a value in a resource, or of the nearest enclosing value in the file."""
        return f"{self.name}:{_mark(self._at(kind, id, number, path))}"

    def _at(self, kind: str, id: str, number: int | None, path: Sequence[str | int]) -> yaml.Node:
        if number is None and id:
            bodies = self.resources.get(kind) or ()
            ids = [body.get("id") if isinstance(body, dict) else None for body in bodies]
            number = ids.index(id) if id in ids else None
        steps = [kind, *([] if number is None else [number, *path])]
        return _node_at(self._root, steps)

    def located(self, error: InvalidResourceError) -> InvalidResourceError:
        """`error` with the position of each fault, one per line."""
        if not error.faults:
            return error
        nodes = [(self._at(fault.kind, fault.id, fault.number, fault.path), str(fault)) for fault in error.faults]
        nodes.sort(key=lambda pair: pair[0].start_mark.index)
        return InvalidResourceError(listed([f"{self.name}:{_mark(node)}: {text}" for node, text in nodes]))


class MissingVariablesError(InvalidResourceError):
    """A file refers to variables that are not set; the message has a line for each place."""

    def __init__(self, places: Sequence[tuple[str, str]]) -> None:
        super().__init__(
            listed(
                [
                    f"{place}: the environment variable {name} is not set (nor in .env or as a file of secrets)"
                    for place, name in places
                ]
            )
        )
        self.names = tuple(dict.fromkeys(name for _, name in places))
        """The variables, each once."""


def open_resource_file(path: Path) -> ResourceFile:
    """The resources in a file. Raises `InvalidResourceError` with the position of all faults."""
    name = "standard input" if str(path) == "/dev/stdin" else str(path)
    return resources_in(name, *load(path, name))


def resources_in(
    name: str,
    root: yaml.Node | None,
    content: Any,
    environment: Mapping[str, str] | None = None,
    kinds: Collection[str] | None = None,
) -> ResourceFile:
    """The resources in a file that was loaded. Raises `InvalidResourceError` with the position of all faults.

    Args:
        name: of the file, for messages.
        root: see `load`.
        content: see `load`.
        environment: the values of its variables; by default the process's environment.
        kinds: read these and no other keys, as of a file that holds more than resources; by default all.
    """
    variables = os.environ if environment is None else environment
    if root is None or not isinstance(content, dict):
        problem = "is empty" if root is None else "holds no mapping"
        raise InvalidResourceError(f"{name} {problem}: list accounts and endpoints, as `rescind init` writes them")
    if kinds is not None:
        content = {kind: content[kind] for kind in kinds if kind in content}
    parts = [root] if kinds is None else [value for key, value in root.value if key.value in kinds]
    used = [
        (f"{name}:{_mark(node)}", variable)
        for part in parts
        for node in _values(part)
        for variable in VARIABLE.findall(str(node.value))
    ]
    missing = [(place, variable) for place, variable in used if variable not in variables]
    if missing:
        raise MissingVariablesError(missing)
    return ResourceFile(name, substitute(content, variables), root, tuple(dict.fromkeys(one for _, one in used)))


def read_resource_file(path: Path) -> dict[str, Any]:
    """The resources in a file, without positions. Raises `InvalidResourceError`."""
    return open_resource_file(path).resources


def load(path: Path, name: str) -> tuple[yaml.Node | None, Any]:
    """A YAML file as nodes, which have positions, and as values. Raises `InvalidResourceError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise InvalidResourceError(f"{name} cannot be read: {cause}") from error
    return parse(text, name)


def parse(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """YAML as nodes, which have positions, and as values. Raises `InvalidResourceError`."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise InvalidResourceError(f"{name} is not YAML: {error}") from error
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _require_bounded(root, name)
        return root, loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = " ".join(part for part in (error.problem, error.context) if part)
        problem += _YAML_ADVICE.get(error.problem or "", "")
        raise InvalidResourceError(f"{place}: this is not YAML: {problem}") from error
    except yaml.YAMLError as error:
        raise InvalidResourceError(f"{name} is not YAML: {error}") from error
    except RecursionError as error:
        raise InvalidResourceError(f"{name} is nested too deeply") from error
    finally:
        loader.dispose()


def place_of(name: str, root: yaml.Node, path: Sequence[str | int]) -> str:
    """`FILE:line:column` of the value at `path`, or of the nearest enclosing value in the file."""
    return f"{name}:{_mark(_node_at(root, path))}"


def substitute(value: Any, variables: Mapping[str, str]) -> Any:
    """`value` with its variables replaced; after parsing, so that a variable cannot change the file's structure.

    Raises `KeyError` for a variable that `variables` has not.
    """
    if isinstance(value, dict):
        return {_key(key): substitute(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, variables) for item in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda match: variables[match[1]], value)
    return value


def listed(lines: Sequence[str]) -> str:
    """Faults, one per line."""
    more = len(lines) - FAULTS_MAX
    return "\n".join([*lines[:FAULTS_MAX], *([f"and {more} more"] if more > 0 else [])])


def _require_bounded(root: yaml.Node, name: str) -> None:
    """Refuse aliases that expand a few hundred bytes to more than fits into memory."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_nodes:
            raise InvalidResourceError(f"{name}:{_mark(node)}: an alias stands for what it is part of")
        open_nodes.add(id(node))
        count = 1 + sum(size(child) for child in _children(node))
        if count > VALUES_MAX:
            raise InvalidResourceError(
                f"{name}:{_mark(node)}: with its aliases written out it has more than {VALUES_MAX} values"
            )
        open_nodes.discard(id(node))
        sizes[id(node)] = count
        return count

    size(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _values(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every scalar that is a value, not a key, once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in reversed(node.value)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        else:
            yield node


def _node_at(root: yaml.Node, path: Sequence[str | int]) -> yaml.Node:
    """The node at `path`, or the last one on the way there; for an entry of a mapping, its key."""
    node = shown = root
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = shown = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            entry = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if entry is None:
                return shown
            shown, node = entry
    return shown


def _mark(node: yaml.Node) -> str:
    return f"{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _key(key: Any) -> Any:
    """A key as in JSON, where it is text: `true` and `1` are keys of tables of words."""
    return json.dumps(key) if isinstance(key, bool | int | float) else key
