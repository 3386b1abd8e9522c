"""Every scheme of `app.kit.signing` but `token`'s details, which `test_signing` has."""

from __future__ import annotations

import hmac
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from unit.kit.signatures import (
    BODY,
    CASES,
    FRESH,
    KEY,
    NOW,
    OTHERS,
    SECONDS,
    SIGNED,
    WHPK,
    WHSEC,
    Case,
    asymmetric,
    basic,
    digest,
    github,
    plain_hmac,
    refusal,
    shopify,
    standard,
    stripe,
    verify,
)

from app.kit.signing import proof, schemes, standard_webhooks
from app.kit.signing import stripe as stripe_scheme

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
signed = pytest.mark.parametrize("case", SIGNED.values(), ids=SIGNED)
fresh = pytest.mark.parametrize("case", FRESH.values(), ids=FRESH)


# -- What all schemes have in common ----------------------------------------------------------


def test_the_cases_are_all_there_are() -> None:
    by_public_key = {"public_key", "sns"}  # test_public_key.py, test_sns.py
    assert {case[1]["scheme"] for case in CASES.values()} == set(schemes._SCHEMES) - by_public_key
    assert set(FRESH) == {"standard_webhooks", "standard_webhooks ed25519", "stripe", "hmac with a time"}


@every
def test_the_right_secret_is_accepted(case: Case) -> None:
    sign, options, secret = case
    verify(sign(), options, secret)


@every
def test_it_is_accepted_while_secrets_rotate(case: Case) -> None:
    sign, options, secret = case
    for others in ((OTHERS[secret], secret), (secret, OTHERS[secret]), (WHSEC, WHPK, secret), (secret, WHPK, WHSEC)):
        verify(sign(), options, *others)


@every
@pytest.mark.parametrize(
    "secrets", [(), ("",), ("whsec_",), ("whpk_",), ("mistaken",), ("mistaken", ""), ("whpk_%%%",)]
)
def test_no_other_secret_is_accepted(case: Case, secrets: tuple[str, ...]) -> None:
    sign, options, secret = case
    refusal(sign(), options, *secrets)
    refusal(sign(), options, *secrets, OTHERS[secret])


@every
def test_every_header_is_needed(case: Case) -> None:
    sign, options, secret = case
    for name in sign():
        headers = {key: value for key, value in sign().items() if key != name}
        refusal(headers, options, secret)
        refusal({**headers, name: ""}, options, secret)
        refusal({**headers, name: "junk"}, options, secret)


