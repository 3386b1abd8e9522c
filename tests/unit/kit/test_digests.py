"""Functions of CEL over secrets, and the hosts that a request may name."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode

import pytest

from app.kit.cel import expression
from app.kit.cel.cost import COST_MAX_US
from app.kit.cel.expression import ExpressionFailed, InvalidExpression, Kind, Scope
from app.kit.host_patterns import check_host_pattern, is_allowed_url

SCOPE = Scope.of({"a": Kind.STRING, "m": Kind.MAP, "secrets.key": Kind.STRING}, digests=True)


def value(text: str, **values: object) -> object:
    return expression.compile(text, SCOPE, Kind.ANY).evaluate({"secrets.key": "ä-key", **values})


def test_the_digests_of_published_vectors() -> None:
    assert value("sha256(a)", a="abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", (
        "FIPS 180-2"
    )
    # RFC 4231, test case 2; RFC 2202, test case 2.
    text = "what do ya want for nothing?"
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert value('hmac("sha256", "Jefe", a, "hex")', a=text) == expected
    assert value('hmac("sha1", "Jefe", a, "hex")', a=text) == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    assert str(value('hmac("sha512", "Jefe", a, "hex")', a=text)).startswith("164b7a7bfcf819e2e395fbe73b56e0a3")
    made = hmac.digest("ä-key".encode(), "ö".encode(), "sha256")
    assert value('hmac("sha256", secrets.key, a, "base64")', a="ö") == b64encode(made).decode()
    assert value("same(a, secrets.key)", a="ä-key") is True
    assert value("same(a, secrets.key)", a="ä-ke") is False
    assert value("sha256(a + m.b)", a="x", m={"b": "y"}) == hashlib.sha256(b"xy").hexdigest()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('hmac("md5", a, a, "hex")', 'argument 1 of hmac must be "sha1" or "sha256" or "sha512"'),
        ("hmac(a, a, a, a)", "argument 1 of hmac"),
        ('hmac("sha1", a, a, "base32")', 'argument 4 of hmac must be "hex" or "base64"'),
        ("sha256(1)", "sha256 does not take"),
        ("m.map(x, m.map(y, sha256(x)))", "the maximum is 40 ms"),
        ("m.map(x, hmac('sha1', x, a, 'hex') + hmac('sha1', x, a, 'hex')).size()", "the maximum is 40 ms"),
    ],
)
def test_what_is_wrong_is_found_when_it_is_saved(text: str, says: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        expression.compile(text, SCOPE, Kind.ANY)
    assert says in str(caught.value)


def test_a_scope_without_secrets_has_no_digests() -> None:
    with pytest.raises(InvalidExpression, match="there is no function sha256"):
        expression.compile("sha256(a) == a", Scope.of({"a": Kind.STRING}))


def test_what_is_no_text_fails_and_shows_nothing() -> None:
    for given in (1, None, ["x"], "\ud800"):
        with pytest.raises(ExpressionFailed):
            value("sha256(m.b)", m={"b": given})


def test_the_cost_of_a_digest_counts_its_text() -> None:
    small, large = expression.compile('sha256("x")', SCOPE, Kind.ANY), expression.compile("sha256(a)", SCOPE, Kind.ANY)
    assert 10 < small.cost_us < large.cost_us < COST_MAX_US / 100


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("sha256(a + secrets.key + a)", False),
        ('hmac("sha256", secrets.key, a, "hex")', False),
        ("same(secrets.key, a) || same(a, sha256(secrets.key))", False),
        ("secrets.key", True),
        ("secrets.key == a", True),
        ("sha256(secrets.key) + secrets.key", True),
        ("same(secrets.key.substring(0, 1), a)", True),
        ("sha256(secrets.key.startsWith(a) ? a : '')", True),
        ("cel.bind(x, secrets.key, sha256(x))", True),
        ("[secrets.key].map(x, x)", True),
        ("size(secrets.key) > 3", True),
    ],
)
def test_a_secret_that_does_not_go_straight_into_a_digest_is_bare(text: str, bare: bool) -> None:
    assert expression.compile(text, SCOPE, Kind.ANY).bare_names("secrets.") == (
        {"secrets.key"} if bare else frozenset()
    )


PATTERNS = ["sns.*.amazonaws.com", "hooks.example.org"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37", True),
        ("https://sns.us-gov-west-1.amazonaws.com", True),
        ("https://hooks.example.org/a%2Fb?c=d", True),
        ("http://sns.us-east-1.amazonaws.com/", False),
        ("https://sns.us-east-1.amazonaws.com:8443/", False),
        ("https://sns.us-east-1.amazonaws.com.evil.example/", False),
        ("https://evil.example/sns.us-east-1.amazonaws.com/", False),
        ("https://evil.example?sns.us-east-1.amazonaws.com", False),
        ("https://evil.example#.sns.us-east-1.amazonaws.com", False),
        ("https://sns.us-east-1.amazonaws.com@evil.example/", False),
        ("https://evil.example\\@sns.us-east-1.amazonaws.com/", False),
        ("https://sns.us-east-1.amazonaws.com\\.evil.example/", False),
        ("https://sns.a.b.amazonaws.com/", False),
        ("https://sns..amazonaws.com/", False),
        ("https://sns.s3.amazonaws.com/", False),
        ("https://snsxus-east-1.amazonaws.com/", False),
        ("https://sns.us-east-1.amazonawsxcom/", False),
        ("https://SNS.us-east-1.amazonaws.com/", False),
        ("https://hooks.example.org/a b", False),
        ("https://hooks.example.org/\r\nHost: x", False),
        ("https://hooks.example.org/é", False),
        ("https://hooks.example.org/" + "x" * 2048, False),
        ("https://hooks.example.org./", False),
        ("", False),
    ],
)
def test_only_hosts_of_the_list_are_called(url: str, allowed: bool) -> None:
    assert is_allowed_url(url, PATTERNS) is allowed


@pytest.mark.parametrize(
    "pattern",
    ["*", "*.com", "sns.*.com", "a.*", "localhost", "", "a..b.com", "A.example.com", "127.0.0.1", "a.b.c/d", "*a.b.c"],
)
def test_a_pattern_names_a_domain(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        check_host_pattern(pattern)
    assert check_host_pattern("*.example.com") == "*.example.com"
