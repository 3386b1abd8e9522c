from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import SecretStr

from app.contract import InboundRequest, VerificationError, VerifyOptions
from handlers.kibo.signature import sign, verify

SECRET = "cafe0123456789"
DATE = "Mon, 02 Mar 2026 16:04:06 GMT"
NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
BODY = b'{"eventId":"1","topic":"order.opened"}'
# By `printf %s` and `openssl dgst -sha256 -binary | base64`, twice.
SIGNATURE = "IKZjYdgwPaInghp/DeG0l0+1YwDzl7353L9TGGctm0g="


def prove(
    headers: dict[str, str], *secrets: str, body: bytes = BODY, now: datetime = NOW, tolerance_s: float | None = None
) -> None:
    options = VerifyOptions(secrets=tuple(SecretStr(each) for each in secrets), tolerance_s=tolerance_s)
    verify(InboundRequest(CIMultiDict(headers), {}, body), options, now)


def signed(date: str = DATE, secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    return {
        "Date": date,
        "X-Vol-Hmac-Sha256": sign(secret.encode(), date.encode("utf-8", "surrogateescape"), body).decode(),
    }


def test_the_signature_is_the_documented_one() -> None:
    assert sign(SECRET.encode(), DATE.encode(), BODY).decode() == SIGNATURE
    prove({"date": DATE, "x-vol-hmac-sha256": SIGNATURE}, SECRET)


def test_it_is_no_hmac_and_the_secret_counts_twice() -> None:
    once = b64encode(hashlib.sha256(SECRET.encode()).digest())
    for key in (once, SECRET.encode(), hashlib.sha256((SECRET * 2).encode()).digest()):
        wrong = b64encode(hashlib.sha256(key + DATE.encode() + BODY).digest()).decode()
        with pytest.raises(VerificationError, match="signature is wrong"):
            prove({"Date": DATE, "x-vol-hmac-sha256": wrong}, SECRET)


def test_each_secret_is_accepted() -> None:
    prove(signed(), "old", SECRET)
    prove(signed(), SECRET, "new")
    for secrets in (("old", "new"), ("",), ()):
        with pytest.raises(VerificationError, match="signature is wrong"):
            prove(signed(), *secrets)


@pytest.mark.parametrize("name", ["Date", "X-Vol-Hmac-Sha256"])
@pytest.mark.parametrize("value", [None, ""])
def test_both_headers_are_needed(name: str, value: str | None) -> None:
    headers = signed()
    del headers[name]
    if value is not None:
        headers[name] = value
    with pytest.raises(VerificationError, match=f"(?i){name} is missing"):
        prove(headers, SECRET)


def test_the_date_is_part_of_what_is_signed() -> None:
    headers = signed() | {"Date": "Mon, 02 Mar 2026 16:04:07 GMT"}
    with pytest.raises(VerificationError, match="signature is wrong"):
        prove(headers, SECRET)


@pytest.mark.parametrize(
    "date", ["2026-03-02T16:04:06Z", "1772467446", "soon", "\udcff", "Mon, 99 Foo 2026 16:04:06 GMT"]
)
def test_what_is_no_http_date_is_refused(date: str) -> None:
    with pytest.raises(VerificationError, match="no HTTP date"):
        prove(signed(date), SECRET)


@pytest.mark.parametrize("date", ["Mon, 02 Mar 2026 16:04:06 -0000", "Mon, 02 Mar 2026 17:04:06 +0100"])
def test_a_date_is_in_gmt_wherever_this_runs(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        prove(signed(date), SECRET)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("age_s", "fresh"), [(0, True), (180, True), (181, False), (-180, True), (-181, False)])
def test_a_date_may_be_180_seconds_old(age_s: int, fresh: bool) -> None:
    now = NOW + timedelta(seconds=age_s)
    if fresh:
        prove(signed(), SECRET, now=now)
        return
    with pytest.raises(VerificationError, match="tolerance_s"):
        prove(signed(), SECRET, now=now)


def test_the_endpoint_may_take_resends_that_keep_their_date() -> None:
    days = timedelta(days=14)
    prove(signed(), SECRET, now=NOW + days, tolerance_s=days.total_seconds())
    with pytest.raises(VerificationError):
        prove(signed(), SECRET, now=NOW + timedelta(seconds=11), tolerance_s=10)


def test_the_header_of_the_signature_is_the_endpoint_s_to_name() -> None:
    options = VerifyOptions(secrets=(SecretStr(SECRET),), header="x-forwarded-signature")
    headers = {"Date": DATE, "X-Forwarded-Signature": SIGNATURE}
    verify(InboundRequest(CIMultiDict(headers), {}, BODY), options, NOW)


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-400, 400))  # noqa: DTZ001 - made aware below
def test_every_http_date_is_read(sent: datetime, age_s: int) -> None:
    sent = sent.replace(microsecond=0, tzinfo=UTC)
    headers = signed(format_datetime(sent, usegmt=True))
    try:
        prove(headers, SECRET, now=sent + timedelta(seconds=age_s))
    except VerificationError:
        assert abs(age_s) > 180
    else:
        assert abs(age_s) <= 180


@given(st.text())
def test_no_date_makes_it_fail_otherwise(date: str) -> None:
    headers = {"Date": date, "x-vol-hmac-sha256": SIGNATURE}
    with pytest.raises(VerificationError):
        prove(headers, SECRET)


@given(st.binary(), st.binary(min_size=1, max_size=5))
def test_the_body_is_signed_as_it_is(body: bytes, more: bytes) -> None:
    prove(signed(body=body), SECRET, body=body)
    with pytest.raises(VerificationError):
        prove(signed(body=body), SECRET, body=body + more)
