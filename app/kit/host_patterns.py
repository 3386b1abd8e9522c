"""Names of hosts that the configuration allows to be called although a request names the URL."""

from __future__ import annotations

import re
from collections.abc import Iterable

URL_CHARS_MAX = 2048
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LITERAL = re.compile(_LABEL)
_ANY = r"(?!s3-)[a-z0-9-]{3,63}"
"""Others may be other services of one company: `sns.s3.amazonaws.com`, `sns.s3-accelerate.amazonaws.com` and
`sns.s3-us-west-2.amazonaws.com` are a bucket of S3, which is anybody's."""
_URL = re.compile(r"https://([a-z0-9.-]{1,253})(?:[/?](?:[!-\"$-\[\]-~])*)?")
_LITERALS_MIN = 2


def check_host_pattern(pattern: str) -> str:
    """`pattern`, if it is a host or has `*` for whole labels (`sns.*.amazonaws.com`); raises ValueError."""
    labels = pattern.split(".")
    are_fine = all(label == "*" or _LITERAL.fullmatch(label) for label in labels) and "*" not in labels[-_LITERALS_MIN:]
    if not are_fine or len(labels) < _LITERALS_MIN or labels[-1].isdigit():
        raise ValueError(
            f"{pattern!r} is no host: give one in lower case, such as api.example.com; * stands for one whole label "
            "(sns.*.amazonaws.com), and not for one of the last two"
        )
    return pattern


def is_allowed_url(url: str, patterns: Iterable[str]) -> bool:
    """Whether `url` is https, without port, user and fragment, and its host is one of these.

    It is compared in one spelling (the host in lower case) and refused in any other.
    """
    spelled = _URL.fullmatch(url) if len(url) <= URL_CHARS_MAX else None
    return spelled is not None and is_allowed_host(spelled[1], patterns)


def is_allowed_host(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host, in lower case, is one of these."""
    return any(_fits(host, pattern) for pattern in patterns)


def _fits(host: str, pattern: str) -> bool:
    labels = (_ANY if label == "*" else re.escape(label) for label in pattern.split("."))
    return re.fullmatch(r"\.".join(labels), host) is not None
