"""API keys in plain text: a typing error is recognized, and nothing that was ever given out is taken for one."""

from __future__ import annotations

import secrets
from zlib import crc32

from app.config.tokens import LENGTH, make_token, typing_error


def test_a_key_has_its_checksum() -> None:
    for _ in range(50):
        token = make_token()
        assert (len(token), token[:3], token[3:].isalnum(), token.isascii()) == (LENGTH, "rk_", True, True)
        number = 0
        for digit in token[-6:]:
            number = number * 62 + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(digit)
        assert number == crc32(token[3:-6].encode())
        assert typing_error(token) == ""
    assert len({make_token() for _ in range(100)}) == 100


def test_a_mistyped_key_is_recognized() -> None:
    token = make_token()
    for place in range(3, LENGTH):
        other = "x" if token[place] != "x" else "y"
        assert typing_error(token[:place] + other + token[place + 1 :]) == "its checksum does not match"
    assert typing_error(token[:3] + token[4] + token[3] + token[5:]) or token[3] == token[4], "two digits exchanged"
    for wrong in (token[:-1], token + "x", token[:20], "rk_", token + token):
        assert "characters instead of 49" in typing_error(wrong)


def test_former_keys_and_others_are_not_taken_for_mistyped() -> None:
    for token in ("rk_" + secrets.token_urlsafe(32), "any-bootstrap-key-of-32-characters-or-more", "", "sk_123"):
        assert typing_error(token) == ""
