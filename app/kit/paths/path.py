"""Paths into a source's JSON: JMESPath (jmespath.org), checked when it is configured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Annotated, Any

import jmespath
from jmespath.exceptions import EmptyExpressionError, IncompleteExpressionError, JMESPathError, ParseError
from pydantic import AfterValidator, Field

from app.contract import MalformedPayload
from app.kit.paths.budget import SHARED_STEPS_MAX, STEPS_MAX, TooManyStepsError, search
from app.kit.paths.cost import WORK_MAX, cost
from app.kit.paths.functions import PathFunctions

PATH_CHARS_MAX = 1000

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_FUNCTIONS = PathFunctions.FUNCTION_TABLE


def find(path: str | None, document: Any) -> Any:
    """What stands at `path`; None where nothing does, or no path is configured.

    Raises `MalformedPayload` where a function of the path does not take it, or it has too many elements for the path.
    """
    if path is None:
        return None
    try:
        return _finder(path)(document)
    except TooManyStepsError as error:
        if error.shared:
            raise MalformedPayload(
                f"all paths together would go through more than {SHARED_STEPS_MAX:,} elements of it, or too much text "
                f"(at {path}): let fewer paths have functions and projections, or have fewer events sent at once"
            ) from error
        raise MalformedPayload(
            f"the path {path} would go through more than {STEPS_MAX:,} elements of it, or too much text: "
            "select a part of it first"
        ) from error
    except (JMESPathError, RecursionError, TypeError, OverflowError) as error:
        # What the source sent is not repeated: it may be anything.
        raise MalformedPayload(f"the path {path} cannot be applied to it ({type(error).__name__})") from error


@lru_cache(maxsize=4096)
def is_plain(path: str) -> bool:
    """Whether the path is only names with full stops between them."""
    return _PLAIN.fullmatch(path) is not None


def check(path: str) -> str:
    """`path`, if it is JMESPath; raises ValueError."""
    try:
        parsed = jmespath.compile(path).parsed
    except EmptyExpressionError as error:
        raise ValueError("give a JMESPath such as data.order.id, or leave it out") from error
    except IncompleteExpressionError as error:
        raise ValueError(f"the JMESPath {path!r} ends too early") from error
    except ParseError as error:
        where = f"column {error.lex_position + 1}"
        raise ValueError(f"no JMESPath: {where} of {path!r} is not expected there") from error
    except RecursionError as error:
        raise ValueError("the JMESPath is nested too deeply") from error
    _check_functions(parsed)
    if cost(parsed).work > WORK_MAX:
        raise ValueError(
            f"the JMESPath may go through a document more than {WORK_MAX:g} times: it copies what it is given "
            "again and again; select the part that is needed first"
        )
    return path


Path = Annotated[str, Field(min_length=1, max_length=PATH_CHARS_MAX), AfterValidator(check)]
"""A JMESPath in the configuration."""


@lru_cache(maxsize=4096)
def _finder(path: str) -> Callable[[Any], Any]:
    """The search for a path. Most paths are plain keys, and the interpreter would take ten times as long for them."""
    if not _PLAIN.fullmatch(path):
        return partial(search, jmespath.compile(path))
    keys = tuple(path.split("."))

    def walk(document: Any) -> Any:
        for key in keys:
            if type(document) is not dict:
                return None
            document = document.get(key)
        return document

    return walk


def _check_functions(node: Mapping[str, Any]) -> None:
    """Refuse functions that do not exist: the library notices them only when they are called."""
    if node["type"] == "function_expression":
        name, given = node["value"], len(node["children"])
        if name not in _FUNCTIONS:
            raise ValueError(f"JMESPath has no function {name}")
        wanted = _FUNCTIONS[name]["signature"]
        is_open = bool(wanted) and wanted[-1].get("variadic", False)
        if given < len(wanted) or (given > len(wanted) and not is_open):
            raise ValueError(f"the function {name} of JMESPath takes {len(wanted)} arguments, and has {given}")
        if name in ("split", "replace") and node["children"][1].get("value") == "":
            raise ValueError(f"{name} looks for an empty text, which is everywhere: say what it is to find")
    for child in node["children"]:
        if isinstance(child, dict):
            _check_functions(child)
