"""Which addresses an outgoing call may reach: none in private networks, unless in `RESCIND_ALLOW_NETWORKS`.

The list is our own, from the IANA registries of special-purpose addresses (RFC 6890, as of 2025) and the metadata
services of cloud providers. `ipaddress.is_global` is not used: its answer depends on the version of Python.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; holds the metadata service of Alibaba Cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, a public address that only its virtual machines reach
        "169.254.0.0/16",  # link-local; holds most metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments; holds the metadata service of Oracle Cloud Classic
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; holds the limited broadcast
    )
)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
"""All public IPv6 addresses; loopback, unique local, link-local, site-local and multicast are outside."""
_REFUSED_V6 = (
    IPv6Network("2001::/23"),  # IETF protocol assignments: Teredo, ORCHID, benchmarks
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("3fff::/20"),  # documentation
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The first half of an interface identifier whose second half is an IPv4 address (RFC 5214)."""


class PrivateAddressError(Exception):
    """A call would go to a private network that is not allowed. No OSError, so that no other address is tried."""


def is_public(ip: Address) -> bool:
    """Whether `ip`, and an IPv4 address that it embeds, is public."""
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _REFUSED_V4)
    embedded = _embedded(ip)
    if embedded is not None and not is_public(embedded):
        return False
    if ip in _MAPPED or ip in _NAT64:
        return True
    return ip in _GLOBAL_UNICAST_V6 and not any(ip in network for network in _REFUSED_V6)


def is_allowed(ip: Address, allow: Iterable[Network]) -> bool:
    """Whether a call may go to `ip`: it is public, or in one of the networks `allow`."""
    embedded = ip if isinstance(ip, IPv4Address) else _embedded(ip) or ip
    return is_public(ip) or any(embedded in network or ip in network for network in allow)


def guarded_socket(allow: tuple[Network, ...]) -> Callable[[Any], socket.socket]:
    """A socket factory for aiohttp that refuses private addresses, whatever name resolves to them."""

    def make(info: tuple[Any, Any, Any, Any, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, address = info
        ip = ip_address(str(address[0]).partition("%")[0])
        if not is_allowed(ip, allow):
            raise PrivateAddressError(
                f"{ip} is in a private network; to allow it, add its network to RESCIND_ALLOW_NETWORKS"
            )
        made = socket.socket(family, kind, protocol)
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    return make


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which a host or a translator would forward packets for `ip`."""
    number = int(ip)
    if ip in _MAPPED or ip in _NAT64:
        return IPv4Address(number & 0xFFFFFFFF)
    if ip in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    return None
