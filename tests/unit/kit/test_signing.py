from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing import proof, require_match, standard_webhooks, stripe, verify_token


class Headers(Mapping[str, str]):
    """Headers as a server hands them over: looked up without regard to case."""

    def __init__(self, **headers: str) -> None:
        self._headers = {name.replace("_", "-").lower(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def request(query: dict[str, str] | None = None, **headers: str) -> InboundRequest:
    return InboundRequest(headers=Headers(**headers), query=query or {}, body=b"{}")


def options(*secrets: str, header: str | None = None) -> VerifyOptions:
    return VerifyOptions(scheme="token", secrets=tuple(map(SecretStr, secrets)), header=header)


@pytest.mark.parametrize(
    ("given", "header"),
    [
        (request(authorization="Bearer s3cret"), None),
        (request(authorization="bearer  s3cret "), None),
        (request(authorization="Bearer s3cret"), "authorization"),
        (request(x_token="s3cret"), "X-Token"),
        (request(x_token=" s3cret"), "x-token"),
        (request({"token": "s3cret"}), None),
        (request({"token": "s3cret"}), "X-Token"),
        (request({"token": "wrong"}, x_token="s3cret"), "X-Token"),
    ],
)
def test_the_token_is_taken_from_where_it_may_stand(given: InboundRequest, header: str | None) -> None:
    verify_token(given, options("s3cret", header=header))


@pytest.mark.parametrize(
    ("given", "header", "message"),
    [
        (request(), None, "no token: send it in the header Authorization or as .token="),
        (request(), "X-Token", "no token: send it in the header X-Token or as .token="),
        (request(authorization="Bearer s3cret"), "X-Token", "no token"),
        (request(x_token="s3cret"), None, "no token"),
        (request({"secret": "s3cret"}), None, "no token"),
        (request(authorization="Basic s3cret"), None, "holds no bearer token"),
        (request(authorization="s3cret"), None, "holds no bearer token"),
        (request(authorization=""), None, "holds no bearer token"),
        (request({"token": "other"}, authorization="Basic eA=="), None, "the token is wrong"),
        (request(authorization="Bearer wrong"), None, "the token is wrong"),
        (request(authorization="Bearer "), None, "the token is wrong"),
        (request(authorization="Bearer s3cret2"), None, "the token is wrong"),
        (request(authorization="Bearer s3cre"), None, "the token is wrong"),
        (request(x_token="Bearer s3cret"), "X-Token", "the token is wrong"),
        (request({"token": "s3cret"}, x_token="wrong"), "X-Token", "the token is wrong"),
        (request({"token": ""}), None, "the token is wrong"),
        (request({"token": "\udced"}), None, "the token is wrong"),
        (request(authorization="Bearer s3cret\udcff"), None, "the token is wrong"),
    ],
)
def test_anything_else_is_turned_away(given: InboundRequest, header: str | None, message: str) -> None:
    with pytest.raises(VerificationError, match=message) as caught:
        verify_token(given, options("s3cret", header=header))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["old", "new"])
def test_every_secret_is_accepted_while_they_are_rotated(token: str) -> None:
    verify_token(request(authorization=f"Bearer {token}"), options("old", "new"))


def test_no_secrets_accept_nothing() -> None:
    with pytest.raises(VerificationError):
        verify_token(request({"token": ""}), options())


decoded = st.characters(exclude_categories=["Cs"]) | st.characters(
    min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]
)
"""What a server makes of bytes: those that are no text become halves of surrogate pairs."""


@examples(200)
@given(st.text(min_size=1, max_size=8), st.text(decoded, max_size=8), st.sampled_from(["q", "h", "b"]))
def test_a_token_is_right_or_a_verification_error(secret: str, text: str, place: str) -> None:
    given = {
        "q": request({"token": text}),
        "h": request(x_token=text),
        "b": request(x_token="", authorization=f"Bearer {text}"),
    }[place]
    try:
        verify_token(given, options(secret, header=None if place == "b" else "X-Token"))
    except VerificationError:
        assert text != secret or secret != secret.strip()
    else:
        assert text.strip() == secret


def test_every_secret_is_compared_in_constant_time_even_after_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, accepted: bytes) -> bool:
        compared.append((given, accepted))
        return hmac.compare_digest(given, accepted)

    for module in (proof, standard_webhooks, stripe):
        monkeypatch.setattr(module, "compare_digest", compare)
    require_match(b"a", [b"a", b"b", b"c"], "token")

    assert compared == [(b"a", b"a"), (b"a", b"b"), (b"a", b"c")]


def test_the_error_names_what_is_wrong() -> None:
    with pytest.raises(VerificationError, match=r"^the signature is wrong$"):
        require_match(b"a", [b"b"], "signature")


def test_credentials_of_another_scheme_are_a_proxy_s_business() -> None:
    verify_token(request({"token": "s3cret"}, authorization="Basic eA=="), options("s3cret"))
