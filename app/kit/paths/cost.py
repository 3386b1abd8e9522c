"""How much work a JMESPath can cause on a document, computed from its syntax tree.

JMESPath has no bound of its own: `[@, @] | [@, @] | …` doubles the document with every step. Its expressions see only
the part of the document that they are applied to, so what they take and give grows with the size of the document,
by a factor that follows from the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WORK_MAX = 100.0
"""How often a path may go through a whole document."""
_SORTS = 20.0
"""How many comparisons an element of a sorted list takes."""
_JOINED = 1000.0
"""How long a separator may be that stands in the document, in multiples of its smallest part."""
_GROWTH: Mapping[str, float] = {"to_string": 6.0, "split": 2.0, "lower": 3.0, "upper": 3.0}
"""How much longer a text may be as JSON, as a list of its parts, or in other letters (one character becomes three)."""

_CHAINS = frozenset({"subexpression", "index_expression", "pipe", "projection", "value_projection"})
"""Each part is applied to what the one before it gave, or to its elements."""

Node = Mapping[str, Any]


class Cost(NamedTuple):
    """Both in multiples of the size of the document."""

    work: float
    size: float


def cost(node: Node) -> Cost:
    """Return what a part of the tree costs, and how large its result may be."""
    kind, children = node["type"], [child for child in node["children"] if isinstance(child, dict)]
    if kind in _CHAINS:
        return _chain(children)
    if kind == "function_expression":
        return _called(node["value"], children)
    costs = [cost(child) for child in children]
    work, size = sum(part.work for part in costs), sum(part.size for part in costs)
    match kind:
        case "filter_projection":
            base, right, condition = costs
            work, size = base.work + base.size * (right.work + condition.work), base.size * right.size
        case "multi_select_list" | "multi_select_dict":
            work, size = 1 + work, 1 + size
        case "or_expression" | "and_expression":
            size = max(part.size for part in costs)
        case "comparator" | "not_expression":
            work, size = 1 + work + size, 1
        case "literal":
            work, size = 1, len(str(node["value"]))
        case _:
            work = 1 + work + size
    return Cost(work, max(1, size))


def _chain(children: Sequence[Node]) -> Cost:
    work, size = 0.0, 1.0
    for child in children:
        step = cost(child)
        work, size = work + size * step.work, size * step.size
    return Cost(work, size)


def _called(function: str, children: Sequence[Node]) -> Cost:
    given = [cost(child) for child in children]
    expressions = [part for part, child in zip(given, children, strict=True) if child["type"] == "expref"]
    plain = [part for part, child in zip(given, children, strict=True) if child["type"] != "expref"]
    size = sum(part.size for part in plain)
    work = sum(part.work for part in plain) + size * sum(part.work for part in expressions)
    looks = size * (_SORTS if function.startswith("sort") else 1)
    match function:
        case "map":
            return Cost(work + looks, size * max(1.0, *(part.size for part in expressions)))
        case "join":
            separator = given[0].size * (1 if children[0]["type"] == "literal" else _JOINED)
            return Cost(work + looks * (1 + separator), size * (1 + separator))
        case "replace":
            text, _, new = given
            # At worst each character is replaced.
            grown = text.size * (1 + new.size * (1 if children[2]["type"] == "literal" else _JOINED))
            return Cost(work + looks + grown, grown)
    growth = _GROWTH.get(function, 1.0)
    return Cost(work + looks * growth, max(1.0, size * growth))
