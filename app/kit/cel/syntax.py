"""The syntax tree of a checked CEL expression.

The library gives the tree only as a serialized `cel.expr.CheckedExpr` in an `Any`, and no package that is kept up has
the classes for it. The messages and fields that are read here are declared as in proto/cel/expr of
github.com/google/cel-spec; what is not declared is skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from msgspec import Struct

_PACKAGE = "rescind.cel"
# Message → field → (number, type); `*` says repeated. A map is a repeated message of a key (1) and a value (2).
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "CheckedExpr": {"type_map": (3, "*TypeEntry"), "expr": (4, "Expr"), "source_info": (5, "SourceInfo")},
    "TypeEntry": {"key": (1, "int64"), "value": (2, "Type")},
    "Type": {"primitive": (3, "int64"), "map_type": (7, "MapType")},
    "MapType": {"key_type": (1, "Type"), "value_type": (2, "Type")},
    "SourceInfo": {"positions": (4, "*Position")},
    "Position": {"key": (1, "int64"), "value": (2, "int64")},
    "Expr": {
        "id": (2, "int64"),
        "const_expr": (3, "Constant"),
        "ident_expr": (4, "Ident"),
        "select_expr": (5, "Select"),
        "call_expr": (6, "Call"),
        "list_expr": (7, "CreateList"),
        "struct_expr": (8, "CreateStruct"),
        "comprehension_expr": (9, "Comprehension"),
    },
    "Constant": {"string_value": (6, "string"), "bytes_value": (7, "bytes")},
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string"), "test_only": (3, "bool")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "*Expr")},
    "CreateList": {"elements": (1, "*Expr")},
    "CreateStruct": {"entries": (2, "*Entry")},
    "Entry": {"field_key": (2, "string"), "map_key": (3, "Expr"), "value": (4, "Expr")},
    "Comprehension": {
        "iter_var": (1, "string"),
        "iter_range": (2, "Expr"),
        "accu_var": (3, "string"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
    },
}
_SCALARS = {"int64": 3, "bool": 8, "string": 9, "bytes": 12}  # FieldDescriptorProto.Type
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3
_STRING = 5  # Type.PrimitiveType
_INDEXES = frozenset({"_[_]", "_[?_]", "_?._"})
KINDS = tuple(_MESSAGES["Expr"])[1:]
"""The kinds of expressions, by the names of their fields."""

Expr = Any
"""A `cel.expr.Expr`."""


class Selection(Struct, frozen=True):
    """A key that an expression reads from a map of strings, and where (in code points from the start)."""

    key: str
    offset: int


def parse(serialized: bytes) -> Any:
    """Return the `CheckedExpr` that the library serialized. Raises ValueError."""
    wrapped = any_pb2.Any()
    try:
        wrapped.ParseFromString(serialized)
        return _checked_expr().FromString(wrapped.value)
    except DecodeError as error:
        raise ValueError(f"the syntax tree cannot be read: {error}") from error


def kind_of(expr: Expr) -> str:
    """Which of `KINDS` an expression is; `""` for none."""
    return next((kind for kind in KINDS if expr.HasField(kind)), "")


def selections(checked: Any) -> list[Selection]:
    """Return the constant keys that are read from maps of strings, but for map literals in the expression."""
    strings = {entry.key for entry in checked.type_map if _is_map_of_strings(entry.value)}
    offsets = {entry.key: entry.value for entry in checked.source_info.positions}
    return [
        Selection(key, offsets.get(expr.id, 0))
        for expr, operand, key in _reads(checked.expr)
        if _is_record(operand, strings)
    ]


class Comparison(Struct, frozen=True):
    """A constant string with which a value is compared."""

    name: str
    """The name of the scope, dotted; or a key of a record, after a dot (`.phase`)."""
    text: str
    offset: int
    """Where the constant stands, in code points from the start."""


def comparisons(checked: Any) -> list[Comparison]:
    """Return the string literals with which names and keys of records are compared (`==`, `!=`, `in`)."""
    strings = {entry.key for entry in checked.type_map if _is_map_of_strings(entry.value)}
    offsets = {entry.key: entry.value for entry in checked.source_info.positions}
    comparisons = []
    for value, constant in _compared(checked.expr):
        read = key_read(value)
        name = f".{read[1]}" if read is not None and _is_record(read[0], strings) else dotted(value)
        if constant.const_expr.HasField("string_value"):
            comparisons.append(Comparison(name, constant.const_expr.string_value, offsets.get(constant.id, 0)))
    return comparisons


def names(checked: Any, among: Collection[str]) -> frozenset[str]:
    """Return those of the dotted names `among` that an expression reads, however they are spelled in its text."""
    return frozenset(_names(checked.expr, among))


def functions(checked: Any) -> frozenset[str]:
    """Return the functions and operators that an expression calls."""
    called, waiting = set[str](), [checked.expr]
    while waiting:
        expr = waiting.pop()
        called.add(expr.call_expr.function)
        waiting.extend(parts_of(expr))
    return frozenset(called - {""})


def map_keys(checked: Any, name: str) -> frozenset[str] | None:
    """Return the constant keys that are read from the map `name`; None if it is read in any other way, too."""
    keys = set[str]()
    return frozenset(keys) if _reads_only_keys(checked.expr, name, keys) else None


def dotted(expr: Expr) -> str:
    """The name that an expression is (`order.phase`); it contains `?` where the expression is not a name."""
    if expr.HasField("ident_expr"):
        return str(expr.ident_expr.name).removeprefix(".")
    if expr.HasField("select_expr") and not expr.select_expr.test_only:
        return f"{dotted(expr.select_expr.operand)}.{expr.select_expr.field}"
    return "?"


def parts_of(expr: Expr) -> list[Expr]:
    """The operands of an expression, from the left."""
    kind = kind_of(expr)
    if not kind or kind in ("const_expr", "ident_expr"):
        return []
    of = getattr(expr, kind)
    match kind:
        case "select_expr":
            return [of.operand]
        case "call_expr":
            return [*([of.target] if of.HasField("target") else []), *of.args]
        case "list_expr":
            return list(of.elements)
        case "struct_expr":
            return [part for entry in of.entries for part in (entry.map_key, entry.value)]
    return [of.iter_range, of.accu_init, of.loop_condition, of.loop_step, of.result]


def _names(expr: Expr, among: Collection[str]) -> Iterator[str]:
    name = dotted(expr)
    if name in among:
        yield name
    else:
        for part in parts_of(expr):
            yield from _names(part, among)


def _reads(expr: Expr) -> Iterator[tuple[Expr, Expr, str]]:
    """(expression, what it reads from, constant key) of every expression that reads a constant key."""
    read = key_read(expr)
    if read is not None:
        yield expr, *read
    for part in parts_of(expr):
        yield from _reads(part)


def _reads_only_keys(expr: Expr, name: str, keys: set[str]) -> bool:
    """Whether all that is read from the map `name` is constant keys, which are added to `keys`."""
    if dotted(expr) == name:
        return False
    read = key_read(expr)
    if read is not None and dotted(read[0]) == name:
        keys.add(read[1])
        return True
    return all(_reads_only_keys(part, name, keys) for part in parts_of(expr))


def key_read(expr: Expr) -> tuple[Expr, str] | None:
    """What an expression reads a constant key from, and the key; None if it reads none."""
    if expr.HasField("select_expr"):
        return expr.select_expr.operand, expr.select_expr.field
    if expr.call_expr.function in _INDEXES:
        operand, key = expr.call_expr.args
        if key.const_expr.string_value:
            return operand, key.const_expr.string_value
    return None


def _compared(expr: Expr) -> Iterator[tuple[Expr, Expr]]:
    """(value, constant) of every comparison."""
    call = expr.call_expr
    if call.function in ("_==_", "_!=_"):
        left, right = call.args
        yield from ((left, right), (right, left))
    elif call.function == "@in":
        value, among = call.args
        yield from ((value, element) for element in among.list_expr.elements)
    for part in parts_of(expr):
        yield from _compared(part)


def _is_map_of_strings(type: Any) -> bool:
    key, value = type.map_type.key_type, type.map_type.value_type
    return bool(key.primitive == _STRING and value.primitive == _STRING)


def _is_record(expr: Expr, strings: set[int]) -> bool:
    return expr.id in strings and not _is_literal(expr)


def _is_literal(expr: Expr) -> bool:
    """Whether it is a map or list literal, or a part of one, which may have any keys."""
    kind = kind_of(expr)
    if kind == "select_expr":
        return _is_literal(expr.select_expr.operand)
    if kind == "call_expr" and expr.call_expr.args:
        return _is_literal(expr.call_expr.args[0])
    return kind in ("list_expr", "struct_expr")


@cache
def _checked_expr() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="rescind/cel.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, spelled) in fields.items():
            type = spelled.removeprefix("*")
            label = _REPEATED if spelled.startswith("*") else _OPTIONAL
            added = message.field.add(name=field, number=number, label=label, type=_SCALARS.get(type, _MESSAGE))
            if type not in _SCALARS:
                added.type_name = f".{_PACKAGE}.{type}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.CheckedExpr"))
