"""Resource files: YAML (or JSON), with `${NAME}` for values from the environment, and the place of every value."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.config.faults import InvalidResourceError

VALUES_MAX = 200_000
"""So many values a file may have, with every alias (`*name`) counted as what it stands for."""
FAULTS_MAX = 50
"""So many faults of a file are shown."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's words: `on`, the key of a policy, is no truth value."""


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


@dataclass(frozen=True, slots=True)
class ResourceFile:
    """A resource file that was read."""

    name: str
    resources: dict[str, Any]
    _root: yaml.Node

    def place(self, kind: str, id: str, number: int | None, path: Sequence[str | int]) -> str:
        """`FILE:line:column` of a value in a resource, or of the nearest around it that stands in the file."""
        return f"{self.name}:{_mark(self._at(kind, id, number, path))}"

    def _at(self, kind: str, id: str, number: int | None, path: Sequence[str | int]) -> yaml.Node:
        if number is None and id:
            listed = self.resources.get(kind)
            ids = [each.get("id") if isinstance(each, dict) else None for each in listed or ()]
            number = ids.index(id) if id in ids else None
        steps = [kind, *([] if number is None else [number, *path])]
        return _node_at(self._root, steps)

    def located(self, error: InvalidResourceError) -> InvalidResourceError:
        """`error` with the place of everything that is wrong, a line for each."""
        if not error.faults:
            return error
        nodes = [(self._at(each.kind, each.id, each.number, each.path), str(each)) for each in error.faults]
        nodes.sort(key=lambda found: found[0].start_mark.index)
        return InvalidResourceError(listed([f"{self.name}:{_mark(node)}: {text}" for node, text in nodes]))


def open_resource_file(path: Path) -> ResourceFile:
    """The resources in a file. Raises `InvalidResourceError` with the place and the cure of all that is wrong."""
    name = "standard input" if str(path) == "/dev/stdin" else str(path)
    root, read = load(path, name)
    if root is None or not isinstance(read, dict):
        raise InvalidResourceError(f"{name} must hold a mapping with accounts and endpoints")
    missing = [
        f"{name}:{_mark(node)}: the environment variable {found} is not set (nor in .env)"
        for node in _values(root)
        for found in _VARIABLE.findall(str(node.value))
        if found not in os.environ
    ]
    if missing:
        raise InvalidResourceError(listed(missing))
    return ResourceFile(name, _fill(read), root)


def read_resource_file(path: Path) -> dict[str, Any]:
    """The resources in a file, without their places. Raises `InvalidResourceError`."""
    return open_resource_file(path).resources


def load(path: Path, name: str) -> tuple[yaml.Node | None, Any]:
    """A YAML file as nodes, which know their places, and as values. Raises `InvalidResourceError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InvalidResourceError(f"{name} cannot be read: {said}") from error
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _require_bounded(root, name)
        return root, loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        said = " ".join(part for part in (error.problem, error.context) if part)
        raise InvalidResourceError(f"{place}: this is not YAML: {said}") from error
    except yaml.YAMLError as error:
        raise InvalidResourceError(f"{name} is not YAML: {error}") from error
    except RecursionError as error:
        raise InvalidResourceError(f"{name} is nested too deeply") from error
    finally:
        loader.dispose()


def listed(lines: Sequence[str]) -> str:
    """Faults, a line for each."""
    more = len(lines) - FAULTS_MAX
    return "\n".join([*lines[:FAULTS_MAX], *([f"and {more} more"] if more > 0 else [])])


def _require_bounded(root: yaml.Node, name: str) -> None:
    """Refuse aliases that a few hundred bytes of blow up to more than any machine can hold."""
    sizes: dict[int, int] = {}
    open_now: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_now:
            raise InvalidResourceError(f"{name}:{_mark(node)}: an alias stands for what it is part of")
        open_now.add(id(node))
        count = 1 + sum(size(each) for each in _inner(node))
        if count > VALUES_MAX:
            raise InvalidResourceError(
                f"{name}:{_mark(node)}: with its aliases written out it has more than {VALUES_MAX} values"
            )
        open_now.discard(id(node))
        sizes[id(node)] = count
        return count

    size(root)


def _inner(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _values(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every scalar that is a value and no key, once."""
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
    """The node at `path`, or the last on the way there; of a name in a mapping, the name."""
    node = shown = root
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = shown = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if found is None:
                return shown
            shown, node = found
    return shown


def _mark(node: yaml.Node) -> str:
    return f"{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _fill(value: Any) -> Any:
    """Variables are put in after parsing: whatever a value holds, it cannot change what the file says."""
    if isinstance(value, dict):
        return {_key(key): _fill(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each) for each in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: os.environ[found[1]], value)
    return value


def _key(key: Any) -> Any:
    """A key as JSON has it, which is text: `true` and `1` stand in tables of words."""
    return json.dumps(key) if isinstance(key, bool | int | float) else key
