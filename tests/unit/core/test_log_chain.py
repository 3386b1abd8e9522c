from __future__ import annotations

from hashlib import sha256

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from app.core import log_chain
from app.core.log_chain import GENESIS, block_root, erasure_digest, inclusion_proof, leaf_hash, proven_root, tree_root

EVENT = (7, "acme", "ord-ü", -5, "order.opened", "webhook", 1_700_000_000_000_000, 1_700_000_000_000_001, 9, '{"v":2}')
DATA = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
"""The test vectors of Certificate Transparency."""


def test_the_tree_is_that_of_certificate_transparency() -> None:
    leaves = [sha256(b"\0" + bytes.fromhex(data)).digest() for data in DATA]
    for size, root in ROOTS.items():
        assert tree_root(leaves[:size]).hex() == root


def test_a_leaf_does_not_change_between_releases() -> None:
    """Roots of it were kept by auditors: it is written down here how it is made, byte by byte."""
    text = "7 -5 1700000000000000 1700000000000001 9 4:acme,6:ord-ü,12:order.opened,7:webhook,"
    assert leaf_hash(*EVENT) == sha256(b"\0" + text.encode() + b'{"v":2}').digest()
    assert leaf_hash(*EVENT[:8], None, EVENT[9]) != leaf_hash(*EVENT[:8], 0, EVENT[9])


@pytest.mark.parametrize("place", range(len(EVENT)))
def test_every_column_of_an_event_is_in_its_leaf(place: int) -> None:
    changed = list(EVENT)
    changed[place] = EVENT[place] + (1 if isinstance(EVENT[place], int) else "x")
    assert leaf_hash(*changed) != leaf_hash(*EVENT)


def test_text_does_not_move_from_one_column_to_the_next_unseen() -> None:
    rest = EVENT[3:]
    assert leaf_hash(7, "ab", "c", *rest) != leaf_hash(7, "a", "bc", *rest)


@examples(100)
@given(st.integers(1, 70), st.data())
def test_each_event_of_a_block_is_proven_and_no_other(size: int, data: st.DataObject) -> None:
    leaves = [sha256(bytes([number])).digest() for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion_proof(leaves, index), tree_root(leaves)
    assert proven_root(leaves[index], index, size, path) == root
    assert proven_root(sha256(b"other").digest(), index, size, path) != root
    assert proven_root(leaves[index], index, size, [*path, root]) is None
    assert not path or proven_root(leaves[index], index, size, path[:-1]) is None
    assert proven_root(leaves[index], size, size, path) is None
    others = [proven_root(leaves[index], place, size, path) for place in range(size) if place != index]
    assert root not in others


def test_a_root_covers_the_bounds_of_its_block_and_the_root_before() -> None:
    tree = sha256(b"tree").digest()
    root = block_root(GENESIS, 1, 1, 5, (10, 20), tree)
    changed = [
        block_root(tree, 1, 1, 5, (10, 20), tree),
        block_root(GENESIS, 2, 1, 5, (10, 20), tree),
        block_root(GENESIS, 1, 2, 5, (10, 20), tree),
        block_root(GENESIS, 1, 1, 6, (10, 20), tree),
        block_root(GENESIS, 1, 1, 5, (11, 20), tree),
        block_root(GENESIS, 1, 1, 5, (10, 21), tree),
        block_root(GENESIS, 1, 1, 5, (10, 20), GENESIS),
    ]
    assert len({root, *changed}) == 8


def test_a_block_holds_what_it_was_sealed_over() -> None:
    leaves = [sha256(bytes([number])).digest() for number in range(3)]
    first = log_chain.seal(None, 4, leaves, [30, 10, 20], at=99)
    assert (first.number, first.first, first.last, first.count) == (1, 4, 6, 3)
    assert (first.received_from, first.received_until, first.at) == (10, 30, 99)
    assert first.marks == leaves[0][:4] + leaves[1][:4] + leaves[2][:4]
    assert first.root == block_root(GENESIS, 1, 4, 6, (10, 30), tree_root(leaves))
    second = log_chain.seal(first, 7, leaves, [30, 10, 20], at=99)
    assert second.number == 2
    assert second.root == block_root(first.root, 2, 7, 9, (10, 30), tree_root(leaves))


def test_the_digest_of_an_erasure_covers_every_event_before_and_after() -> None:
    one, other = sha256(b"1").digest(), sha256(b"2").digest()
    digests = {
        erasure_digest([(1, one, other)]),
        erasure_digest([(2, one, other)]),
        erasure_digest([(1, other, one)]),
        erasure_digest([(1, one, other), (2, one, other)]),
        erasure_digest([]),
    }
    assert len(digests) == 5
