from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import msgspec
import pytest

from app.contract import Facts
from app.runtime import redaction
from app.runtime.redaction import REDACTED, Redactor

SECRET = "s3cr/t+k\u00e9y=with?more>"

SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda secret: quote(secret, safe=""),
    lambda secret: quote(secret, safe="").lower(),
    lambda secret: quote(quote(secret, safe=""), safe=""),
    lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    json.dumps,
    lambda secret: json.dumps(secret).replace("/", "\\/"),
    lambda secret: json.dumps(json.dumps(secret)),
    lambda secret: "".join(f"\\u{ord(char):04x}" for char in secret),
    lambda secret: "".join(char if char.isalnum() else f"&#x{ord(char):02X};" for char in secret),
    lambda secret: "".join(char if char.isalnum() else f"&#{ord(char)};" for char in secret),
    lambda secret: b64encode(secret.encode()).decode(),
    lambda secret: urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    lambda secret: b64encode(f"u:{secret}".encode()).decode(),
    lambda secret: b64encode(f"us:{secret}".encode()).decode(),
    lambda secret: b64encode(f"user:{secret}".encode()).decode(),
    lambda secret: quote(b64encode(f"user:{secret}\n".encode()).decode(), safe=""),
)


def test_a_secret_is_taken_out_in_every_spelling_and_what_stands_around_it_stays() -> None:
    few = Redactor([SECRET])
    many = Redactor([SECRET, *(f"another-secret-{number}" for number in range(100))])
    for redactor in (few, many):
        for number, spelled in enumerate(SPELLINGS):
            text = spelled(SECRET)
            cleaned = redactor.clean(f"before {text} after {text}")
            assert cleaned.startswith("before ") and " after " in cleaned, (number, cleaned)  # noqa: PT018
            assert cleaned.count(REDACTED) == 2, (number, cleaned)
            # What base64 leaves is the user and a few bits at the edges.
            assert len(cleaned.replace(REDACTED, "")) <= len("before  after ") + 2 * 16, (number, cleaned)


def test_text_without_a_secret_is_the_same_object() -> None:
    redactor = Redactor([SECRET])
    for text in ("", "plain", "50%", "%zz \\x", "a%2Fb \\/ \\u00e9", "%" * 30_000):
        assert redactor.clean(text) is text
    for body in (b"", b"\xff\xfe", b"{}", "\u00e9".encode()):
        assert redactor.clean_bytes(body) is body


def test_overlapping_secrets_leave_nothing_of_either() -> None:
    redactor = Redactor(["abcdefgh", "efghijkl", "abcdefgh-longer"])
    assert redactor.clean("x abcdefghijkl y abcdefgh-longer z") == f"x {REDACTED} y {REDACTED} z"
    assert redactor.clean("Bearer abcdefgh") == f"Bearer {REDACTED}"


def test_bytes_of_any_encoding_are_cleaned() -> None:
    redactor = Redactor([SECRET, "plain-secret"])
    assert redactor.clean_bytes(b"\xff plain-secret \xfe") == b"\xff " + REDACTED.encode() + b" \xfe"
    assert redactor.clean_bytes(f"\u00e9 {SECRET}".encode()) == f"\u00e9 {REDACTED}".encode()


def test_facts_are_cleaned_however_deep() -> None:
    facts = Facts(provider_status="plain-secret", attributes={"a": [{"b": "x plain-secret"}], "n": 1}, aliases=("7",))
    cleaned = Redactor(["plain-secret"]).clean_facts(facts)
    expected = {"a": [{"b": f"x {REDACTED}"}], "n": 1}
    assert cleaned == msgspec.structs.replace(facts, provider_status=REDACTED, attributes=expected)


def test_what_it_was_made_with_stays_known() -> None:
    redactor = Redactor(["bootstrap-key"])
    redactor.set_secrets(["first-secret"])
    redactor.set_secrets(["second-secret"])
    assert redactor.clean("bootstrap-key first-secret second-secret") == f"{REDACTED} first-secret {REDACTED}"


def test_a_secret_is_spelled_when_it_is_first_looked_for_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spelled: list[str] = []
    former = redaction.spellings

    def noting(secret: str) -> tuple[str, ...]:
        spelled.append(secret)
        return former(secret)

    monkeypatch.setattr(redaction, "spellings", noting)
    redactor = Redactor(["bootstrap-key"])
    redactor.set_secrets(["first-secret"])
    assert spelled == [], "a thousand endpoints have one each, and are made anew by every change of a resource"
    assert redactor.clean("first-secret") == REDACTED
    redactor.set_secrets(["first-secret", "second-secret"])
    assert redactor.clean("first-secret second-secret bootstrap-key") == " ".join([REDACTED] * 3)
    assert sorted(filter(None, spelled)) == ["bootstrap-key", "first-secret", "second-secret"]
