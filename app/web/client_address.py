"""The address of a client behind trusted proxies: what `RESCIND_TRUSTED_PROXIES` name is believed, and nothing else.

Each proxy adds the address that it was called from on the right. So the client is the rightmost address that is not a
trusted proxy's; anything further left may be invented.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
X_FORWARDED_FOR, FORWARDED = "X-Forwarded-For", "Forwarded"
HOPS_MAX = 50
"""Hops that are read, from the right."""
_SUBNET = 64
"""A holder of an IPv6 address has a network of at least this prefix length."""
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]+)', re.IGNORECASE)


def client_addresses(request: web.Request, trusted: Networks) -> tuple[Address | None, ...]:
    """The client's address; None where it is not known.

    If a request has both `X-Forwarded-For` and `Forwarded`, a proxy may have set one, and the client the other: then
    there is one address by each, and the client has all of them to answer for.
    """
    peer = _peer(request)
    if peer is None or not _is_in(peer, trusted):
        return (peer,)
    headers = request.headers
    if X_FORWARDED_FOR not in headers and FORWARDED not in headers:
        return (peer,)
    chains = []
    if X_FORWARDED_FOR in headers:
        chains.append([hop for line in headers.getall(X_FORWARDED_FOR) for hop in line.split(",")])
    if FORWARDED in headers:
        chains.append([_hop(element) for line in headers.getall(FORWARDED) for element in line.split(",")])
    return tuple(dict.fromkeys(_client(chain, peer, trusted) for chain in chains))


def is_from_proxy(request: web.Request, trusted: Networks) -> bool:
    """Whether a trusted proxy sent the request, so that what it says of the client is believed."""
    peer = _peer(request)
    return peer is not None and _is_in(peer, trusted)


def is_allowed(addresses: Sequence[Address | None], networks: Networks) -> bool:
    """Whether every address is known, and in one of the networks."""
    return all(address is not None and _is_in(address, networks) for address in addresses)


def shown(addresses: Sequence[Address | None]) -> str:
    """The addresses as text."""
    return ", ".join("unknown" if address is None else str(address) for address in addresses)


def network_of(address: Address | None) -> str:
    """What limits count a client under: its address; of IPv6, in which it has as many as it likes, the network."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _SUBNET), strict=False))
    return shown((address,))


def _client(chain: Sequence[str], peer: Address, trusted: Networks) -> Address | None:
    client: Address | None = peer
    for hop in reversed(chain[-HOPS_MAX:]):
        client = _read(hop)
        if client is None or not _is_in(client, trusted):
            return client
    return client


def _peer(request: web.Request) -> Address | None:
    transport = request.transport
    name = transport.get_extra_info("peername") if transport is not None else None
    return _read(str(name[0])) if isinstance(name, tuple) else None


def _hop(element: str) -> str:
    """The `for` of an element of `Forwarded`."""
    match = _FOR.search(element)
    return match[1].strip('"') if match else ""


def _read(text: str) -> Address | None:
    """An address out of a header: with or without a port, an IPv6 one in brackets or not."""
    for candidate in _candidates(text.strip()):
        try:
            address = ip_address(candidate.partition("%")[0])
        except ValueError:
            continue
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return mapped or address
    return None


def _candidates(text: str) -> Iterator[str]:
    yield text
    if text.startswith("["):
        yield text[1:].partition("]")[0]
    elif text.count(":") == 1:
        yield text.partition(":")[0]


def _is_in(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)
