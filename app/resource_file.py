"""Resource files: YAML (or JSON), with `${NAME}` for values from the environment."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from app.prepared import InvalidResourceError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's words: `on`, the key of a policy, is no truth value."""


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_resource_file(path: Path) -> dict[str, Any]:
    """The resources in a file. Raises `InvalidResourceError` with the place and the cure."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidResourceError(f"{path} cannot be read: {error}") from error
    try:
        read = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise InvalidResourceError(f"{path} is not YAML: {error}") from error
    if not isinstance(read, dict):
        raise InvalidResourceError(f"{path} must hold a mapping with accounts and endpoints")
    filled: dict[str, Any] = _fill(read, str(path))
    return filled


def _fill(value: Any, where: str) -> Any:
    """Variables are put in after parsing: whatever a value holds, it cannot change what the file says."""
    if isinstance(value, dict):
        return {_key(key): _fill(each, f"{where}: {key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, f"{where}[{number}]") for number, each in enumerate(value)]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _variable(found[1], where), value)
    return value


def _key(key: Any) -> Any:
    """A key as JSON has it, which is text: `true` and `1` stand in tables of words."""
    return json.dumps(key) if isinstance(key, bool | int | float) else key


def _variable(name: str, where: str) -> str:
    if name not in os.environ:
        raise InvalidResourceError(f"{where}: the environment variable {name} is not set")
    return os.environ[name]
