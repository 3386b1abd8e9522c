"""Compression of receipts: query, headers and body of a receipt are one deflated value.

A webhook of 1 KB by itself does not shrink much, but it resembles the endpoint's earlier ones. So it is deflated with a
*dictionary*, the content of earlier receipts of the same account and endpoint, and takes some 75 bytes. Dictionaries
are rows of a small table, and never change: a receipt names the one that it needs.

A dictionary holds the content of the receipts it was made of, and is expunged with the first of them: the receipts that
use it are then stored without it (`DICTIONARY_USES_MAX` bounds how many those are).

Each process chooses its own dictionaries, so nothing is shared between writers but rows that are only added.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from app.store.records import Receipt

DICTIONARY_MAX = 8192
"""Bytes of a dictionary: setting one up takes time in proportion."""
SAMPLE_MAX = 4096
"""Bytes of one receipt in it."""
SAMPLES_MAX = 4
"""Receipts that a dictionary is made of: an endpoint may send webhooks of several kinds."""
DICTIONARY_USES_MAX = 10_000
"""Receipts after which another is begun: to expunge a dictionary means to store these anew."""
POOR = 0.4
"""A receipt that is compressed to more than this part of its size is not served well by its dictionary."""
POOR_MIN = 8
"""How many of them give the dictionary another sample; each time twice as many, as some webhooks never compress."""
LARGE = 65_536
"""Above so many bytes a receipt is packed and unpacked in a thread."""
SMALL = 256
"""Below so many bytes nothing is gained by a better dictionary."""

NO_DICTIONARY = 0
"""Stands in a receipt that was deflated without one."""

_LEVEL = 3
_RAW = -15
"""The largest window, without header and check sum: SQLite's pages are no safer with them."""
_WINDOWS = ((4096, -12, 4), (8192, -13, 5))
"""(bytes of dictionary and content, window, memory level): a small window is set up in half the time."""

_encode = msgspec.json.Encoder().encode
_pairs = msgspec.json.Decoder(tuple[list[tuple[str, str]], list[tuple[str, str]]])


