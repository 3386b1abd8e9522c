"""Rows are read as they were written, whatever they hold; dictionaries learn names, and no values."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.row_compression import (
    NAMES_SEEN_MAX,
    OWN,
    POOR_ROWS,
    ROWS_OF_ORDER,
    SAMPLES,
    SHARED_BY,
    DamagedRowError,
    RowCompressor,
    RowDictionary,
    RowReader,
    _Names,
    dictionary_of,
)

A = "acme"
LETTERS = str.maketrans("0123456789", "ghijklmnop")
FIRST = RowDictionary(1, OWN, dictionary_of())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def learned(compressor: RowCompressor, rows: list[bytes], first: int = 0) -> dict[int, RowDictionary]:
    """The dictionaries after these rows, each of an order of its own."""
    packing = compressor.begin()
    for order, row in enumerate(rows, first):
        packing.pack(A, order, row)
    packing.confirm()
    return {FIRST.id: FIRST} | {made.id: made for made in packing.dictionaries}


def order(number: int, **more: object) -> bytes:
    facts = {
        "property": {"street": f"{number} Elm", "rooms": [{"size": number}]},
        "customer_reference": f"ref {number}",
    }
    return msgspec.json.encode({"facts": {"attributes": facts | more}})


@given(st.binary() | st.binary(min_size=9000, max_size=20_000) | JSON.map(msgspec.json.encode))
def test_what_is_packed_is_read_exactly(row: bytes) -> None:
    packing, reader = RowCompressor([FIRST]).begin(), RowReader()
    try:
        text = row.decode()
    except UnicodeDecodeError:
        text = ""
    try:
        packed, dictionary = packing.pack(A, 1, row)
    except ValueError:  # neither JSON nor text: no row of ours
        return
    if dictionary is None:
        assert isinstance(packed, str)
        assert packed.encode() == row
        return
    assert isinstance(packed, bytes)
    assert reader.read(packed, dictionary, FIRST.content) == row
    assert reader.text(packed, dictionary, FIRST.content) == text
    assert len(packed) < len(row)


def test_a_long_row_is_packed_and_read() -> None:
    row = msgspec.json.encode({"data": {"text": "\0\u00fc\U0001f600" * 150_000}})
    packed, dictionary = RowCompressor([FIRST]).begin().pack(A, 1, row)
    assert isinstance(packed, bytes)
    assert dictionary is not None
    assert RowReader().read(packed, dictionary, FIRST.content) == row
    assert len(packed) < len(row) / 50


def test_a_damaged_row_is_no_json() -> None:
    packed, dictionary = RowCompressor([FIRST]).begin().pack(A, 1, order(1) * 5)
    assert isinstance(packed, bytes)
    reader = RowReader()
    for damaged, content in ((packed[:-3], FIRST.content), (b"", FIRST.content), (b"\xff" * 40, FIRST.content)):
        with pytest.raises(DamagedRowError):
            reader.read(damaged, dictionary or 0, content)
        assert reader.text(damaged, dictionary or 0, content) == ""
    for missing in (None, b""):
        with pytest.raises(DamagedRowError, match="dictionary 1 is missing"):
            RowReader().read(packed, 1, missing)


def test_an_account_learns_the_names_that_its_orders_share_and_no_value() -> None:
    compressor = RowCompressor([FIRST])
    before, _ = compressor.begin().pack(A, 99, order(99))
    secret = {"jane doe": "x"}
    rows = [
        order(n, notes="Call Jane Doe", by={"joe@example.com": 1, "+4930123456": 2})
        if n >= SHARED_BY - 1
        else order(n, seen_by=secret)
        for n in range(SAMPLES + 1)
    ]
    dictionaries = learned(compressor, rows)
    made = dictionaries[2]
    assert made.account == A
    names = made.content[len(FIRST.content) :].decode()
    assert '"property":{"street":"","rooms":[{"size":}]},"customer_reference":"","notes":"","by":{}' in names
    for value in ("Elm", "Jane", "jane", "joe", "4930", "seen_by", "ref "):
        assert value not in names
    packed, dictionary = compressor.begin().pack(A, 77, order(77))
    assert dictionary == made.id
    assert len(packed) < len(before) * 0.6
    assert isinstance(packed, bytes)
    assert RowReader().read(packed, made.id, made.content) == order(77)


def test_a_sender_of_new_names_takes_no_memory_and_others_learn_beside_it() -> None:
    compressor = RowCompressor([FIRST])
    bodies = [{"facts": {"attributes": {f"name-{n}-{i}": i for i in range(40)}}} for n in range(600)]
    for n, body in enumerate(bodies):
        compressor.begin().pack("hostile", n % 5, msgspec.json.encode(body))
    learning = compressor._learning["hostile"]
    assert not learning.is_over
    assert sum(learning.rows.values()) == 5 * ROWS_OF_ORDER
    assert _count(learning.names) == NAMES_SEEN_MAX
    assert sorted(learned(compressor, [order(n) for n in range(SAMPLES + 1)])) == [1, 2]


def test_a_row_that_nests_deeper_than_can_be_read_is_packed() -> None:
    row = b"[" * 4000 + b"]" * 4000
    packed, dictionary = RowCompressor([FIRST]).begin().pack(A, 1, row)
    assert isinstance(packed, bytes)
    assert RowReader().read(packed, dictionary or 0, FIRST.content) == row


def _count(names: _Names) -> int:
    return sum(1 + _count(inner) for inner in names.inner.values())


def test_a_dictionary_of_a_transaction_that_failed_is_not_used_and_its_id_not_given_again() -> None:
    compressor = RowCompressor([FIRST])
    failed = compressor.begin()
    for n in range(SAMPLES + 1):
        failed.pack(A, n, order(n))
    assert [made.id for made in failed.dictionaries] == [2]
    assert compressor.begin().pack(A, 50, order(50))[1] == FIRST.id


def test_an_account_whose_rows_change_their_shape_gets_another_dictionary() -> None:
    compressor = RowCompressor([FIRST])
    dictionaries = learned(compressor, [order(n) for n in range(SAMPLES + 1)])
    assert sorted(dictionaries) == [1, 2]
    names = [sha256(b"%d" % i).hexdigest()[:20].translate(LETTERS) for i in range(30)]
    other = [
        msgspec.json.encode({"facts": {"attributes": dict.fromkeys(names, n)}})
        for n in range(POOR_ROWS + 2 * SAMPLES + 2)
    ]
    assert sorted(learned(compressor, other, first=100)) == [1, 3]
    packed, dictionary = compressor.begin().pack(A, 7, other[0])
    assert dictionary == 3
    assert len(packed) < len(other[0]) / 3


def test_a_writer_goes_on_with_the_stored_dictionaries() -> None:
    dictionaries = learned(RowCompressor([FIRST]), [order(n) for n in range(SAMPLES + 1)])
    again = RowCompressor(dictionaries.values())
    assert sorted(learned(again, [order(n) for n in range(3 * SAMPLES)])) == [1]
    assert again.begin().pack(A, 1, order(1))[1] == 2
    assert again.begin().pack("other", 1, order(1))[1] == FIRST.id
