"""API keys in plain text: `rk_`, 40 random characters, and a checksum by which a typing error is recognized.

The checksum is that of GitHub's tokens: the CRC-32 of the random part, in six base-62 digits. Keys of the first release
have no checksum and stay valid. Scanners find a key by `rk_[0-9A-Za-z]{46}`.
"""

from __future__ import annotations

import secrets
from zlib import crc32

PREFIX = "rk_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECKSUM = 40, 6
LENGTH = len(PREFIX) + _RANDOM + _CHECKSUM
_FORMER_LENGTH = 46
"""`rk_` and 43 characters of URL-safe base64."""


def make_token() -> str:
    """A new API key, with 238 random bits."""
    random = "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return f"{PREFIX}{random}{_checksum(random)}"


def typing_error(token: str) -> str:
    """Why `token` cannot be a key that Rescind made; "" if it can be one."""
    if not token.startswith(PREFIX) or len(token) == _FORMER_LENGTH:
        return ""
    if len(token) != LENGTH:
        return f"it has {len(token)} characters instead of {LENGTH}"
    random, checksum = token[len(PREFIX) : -_CHECKSUM], token[-_CHECKSUM:]
    return "" if _checksum(random) == checksum else "its checksum does not match"


def _checksum(random: str) -> str:
    number, digits = crc32(random.encode("utf-8", "surrogateescape")), ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits.rjust(_CHECKSUM, _DIGITS[0])
