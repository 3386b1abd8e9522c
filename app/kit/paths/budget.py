"""JMESPath with a bound on its steps.

What `path_cost` computes is in multiples of the document. The interpreter takes at least a microsecond for each part of
a path at each element, so seconds for the half million elements that one mebibyte may have.
"""

from __future__ import annotations

from typing import Any

from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult
from jmespath.visitor import TreeInterpreter

from app.kit.paths.functions import PathFunctions

STEPS_MAX = 10_000
"""How many parts and elements one evaluation may visit: some ten milliseconds."""


class TooManyStepsError(JMESPathError):
    """The document has too many elements for the path."""


def search(path: ParsedResult, document: Any) -> Any:
    """What the path gives. Raises `JMESPathError`: `TooManyStepsError` where that would take too long."""
    return _Interpreter().visit(path.parsed, document)


class _Interpreter(TreeInterpreter):
    """An interpreter that counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self._called = PathFunctions(self._take)
        self._left = STEPS_MAX

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._take(1)
        return super().visit(node, *args, **kwargs)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        self._take(_elements(base))
        flatten: Any = {"type": "flatten", "children": [{"type": "literal", "value": base, "children": []}]}
        return super().visit_flatten(flatten, value)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        given = [self.visit(child, value) for child in node["children"]]
        for argument in given:
            self._take(self._parts(argument) if node["value"] == "to_string" else _elements(argument))
        return self._called.call_function(node["value"], given)

    def _take(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise TooManyStepsError

    def _parts(self, value: Any) -> int:
        """How many elements a value has at all depths; counts no further than the steps that are left."""
        count, waiting = 0, [value]
        while waiting and count <= self._left:
            part = waiting.pop()
            count += _elements(part)
            if count <= self._left and type(part) in (list, dict):
                waiting.extend(part.values() if type(part) is dict else part)
        return count


def _elements(value: Any) -> int:
    return len(value) if type(value) in (list, dict) else 0
