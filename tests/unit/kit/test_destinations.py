from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import pytest

from app.kit.destinations import fault_in_url, is_allowed, is_public
from app.runtime.guard import PrivateAddressError, guarded_socket

REFUSED = (
    # Whatever `ipaddress` of some version of Python says of them.
    *("0.0.0.0", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255"),  # noqa: S104
    *("127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.9", "192.0.0.10", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.251", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::ffff:10.1.2.3", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *("::ffff:168.63.129.16", "::ffff:192.0.0.9", "::10.1.2.3", "::127.0.0.1", "::ffff:0:10.1.2.3"),
    *("64:ff9b::a01:203", "64:ff9b::a9fe:a9fe", "64:ff9b::c000:9", "64:ff9b:1::1", "64:ff9b:1::5db8:d822"),
    *("100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1"),
    *("2001:db8::1", "2002:a01:203::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c000:9::1", "3fff::1"),
    *("5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::5efe:10.1.2.3", "fec0::1", "feff::1"),
    *("ff02::1", "ff0e::1", "2606:2800:220:1:0:5efe:10.1.2.3", "2606:2800:220:1:200:5efe:169.254.169.254"),
)
PUBLIC = (
    *("1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.1", "168.63.129.15", "172.15.255.255", "172.32.0.1"),
    *("192.0.1.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:2800:220:1::1", "2a00:1450:4001::1"),
    *("64:ff9b::5db8:d822", "::ffff:93.184.216.34", "2002:5db8:d822::1"),
)


def test_private_addresses_are_refused_in_every_form() -> None:
    assert len(REFUSED) >= 60
    assert [address for address in REFUSED if is_public(ip_address(address))] == []


def test_public_addresses_are_reached() -> None:
    assert [address for address in PUBLIC if not is_public(ip_address(address))] == []


def test_a_network_is_allowed_by_name_in_every_form_of_its_addresses() -> None:
    allow = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1", "fd00::1"):
        assert is_allowed(ip_address(address), allow), address
    for address in ("11.0.0.0", "192.168.0.1", "::1", "fc00::1", "::ffff:192.168.0.1"):
        assert is_allowed(ip_address(address), allow) == is_public(ip_address(address)), address


def test_the_socket_factory_refuses_before_anything_is_sent() -> None:
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fe80::1%lo", "168.63.129.16"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with pytest.raises(PrivateAddressError, match="RESCIND_ALLOW_NETWORKS"):
            guarded_socket(())((family, socket.SOCK_STREAM, 0, "", (address, 443)))
    guarded_socket(())((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("93.184.216.34", 443))).close()
    allowed = guarded_socket((ip_network("10.0.0.0/8"),))
    allowed((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.1.2.3", 1))).close()


def test_faults_of_urls_name_what_to_change_and_not_the_url() -> None:
    faults = {
        "https://user:s3cr3t@example.com/": "leave the user and password out",
        "https://example.com/s3cr3t#part": "leave out the fragment",
        "https://example.com:0/s3cr3t": "the port must be",
        "https://example.com:65536/s3cr3t": "this is no URL",
        "https://[::1/s3cr3t": "this is no URL",
        "https://example.com/s3cr3t here": "space",
        "https://127.0.0.1\\@example.com/s3cr3t": "backslash",
        "https://[2606:4700::1111%25eth0]/s3cr3t": "without a zone",
        "https://256.1.1.1/s3cr3t": "neither IPv4 nor IPv6",
        "https://0x08.8.8.8/s3cr3t": "write the address as 8.8.8.8",
        "https://134744072/s3cr3t": "write the address as 8.8.8.8",
        f"https://example.com/{'s3cr3t' * 400}": "characters",
        **{
            f"{scheme}://example.com/s3cr3t": "begins with https://"
            for scheme in ("ftp", "file", "gopher", "ws", "wss")
        },
        "javascript:alert(1)": "begins with https://",
        "example.com/s3cr3t": "begins with https://",
        "https:///s3cr3t": "begins with https://",
        "https://...../s3cr3t": "begins with https://",
    }
    for url, part in faults.items():
        fault = fault_in_url(url)
        assert fault is not None, url
        assert part in fault, url
        assert "s3cr3t" not in fault, url
    for url in (
        *(
            "https://example.com",
            "http://example.com:8080/hooks?token=a%20b",
            "HTTPS://b\u00fccher.example/",
            "http://8.8.8.8/",
        ),
        *(
            "https://[2606:4700::1111]:444/",
            "https://crm/hooks",
            "https://a_b.example.com./x",
            "https://1password.com/0x7f",
        ),
    ):
        assert fault_in_url(url) is None, url


def test_an_allowed_network_is_allowed_in_a_url() -> None:
    allow = (ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16"))
    for url in ("http://127.0.0.1:8700/", "http://localhost/", "http://a.localhost./", "http://10.1.2.3/"):
        assert fault_in_url(url, allow) is None, url
        assert "RESCIND_ALLOW_NETWORKS" in (fault_in_url(url) or ""), url
    for url in ("http://10.2.0.1/", "http://[::1]/", "http://169.254.169.254/"):
        assert "RESCIND_ALLOW_NETWORKS" in (fault_in_url(url, allow) or ""), url
