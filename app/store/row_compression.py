"""Compression of rows that are JSON: bodies of events, and states of orders.

Such a row is a few hundred bytes, most of them names of fields that every row of the account repeats. So it is
compressed (Zstandard) with a *dictionary* of these names. Dictionaries are rows of a small table, and never change: a
row names the one that it needs. The first one has the names that are Rescind's own; each account gets another one of
the names that its orders have in common.

No value is in a dictionary, and no name that fewer than `SHARED_BY` orders have, or that has an address or a number in
it: it has no personal data, and stays when orders are erased.

A row of an earlier release is text, and names no dictionary; so is one that does not get smaller.
"""

from __future__ import annotations

import base64
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import zstandard

from app.contract import Facts
from app.core.aggregate import OrderAggregate
from app.store.codec import to_json

SAMPLES = 12
"""Orders that an account's dictionary is made of."""
SHARED_BY = 3
"""How many of these must have a name: what fewer have may be a key that somebody typed."""
NAME_MAX = 48
"""Characters of a name."""
_IS_VALUE = re.compile(r".@|\d{5}").search
"""A name with an address or a number in it is none of a field, and orders that have it may be those of one person."""
SAMPLE_MAX = 8192
"""Bytes of a row that is looked at."""
DEPTH_MAX = 16
ROWS_OF_ORDER = 32
"""Rows of one order that are looked at, or few orders with many events would be looked at for ever;"""
NAMES_SEEN_MAX = 2000
"""and so many names are remembered of all, as a sender may have new ones in each webhook."""
NAMES_MAX = 6144
"""Bytes of the names in a dictionary."""
VERSIONS_MAX = 5
"""Dictionaries that an account gets while a process runs."""
POOR, POOR_MIN, POOR_ROWS = 0.5, 256, 50
"""An account gets another dictionary once so many rows of at least so many bytes kept more than this part of their
size; each time it takes twice as many rows and samples, as some values never compress."""
COMPRESSORS_MAX, READERS_MAX = 1024, 32
"""Prepared dictionaries. A compressor takes about 140 KB, and as long as 17 rows to prepare, on the event loop: there
are as many as a large installation has accounts. A reader takes 60 KB, and each connection has its own."""
OWN = ""
"""Stands for the account of the dictionary that has only Rescind's own names."""

_LEVEL = 3
_SMALL = 8192
"""A row up to this size is compressed with a window, and in memory, of this size."""
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS
_STATISTICS = base64.b85decode(
    "H>5D^Ck~J-F%ZC#v<)*b12ZrKGX!bbk8i!Q#kc+Mo5jtQ&8{&{j8wfS5^A9qIggwRVW{000UC1vC;${55)aKr#MA)*1OUcK#RNr*"
    "jLVEAvN4iKK@{X5V2mXQ0RSKX00961006YkDDyFGlw>Fj0|Ee)GQb)G000000RR911ONa42mk;8"
)
"""The head of each dictionary: how frequent bytes, lengths and distances are in rows. Stored with each dictionary, so a
later release may have another one. Made by `tests/bench/row_statistics.py`."""


class DamagedRowError(ValueError):
    """What is stored cannot be decompressed."""


@dataclass(frozen=True, slots=True)
class RowDictionary:
    """A dictionary, as stored."""

    id: int
    account: str
    content: bytes


class RowCompressor:
    """Chooses the dictionaries of one writer. Not for several threads at once."""

    def __init__(self, stored: Iterable[RowDictionary]) -> None:
        """Make one that knows all stored dictionaries; the last one of `OWN` is there."""
        self._current: dict[str, RowDictionary] = {}
        self._last_id = 0
        for dictionary in stored:
            self._current[dictionary.account] = dictionary
            self._last_id = max(self._last_id, dictionary.id)
        self._learning = {account: _Learning(is_over=True) for account in self._current if account != OWN}
        self._prepared = _Prepared(COMPRESSORS_MAX, _compressor)

    def begin(self) -> RowPacking:
        """For the rows of one transaction."""
        return RowPacking(self)