class DamagedReceiptError(ValueError):
    """What is stored cannot be decompressed to what was received."""


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A dictionary to be stored."""

    id: int
    """The id of the newest receipt that it is made of."""
    account: str
    endpoint: str
    sources: tuple[int, ...]
    """Ids of the receipts that it is made of."""
    content: bytes


class _Current(Struct):
    """A dictionary, and how it serves."""

    dictionary: Dictionary
    last_use: int = 0
    """The greatest id of a receipt that it served."""
    uses: int = 0
    poor: int = 0
    """Receipts that it served badly since it was made."""
    patience: int = POOR_MIN


class Compressor:
    """Chooses the dictionaries of one writer."""

    def __init__(self) -> None:
        self._current: dict[tuple[str, str], _Current] = {}

    def begin(self) -> Packing:
        """For the receipts of one transaction."""
        return Packing(self._current)

    def forget(self, receipts: Collection[int]) -> None:
        """Use no dictionary any more that is made of one of these receipts."""
        if receipts:
            self._drop(lambda sources: not sources.isdisjoint(receipts))

    def forget_before(self, receipt: int) -> None:
        """Use no dictionary any more that is made of an earlier receipt."""
        self._drop(lambda sources: min(sources) < receipt)

    def _drop(self, is_over: Callable[[set[int]], bool]) -> None:
        _prepared.cache_clear()
        over = [key for key, held in self._current.items() if is_over(set(held.dictionary.sources))]
        for key in over:
            del self._current[key]


class Packing:
    """The packed receipts of one transaction; what it chose counts once the transaction is committed."""

    def __init__(self, current: dict[tuple[str, str], _Current]) -> None:
        self._shared, self._changed = current, dict[tuple[str, str], _Current]()
        self.dictionaries: list[Dictionary] = []
        """New ones, to be stored with the receipts."""
        self.replaced: list[tuple[int, int]] = []
        """(id, greatest id of a receipt that uses it) of those that no further receipt will use."""
        self.packed: list[tuple[Receipt, int | None, bytes]] = []
        """(receipt, id of its dictionary, its query, headers and body); (receipt, None, nothing) if it is expunged."""

    async def add(self, receipt: Receipt) -> None:
        """Pack one more receipt; a large one in a thread, as it takes milliseconds."""
        if receipt.expunged_at is not None:
            self.packed.append((receipt, None, b""))
            return
        is_large = len(receipt.body) > LARGE
        packed = await asyncio.to_thread(self._pack, receipt) if is_large else self._pack(receipt)
        self.packed.append((receipt, *packed))

    def _pack(self, receipt: Receipt) -> tuple[int, bytes]:
        plain = _plain(receipt)
        key = (receipt.account, receipt.endpoint)
        current = self._changed.get(key)
        if current is None and (shared := self._shared.get(key)) is not None:
            # Counted in a copy: a transaction that fails leaves the shared one as it was.
            current = self._changed[key] = replace(shared)
        if current is None or current.uses >= DICTIONARY_USES_MAX:
            self._replace(current)
            current = self._changed[key] = _Current(self._make(receipt, plain))
        packed = deflate(plain, current.dictionary.content)
        poor = current.poor + (len(packed) > POOR * len(plain) > POOR * SMALL)
        if poor >= current.patience and len(current.dictionary.sources) < SAMPLES_MAX:
            self._replace(current)
            made, patience = self._make(receipt, plain, current.dictionary), 2 * current.patience
            current = self._changed[key] = _Current(made, patience=patience)
            packed, poor = deflate(plain, made.content), 0
        current.last_use, current.poor = max(current.last_use, receipt.id), poor
        current.uses += 1
        return current.dictionary.id, packed

    def confirm(self) -> None:
        """The transaction was committed."""
        self._shared |= self._changed

    def _replace(self, current: _Current | None) -> None:
        if current is not None:
            self.replaced.append((current.dictionary.id, current.last_use))

    def _make(self, receipt: Receipt, plain: bytes, former: Dictionary | None = None) -> Dictionary:
        sources, earlier = ((), b"") if former is None else (former.sources, former.content)
        content = (earlier + plain[:SAMPLE_MAX])[-DICTIONARY_MAX:]
        made = Dictionary(receipt.id, receipt.account, receipt.endpoint, (*sources, receipt.id), content)
        self.dictionaries.append(made)
        return made


def pack_alone(receipt: Receipt) -> bytes:
    """Query, headers and body of a receipt, packed without a dictionary."""
    return deflate(_plain(receipt))


def _plain(receipt: Receipt) -> bytes:
    return b"%b\n%b" % (_encode((receipt.query, receipt.headers)), receipt.body)


def deflate(plain: bytes, dictionary: bytes = b"") -> bytes:
    """`plain` compressed, behind its size."""
    size = len(plain) + len(dictionary)
    for limit, window, memory in _WINDOWS:
        if size <= limit:
            deflater = _prepared(dictionary, window, memory).copy()
            break
    else:
        deflater = _deflater(dictionary, _RAW, 8)
    return b"%b%b%b" % (_size(len(plain)), deflater.compress(plain), deflater.flush())


def _deflater(dictionary: bytes, window: int, memory: int) -> Any:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, window, memory, zlib.Z_DEFAULT_STRATEGY, dictionary)


# A copy takes a third of the time that setting up a dictionary does. Each is 24 or 48 KB.
_prepared = lru_cache(maxsize=64)(_deflater)


def inflate(packed: bytes, dictionary: bytes = b"") -> bytes:
    """What was compressed with this dictionary. Raises `DamagedReceiptError`; never makes more than was packed."""
    size, at = 0, 0
    for at, byte in enumerate(packed[:9]):
        size |= (byte & 0x7F) << 7 * at
        if byte < 0x80:  # noqa: PLR2004 - the last byte of the size
            break
    else:
        raise DamagedReceiptError("the receipt is damaged: it does not state its size")
    inflater = zlib.decompressobj(_RAW, dictionary)
    try:
        plain = inflater.decompress(packed[at + 1 :], size + 1)
    except zlib.error as error:
        raise DamagedReceiptError(f"the receipt is damaged: {error}") from error
    if len(plain) != size or not inflater.eof:
        raise DamagedReceiptError(f"the receipt is damaged: it does not have the {size} bytes that it states")
    return plain


def unpack(packed: bytes, dictionary: bytes | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]], bytes]:
    """(query, headers, body) of a packed receipt. Raises `DamagedReceiptError`."""
    pairs, _, body = inflate(packed, dictionary or b"").partition(b"\n")
    query, headers = _pairs.decode(pairs)
    return query, headers, body


def body_text(packed: bytes, dictionary: bytes | None) -> str:
    """The body of a packed receipt as text, for searches in SQL; empty if it is damaged."""
    try:
        return unpack(packed, dictionary)[2].decode("utf-8", "replace")
    except (DamagedReceiptError, msgspec.DecodeError):
        return ""


def _size(number: int) -> bytes:
    """A size in as few bytes as it needs, seven bits in each."""
    sized = bytearray()
    while number >= 0x80:  # noqa: PLR2004 - more than seven bits
        sized.append(number & 0x7F | 0x80)
        number >>= 7
    sized.append(number)
    return bytes(sized)
