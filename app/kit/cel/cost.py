"""The maximum duration of the evaluation of a CEL expression, estimated from its syntax tree.

An expression that a user saves must not delay the orders of others (guarantee I11), and the library bounds only the
iterations of loops. So the size of every value is bounded (`ELEMENTS_MAX`, `TEXT_CHARS_MAX`; `check_values` refuses
larger ones), and from the sizes of its operands follow the size of every part of an expression and the time that it
takes. Times are in microseconds, rounded up from measurements of cel-expr-python 0.1 on a machine of 2026; only their
order of magnitude matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.kit.cel.syntax import Expr, dotted, kind_of

COST_MAX_US = 40_000.0
"""Maximum duration of one evaluation."""
TURNS_MAX = 10_000
"""The library aborts an evaluation after so many iterations of all its loops."""
ELEMENTS_MAX = 400
"""Maximum number of elements of a list or a map among the values of names."""
RECORDS_MAX = 100
"""Maximum number of records (appointments, duplicates)."""
TEXT_CHARS_MAX = 8192
"""Maximum length of a string among the values of names."""

_STEP_US = 0.1
"""A call, or one iteration of a loop."""
_CHAR_US = 0.05
"""A character or element that is split off or joined."""
_LOOK_US = 0.005
"""A character or element that is read or copied in bulk."""
_PAIR_US = 0.0001
"""A character that is compared with one of another string."""
_COPY_US = 0.07
"""An element of a list to which a loop appends: the library copies the list in every iteration."""
_PYTHON_US = 25.0
"""A call of a function that is written in Python."""
_LARGE_KINDS = frozenset({str, list, dict})
_ENDLESS = 1e12
"""Larger numbers are cut off at this, so that sizes stay finite."""


@dataclass(frozen=True, slots=True)
class Size:
    """The maximum size of a value."""

    count: float
    """Characters of a string, elements of a list or a map; 1 for any other value."""
    total: float
    """Characters and elements in all, at any depth."""
    item: Size | None = None
    """The maximum size of one element; None where one element may be the whole value."""
    elements: float = ELEMENTS_MAX
    """How many elements it, or a value in it, may have where `item` is None, as `count` may be that of a string."""

    @property
    def element(self) -> Size:
        """The size of its largest element."""
        return self.item or Size(self.total, self.total, elements=self.elements)

    @property
    def most(self) -> float:
        """The maximum number of elements of it, or of a value in it."""
        return max(self.count, self.item.most) if self.item else self.elements

    def plus(self, other: Size) -> Size:
        """The size of both values joined."""
        item = _larger(self.element, other.element) if self.item and other.item else None
        return _bounded(self.count + other.count, self.total + other.total, item, self.most + other.most)


SCALAR = Size(1, 1)
TEXT = Size(TEXT_CHARS_MAX, TEXT_CHARS_MAX)
ANYTHING = TEXT
"""A JSON value, no longer as text than the longest string."""
_LOOPS_MAX = 4
"""Maximum depth of nested loops over values whose elements are not known."""


NAME = Size(200, 200)
"""An id, a tag, a status."""


def list_of(item: Size, count: float = ELEMENTS_MAX) -> Size:
    """The size of a list or a map of `count` elements."""
    return Size(count, count * item.total, item)


class UnfitValueError(Exception):
    """A value is none that expressions take: larger than the estimates assume, or with a NUL."""


def check_values(values: Mapping[str, Any]) -> None:
    """Check that no value is larger than the estimates assume, nor has a NUL. Raises `UnfitValueError`.

    The library ends a text at its first NUL: two different ids would be one.
    """
    for name, value in values.items():
        kind = type(value)
        if kind is list:
            records = bool(value) and type(value[0]) is dict
            _check(name, value, RECORDS_MAX if records else ELEMENTS_MAX)
            for item in value:
                if type(item) in _LARGE_KINDS:
                    _check_deep(name, item)
        elif kind is dict:
            _check(name, value, ELEMENTS_MAX)
            for key, item in value.items():
                _check_nul(name, key)
                if type(item) in _LARGE_KINDS:
                    _check_deep(f"{name}.{key}", item)
        elif kind is str:
            _check_deep(name, value)


def _check(name: str, value: Any, maximum: int) -> None:
    if len(value) > maximum:
        unit = "characters" if type(value) is str else "elements"
        raise UnfitValueError(f"{name} has {len(value)} {unit}, and expressions take {maximum}")


def _check_nul(name: str, text: str) -> None:
    if "\0" in text:
        raise UnfitValueError(f"{name} has a NUL character, which expressions do not take")


def _check_deep(name: str, value: Any) -> None:
    _check(name, value, TEXT_CHARS_MAX if type(value) is str else ELEMENTS_MAX)
    if type(value) is str:
        _check_nul(name, value)
        return
    if type(value) is dict:
        for key in value:
            _check_nul(name, key)
    for item in value.values() if type(value) is dict else value:
        if type(item) in _LARGE_KINDS:
            _check_deep(name, item)


def cost_us(expr: Expr, names: Mapping[str, Size]) -> float:
    """Return the maximum duration of the evaluation of `expr`, in microseconds.

    Args:
        expr: from `app.kit.cel.syntax`.
        names: the maximum sizes of the values of the names that it may read.
    """
    estimate = _Estimate()
    estimate.size_of(expr, names)
    return estimate.us


@dataclass(slots=True)
class _Estimate:
    us: float = 0.0
    _loops: int = 0
    _outer: float = 1.0
    """How often the current part is evaluated, by the loops that contain it."""

    def size_of(self, expr: Expr, names: Mapping[str, Size]) -> Size:
        """The size of the value of `expr`; adds the time that it takes."""
        self._take(_STEP_US)
        kind = kind_of(expr)
        if kind == "const_expr":
            constant = expr.const_expr
            length = len(constant.string_value) + len(constant.bytes_value)
            return Size(length, length) if length else SCALAR
        if kind == "ident_expr":
            return names.get(expr.ident_expr.name.removeprefix("."), SCALAR)
        if kind == "select_expr":
            return self._selected(expr, names)
        if kind == "call_expr":
            return self._called(expr.call_expr, names)
        if kind == "comprehension_expr":
            return self._looped(expr.comprehension_expr, names)
        parts = []
        if kind == "list_expr":
            parts = [self.size_of(element, names) for element in expr.list_expr.elements]
        elif kind == "struct_expr":
            for entry in expr.struct_expr.entries:
                self.size_of(entry.map_key, names)
                parts.append(self.size_of(entry.value, names))
        item = None
        for part in parts:
            item = part if item is None else _larger(item, part)
        return _bounded(len(parts), len(parts) + sum(part.total for part in parts), item or SCALAR)

    def _selected(self, expr: Expr, names: Mapping[str, Size]) -> Size:
        # A dotted name of the scope is a selection in the syntax tree.
        name = dotted(expr)
        if name in names:
            return names[name]
        operand = self.size_of(expr.select_expr.operand, names)
        return SCALAR if expr.select_expr.test_only else operand.element

    def _called(self, call: Expr, names: Mapping[str, Size]) -> Size:
        given = [self.size_of(call.target, names)] if call.HasField("target") else []
        given += [self.size_of(argument, names) for argument in call.args]
        function = _FUNCTIONS.get(call.function, _linear)
        us, size = function(given)
        self._take(us)
        return size

    def _looped(self, loop: Expr, names: Mapping[str, Size]) -> Size:
        range_ = self.size_of(loop.iter_range, names)
        begun = self.size_of(loop.accu_init, names)
        turns = min(range_.count, range_.elements) if range_.item is None else range_.count
        ended = begun
        if turns and range_.item is not None:
            ended = self._turns(loop, turns, range_.element, begun, names)
        elif turns:
            # All elements together are no larger than the value. The worst case is one element as large as the value
            # and others of no size, as no function takes less than twice the time for twice the size.
            self._loops += 1
            if self._loops > _LOOPS_MAX:
                self._take(_ENDLESS)
                return SCALAR
            ended = self._turns(loop, 1, range_.element, begun, names)
            ended = self._turns(loop, turns - 1, SCALAR, ended, names)
            self._loops -= 1
        if ended.count > begun.count:
            self._take(self._taken(turns) * turns * _COPY_US)
        return self.size_of(loop.result, {**names, loop.accu_var: ended})

    def _turns(self, loop: Expr, turns: float, item: Size, begun: Size, names: Mapping[str, Size]) -> Size:
        """Iterate a loop `turns` times over such an item; returns the size of what it has accumulated."""
        before, outer, taken = self.us, self._outer, self._taken(turns)
        self._outer = outer * max(1.0, taken)
        inside = {**names, loop.iter_var: item, loop.accu_var: begun}
        self.size_of(loop.loop_condition, inside)
        grown = self.size_of(loop.loop_step, inside)
        turn_us, self.us, self._outer = self.us - before, before, outer
        self._take(turn_us * taken)
        count, total = max(0.0, grown.count - begun.count), max(0.0, grown.total - begun.total)
        one = grown.item if begun.item is None or grown.item is None else _larger(begun.item, grown.item)
        return _bounded(begun.count + count * turns, begun.total + total * turns, one)

    def _taken(self, turns: float) -> float:
        """How many iterations the library allows, each time that the loop runs."""
        return min(turns, TURNS_MAX / self._outer)

    def _take(self, us: float) -> None:
        self.us = min(_ENDLESS, self.us + us)


def _larger(one: Size, other: Size) -> Size:
    item = _larger(one.item, other.item) if one.item and other.item else None
    return Size(max(one.count, other.count), max(one.total, other.total), item, max(one.most, other.most))


def _bounded(count: float, total: float, item: Size | None = None, elements: float = ELEMENTS_MAX) -> Size:
    return Size(min(_ENDLESS, count), min(_ENDLESS, total), item, min(_ENDLESS, elements))


# -- Functions: sizes of the operands → (microseconds, size of the result) --------------------

Sizes = list[Size]
Function = Callable[[Sizes], tuple[float, Size]]


def _total(given: Sizes) -> float:
    return sum(size.total for size in given)


def _linear(given: Sizes) -> tuple[float, Size]:
    """Any other function: it reads all operands, and its result is no larger than they are."""
    total = _total(given)
    return total * _CHAR_US, _bounded(max(64.0, sum(size.count for size in given)), max(64.0, total))


def _look(given: Sizes) -> tuple[float, Size]:
    return _total(given) * _LOOK_US, SCALAR


def _same_size(given: Sizes) -> tuple[float, Size]:
    return _total(given) * _LOOK_US, given[0]


def _compare(given: Sizes) -> tuple[float, Size]:
    return min(size.total for size in given) * _LOOK_US / 10, SCALAR


def _among(given: Sizes) -> tuple[float, Size]:
    one, all_of = given
    return all_of.count * _STEP_US + min(all_of.total, all_of.count * one.total) * _LOOK_US, SCALAR


def _constant(_given: Sizes) -> tuple[float, Size]:
    return 0.0, SCALAR


def _either(given: Sizes) -> tuple[float, Size]:
    return 0.0, _larger(given[0], given[-1])


def _choice(given: Sizes) -> tuple[float, Size]:
    return 0.0, _larger(given[1], given[2])


def _element(given: Sizes) -> tuple[float, Size]:
    return 0.0, given[0].element


def _sum(given: Sizes) -> tuple[float, Size]:
    total = given[0].plus(given[1])
    return total.count * _LOOK_US, total


def _search(given: Sizes) -> tuple[float, Size]:
    return given[0].total * given[1].total * _PAIR_US + _total(given) * _LOOK_US, SCALAR


def _pattern(given: Sizes) -> tuple[float, Size]:
    return given[1].count * 10 + given[0].count * given[1].count * _CHAR_US / 50, SCALAR


def _replace(given: Sizes) -> tuple[float, Size]:
    text, old, new = given[0].count, given[1].count, given[2].count
    # An empty string is found between all characters.
    places = (text + 1) if old <= 1 else text / old
    count = text + places * new
    return (text + count) * _CHAR_US, _bounded(count, count)


def _split(given: Sizes) -> tuple[float, Size]:
    text = given[0].count
    return text * _CHAR_US * 2, _bounded(text + 1, 2 * text + 1, Size(text, text))


def _join(given: Sizes) -> tuple[float, Size]:
    separator = given[1].count if len(given) > 1 else 0.0
    count = given[0].total + given[0].count * separator
    return count * _CHAR_US, _bounded(count, count)


def _format(given: Sizes) -> tuple[float, Size]:
    # A clause may pad a number to 1,000 digits.
    count = given[0].count * 1000 + _total(given) * 2
    return _total(given) * _CHAR_US + count * _LOOK_US, _bounded(count, count)


def _twice(given: Sizes) -> tuple[float, Size]:
    total = 2 * _total(given) + 2
    return total * _CHAR_US, _bounded(total, total)


def _shown(given: Sizes) -> tuple[float, Size]:
    total = _total(given) + 64
    return total * _LOOK_US, _bounded(total, total)


def _digest(given: Sizes) -> tuple[float, Size]:
    return _PYTHON_US + _total(given) * _LOOK_US, _bounded(128, 128)


def _same(given: Sizes) -> tuple[float, Size]:
    return _PYTHON_US + _total(given) * _LOOK_US, SCALAR


_FUNCTIONS: Mapping[str, Function] = {
    "sha256": _digest,
    "hmac": _digest,
    "same": _same,
    "_?_:_": _choice,
    "_[_]": _element,
    "_[?_]": _element,
    "_?._": _element,
    "_+_": _sum,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "format": _format,
    "strings.quote": _twice,
    "base64.encode": _twice,
    "base64.decode": _linear,
    "contains": _search,
    "indexOf": _search,
    "lastIndexOf": _search,
    "matches": _pattern,
    "string": _shown,
    "bytes": _shown,
    "@in": _among,
    "size": lambda given: (given[0].count * _LOOK_US, SCALAR),
    **dict.fromkeys(("orValue", "or", "optional.of", "optional.ofNonZeroValue", "value"), _either),
    **dict.fromkeys(("lowerAscii", "upperAscii", "trim", "substring", "charAt"), _same_size),
    **dict.fromkeys(("startsWith", "endsWith", "timestamp", "duration", "int", "double", "bool"), _look),
    **dict.fromkeys(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"), _compare),
    **dict.fromkeys(("_&&_", "_||_", "!_", "@not_strictly_false", "-_", "_-_", "_*_", "_/_", "_%_"), _constant),
    **dict.fromkeys(("hasValue", "optional.none", "type"), _constant),
    "dyn": _either,
}
