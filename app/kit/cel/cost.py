"""How long the evaluation of a CEL expression can take at the most, told from its syntax tree.

Whoever may save an expression must not be able to hold up everybody else's orders with it (guarantee I11), and the
library has a bound on the iterations of loops only. So the size of every value is bounded (`ELEMENTS_MAX`,
`TEXT_CHARS_MAX`; `hold_to_sizes` refuses larger ones), and from the sizes that go in follows for every part of an
expression the size that comes out, and the time that it takes. Times are in microseconds, rounded up from what
cel-expr-python 0.1 took on a machine of 2026; what counts is their order of magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.kit.cel.syntax import Expr, dotted, kind_of

COST_MAX_US = 40_000.0
"""The longest time that one evaluation may take."""
TURNS_MAX = 10_000
"""After so many turns of all its loops together the library gives an evaluation up."""
ELEMENTS_MAX = 400
"""How many elements a list or a map that goes in may have."""
RECORDS_MAX = 100
"""How many records (appointments, duplicates) may go in."""
TEXT_CHARS_MAX = 8192
"""How long a text that goes in may be."""

_STEP_US = 0.1
"""One call, one turn of a loop."""
_CHAR_US = 0.05
"""One character or element that is taken apart or put together."""
_LOOK_US = 0.005
"""One character or element that is looked at or copied in one go."""
_PAIR_US = 0.0001
"""One character compared with one of another text."""
_COPY_US = 0.07
"""One element of a list to which a loop appends: the library copies the list each time."""
_LARGE_KINDS = frozenset({str, list, dict})
_ENDLESS = 1e12
"""Above this a number is only large; so sizes stay finite."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a value may be."""

    count: float
    """Characters of a text, elements of a list or of a map; 1 for any other value."""
    weight: float
    """Characters and elements in all, however deep."""
    item: Size | None = None
    """What one element may be; None where it may be all that the value holds."""
    elements: float = ELEMENTS_MAX
    """How many elements it, or a value in it, may have where `item` is None: `count` may be that of a text."""

    @property
    def element(self) -> Size:
        """The largest element of it."""
        return self.item or Size(self.weight, self.weight, elements=self.elements)

    @property
    def most(self) -> float:
        """How many elements it, or a value in it, may have."""
        return max(self.count, self.item.most) if self.item else self.elements

    def plus(self, other: Size) -> Size:
        """One after the other."""
        item = _larger(self.element, other.element) if self.item and other.item else None
        return _bounded(self.count + other.count, self.weight + other.weight, item, self.most + other.most)


SCALAR = Size(1, 1)
TEXT = Size(TEXT_CHARS_MAX, TEXT_CHARS_MAX)
ANYTHING = TEXT
"""A JSON value of which the text is so long at the most."""
_LOOPS_MAX = 4
"""How deep loops over what has no known elements may be nested."""


NAME = Size(200, 200)
"""An id, a tag, a status."""


def list_of(item: Size, count: float = ELEMENTS_MAX) -> Size:
    """A list, or a map, of so many such elements."""
    return Size(count, count * item.weight, item)


class TooLargeError(Exception):
    """A value is larger than the time limit of expressions was reckoned with."""


def hold_to_sizes(values: Mapping[str, Any]) -> None:
    """Check that no value of a name is larger than was reckoned with. Raises `TooLargeError`."""
    for name, value in values.items():
        kind = type(value)
        if kind is list:
            records = bool(value) and type(value[0]) is dict
            _hold(name, value, RECORDS_MAX if records else ELEMENTS_MAX)
        elif kind is dict:
            _hold(name, value, ELEMENTS_MAX)
            for key, each in value.items():
                if type(each) in _LARGE_KINDS:
                    _hold_deep(f"{name}.{key}", each)
        elif kind is str:
            _hold(name, value, TEXT_CHARS_MAX)


def _hold(name: str, value: Any, most: int) -> None:
    if len(value) > most:
        unit = "characters" if type(value) is str else "elements"
        raise TooLargeError(f"{name} has {len(value)} {unit}, and expressions take {most}")


def _hold_deep(name: str, value: Any) -> None:
    _hold(name, value, TEXT_CHARS_MAX if type(value) is str else ELEMENTS_MAX)
    if type(value) is not str:
        for each in value.values() if type(value) is dict else value:
            if type(each) in _LARGE_KINDS:
                _hold_deep(name, each)


def cost_us(expr: Expr, names: Mapping[str, Size]) -> float:
    """Return the longest time that evaluating `expr` takes, in microseconds.

    Args:
        expr: from `app.kit.cel.syntax`.
        names: how large the values of the names are that it may use.
    """
    estimate = _Estimate()
    estimate.size_of(expr, names)
    return estimate.us


