"""JMESPath with a bound on its steps.

What `path_cost` computes is in multiples of the document. The interpreter takes at least a microsecond for each part of
a path at each element, so seconds for the half million elements that one mebibyte may have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult
from jmespath.visitor import TreeInterpreter

from app.kit.paths.functions import CHARS_PER_STEP, PathFunctions

STEPS_MAX = 10_000
"""How many parts and elements one evaluation may visit: some ten milliseconds."""
SHARED_STEPS_MAX = 30_000
"""How many all evaluations may visit that share a budget: those for one request or response, some 40 ms."""
_READ_TEXT = frozenset({"contains", "starts_with", "ends_with", "join", "reverse", "to_number"})
"""JMESPath's own functions that go through a text; ours count by themselves."""
_BEGIN = 5
"""Steps that each evaluation takes of a shared budget besides its own."""


class Budget:
    """The steps that are left to several evaluations."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = SHARED_STEPS_MAX


_shared: ContextVar[Budget | None] = ContextVar("path_budget", default=None)


@contextmanager
def one_budget() -> Iterator[None]:
    """Evaluations inside of this share one budget; inside of another of these, that one's. Nothing may be awaited."""
    if _shared.get() is not None:
        yield
        return
    token = _shared.set(Budget())
    try:
        yield
    finally:
        _shared.reset(token)


class TooManyStepsError(JMESPathError):
    """The document has too many elements for the path; `shared`: for all paths together."""

    shared = False


class TooManySharedStepsError(TooManyStepsError):
    """See `TooManyStepsError`."""

    shared = True


def search(path: ParsedResult, document: Any) -> Any:
    """What the path gives. Raises `JMESPathError`: `TooManyStepsError` where that would take too long."""
    interpreter = _Interpreter()
    interpreter.begin()
    return interpreter.visit(path.parsed, document)


class _Interpreter(TreeInterpreter):
    """An interpreter that counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self._called = PathFunctions(self._take)
        self._left = STEPS_MAX
        self._shared = _shared.get()

    def begin(self) -> None:
        if self._shared is not None:
            self._shared.left -= _BEGIN

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
            self._take(self._read_by(node["value"], argument))
        return self._called.call_function(node["value"], given)

    def _read_by(self, function: str, argument: Any) -> int:
        if function == "to_string":
            return self._parts(argument)
        return _elements(argument) + (_text(argument) if function in _READ_TEXT else 0)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        sides = [self.visit(child, value) for child in node["children"]]
        # The library would visit them again.
        self._take(min(map(self._parts, sides)))
        literals = [{"type": "literal", "value": side, "children": []} for side in sides]
        comparison: Any = {**node, "children": literals}
        return super().visit_comparator(comparison, value)

    def _take(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise TooManyStepsError
        if self._shared is not None:
            self._shared.left -= steps
            if self._shared.left < 0:
                raise TooManySharedStepsError

    def _parts(self, value: Any) -> int:
        """How many elements, and steps of text, a value has at all depths; counts no further than the steps left."""
        count, waiting = 0, [value]
        while waiting and count <= self._left:
            part = waiting.pop()
            count += _elements(part) + _text(part)
            if count <= self._left and type(part) in (list, dict):
                waiting.extend(part.values() if type(part) is dict else part)
        return count


def _text(value: Any) -> int:
    return len(value) // CHARS_PER_STEP if isinstance(value, str) else 0


def _elements(value: Any) -> int:
    return len(value) if type(value) in (list, dict) else 0