@signed
@pytest.mark.parametrize("position", [0, len(BODY) // 2, -1])
def test_a_flipped_byte_is_noticed(case: Case, position: int) -> None:
    sign, options, secret = case
    body = bytearray(BODY)
    body[position] ^= 1
    assert refusal(sign(), options, secret, body=bytes(body)) == "the signature is wrong"


@signed
@pytest.mark.parametrize("body", [b"", b"\0\xff\xfe", b"x" * 100_000, BODY + b"\n"])
def test_the_raw_body_is_what_is_signed(case: Case, body: bytes) -> None:
    sign, options, secret = case
    verify(sign(body), options, secret, body=body)
    refusal(sign(body), options, secret, body=body + b" ")


@fresh
def test_a_stale_time_is_not_accepted(case: Case) -> None:
    sign, options, secret = case
    for after_s in (-300, -299, 0, 299, 300):
        verify(sign(), options, secret, now=NOW + timedelta(seconds=after_s))
    for after_s in (-301, 301, 86_400):
        assert "tolerance_s" in refusal(sign(), options, secret, now=NOW + timedelta(seconds=after_s))


@fresh
def test_the_tolerance_is_an_option(case: Case) -> None:
    sign, options, secret = case
    later = NOW + timedelta(hours=1)
    verify(sign(), {**options, "tolerance_s": 3600}, secret, now=later)
    refusal(sign(), {**options, "tolerance_s": 3599}, secret, now=later)
    verify(sign(), {**options, "tolerance_s": 0}, secret)
    refusal(sign(), {**options, "tolerance_s": 0}, secret, now=NOW + timedelta(seconds=1))


@fresh
def test_the_time_is_signed(case: Case) -> None:
    sign, options, secret = case
    stale = str(int(SECONDS) - 10_000)
    for name, value in sign().items():
        if SECONDS in value:
            headers = {**sign(at=stale), name: sign(at=stale)[name].replace(stale, SECONDS)}
            assert refusal(headers, options, secret) == "the signature is wrong"


@fresh
@pytest.mark.parametrize("at", ["soon", "-1", "1e9", "1.5", "\u0661", "9" * 13, "0x10", "1_0"])
def test_what_is_no_unix_time_is_not_accepted(case: Case, at: str) -> None:
    sign, options, secret = case
    assert "no unix time" in refusal(sign(at=at), options, secret)


junk = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff,=. v1"), max_size=40)


@examples(300)
@given(st.sampled_from(sorted(CASES)), st.data())
def test_junk_is_a_verification_error_and_nothing_else(name: str, data: st.DataObject) -> None:
    sign, options, secret = CASES[name]
    headers = sign()
    changed = data.draw(st.sampled_from(sorted(headers)))
    text = data.draw(junk | junk.map(lambda end: headers[changed] + "~" + end))
    refusal({**headers, changed: text}, options, secret)


@every
def test_secrets_are_compared_in_constant_time(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    sign, options, secret = case
    if secret == WHPK:
        return  # a public key is no secret
    compared: list[bool] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(hmac.compare_digest(one, other))
        return compared[-1]

    for module in (proof, standard_webhooks, stripe_scheme):
        monkeypatch.setattr(module, "compare_digest", compare)
    verify(sign(), options, secret, OTHERS[secret])
    assert compared == [True, False], "all are looked at, also after one that fits"


# -- Standard Webhooks ------------------------------------------------------------------------


def test_the_example_of_the_specification() -> None:
    """Known to other implementations (the libraries' own tests use this message)."""
    body = b'{"test": 2432232314}'
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    sent_at = datetime.fromtimestamp(1614265330, UTC)
    verify(
        headers,
        {"scheme": "standard_webhooks"},
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        body=body,
        now=sent_at,
    )


def test_one_of_several_signatures_is_enough() -> None:
    ours, theirs = standard()["webhook-signature"], standard(secret=OTHERS[WHSEC])["webhook-signature"]
    ed = asymmetric()["webhook-signature"]
    for listed in (f"{theirs} {ours}", f"{ours} {theirs}", f"v9,x {ed} {ours}", f"{ed} v1,", f"v1a, v1, {ours}"):
        verify({**standard(), "webhook-signature": listed}, {"scheme": "standard_webhooks"}, WHSEC, WHPK)
    none = f"{theirs} v2,{ours.removeprefix('v1,')} {ours.removeprefix('v1,')}"
    refusal({**standard(), "webhook-signature": none}, {"scheme": "standard_webhooks"}, WHSEC, WHPK)


def test_the_versions_are_not_taken_for_each_other() -> None:
    ours, ed = standard()["webhook-signature"], asymmetric()["webhook-signature"]
    swapped = f"{ours.replace('v1,', 'v1a,')} {ed.replace('v1a,', 'v1,')}"
    refusal({**standard(), "webhook-signature": swapped}, {"scheme": "standard_webhooks"}, WHSEC, WHPK)
    # Who knows the public key must not be able to sign with it.
    public = "whsec_" + WHPK.removeprefix("whpk_")
    refusal(standard(secret=public), {"scheme": "standard_webhooks"}, WHPK)


def test_the_id_is_signed() -> None:
    refusal({**standard(), "webhook-id": "msg_2"}, {"scheme": "standard_webhooks"}, WHSEC)


def test_a_secret_may_come_without_its_prefix() -> None:
    verify(standard(), {"scheme": "standard_webhooks"}, WHSEC.removeprefix("whsec_"))


def test_an_empty_key_proves_nothing() -> None:
    """Anybody can sign with nothing."""
    headers = standard(secret="whsec_")
    assert refusal(headers, {"scheme": "standard_webhooks"}, "whsec_") == "the signature is wrong"


# -- Headers of others ------------------------------------------------------------------------


def test_hexadecimal_digits_may_be_capitals() -> None:
    headers = {"X-Signature": plain_hmac()["X-Signature"].upper()}
    verify(headers, {"scheme": "hmac"}, KEY)


def test_base64_is_not_read_without_regard_to_case() -> None:
    refusal({"X-Shopify-Hmac-SHA256": shopify()["X-Shopify-Hmac-SHA256"].swapcase()}, {"scheme": "shopify"}, KEY)


def test_github_s_prefix_is_needed() -> None:
    bare = github()["X-Hub-Signature-256"].removeprefix("sha256=")
    for value in (bare, f"sha1={bare}", f"SHA256={bare}"):
        assert "does not begin as it must" in refusal({"X-Hub-Signature-256": value}, {"scheme": "github"}, KEY)


def test_github_s_documented_example() -> None:
    """“Validating webhook deliveries”, “Testing the webhook payload validation”."""
    headers = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    verify(headers, {"scheme": "github"}, "It's a Secret to Everybody", body=b"Hello, World!")


def test_stripe_lists_several_signatures_while_it_rolls_a_secret() -> None:
    right = stripe()["Stripe-Signature"].split(",")[2]
    wrong = stripe(secret="other")["Stripe-Signature"].split(",")[2]
    for parts in ((right, wrong), (wrong, right), (f" {right} ",)):
        verify({"Stripe-Signature": ",".join([f"t={SECONDS}", *parts])}, {"scheme": "stripe"}, KEY)
    for value in (f"t={SECONDS},{wrong}", f"t={SECONDS},{right.replace('v1', 'v0')}", f"t={SECONDS}", right):
        refusal({"Stripe-Signature": value}, {"scheme": "stripe"}, KEY)


def test_stripe_s_whole_secret_is_the_key() -> None:
    verify(stripe(secret=WHSEC), {"scheme": "stripe"}, WHSEC)


def test_another_header_may_be_named() -> None:
    for name, header in (("github", "X-Hub-Signature-256"), ("shopify", "X-Shopify-Hmac-SHA256")):
        sign, options, secret = CASES[name]
        verify({"X-Other": sign()[header]}, {**options, "header": "x-other"}, secret)
        refusal(sign(), {**options, "header": "X-Other"}, secret)
    verify({"X-Other": stripe()["Stripe-Signature"]}, {"scheme": "stripe", "header": "X-Other"}, KEY)
    other = {**standard(), "X-Other": standard()["webhook-signature"], "webhook-signature": "v1,x"}
    verify(other, {"scheme": "standard_webhooks", "header": "X-Other"}, WHSEC)


# -- hmac: every part is an option ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, BODY),
        ({"signed": "{body}"}, BODY),
        ({"signed": "before{body}after"}, b"before" + BODY + b"after"),
        ({"timestamp_header": "X-Time"}, SECONDS.encode() + b"." + BODY),
        ({"timestamp_header": "X-Time", "signed": "{timestamp}{body}"}, SECONDS.encode() + BODY),
        ({"timestamp_header": "X-Time", "signed": "{body}|{timestamp}"}, BODY + b"|" + SECONDS.encode()),
    ],
)
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha256=", "HMAC "])
def test_what_is_signed_and_how_it_is_written(
    options: dict[str, Any], message: bytes, encoding: str, prefix: str
) -> None:
    raw = digest(KEY.encode(), message)
    written = raw.hex() if encoding == "hex" else b64encode(raw).decode()
    given = {"scheme": "hmac", "encoding": encoding, "prefix": prefix, **options}
    headers = {"X-Time": SECONDS, "X-Signature": prefix + written}
    verify(headers, given, KEY)
    refusal({**headers, "X-Signature": written if prefix else f"x{written}"}, given, KEY)
    refusal(headers, {**given, "signed": "x{body}"}, KEY)
    refusal(headers, {**given, "encoding": "base64" if encoding == "hex" else "hex"}, KEY)


def test_a_body_may_hold_what_looks_like_a_mark() -> None:
    body = b"{body}{timestamp}"
    signature = digest(KEY.encode(), f"{SECONDS}.".encode() + body).hex()
    headers = {"X-Time": SECONDS, "X-Signature": signature}
    verify(headers, {"scheme": "hmac", "timestamp_header": "X-Time"}, KEY, body=body)


# -- basic ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("Bearer abc", "no basic credentials"),
        ("Basic", "wrong"),
        ("Basic ***", "no base64"),
        ("Basic " + b64encode(f"other:{KEY}".encode()).decode(), "wrong"),
        ("Basic " + b64encode(KEY.encode()).decode(), "wrong"),
        ("Basic " + b64encode(f"shop:{KEY}x".encode()).decode(), "wrong"),
        ("Basic " + b64encode(f"shop:{KEY}".encode()).decode()[:-1], "base64"),
        ("Basic \udcff", "no base64"),
    ],
)
def test_wrong_basic_credentials(value: str, says: str) -> None:
    assert says in refusal({"Authorization": value}, {"scheme": "basic", "username": "shop"}, KEY)


def test_basic_credentials_as_others_write_them() -> None:
    encoded = basic()["Authorization"].removeprefix("Basic ")
    verify({"Authorization": f"basic  {encoded} "}, {"scheme": "basic", "username": "shop"}, KEY)
    verify({"X-Auth": f"Basic {encoded}"}, {"scheme": "basic", "username": "shop", "header": "X-Auth"}, KEY)
    nobody = "Basic " + b64encode(f":{KEY}".encode()).decode()
    verify({"Authorization": nobody}, {"scheme": "basic"}, KEY)
    # A password may hold colons, and text beyond ASCII.
    odd = "Basic " + b64encode("shop:p:é".encode()).decode()
    verify({"Authorization": odd}, {"scheme": "basic", "username": "shop"}, "p:é")


def test_a_token_may_stand_in_the_url() -> None:
    verify({}, {"scheme": "token"}, KEY, query={"token": KEY})
    refusal({}, {"scheme": "token"}, KEY, query={"token": KEY + "x"})
