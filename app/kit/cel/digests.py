"""Functions of CEL over secrets: digests, and a comparison that takes the same time for any text.

| function | gives |
|---|---|
| `sha256(text)` | the SHA-256 of the text's UTF-8, in hex |
| `hmac(algorithm, key, text, encoding)` | the HMAC: `"sha1"`, `"sha256"` or `"sha512"`, in `"hex"` or `"base64"` |
| `same(one, other)` | whether two texts are equal |

Algorithm and encoding are literals, so that a wrong one is an error when the expression is saved.
"""

from __future__ import annotations

import hmac as standard
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256 as digest

from cel_expr_python import cel  # type: ignore[import-untyped]

from app.kit.cel.syntax import Expr, dotted, kind_of, parts_of

ALGORITHMS = ("sha1", "sha256", "sha512")
ENCODINGS = ("hex", "base64")
NAMES = frozenset({"sha256", "hmac", "same"})
_LITERALS: Mapping[str, Mapping[int, Collection[str]]] = {"hmac": {0: ALGORITHMS, 3: ENCODINGS}}
"""Function → position of an argument that is a literal → what it may be."""


def _sha256(text: str) -> str:
    return digest(text.encode()).hexdigest()


def _hmac(algorithm: str, key: str, text: str, encoding: str) -> str:
    if algorithm not in ALGORITHMS:
        raise ValueError(f"there is no algorithm {algorithm!r}")
    value = standard.digest(key.encode(), text.encode(), algorithm)
    return value.hex() if encoding == "hex" else b64encode(value).decode()


def _same(one: str, other: str) -> bool:
    return standard.compare_digest(one.encode(), other.encode())


def _declared(name: str, parameters: int, gives: cel.Type, function: Callable[..., object]) -> cel.FunctionDecl:
    return cel.FunctionDecl(
        name, [cel.Overload(f"{name}_text", gives, [cel.Type.STRING] * parameters, False, function)]
    )


FUNCTIONS = (
    _declared("sha256", 1, cel.Type.STRING, _sha256),
    _declared("hmac", 4, cel.Type.STRING, _hmac),
    _declared("same", 2, cel.Type.BOOL, _same),
)


def fault_in_literals(expr: Expr) -> str | None:
    """What is wrong with the algorithm or the encoding of a digest; None if nothing is."""
    call = expr.call_expr
    for position, accepted in _LITERALS.get(call.function, {}).items():
        argument = call.args[position]
        if kind_of(argument) != "const_expr" or argument.const_expr.string_value not in accepted:
            words = " or ".join(f'"{word}"' for word in accepted)
            return f"argument {position + 1} of {call.function} must be {words}, written out"
    return next(filter(None, map(fault_in_literals, parts_of(expr))), None)


def bare_names(expr: Expr, prefix: str) -> frozenset[str]:
    """The names with that prefix whose values do not go straight into a digest or a comparison by `same`.

    They may be joined to other text by `+` on the way; whatever else is done to them (a part is taken, it is compared
    by `==`) might tell the value.
    """
    found: set[str] = set()
    _gather(expr, prefix, found, inside=False)
    return frozenset(found)


def _gather(expr: Expr, prefix: str, found: set[str], *, inside: bool) -> None:
    name = dotted(expr)
    if name.startswith(prefix):
        if not inside:
            found.add(name)
        return
    function = expr.call_expr.function if kind_of(expr) == "call_expr" else ""
    inside = function in NAMES or (inside and function == "_+_")
    for part in parts_of(expr):
        _gather(part, prefix, found, inside=inside)


def shown_digests(expr: Expr, prefix: str) -> frozenset[str]:
    """The digests of names with that prefix that do not go straight into a comparison by `same`.

    Whatever else compares one (`==`, `startsWith`) may tell it, piece by piece.
    """
    found: set[str] = set()
    _gather_digests(expr, prefix, found, inside=False)
    return frozenset(found)


def _gather_digests(expr: Expr, prefix: str, found: set[str], *, inside: bool) -> None:
    function = expr.call_expr.function if kind_of(expr) == "call_expr" else ""
    if function in NAMES - {"same"}:
        if not inside and _names(expr, prefix):
            found.add(function)
        return
    inside = function == "same" or (inside and function == "_+_")
    for part in parts_of(expr):
        _gather_digests(part, prefix, found, inside=inside)


def _names(expr: Expr, prefix: str) -> bool:
    return dotted(expr).startswith(prefix) or any(_names(part, prefix) for part in parts_of(expr))
