"""Where requests may go that leave on a user's word: which URLs, and which addresses.

Private networks are refused, unless in `RESCIND_ALLOW_NETWORKS`. The list is our own, from the IANA registries of
special-purpose addresses (RFC 6890, as of 2025) and the metadata services of cloud providers. `ipaddress.is_global` is
not used: its answer depends on the version of Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_CHARS_MAX = 2048
EVERYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_PORT_MAX = 65_535
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


def fault_in_url(url: str, allow: Iterable[Network] = ()) -> str | None:
    """What is wrong with a URL to which requests are to be sent; None if nothing is known to be.

    An address in the URL is judged here, in each of its spellings; a name is judged whenever it is connected to, since
    what it resolves to may change. The fault does not repeat the URL, which may contain a secret.
    """
    if len(url) > URL_CHARS_MAX:
        return f"the URL has {len(url)} characters: at most {URL_CHARS_MAX} are possible"
    if "\\" in url or not url.isprintable() or any(map(str.isspace, url)):
        return "the URL contains a backslash, a space or a control character: write it percent-encoded"
    try:
        parsed = URL(url)
    except ValueError:
        return "this is no URL: give one such as https://example.com/hooks"
    return _fault_in(parsed, tuple(allow))


def _fault_in(url: URL, allow: tuple[Network, ...]) -> str | None:
    host = (url.raw_host or "").lower()
    faults = {
        "give a URL that begins with https:// (or http://) and names a host": (
            url.scheme not in ("http", "https") or not host.strip(".")
        ),
        "leave the user and password out of the URL: a header can hold credentials": (
            url.raw_user is not None or url.raw_password is not None
        ),
        "leave out the fragment (from # on): it is never sent": bool(url.raw_fragment),
        f"the port must be 1 to {_PORT_MAX}": url.port == 0,
        "the host must be a name or an address, without a zone (%) and without escapes": "%" in host,
    }
    return next((fault for fault, applies in faults.items() if applies), None) or _fault_in_host(
        host.rstrip("."), allow
    )


def _fault_in_host(name: str, allow: tuple[Network, ...]) -> str | None:
    ips = _LOOPBACK if name == "localhost" or name.endswith(".localhost") else _literal(name)
    if ips is None:
        return f"the host is no address that exists: {name!r} is neither IPv4 nor IPv6"
    if ips and not any(is_allowed(ip, allow) for ip in ips):
        return f"{ips[0]} is in a private network; to allow it, add its network to RESCIND_ALLOW_NETWORKS"
    if ips and _is_number(name.rpartition(".")[2]) and name != str(ips[0]):
        return f"write the address as {ips[0]}"
    return None


def _literal(host: str) -> tuple[Address, ...] | None:
    """The address that a host spells, alone; () for a name; None for what is neither."""
    if ":" in host:
        try:
            return (IPv6Address(host),)
        except AddressValueError:
            return None
    parts = host.split(".")
    if not _is_number(parts[-1]):
        return ()  # No public domain ends in a number (the URL standard decides the same way).
    try:
        return (IPv4Address(_ipv4_number(parts)),)
    except ValueError:
        return None


def _is_number(part: str) -> bool:
    return part.isascii() and (part.isdigit() or part.startswith("0x"))


def _ipv4_number(parts: list[str]) -> int:
    """An IPv4 address as C libraries read it: 1 to 4 parts, decimal, octal (0…) or hexadecimal (0x…)."""
    *leading, last = (int(part, _base(part)) if part != "0x" else 0 for part in parts)
    if len(leading) > 3 or any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):  # noqa: PLR2004
        raise ValueError
    return sum(number << (24 - 8 * index) for index, number in enumerate(leading)) + last


def _base(part: str) -> int:
    if part.startswith("0x"):
        return 16
    return 8 if part.startswith("0") and part != "0" else 10


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
