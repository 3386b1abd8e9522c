from __future__ import annotations

import msgspec
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from unit.core.support import ACCOUNT, ORDER, appointment, at, decoded, fact

from app.contract import Facts, Phase, Source
from app.core.event import Event, event_id, internal_event, join_id, order_key, split_id

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
sources = st.tuples(names, names, names, st.binary(max_size=20))


def test_the_digests_do_not_change_between_releases() -> None:
    """They are in the logs of those who run this: another digest would take every redelivery for a new event."""
    assert event_id("acme", "order-1", "order.opened", b"key") == "evt_e2d71f8576d1c33d07f12ece9df948c3"
    assert order_key("acme", "order-1") == -2101176043060477123


@examples(200)
@given(sources, sources)
def test_two_ids_are_the_same_only_if_all_that_they_are_made_of_is(
    one: tuple[str, str, str, bytes], other: tuple[str, str, str, bytes]
) -> None:
    assert (event_id(*one) == event_id(*other)) == (one == other)


@pytest.mark.parametrize(
    "other",
    [
        ("acme2", "order-1", "a.b", b"key"),
        ("acme", "order-2", "a.b", b"key"),
        ("acme", "order-1", "a.c", b"key"),
        ("acme", "order-1", "a.b", b"kez"),
        ("acmeo", "rder-1", "a.b", b"key"),
        ("acme", "order-1", "a.", b"bkey"),
    ],
)
def test_each_part_counts_and_stands_by_itself(other: tuple[str, str, str, bytes]) -> None:
    assert event_id("acme", "order-1", "a.b", b"key") != event_id(*other)


@examples(200)
@given(sources)
def test_an_id_splits_into_the_keys_it_is_made_of(source: tuple[str, str, str, bytes]) -> None:
    id = event_id(*source)
    order, event = split_id(id)

    assert order == order_key(*source[:2])
    assert join_id(order, event) == id


@examples(100)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_every_pair_of_keys_has_an_id(order: int, event: int) -> None:
    assert split_id(join_id(order, event)) == (order, event)


GOOD = event_id(ACCOUNT, ORDER, "a.b", b"key")


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "evt_",
        GOOD.removeprefix("evt_"),
        GOOD.replace("evt_", "rcp_"),
        GOOD[:-1],
        GOOD[:-2],
        GOOD + "00",
        "evt_" + GOOD,
        GOOD[:-1] + "g",
        "evt_" + GOOD[4:].upper(),
        "evt_ " + GOOD[4:],
        GOOD[:12] + "  " + GOOD[14:],
        GOOD + " ",
        GOOD + "\n",
        GOOD[:-2] + "\u0660\u0660",
        GOOD[:-2] + "\udc80\udc80",
    ],
)
def test_what_is_not_the_id_of_an_event_is_named_in_the_error(bad: str) -> None:
    with pytest.raises(ValueError, match="is not the id of an event") as caught:
        split_id(bad)
    assert repr(bad) in str(caught.value)


@examples(300)
@given(st.text(st.characters(exclude_categories=()), max_size=40) | st.from_regex(r"evt_[0-9a-fA-F ]{30,34}"))
def test_split_id_raises_value_error_or_gives_the_keys_of_that_very_id(text: str) -> None:
    try:
        keys = split_id(text)
    except ValueError:
        return
    assert join_id(*keys) == text


@examples(100)
@given(st.text(st.characters(exclude_categories=()), max_size=10))
def test_any_name_of_an_order_can_be_looked_up(name: str) -> None:
    assert -(2**63) <= order_key(ACCOUNT, name) < 2**63


def test_an_event_is_the_same_when_it_is_read_back() -> None:
    facts = Facts(
        phase=Phase.OPEN,
        provider_status="new",
        opened_at=at(0.000001),
        appointments=(appointment(60),),
        appointments_complete=True,
        attributes={"total": "10.00", "n": 1, "none": None, "list": [1, {"a": True}]},
        aliases=("other",),
        snapshot=True,
    )
    event = fact("1", 1.5, facts, heard=2)

    assert decoded(event) == event
    assert msgspec.json.encode(decoded(event)) == msgspec.json.encode(event)


def test_what_arose_here_states_nothing_of_the_order() -> None:
    event = internal_event(ACCOUNT, ORDER, "probe.failed", "att-1", at(5), Source.PROVIDER, {"counts": True})

    assert event == Event(
        id=event_id(ACCOUNT, ORDER, "probe.failed", b"att-1"),
        account=ACCOUNT,
        order=ORDER,
        type="probe.failed",
        occurred_at=at(5),
        received_at=at(5),
        source=Source.PROVIDER,
        data={"counts": True},
    )