@dataclass(slots=True)
class _Estimate:
    us: float = 0.0
    _loops: int = 0
    _outer: float = 1.0
    """How often what is looked at now is evaluated, as it stands in loops."""

    def size_of(self, expr: Expr, names: Mapping[str, Size]) -> Size:
        """The size of what `expr` gives; adds the time that it takes."""
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
            parts = [self.size_of(each, names) for each in expr.list_expr.elements]
        elif kind == "struct_expr":
            for entry in expr.struct_expr.entries:
                self.size_of(entry.map_key, names)
                parts.append(self.size_of(entry.value, names))
        item = None
        for part in parts:
            item = part if item is None else _larger(item, part)
        return _bounded(len(parts), len(parts) + sum(part.weight for part in parts), item or SCALAR)

    def _selected(self, expr: Expr, names: Mapping[str, Size]) -> Size:
        # A name of the scope may be dotted, and then stands as a selection.
        name = dotted(expr)
        if name in names:
            return names[name]
        operand = self.size_of(expr.select_expr.operand, names)
        return SCALAR if expr.select_expr.test_only else operand.element

    def _called(self, call: Expr, names: Mapping[str, Size]) -> Size:
        given = [self.size_of(call.target, names)] if call.HasField("target") else []
        given += [self.size_of(each, names) for each in call.args]
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
            # All of its elements together are no larger than it is. The worst that they can be is one that is as
            # large and others of next to nothing, as no function takes less than twice as long for twice as much.
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
        """Go through a loop so often with such an item; gives the size of what it accumulates then."""
        before, outer, taken = self.us, self._outer, self._taken(turns)
        self._outer = outer * max(1.0, taken)
        inside = {**names, loop.iter_var: item, loop.accu_var: begun}
        self.size_of(loop.loop_condition, inside)
        grown = self.size_of(loop.loop_step, inside)
        turn_us, self.us, self._outer = self.us - before, before, outer
        self._take(turn_us * taken)
        count, weight = max(0.0, grown.count - begun.count), max(0.0, grown.weight - begun.weight)
        one = grown.item if begun.item is None or grown.item is None else _larger(begun.item, grown.item)
        return _bounded(begun.count + count * turns, begun.weight + weight * turns, one)

    def _taken(self, turns: float) -> float:
        """How many of a loop's turns there are time for, each time that it is gone through."""
        return min(turns, TURNS_MAX / self._outer)

    def _take(self, us: float) -> None:
        self.us = min(_ENDLESS, self.us + us)


def _larger(one: Size, other: Size) -> Size:
    item = _larger(one.item, other.item) if one.item and other.item else None
    return Size(max(one.count, other.count), max(one.weight, other.weight), item, max(one.most, other.most))


def _bounded(count: float, weight: float, item: Size | None = None, elements: float = ELEMENTS_MAX) -> Size:
    return Size(min(_ENDLESS, count), min(_ENDLESS, weight), item, min(_ENDLESS, elements))


# -- What functions make of sizes: (microseconds, size of the result) -------------------------

Sizes = list[Size]
Function = Callable[[Sizes], tuple[float, Size]]


def _weight(given: Sizes) -> float:
    return sum(each.weight for each in given)


def _linear(given: Sizes) -> tuple[float, Size]:
    """Any function: it looks at all that it is given, and gives no more than that."""
    weight = _weight(given)
    return weight * _CHAR_US, _bounded(max(64.0, sum(each.count for each in given)), max(64.0, weight))


def _look(given: Sizes) -> tuple[float, Size]:
    return _weight(given) * _LOOK_US, SCALAR


def _same_size(given: Sizes) -> tuple[float, Size]:
    return _weight(given) * _LOOK_US, given[0]


def _compare(given: Sizes) -> tuple[float, Size]:
    return min(each.weight for each in given) * _LOOK_US / 10, SCALAR


def _among(given: Sizes) -> tuple[float, Size]:
    one, all_of = given
    return all_of.count * _STEP_US + min(all_of.weight, all_of.count * one.weight) * _LOOK_US, SCALAR


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
    return given[0].weight * given[1].weight * _PAIR_US + _weight(given) * _LOOK_US, SCALAR


def _pattern(given: Sizes) -> tuple[float, Size]:
    return given[1].count * 10 + given[0].count * given[1].count * _CHAR_US / 50, SCALAR


def _replace(given: Sizes) -> tuple[float, Size]:
    text, old, new = given[0].count, given[1].count, given[2].count
    # An empty text is found between all characters.
    places = (text + 1) if old <= 1 else text / old
    count = text + places * new
    return (text + count) * _CHAR_US, _bounded(count, count)


def _split(given: Sizes) -> tuple[float, Size]:
    text = given[0].count
    return text * _CHAR_US * 2, _bounded(text + 1, 2 * text + 1, Size(text, text))


def _join(given: Sizes) -> tuple[float, Size]:
    separator = given[1].count if len(given) > 1 else 0.0
    count = given[0].weight + given[0].count * separator
    return count * _CHAR_US, _bounded(count, count)


def _format(given: Sizes) -> tuple[float, Size]:
    # A clause may fill a number up to 1,000 digits.
    count = given[0].count * 1000 + _weight(given) * 2
    return _weight(given) * _CHAR_US + count * _LOOK_US, _bounded(count, count)


def _twice(given: Sizes) -> tuple[float, Size]:
    weight = 2 * _weight(given) + 2
    return weight * _CHAR_US, _bounded(weight, weight)


def _shown(given: Sizes) -> tuple[float, Size]:
    weight = _weight(given) + 64
    return weight * _LOOK_US, _bounded(weight, weight)


_FUNCTIONS: Mapping[str, Function] = {
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