class RowPacking:
    """Packs the rows of one transaction; what it chose counts once the transaction is committed."""

    def __init__(self, compressor: RowCompressor) -> None:
        self._compressor, self._changed = compressor, dict[str, RowDictionary]()

    @property
    def dictionaries(self) -> Iterable[RowDictionary]:
        """New ones, to be stored with the rows: complete when all rows are packed."""
        return self._changed.values()

    def pack(self, account: str, order: int, row: bytes) -> tuple[str | bytes, int | None]:
        """(what to store, the id of its dictionary) of a row about the order of this number; None: it is plain text."""
        shared = self._compressor
        learning = shared._learning.get(account)  # noqa: SLF001 - the two are one
        if learning is None:
            learning = shared._learning[account] = _Learning()  # noqa: SLF001
        if not learning.is_over and (names := learning.add(order, row)) is not None:
            # The id is not given out again, whether the transaction is committed or not.
            shared._last_id += 1  # noqa: SLF001
            self._changed[account] = RowDictionary(shared._last_id, account, dictionary_of(names))  # noqa: SLF001
        current = shared._current  # noqa: SLF001
        dictionary = self._changed.get(account) or current.get(account) or current[OWN]
        packed = shared._prepared.get(dictionary.id, dictionary.content)(row)  # noqa: SLF001
        if len(packed) > POOR * len(row) > POOR * POOR_MIN:
            learning.note_poor()
        return (packed, dictionary.id) if len(packed) < len(row) else (row.decode(), None)

    def confirm(self) -> None:
        """The transaction was committed."""
        self._compressor._current |= self._changed  # noqa: SLF001


class RowReader:
    """Reads rows on one connection. Not for several threads at once."""

    def __init__(self) -> None:
        self._prepared = _Prepared(READERS_MAX, _decompressor)

    def read(self, packed: bytes, dictionary: int, content: bytes | None) -> bytes:
        """What was compressed with this dictionary. Raises `DamagedRowError`."""
        if not content:
            raise DamagedRowError(f"the row's dictionary {dictionary} is missing")
        try:
            return self._prepared.get(dictionary, content)(packed)
        except (zstandard.ZstdError, MemoryError) as error:
            raise DamagedRowError(f"the row is damaged: {error}") from error

    def text(self, packed: bytes, dictionary: int, content: bytes | None) -> str:
        """SQL function: the JSON of a row; empty if it is damaged, which is no JSON."""
        try:
            return self.read(packed, dictionary, content).decode()
        except ValueError:
            return ""


class _Prepared:
    """What was set up last for dictionaries: that takes ten times as long as a row."""

    def __init__(self, maximum: int, make: Callable[[bytes], Callable[[bytes], bytes]]) -> None:
        self._maximum, self._make = maximum, make
        self._made: OrderedDict[int, Callable[[bytes], bytes]] = OrderedDict()

    def get(self, dictionary: int, content: bytes) -> Callable[[bytes], bytes]:
        made = self._made.get(dictionary)
        if made is None:
            made = self._made[dictionary] = self._make(content)
            if len(self._made) > self._maximum:
                self._made.popitem(last=False)
        return made


def _compressor(content: bytes) -> Callable[[bytes], bytes]:
    small, large = _parameters(_SMALL), _parameters(0)
    prepared = zstandard.ZstdCompressionDict(content)
    prepared.precompute_compress(compression_params=small)
    compress = zstandard.ZstdCompressor(compression_params=small, dict_data=prepared).compress

    def choose(row: bytes) -> bytes:
        if len(row) <= _SMALL:
            return compress(row)
        plain = zstandard.ZstdCompressionDict(content)
        return zstandard.ZstdCompressor(compression_params=large, dict_data=plain).compress(row)

    return choose


def _parameters(size: int) -> zstandard.ZstdCompressionParameters:
    # Without magic number, check sum and the dictionary's id, which are eleven bytes: SQLite's pages are no safer.
    return zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, source_size=size, format=_FORMAT, write_checksum=False, write_content_size=True, write_dict_id=False
    )


def _decompressor(content: bytes) -> Callable[[bytes], bytes]:
    prepared = zstandard.ZstdCompressionDict(content)
    return zstandard.ZstdDecompressor(dict_data=prepared, format=_FORMAT).decompress


