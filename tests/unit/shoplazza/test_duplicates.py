"""Nothing that is kept of Shoplazza's orders tells that two of them are the same."""

from __future__ import annotations

from webhooks import mark, order_of


def test_strangers_who_buy_the_same_are_no_duplicates() -> None:
    assert mark("shoplazza", order_of("shoplazza", "created")) is None
    assert mark("shoplazza", order_of("shoplazza", "financial_paid", id="633130-00000005")) is None


def test_a_shop_whose_tags_tell_may_name_them() -> None:
    def tagged(id: str, tags: str) -> int | None:
        return mark("shoplazza", order_of("shoplazza", "created", id=id, tags=tags), duplicate_keys=("tags",))

    assert tagged("633130-00000004", "cart-7") == tagged("633130-00000005", "cart-7") is not None
    assert tagged("633130-00000004", "cart-7") != tagged("633130-00000005", "cart-8")
    assert tagged("633130-00000004", "") is None
