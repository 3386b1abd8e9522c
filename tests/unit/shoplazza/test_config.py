from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unit.shoplazza.support import GIVEN, make

from handlers.shoplazza.config import SHOP_DOMAINS, Config


@pytest.mark.parametrize(
    ("shop", "url"),
    [
        ("acme", "https://acme.myshoplaza.com/openapi/2022-01"),
        ("ACME", "https://acme.myshoplaza.com/openapi/2022-01"),
        ("a", "https://a.myshoplaza.com/openapi/2022-01"),
        ("acme-2", "https://acme-2.myshoplaza.com/openapi/2022-01"),
        ("acme.myshoplaza.com", "https://acme.myshoplaza.com/openapi/2022-01"),
        # Both spellings are in the documents; the account's config decides.
        ("acme.myshoplazza.com", "https://acme.myshoplazza.com/openapi/2022-01"),
        ("Acme.MyShopLazza.com", "https://acme.myshoplazza.com/openapi/2022-01"),
        ("acme.shoplazza.com", "https://acme.shoplazza.com/openapi/2022-01"),
    ],
)
def test_the_shop_gives_the_url(shop: str, url: str) -> None:
    assert make(shop_domain=shop).api_url == url


def test_base_url_takes_the_place_of_the_shop_s() -> None:
    config = make(base_url="http://127.0.0.1:8701/shoplazza/", api_version="2025-06")
    assert config.api_url == "http://127.0.0.1:8701/shoplazza/openapi/2025-06"
    assert config.host == "acme.myshoplaza.com"


@pytest.mark.parametrize(
    "shop",
    [
        *(
            "",
            " ",
            ".",
            "-",
            "acme-",
            "-acme",
            "ac me",
            "acme ",
            "acme\n",
            "ac_me",
            "acmé",
            "ACMÉ",
            "a" * 64,
            "\u212aelvin",
        ),
        *("https://acme.myshoplaza.com", "acme.myshoplaza.com/", "acme/..", "acme?x", "acme#x", "acme:443", "me@acme"),
        *("acme.", "acme.myshoplaza.com.", "acme.myshoplaza.com.example.com", "acme.example.com", "a.b.myshoplaza.com"),
        *("myshoplaza.com", ".myshoplaza.com", "acme.myshoplazaXcom", "acme..myshoplaza.com", "127.0.0.1", "[::1]"),
    ],
)
def test_nothing_else_is_a_shop(shop: str) -> None:
    with pytest.raises(ValidationError, match="shop_domain"):
        make(shop_domain=shop)


@given(st.text(max_size=80))
def test_a_shop_never_leaves_its_place_in_the_url(shop: str) -> None:
    try:
        host = make(shop_domain=shop).host
    except ValidationError:
        return
    assert host.partition(".")[2] in SHOP_DOMAINS
    assert set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")


@pytest.mark.parametrize(
    ("domain", "is_ours"),
    [
        ("acme.myshoplaza.com", True),
        ("acme.myshoplazza.com", True),
        ("ACME.shoplazza.com", True),
        (" acme.myshoplaza.com ", True),
        ("shop.example.com", True),
        ("Shop.Example.com", True),
        ("other.myshoplaza.com", False),
        ("acme.example.com", False),
        ("acme", False),
        ("acme.evil.myshoplaza.com", False),
        ("notacme.myshoplaza.com", False),
        ("", False),
    ],
)
def test_which_domains_name_the_shop(domain: str, is_ours: bool) -> None:
    assert make(other_shop_domains=["shop.example.com"]).is_this_shop(domain) is is_ours


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"access_token": ""}, "at least 1"),
        ({"access_token": " t"}, "visible ASCII"),
        ({"access_token": "t\r\nX-Evil: 1"}, "visible ASCII"),
        ({"access_token": "tökén"}, "visible ASCII"),
        ({"client_secret": "s\n"}, "visible ASCII"),
        ({"client_secret": ""}, "at least 1"),
        ({"base_url": "acme.myshoplaza.com"}, "http or https"),
        ({"base_url": "https://x.example/?a=1"}, "without a query"),
        ({"base_url": "https://me:pass@x.example"}, "fields of their own"),
        ({"api_version": "2022-1"}, "api_version"),
        ({"api_version": "2022-01/.."}, "api_version"),
        ({"api_version": "2022-01\n"}, "api_version"),
        ({"api_version": "\u0662022-01"}, "api_version"),
        ({"other_shop_domains": ["example"]}, "no domain"),
        ({"other_shop_domains": ["https://shop.example.com"]}, "no domain"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"shop": "acme"}, "shop"),
    ],
)
def test_what_is_wrong_is_said(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make(**bad)


def test_shop_and_token_are_required_and_the_secret_is_not() -> None:
    with pytest.raises(ValidationError, match="shop_domain") as caught:
        Config.model_validate({})
    assert "access_token" in str(caught.value)
    assert Config.model_validate({"shop_domain": "acme", "access_token": "t"}).client_secret is None


def test_a_secret_that_is_refused_does_not_show() -> None:
    with pytest.raises(ValidationError) as caught:
        make(access_token="secret-123456\n")
    assert "123456" not in str(caught.value)
    assert GIVEN["access_token"] not in repr(make())


def test_every_field_is_described() -> None:
    assert all(each.description for each in Config.model_fields.values())
