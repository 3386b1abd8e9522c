"""Conditions and values in CEL, over a documented, stable view of an order.

CEL (cel.dev) is a small language without loops or side effects. An expression is checked when it is saved: a wrong name
or type is an error with its line and column. An evaluation takes microseconds (the library is C++).

**Names.** An expression reads the names of its scope; those of an order are in `app.kit.cel.order_view`.

**Missing values.** A string that the provider never stated is `""`. A key of a record or of a map may be missing or
`null`: test for it with `has(order.attributes.priority)`, or read it as `order.attributes.?priority.orValue("none")`.
Reading a missing key makes the evaluation fail (`ExpressionFailed`), unless `false && …` or `true || …` has decided
before. The names of the scope are never missing, and `has()` is not for them.

**Times** inside records, maps and lists are strings as in JSON (`timestamp(a.starts_at) - now < duration("26h")`). All
values of a record are strings, so a comparison without `timestamp()` is an error when the expression is saved, as is a
misspelled key of a record.

CEL's extensions for optional values, strings, math, bindings (`cel.bind`) and `base64` are available.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]
from cel_expr_python.ext import (  # type: ignore[import-untyped]
    ext_bindings,
    ext_encoders,
    ext_math,
    ext_optional,
    ext_strings,
)

from app.kit.cel import digests, syntax
from app.kit.cel.cost import (
    ANYTHING,
    COST_MAX_US,
    NAME,
    RECORDS_MAX,
    SCALAR,
    TEXT,
    Size,
    UnfitValueError,
    check_values,
    cost_us,
    list_of,
)
from app.kit.cel.messages import failure, without_codes, without_tail
from app.kit.cel.reads import Read, reads_of

CHARS_MAX = 4000
"""Maximum length of an expression."""
_TYPE = cel.Type
_FAILED = _TYPE.ERROR


class Kind(Enum):
    """The type of a name in a scope, or of the value of an expression."""

    BOOL = "a bool"
    INT = "an int"
    DOUBLE = "a double"
    STRING = "a string"
    TIMESTAMP = "a timestamp"
    DURATION = "a duration"
    STRINGS = "a list of strings"
    RECORDS = "a list of records"
    MAP = "a map"
    ANY = "anything"


_TYPES: dict[Kind, cel.Type] = {
    Kind.BOOL: _TYPE.BOOL,
    Kind.INT: _TYPE.INT,
    Kind.DOUBLE: _TYPE.DOUBLE,
    Kind.STRING: _TYPE.STRING,
    Kind.TIMESTAMP: _TYPE.TIMESTAMP,
    Kind.DURATION: _TYPE.DURATION,
    Kind.STRINGS: _TYPE.List(_TYPE.STRING),
    Kind.RECORDS: _TYPE.List(_TYPE.Map(_TYPE.STRING, _TYPE.STRING)),
    Kind.MAP: _TYPE.Map(_TYPE.STRING, _TYPE.DYN),
    Kind.ANY: _TYPE.DYN,
}
_SIZES: Mapping[Kind, Size] = {
    Kind.STRING: TEXT,
    Kind.STRINGS: list_of(NAME),
    Kind.RECORDS: list_of(list_of(NAME, 8), RECORDS_MAX),
    Kind.MAP: list_of(ANYTHING),
    Kind.ANY: ANYTHING,
}
"""Maximum sizes of the values of names; `check_values` refuses larger ones."""
_SECOND_US, _MINUTE_US = 1e6, 6e7
_RESULTS: dict[Kind, tuple[type, ...]] = {
    Kind.BOOL: (bool,),
    Kind.STRING: (str,),
    # `null`: there is no such time.
    Kind.TIMESTAMP: (datetime, type(None)),
}
"""Python types of results, for expressions whose type is known only at evaluation."""


class InvalidExpression(Exception):
    """An expression is not valid: the message says why, with the line and the column (both from 1)."""

    def __init__(self, problem: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {problem}")
        self.problem, self.line, self.column = problem, line, column


class ExpressionFailed(Exception):
    """The evaluation of an expression failed; the message says why."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that an expression may read."""

    names: tuple[tuple[str, Kind], ...]
    """A name may be dotted (`order.phase`)."""
    record_keys: frozenset[str] = frozenset()
    """The keys of records."""
    words: tuple[tuple[str, frozenset[str]], ...] = ()
    """All values of a name, or of a key of records (written `.phase`), where they are a closed set."""
    digests: bool = False
    """Whether expressions may call the functions of `app.kit.cel.digests`."""

    @classmethod
    def of(
        cls,
        names: Mapping[str, Kind],
        record_keys: Iterable[str] = (),
        words: Mapping[str, Iterable[str]] = MappingProxyType({}),
        *,
        digests: bool = False,
    ) -> Scope:
        """Make a scope."""
        closed = tuple(sorted((name, frozenset(values)) for name, values in words.items()))
        return cls(tuple(sorted(names.items(), key=lambda item: item[0])), frozenset(record_keys), closed, digests)

    def plus(
        self,
        names: Mapping[str, Kind],
        record_keys: Iterable[str] = (),
        words: Mapping[str, Iterable[str]] = MappingProxyType({}),
        *,
        digests: bool = False,
    ) -> Scope:
        """This scope and more names; with `digests` also those functions."""
        closed, digests = {**dict(self.words), **words}, digests or self.digests
        return Scope.of({**dict(self.names), **names}, {*self.record_keys, *record_keys}, closed, digests=digests)


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression, made by `compile`."""

    text: str
    scope: Scope = field(repr=False)
    wanted: Kind = field(repr=False)
    names: frozenset[str] = field(repr=False, compare=False)
    """The names that it reads."""
    map_keys: Mapping[str, frozenset[str]] = field(repr=False, compare=False)
    """By the name of a map: the keys that it reads, where it reads nothing else of that map."""
    functions: frozenset[str] = field(repr=False, compare=False)
    """The functions that it calls, operators included."""
    cost_us: float = field(repr=False, compare=False)
    """The maximum duration of an evaluation."""
    _program: cel.Expression = field(repr=False, compare=False)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Evaluate with the values of the names. Raises `ExpressionFailed`.

        What it does not read of a map is not looked at: it can neither make the evaluation fail nor slow it down.
        A timestamp is returned as an aware datetime in UTC, or as None where the expression gives `null`.
        """
        try:
            values = self._narrowed(values)
            check_values(values)
            result = self._program.eval(data=values)
            value = result.plain_value()
            # A bool cannot be an error, whose plain value is its text.
            if type(value) is not bool and result.type() == _FAILED:
                raise ExpressionFailed(f"{self._excerpt()}: {failure(value)}")
        except UnfitValueError as error:
            raise ExpressionFailed(f"{self._excerpt()}: {error}") from None
        except (RuntimeError, TypeError, ValueError, OverflowError) as error:
            raise ExpressionFailed(f"{self._excerpt()}: {failure(str(error))}") from error
        accepted = _RESULTS.get(self.wanted)
        if accepted is not None and not isinstance(value, accepted):
            raise ExpressionFailed(f"{self._excerpt()}: it gives {_kind_of(value)} and not {self.wanted.value}")
        return value

    def _narrowed(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values, with maps of the keys that it reads."""
        for name, keys in self.map_keys.items():
            given = values.get(name)
            if given is not None:
                values = {**values, name: {key: given[key] for key in keys if key in given}}
        return values

    def reads(self) -> frozenset[Read] | None:
        """What it reads, key by key; None if that cannot be told."""
        tree = syntax.parse(self._program.serialize())
        maps = [name for name, kind in self.scope.names if kind is Kind.MAP]
        return reads_of(tree.expr, [name for name, _ in self.scope.names], maps)

    def bare_names(self, prefix: str) -> frozenset[str]:
        """The names with that prefix that it does other things with than to digest or to compare them by `same`."""
        return digests.bare_names(syntax.parse(self._program.serialize()).expr, prefix)

    def shown_digests(self, prefix: str) -> frozenset[str]:
        """The functions whose digests of such names it does other things with than to compare them by `same`."""
        return digests.shown_digests(syntax.parse(self._program.serialize()).expr, prefix)

    def _excerpt(self) -> str:
        line = " ".join(self.text.split())
        return line if len(line) <= _EXCERPT_CHARS else line[: _EXCERPT_CHARS - 1] + "…"


@lru_cache(maxsize=4096)
def compile(text: str, scope: Scope, wanted: Kind = Kind.BOOL) -> Expression:
    """Check an expression and make it ready for evaluation. Raises `InvalidExpression`."""
    if not text.strip():
        raise InvalidExpression("the expression is empty")
    if len(text) > CHARS_MAX:
        raise InvalidExpression(f"the expression has {len(text)} characters, and may have {CHARS_MAX}")
    try:
        text.encode()
        program = _environment(scope).compile(text)
        gives = program.return_type()
    except UnicodeEncodeError as error:
        raise InvalidExpression("it contains half a surrogate pair", *_place(text, error.start)) from None
    except RuntimeError as error:
        raise _explained(str(error), text, scope) from None
    _check_type(gives, text, scope, wanted)
    try:
        tree = syntax.parse(program.serialize())
        if scope.record_keys:
            _check_keys(tree, text, scope.record_keys)
        _check_words(tree, text, dict(scope.words))
        cost = _check_cost(tree, scope)
        if scope.digests and (fault := digests.fault_in_literals(tree.expr)):
            raise InvalidExpression(fault)
        names, map_keys = syntax.names(tree, {name for name, _ in scope.names}), _map_keys(tree, scope)
        functions = syntax.functions(tree)
    except RecursionError:
        raise InvalidExpression(_NESTED_TOO_DEEPLY) from None
    return Expression(text, scope, wanted, names, map_keys, functions, cost, program)


def _map_keys(tree: Any, scope: Scope) -> Mapping[str, frozenset[str]]:
    read = {name: syntax.map_keys(tree, name) for name, kind in scope.names if kind is Kind.MAP}
    return {name: keys for name, keys in read.items() if keys is not None}


@lru_cache(maxsize=256)
def _environment(scope: Scope) -> cel.Env:
    return cel.NewEnv(
        variables={name: _TYPES[kind] for name, kind in scope.names},
        extensions=[
            ext_optional.ExtOptional(),
            ext_strings.ExtStrings(),
            ext_math.ExtMath(),
            ext_bindings.ExtBindings(),
            ext_encoders.ExtEncoders(),
        ],
        functions=digests.FUNCTIONS if scope.digests else (),
    )


# -- Errors ----------------------------------------------------------------------------------

_EXCERPT_CHARS = 120
_POSITION = re.compile(r"<input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_UNEXPECTED = re.compile(
    r"(?:mismatched input|extraneous input|no viable alternative at input|token recognition error at:) '(.*?)'"
)
_NO_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_HAS_NAME = re.compile(r"\bhas\s*\(\s*([\w.]+)\s*\)")
_OTHER_SPELLINGS = {"and": "&&", "or": "||", "not": "!", "=": "==", "is": "==", "AND": "&&", "OR": "||", "NOT": "!"}
_TOO_DEEP = re.compile("recursion (limit|depth)")
_NESTED_TOO_DEEPLY = "it is nested too deeply, or too long"
_TYPE_NAMES = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}
_KIND_NAMES = {bool: "a bool", int: "an int", float: "a double", str: "a string", dict: "a map", list: "a list"}


def _explained(raw: str, text: str, scope: Scope) -> InvalidExpression:
    """The first error of the library, in one sentence."""
    position = _POSITION.search(raw)
    if _TOO_DEEP.search(raw):
        return InvalidExpression(_NESTED_TOO_DEEPLY)
    if position is None:
        return InvalidExpression(without_codes(raw.partition("\n")[0]))
    line, column = max(1, int(position[1])), max(1, int(position[2]))
    message = without_tail(position[3])
    undeclared = _UNDECLARED.search(message)
    if undeclared:
        lines = text.split("\n")
        here = lines[line - 1][column - 1 :] if line <= len(lines) else ""
        # A selected field is located at its dot, and a function at the parenthesis after it.
        shift = 1 if here.startswith(".") else -len(undeclared[1]) if here.startswith("(") else 0
        return InvalidExpression(_no_name(undeclared[1], here, scope), line, max(1, column + shift))
    return InvalidExpression(_sentence(message) + _has_hint(text, scope), line, column)


def _sentence(message: str) -> str:
    unexpected = _UNEXPECTED.search(message)
    if unexpected:
        word = unexpected[1].replace("\\n", "").strip() or "a line break"
        hint = f": CEL writes {_OTHER_SPELLINGS[word]}" if word in _OTHER_SPELLINGS else ""
        return "it ends too early" if word == "<EOF>" else f"{word} is not expected here{hint}"
    overload = _NO_OVERLOAD.search(message)
    if overload:
        function, types = overload[1], overload[2]
        for name, short in _TYPE_NAMES.items():
            types = types.replace(name, short)
        return f"{function.strip('_') or function} does not take ({types})"
    return message.removeprefix("Syntax error: ")


def _no_name(name: str, here: str, scope: Scope) -> str:
    if here.startswith("("):
        return f"there is no function {name}"
    names = [other for other, _ in scope.names]
    inside = [other for other in names if other.startswith(f"{name}.")]
    if inside:
        return f"{name} is not a value: use {', '.join(inside)}"
    close = get_close_matches(name, names, n=1)
    return f"there is no {name}" + (f"; do you mean {close[0]}?" if close else f"; there are {', '.join(names)}")


def _has_hint(text: str, scope: Scope) -> str:
    """A hint for `has(order.phase)`, which the checker of CEL takes for the value of `order.phase`."""
    names = {name for name, _ in scope.names}
    tested = next((name for name in _HAS_NAME.findall(text) if name in names), None)
    return f" ({tested} is always there: has() is not for it)" if tested else ""


def _check_type(given: cel.Type, text: str, scope: Scope, wanted: Kind) -> None:
    name = given.name().lower()
    if name.startswith("optional_type"):
        raise InvalidExpression("it gives an optional value: end it with .orValue(…)")
    exact = wanted is Kind.ANY or given in (_TYPES[wanted], _TYPE.DYN)
    if not exact and not (wanted is Kind.TIMESTAMP and given == _TYPE.NULL):
        raise InvalidExpression(f"it gives {name}, and must give {wanted.value}{_has_hint(text, scope)}")


def _check_keys(tree: Any, text: str, keys: frozenset[str]) -> None:
    for selection in syntax.selections(tree):
        if selection.key not in keys:
            line, column = _place(text, selection.offset)
            column += text[selection.offset : selection.offset + 1] == "."
            close = get_close_matches(selection.key, keys, n=1)
            hint = f"do you mean {close[0]}?" if close else f"they have {', '.join(sorted(keys))}"
            raise InvalidExpression(f"records have no {selection.key}; {hint}", line, column)


def _check_words(tree: Any, text: str, words: Mapping[str, frozenset[str]]) -> None:
    for comparison in syntax.comparisons(tree):
        values, wrong = words.get(comparison.name), comparison.text
        if values is not None and wrong not in values:
            close = get_close_matches(wrong, values, n=1)
            hint = f"do you mean {close[0]!r}?" if close else f"it is one of {', '.join(sorted(values))}"
            name = comparison.name.removeprefix(".")
            raise InvalidExpression(f"{name} is never {wrong!r}; {hint}", *_place(text, comparison.offset))


def _check_cost(tree: Any, scope: Scope) -> float:
    us = cost_us(tree.expr, {name: _SIZES.get(kind, SCALAR) for name, kind in scope.names})
    if us > COST_MAX_US:
        raise InvalidExpression(
            f"for one order it may take {_shown_time(us)}, and the maximum is {COST_MAX_US / 1000:g} ms: do not nest "
            "loops over large lists (prefer exists() to map() and filter()), and do not let strings multiply"
        )
    return us


def _shown_time(us: float) -> str:
    return f"{us / 1000:.0f} ms" if us < _SECOND_US else "seconds" if us < _MINUTE_US else "minutes"


def _place(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _kind_of(value: object) -> str:
    return next((name for kind, name in _KIND_NAMES.items() if type(value) is kind), type(value).__name__)
