"""What a checked CEL expression reads of a record, found in its serialized syntax tree.

CEL's checker knows the types of keys and values of a map, but not which keys there are. The library gives the tree
only as a serialized `cel.expr.CheckedExpr` (github.com/google/cel-spec, proto/cel/expr), so the few fields that
matter here are read from protobuf's wire format. What cannot be read is left unchecked: it only fails later.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

_PAYLOAD = 2  # of the Any around it
_TYPE_MAP, _SOURCE_INFO, _EXPR = 3, 5, 4  # of CheckedExpr
_POSITIONS = 4  # of SourceInfo
_ID, _CONST, _SELECT, _CALL, _LIST, _STRUCT = 2, 3, 5, 6, 7, 8  # of Expr
_STRING = 6  # of Constant
_OPERAND, _FIELD = 1, 2  # of Select
_FUNCTION, _ARGS = 2, 3  # of Call
_INDEXES = (b"_[_]", b"_[?_]", b"_?._")
_STRING_TO_STRING = bytes.fromhex("3a080a02180512021805")
"""The Type map(string, string)."""
_INSIDE = {5: (1,), 6: (1, 3), 7: (1,), 8: (), 9: (2, 4, 5, 6, 7)}
"""Kind of Expr → which of its fields are expressions; a struct's stand one level deeper."""
_ENTRIES, _KEY, _VALUE = 2, 3, 4  # of Struct, and of its Entry

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Fields = list[tuple[int, "int | bytes"]]


class Selection(Struct, frozen=True):
    """A key that an expression reads of a map of strings, and where (in code points from the start)."""

    key: str
    offset: int


def selections(serialized: bytes) -> list[Selection]:
    """The constant keys that are read of maps of strings, other than those written out in the expression."""
    try:
        checked = _fields(_first(_fields(serialized), _PAYLOAD))
        types = {key: value for key, value in _map(checked, _TYPE_MAP) if value == _STRING_TO_STRING}
        offsets = dict(_map(_fields(_first(checked, _SOURCE_INFO)), _POSITIONS))
        read = list(_walk(_fields(_first(checked, _EXPR))))
    except (ValueError, IndexError):
        return []
    found = []
    for id, operand, key in read:
        offset = offsets.get(id, 0)
        if operand in types and isinstance(offset, int):
            found.append(Selection(key.decode("utf-8", "replace"), offset))
    return found


def _walk(expr: Fields) -> Iterator[tuple[int, int, bytes]]:
    """(id, id of what is read, key) of every reading with a constant key."""
    id = _number(expr, _ID)
    for kind, value in expr:
        if kind not in _INSIDE or isinstance(value, int):
            continue
        parts = _fields(value)
        if kind == _SELECT:
            yield from _read(id, _fields(_first(parts, _OPERAND)), _first(parts, _FIELD))
        elif kind == _CALL and _first(parts, _FUNCTION) in _INDEXES:
            operand, key = (_fields(each) for number, each in parts if number == _ARGS and isinstance(each, bytes))
            yield from _read(id, operand, _first(_fields(_first(key, _CONST)), _STRING))
        for each in _inside(kind, parts):
            yield from _walk(_fields(each))


def _read(id: int, operand: Fields, key: bytes) -> Iterator[tuple[int, int, bytes]]:
    if key and not _is_written_out(operand):
        yield id, _number(operand, _ID), key


def _is_written_out(expr: Fields) -> bool:
    """Is it a map or a list that stands in the expression, or a part of one? It may have any keys."""
    for kind, value in expr:
        if kind in (_STRUCT, _LIST):
            return True
        if kind == _SELECT and isinstance(value, bytes):
            return _is_written_out(_fields(_first(_fields(value), _OPERAND)))
        if kind == _CALL and isinstance(value, bytes):
            return _is_written_out(_fields(_first(_fields(value), _ARGS)))
    return False


def _inside(kind: int, parts: Fields) -> Iterator[bytes]:
    """The expressions that an expression consists of."""
    for number, value in parts:
        if isinstance(value, int):
            continue
        if number in _INSIDE[kind]:
            yield value
        elif kind == _STRUCT and number == _ENTRIES:
            yield from (each for part, each in _fields(value) if part in (_KEY, _VALUE) and isinstance(each, bytes))


def _map(fields: Fields, number: int) -> Iterator[tuple[int, int | bytes]]:
    """A map field with whole numbers as keys."""
    for each, value in fields:
        if each == number and isinstance(value, bytes):
            entry = _fields(value)
            yield _number(entry, 1), next((found for part, found in entry if part == _PAYLOAD), 0)


def _first(fields: Fields, number: int) -> bytes:
    return next((value for each, value in fields if each == number and isinstance(value, bytes)), b"")


def _number(fields: Fields, number: int) -> int:
    return next((value for each, value in fields if each == number and isinstance(value, int)), 0)


def _fields(raw: bytes) -> Fields:
    """The fields of a message: (number, value), in their order. Raises ValueError and IndexError."""
    found: Fields = []
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            found.append((tag >> 3, value))
            continue
        if wire == _BYTES:
            size, at = _varint(raw, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError("no protobuf")
        found.append((tag >> 3, raw[at : at + size]))
        at += size
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint
            return value, at
