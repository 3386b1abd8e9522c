"""JMESPath with a bound on its steps.

What the tree tells of a path (`path_cost`) is in multiples of the document. The interpreter takes a microsecond and
more for each part of a path at each element, so for the half million elements that one mebibyte may have, seconds.
"""

from __future__ import annotations

from typing import Any

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult
from jmespath.visitor import TreeInterpreter

STEPS_MAX = 10_000
"""So many parts and elements one evaluation may go through: some ten milliseconds."""


class TooManyStepsError(JMESPathError):
    """The document has too many elements for the path."""


def search(path: ParsedResult, document: Any) -> Any:
    """What the path gives. Raises `JMESPathError`: `TooManyStepsError` where that would take too long."""
    return _Interpreter().visit(path.parsed, document)


class _Interpreter(TreeInterpreter):
    """Counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self._called = Functions()
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
        """How many elements a value has, however deep; no further than there are steps left."""
        count, waiting = 0, [value]
        while waiting and count <= self._left:
            part = waiting.pop()
            count += _elements(part)
            if count <= self._left and type(part) in (list, dict):
                waiting.extend(part.values() if type(part) is dict else part)
        return count


def _elements(value: Any) -> int:
    return len(value) if type(value) in (list, dict) else 0
