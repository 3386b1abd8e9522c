"""What a CEL expression reads, as finely as its syntax tree tells: one key of a map, or only whether it is there.

Two evaluations that read equal values have the same result, so that a result can be remembered by them.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from msgspec import Struct

from app.kit.cel.syntax import Expr, dotted, key_read, kind_of, parts_of


class Aspect(StrEnum):
    """What of a value is read."""

    VALUE = "value"
    PRESENCE = "presence"
    """Whether the last key is there: `has(order.attributes.rush)`."""
    SIZE = "size"
    """How many elements it has: `size(order.appointments)`."""


class Read(Struct, frozen=True, order=True):
    """Something that an expression reads."""

    name: str
    """A name of the scope."""
    keys: tuple[str, ...] = ()
    """The keys in it, from the outermost, where it is a map."""
    aspect: Aspect = Aspect.VALUE


def reads_of(expr: Expr, names: Collection[str], maps: Collection[str]) -> frozenset[Read] | None:
    """Everything that an expression reads; None if that cannot be told.

    Args:
        expr: from `app.kit.cel.syntax`.
        names: the names of its scope.
        maps: those of them that are maps, of which keys are told apart.
    """
    reads: set[Read] = set()
    shadowed = {name.split(".")[0] for name in names}
    return frozenset(reads) if _gather(expr, names, maps, shadowed, reads) else None


def _gather(
    expr: Expr, names: Collection[str], maps: Collection[str], shadowed: Collection[str], reads: set[Read]
) -> bool:
    """Add what `expr` reads; False if a variable of a loop has the name of something in the scope."""
    read = _read(expr, names, maps)
    if read is not None:
        reads.add(read)
        return True
    if kind_of(expr) == "comprehension_expr" and expr.comprehension_expr.iter_var in shadowed:
        return False
    if kind_of(expr) == "call_expr" and expr.call_expr.function == "size":
        (measured,) = parts_of(expr)
        read = _read(measured, names, maps)
        if read is not None and read.aspect is Aspect.VALUE and read.name not in maps:
            reads.add(Read(read.name, read.keys, Aspect.SIZE))
            return True
    return all(_gather(part, names, maps, shadowed, reads) for part in parts_of(expr))


def _read(expr: Expr, names: Collection[str], maps: Collection[str]) -> Read | None:
    """What `expr` is, if it is a name of the scope or a constant key in a map."""
    name = dotted(expr)
    if name in names:
        return Read(name)
    read = key_read(expr)
    of = None if read is None else _read(read[0], names, maps)
    if read is None or of is None or of.name not in maps or of.aspect is not Aspect.VALUE:
        return None
    return Read(of.name, (*of.keys, read[1]), Aspect.PRESENCE if expr.select_expr.test_only else Aspect.VALUE)
