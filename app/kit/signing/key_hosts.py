"""From which URLs keys are fetched: a request may only name one at hosts that the configuration allows.

What a request names is compared in one spelling and refused in any other: https, a host in lower case, no port, user,
query or fragment, no `..`. A sender that is what it says writes it so, and nothing is left to two readers of one URL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from app.contract import VerificationError
from app.contract.published_keys import KEY_URL_CHARS_MAX
from app.kit.host_patterns import is_allowed_host

_NAMED = re.compile(r"https://([a-z0-9.-]+)(/[A-Za-z0-9._~%+=@:,/-]*)")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def require_allowed(url: str, hosts: Sequence[str], what: str) -> str:
    """The URL that a request names, if keys may be fetched from it. Raises `VerificationError`."""
    named = _NAMED.fullmatch(url) if len(url) <= KEY_URL_CHARS_MAX else None
    if named is None:
        raise VerificationError(
            f"{what} must begin with https://, have its host in lower case, and no port, user, query or fragment"
        )
    host, path = named.groups()
    if not is_allowed_host(host, hosts):
        raise VerificationError(f"{what} names a host that keys are not taken from: verify.keys.hosts lists those")
    if any(unquote(part) in (".", "..") for part in path.split("/")) or "%2f" in path.lower() or "%5c" in path.lower():
        raise VerificationError(f"{what} has a path with dots or slashes that are escaped")
    return url


def fault_in_fixed(url: str) -> str | None:
    """What is wrong with a URL that the configuration names; None if nothing is known to be."""
    try:
        parts = urlsplit(url)
        has_user = parts.username is not None or parts.password is not None
    except ValueError:
        return "this is no URL: give one such as https://example.com/jwks.json"
    if has_user or parts.fragment or not url.isascii() or not url.isprintable() or {" ", "\\"} & set(url):
        return "leave user, password, fragment, spaces and backslashes out of the URL"
    if parts.scheme == "https" and parts.hostname:
        return None
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return None
    return "give a URL that begins with https:// and names a host: a key must not be changed on its way"
