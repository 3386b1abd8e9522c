"""The stored form of headers is remembered; what is remembered is never a credential, and never outlives a secret."""

from __future__ import annotations

from multidict import CIMultiDict

from app.contract import InboundRequest
from app.runtime.redaction import REDACTED, Redactor
from app.web.received import REMEMBERED_BYTES_MAX, REMEMBERED_MAX, redacted

SECRET, LATER = "the-secret-of-today", "the-secret-of-tomorrow"


def stored(redactor: Redactor, *headers: tuple[str, str]) -> list[tuple[str, str]]:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return redacted(raw, InboundRequest(CIMultiDict(headers), {}, b"{}"), redactor, 100).headers


def test_headers_are_stored_as_received_each_time_in_their_order_and_number() -> None:
    redactor = Redactor([SECRET])
    for number in range(3):
        headers = [("Host", "a.example"), ("X-Request", f"{number}"), ("host", "a.example"), ("Host", "a.example")]
        assert stored(redactor, *headers) == headers


def test_a_header_that_was_remembered_is_redacted_as_soon_as_its_value_is_a_secret() -> None:
    redactor = Redactor([SECRET])
    header = ("X-Hook", f"v1 {LATER}")
    assert [stored(redactor, header) for _ in range(2)] == [[header]] * 2
    redactor.set_secrets([LATER])
    assert stored(redactor, header) == [("X-Hook", REDACTED)]
    assert stored(Redactor([LATER]), header) == [("X-Hook", REDACTED)], "each endpoint has its own"


def test_no_credential_is_remembered() -> None:
    redactor = Redactor([SECRET])
    sent = (
        ("Authorization", f"Bearer {LATER}"),
        ("Proxy-Authorization", f"Basic {LATER}"),
        ("X-Forwarded-Authorization", LATER),
        ("Cookie", f"session={LATER}"),
        ("X-Copied", f"Bearer {LATER}"),
        ("X-Original-URI", f"/webhooks/in?token={LATER}"),
        ("X-Hook", SECRET),
    )
    for _ in range(2):
        kept = stored(redactor, *sent)
        assert LATER not in str(kept)
        assert SECRET not in str(kept)
    assert redactor.memo == {}


def test_what_is_remembered_is_bounded() -> None:
    redactor = Redactor([SECRET])
    for number in range(3 * REMEMBERED_MAX):
        sent = [("Host", "a"), ("X-Signature", f"{number}"), (f"X-{number}", "a"), ("Host", "b")]
        assert stored(redactor, *sent) == sent
        assert len(redactor.memo) <= REMEMBERED_MAX
    long = ("X-Long", "x" * REMEMBERED_BYTES_MAX)
    assert stored(redactor, long) == [long]
    assert b"X-Long" not in redactor.memo


def test_a_value_that_is_redacted_does_not_hide_behind_the_one_before() -> None:
    redactor = Redactor([SECRET])
    for value, expected in (("plain", "plain"), (SECRET, REDACTED), ("plain", "plain"), ("Basic eDp5", REDACTED)):
        assert stored(redactor, ("X-Hook", value)) == [("X-Hook", expected)]