@dataclass(slots=True)
class _Names:
    """Names of fields, by where they stand; elements of lists stand where their list does."""

    orders: tuple[int, ...] = ()
    """Orders that have it; no more than need to be told apart."""
    inner: dict[str, _Names] = field(default_factory=dict)
    around: str = "%s"
    """How values are written, but for what is in them."""

    def add(self, value: Any, order: int, room: int, depth: int = 0) -> int:
        """Note the names in a value; returns for how many more there is room."""
        if len(self.orders) < SHARED_BY and order not in self.orders:
            self.orders += (order,)
        if isinstance(value, str):
            self.around = '"%s"'
        if depth == DEPTH_MAX:
            return room
        if isinstance(value, list):
            for item in value:
                room = self.add(item, order, room, depth + 1)
            self.around = f"[{self.around.strip('[]')}]"
        elif isinstance(value, dict):
            for name, item in value.items():
                names = self.inner.get(name)
                if names is None and room and len(name) <= NAME_MAX and not _IS_VALUE(name):
                    names, room = self.inner.setdefault(name, _Names()), room - 1
                if names is not None:
                    room = names.add(item, order, room, depth + 1)
            self.around = "{%s}"
        return room

    def shown(self) -> str:
        """JSON of the names that enough orders have, without values."""
        shared = ((name, inner) for name, inner in self.inner.items() if len(inner.orders) >= SHARED_BY)
        return self.around % ",".join(f"{to_json(name)}:{inner.shown()}" for name, inner in shared)


@dataclass(slots=True)
class _Learning:
    """How an account's dictionary comes about."""

    is_over: bool = False
    samples: int = SAMPLES
    names: _Names = field(default_factory=_Names)
    room: int = NAMES_SEEN_MAX
    rows: dict[int, int] = field(default_factory=dict)
    """Order → how many of its rows were looked at."""
    poor: int = 0
    patience: int = POOR_ROWS
    versions: int = 0

    def add(self, order: int, row: bytes) -> str | None:
        """The names, once enough orders were looked at."""
        if len(row) > SAMPLE_MAX:
            return None
        rows = self.rows.get(order, 0)
        if not rows and len(self.rows) == self.samples:
            shown = self.names.shown()
            self.names, self.room, self.rows, self.is_over, self.poor = _Names(), NAMES_SEEN_MAX, {}, True, 0
            self.versions += 1
            return shown
        if rows < ROWS_OF_ORDER:
            self.rows[order] = rows + 1
            with suppress(msgspec.DecodeError, RecursionError):  # what somebody changed by hand
                self.room = self.names.add(msgspec.json.decode(row), order, self.room)
        return None

    def note_poor(self) -> None:
        """A row was not served well: after many of them, another dictionary is made."""
        self.poor += self.is_over
        if self.poor >= self.patience and self.versions < VERSIONS_MAX:
            self.is_over, self.poor = False, 0
            self.patience, self.samples = 2 * self.patience, 2 * self.samples


def dictionary_of(names: str = "") -> bytes:
    """The content of a dictionary of Rescind's own names and these."""
    # What stands last is found at the smallest distance.
    return _STATISTICS + OWN_NAMES + names.encode()[-NAMES_MAX:]


def _own_names(kind: msgspec.inspect.Type, seen: set[type]) -> Iterator[str]:
    """The names of fields, and the words that may be values, of a type."""
    if isinstance(kind, msgspec.inspect.StructType) and kind.cls not in seen:
        seen.add(kind.cls)
        for named in kind.fields:
            yield f'"{named.encode_name}":"",'
            yield from _own_names(named.type, seen)
    elif isinstance(kind, msgspec.inspect.EnumType) and kind.cls not in seen:
        seen.add(kind.cls)
        yield from (f'"{each.value}",' for each in kind.cls)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _own_names(each, seen)
    else:
        inner = [getattr(kind, name, None) for name in ("item_type", "key_type", "value_type")]
        for each in (*inner, *getattr(kind, "item_types", ())):
            if each is not None:
                yield from _own_names(each, seen)


def _names_of(*types: type) -> bytes:
    seen: set[type] = set()
    return "".join(chunk for each in types for chunk in _own_names(msgspec.inspect.type_info(each), seen)).encode()


OWN_NAMES = _names_of(OrderAggregate) + b'"facts":{' + _names_of(Facts)
"""Names of fields of orders and of facts, as the present release writes them."""
