"""Compression of receipts: what comes back is what was packed, in little space, and dictionaries are bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.compression import (
    DICTIONARY_MAX,
    DICTIONARY_USES_MAX,
    LARGE,
    SAMPLES_MAX,
    Compressor,
    DamagedReceiptError,
    Packing,
    body_text,
    deflate,
    inflate,
    unpack,
)
from app.store.records import Receipt

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HEADERS = [("Content-Type", "application/json"), ("User-Agent", "PlanOmatic/3"), ("X-\u00e9", "\n\u0000")]


def receipt(id: int, body: bytes, endpoint: str = "in", **more: Any) -> Receipt:
    return Receipt(id, endpoint, "acme", NOW, "accepted", "", more.get("query", []), more.get("headers", HEADERS), body)


def webhook(number: int) -> bytes:
    place = {"street": f"{number} Larimer Street", "city": "Denver", "notes": "Lockbox on the left rail. " * 12}
    return msgspec.json.encode({"event": "order.processed", "order_id": 500_000 + number, "property": place})


class Kept:
    """What a store does with a compressor, in memory."""

    def __init__(self) -> None:
        self.compressor = Compressor()
        self.dictionaries: dict[int, bytes] = {}
        self.rows: dict[int, tuple[int, bytes]] = {}

    def add(self, *receipts: Receipt, fails: bool = False) -> None:
        packing: Packing = self.compressor.begin()
        for one in receipts:
            asyncio.run(packing.add(one))
        if fails:
            return
        self.dictionaries |= {made.id: made.content for made in packing.dictionaries}
        self.rows |= {one.id: (dictionary, packed) for one, dictionary, packed in packing.packed}
        packing.confirm()

    def check(self, *receipts: Receipt) -> None:
        for one in receipts:
            dictionary, packed = self.rows[one.id]
            assert unpack(packed, self.dictionaries[dictionary]) == (one.query, one.headers, one.body)


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=3000) | st.just(b"{}") | st.builds(webhook, st.integers(0, 9)),
            st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))),
            st.booleans(),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_every_receipt_comes_back(given: list[tuple[bytes, list[tuple[str, str]], bool]]) -> None:
    kept = Kept()
    made = [receipt(n, body, query=pairs, headers=pairs) for n, (body, pairs, _) in enumerate(given, 1)]
    for one, (_, _, fails) in zip(made, given, strict=True):
        kept.add(one, fails=fails)
    kept.check(*(one for one, (_, _, fails) in zip(made, given, strict=True) if not fails))


def test_webhooks_of_one_kilobyte_take_a_tenth() -> None:
    kept = Kept()
    made = [receipt(n, webhook(n)) for n in range(1, 500)]
    kept.add(*made)
    kept.check(*made)
    used = sum(len(packed) for _, packed in kept.rows.values()) + sum(map(len, kept.dictionaries.values()))
    assert used < 0.15 * sum(one.size or 0 for one in made)
    assert len(kept.dictionaries) == 1


def kinds(number: int) -> bytes:
    """One of three webhooks that have nothing in common."""
    words = Random(number % 3)  # noqa: S311 - no secret
    text = "".join(words.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(900))
    return f'{{"n":{number},"text":"{text}"}}'.encode()


def test_an_endpoint_with_webhooks_of_several_kinds_gets_a_dictionary_of_all() -> None:
    kept = Kept()
    made = [receipt(n, kinds(n)) for n in range(1, 1000)]
    for one in made:
        kept.add(one)
    kept.check(*made)
    late = [len(kept.rows[one.id][1]) for one in made[100:]]
    assert max(late) < 100
    assert len(kept.dictionaries) <= SAMPLES_MAX


def test_dictionaries_are_bounded_in_number_and_size() -> None:
    kept, noise = Kept(), Random(3)  # noqa: S311 - no secret
    made = [receipt(n, noise.randbytes(1000)) for n in range(1, 600)]
    kept.add(*made)
    kept.check(*made)
    assert len(kept.dictionaries) == SAMPLES_MAX
    assert max(map(len, kept.dictionaries.values())) <= DICTIONARY_MAX


def test_dictionaries_are_bounded_in_uses() -> None:
    kept = Kept()
    kept.add(*(receipt(n, webhook(n)) for n in range(1, 2 * DICTIONARY_USES_MAX)))
    uses = Counter(dictionary for dictionary, _ in kept.rows.values())
    assert uses == {1: DICTIONARY_USES_MAX, DICTIONARY_USES_MAX + 1: DICTIONARY_USES_MAX - 1}


def test_a_dictionary_that_was_not_stored_is_not_used() -> None:
    kept = Kept()
    kept.add(receipt(1, webhook(1)), fails=True)
    kept.add(receipt(2, webhook(2)))
    assert set(kept.dictionaries) == {2}
    kept.check(receipt(2, webhook(2)))
    kept.compressor.forget({2})
    kept.add(receipt(3, webhook(3)))
    assert kept.rows[3][0] == 3


def test_a_large_receipt_is_packed_off_the_loop() -> None:
    kept, large = Kept(), receipt(1, webhook(1) * (LARGE // 300))
    kept.add(large)
    kept.check(large)


def test_damage_and_bombs_are_refused() -> None:
    packed = deflate(b"x" * 1_000_000)
    assert len(packed) < 5000
    bomb = deflate(b"x" * 10)[:1] + packed[3:]  # states ten bytes, and has a million
    for damaged in (bomb, packed[:-3], b"", b"\xff" * 20, b"\x05hello"):
        with pytest.raises(DamagedReceiptError):
            inflate(damaged)
        assert body_text(damaged, None) == ""
    assert inflate(packed) == b"x" * 1_000_000
