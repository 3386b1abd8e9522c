"""Certificates vouch for a key only within their dates, for their names, and under a root that is trusted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from key_pairs import NOW, Authority, certificate, pem, private_key, rsa_key

from app.kit.signing.certificates import certified_key
from app.kit.signing.key_material import UnusableKey

NAME = "sign.pay.example"
KEY = private_key("rsa-sha256")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def vouched(
    document: bytes, names: tuple[str, ...] = (NAME,), roots: Any = None, later: timedelta = timedelta()
) -> Any:
    return certified_key(document, NOW + later, names=names, roots=roots)


def refusal(document: bytes, **more: Any) -> str:
    with pytest.raises(UnusableKey) as caught:
        vouched(document, **more)
    return str(caught.value)


def test_a_chain_to_a_trusted_root_vouches_until_its_first_certificate_expires(authority: Authority) -> None:
    leaf = authority.issue(NAME, KEY, ends=timedelta(days=10))
    document = pem(leaf, authority.intermediate)
    key, until = vouched(document, roots=[authority.root])
    assert key == KEY.public_key()
    assert until == leaf.not_valid_after_utc
    assert vouched(pem(leaf), roots=[authority.intermediate])[0] == key
    assert vouched(pem(leaf))[0] == key
    assert vouched(document, names=(), roots=[authority.root])[0] == key
    assert vouched(document, names=("*.pay.example",), roots=[authority.root])[0] == key


def test_no_other_chain_does(authority: Authority) -> None:
    leaf = authority.issue(NAME, KEY)
    stranger = Authority("Another Root")
    untrusted = "leads to no trusted root"
    assert untrusted in refusal(pem(leaf), roots=[authority.root])
    assert untrusted in refusal(pem(leaf, authority.intermediate), roots=[])
    other_root = certificate("Other Root", rsa_key(2048, 200), "Other Root", rsa_key(2048, 200), is_authority=True)
    assert untrusted in refusal(pem(leaf, authority.intermediate), roots=[other_root])
    assert untrusted in refusal(pem(leaf, stranger.intermediate, stranger.root), roots=[other_root])
    own = certificate(NAME, KEY, NAME, KEY)
    assert untrusted in refusal(pem(own), roots=[authority.root])
    # A leaf that issues another is no authority.
    signed_by_leaf = certificate(NAME, rsa_key(2048, 7), NAME, KEY)
    assert untrusted in refusal(pem(signed_by_leaf, leaf, authority.intermediate), roots=[authority.root])


def test_dates_and_names_are_checked_with_and_without_a_chain(authority: Authority) -> None:
    document = pem(authority.issue(NAME, KEY, ends=timedelta(days=1)), authority.intermediate)
    for roots in (None, [authority.root]):
        assert refusal(document, roots=roots, later=timedelta(days=2)) == "the certificate expired on 2026-03-03"
        assert "is not valid before" in refusal(document, roots=roots, later=timedelta(days=-40))
        for names in (("pay.example",), ("*.sign.pay.example",), ("sign.pay.example.evil",), ("*.y.example",)):
            assert "the certificate is not for" in refusal(document, roots=roots, names=names)


def test_what_is_weak_or_no_certificate_is_refused(authority: Authority) -> None:
    weak = authority.issue(NAME, rsa_key(1024))
    assert "has 1024 bits" in refusal(pem(weak))
    leaf = authority.issue(NAME, KEY)
    assert "9 certificates: 8 are the most" in refusal(pem(*[leaf] * 9))
    for document in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"<html>"):
        assert refusal(document) == "this is no certificate in PEM"
