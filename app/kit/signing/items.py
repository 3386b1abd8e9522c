"""Bodies whose items are signed one by one: the path to the list, and to what stands in each item.

`notificationItems` is a list; `notificationItems[].NotificationRequestItem` a list of objects that wrap the items;
`[]` a body that is the list itself. A path of another kind could leave items out, and those would be unproven.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from app.contract import VerificationError
from app.kit.signing.parts import path_keys, value_at

ITEMS_MAX = 100

_ITEMS = re.compile(r"([^\[\]]*)(?:\[\](?:\.([^\[\]]+))?)?")

Keys = tuple[str, ...]


@lru_cache(maxsize=1024)
def read_items_path(path: str) -> tuple[Keys, Keys]:
    """(keys to the list, keys inside of one of its elements). Raises ValueError."""
    found = _ITEMS.fullmatch(path)
    if not path or found is None:
        raise ValueError(f"{path!r} is no path to a list: give its keys (data.items), and what wraps an item behind []")
    to_list, inside = found.groups()
    return path_keys(to_list) if to_list else (), path_keys(inside) if inside else ()


def items_of(path: str, document: Any) -> list[Any]:
    """The items of a body. Raises `VerificationError` unless there is at least one, and none that is no object."""
    to_list, inside = read_items_path(path)
    elements = value_at(to_list, document)
    if type(elements) is not list or not elements:
        raise VerificationError(f"it has no items at {path}: without one nothing is signed", cause="missing_signature")
    if len(elements) > ITEMS_MAX:
        raise VerificationError(f"it has more than {ITEMS_MAX} items at {path}")
    items = [value_at(inside, element) for element in elements]
    if not all(type(item) is dict for item in items):
        raise VerificationError(f"an item at {path} is no object")
    return items


def signature_of(item: Any, keys: Keys, path: str) -> str:
    """The signature in an item. Raises `VerificationError`."""
    given = value_at(keys, item)
    if type(given) is not str or not given:
        raise VerificationError(f"there is no signature at {path}", cause="missing_signature")
    return given
