from __future__ import annotations

import socket
import time
from ipaddress import ip_network

import aiohttp
import pytest

from app.contract import HttpRequest, HttpResponse
from app.http_client import Conversation, PrivateAddressError, _exactly, _guarded_socket
from app.secrets import REDACTED


@pytest.mark.parametrize("id", ["..", ".", "%2e%2E", ".%2E", "%2E"])
def test_an_order_s_name_does_not_lead_elsewhere(id: str) -> None:
    with pytest.raises(aiohttp.InvalidURL, match="cannot be a part"):
        _exactly(f"https://shop.example/orders/{id}/cancel")


def test_nor_does_it_where_the_host_is_spelled_in_other_letters() -> None:
    with pytest.raises(aiohttp.InvalidURL, match="cannot be a part"):
        _exactly("https://b\u00fccher.example/orders/../cancel")


@pytest.mark.parametrize("id", ["a%2Fb", "a%2F..%2Fb", "...", "%C3%A9", "a%3Fb%23c", "a+b", "%25"])
def test_a_url_goes_out_as_it_was_spelled(id: str) -> None:
    assert str(_exactly(f"https://shop.example/orders/{id}/cancel")) == f"https://shop.example/orders/{id}/cancel"


def test_what_holds_credentials_is_not_noted() -> None:
    conversation = Conversation()
    token = HttpRequest("POST", "https://x.example/token", {}, b"", repeatable=True, confidential=True)
    conversation.note(token, time.monotonic(), HttpResponse(200, {}, b'{"access_token":"t0k3n"}'))
    echoed = HttpRequest("POST", "https://x.example/cancel", {"Authorization": "Bearer t0k3n"})
    conversation.note(echoed, time.monotonic(), HttpResponse(401, {}, b'{"error":"t0k3n is no token"}'))
    assert [each["answer"] for each in conversation.exchanges] == [REDACTED, f'{{"error":"{REDACTED} is no token"}}']


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.251",
        "0.0.0.0",  # noqa: S104 - an address that is refused
        "::1",
        "::ffff:10.1.2.3",
        "64:ff9b::a01:203",
        "2002:a01:203::1",
        "fe80::1%lo",
        "ff02::1",
    ],
)
def test_no_address_leads_into_a_private_network(address: str) -> None:
    make = _guarded_socket(())
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(PrivateAddressError, match="RESCIND_ALLOW_NETWORKS"):
        make((family, socket.SOCK_STREAM, 0, "", (address, 443)))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_addresses_are_reached(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    _guarded_socket(())((family, socket.SOCK_STREAM, 0, "", (address, 443))).close()


def test_a_private_network_is_reached_if_it_is_named() -> None:
    _guarded_socket((ip_network("10.0.0.0/8"),))((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.1.2.3", 1))).close()
