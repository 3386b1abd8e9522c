"""Public keys that a source of webhooks publishes: where they are, and how verification looks them up."""

from __future__ import annotations

from typing import Any, Protocol, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, model_validator

KEY_URL_CHARS_MAX = 2048


class KeySource(BaseModel):
    """Where public keys are published: exactly one of `jwks_url`, `certificate_url` and `url`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    jwks_url: str | None = Field(None, max_length=KEY_URL_CHARS_MAX)
    """A JSON Web Key Set (RFC 7517). `key_id` names the key in it."""
    certificate_url: str | None = Field(None, max_length=KEY_URL_CHARS_MAX)
    """An X.509 certificate in PEM, with its intermediates. `{header:NAME}` or `{json:PATH}` alone takes the URL from
    the request; `hosts` is required then."""
    url: str | None = Field(None, max_length=KEY_URL_CHARS_MAX)
    """One public key, in PEM or base64 DER. `{key_id}` in its path or query becomes the key id of the request."""
    hosts: tuple[str, ...] = Field((), max_length=50)
    """Hosts that a URL of the request may name: `api.paypal.com`; `*` stands for one whole label."""
    read: str | None = Field(None, max_length=1000)
    """`url`: where the key stands in a JSON response (JMESPath); without it the response is the key."""
    authorized: bool = False
    """`url`, `jwks_url`: the source shows keys only to those who have a token: they are fetched with one of the
    account's."""
    names: tuple[str, ...] = Field((), max_length=50)
    """`certificate_url`: DNS names one of which the certificate must have, spelled as in `hosts`; default: any."""
    roots: str | None = Field(None, max_length=100_000)
    """`certificate_url`: PEM of the certificates that its chain must lead to; default: those that the system trusts."""
    chain: bool = True
    """`certificate_url`: false where a source publishes no intermediates: the host alone vouches for it then."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if sum(url is not None for url in (self.jwks_url, self.certificate_url, self.url)) != 1:
            raise ValueError("give one of jwks_url, certificate_url and url")
        return self

    @property
    def location(self) -> str:
        """The URL, perhaps with places."""
        return self.jwks_url or self.certificate_url or self.url or ""


class KeyRef(Struct, frozen=True):
    """The key that a request names."""

    source: KeySource
    url: str
    """Where it is published, without places."""
    key_id: str = ""
    """"" where the request names none."""


class KeyUnavailable(Exception):
    """The key is not here, and may be published: the request must come again. It is neither authentic nor refused."""

    def __init__(self, ref: KeyRef) -> None:
        super().__init__("the public key of the source has not been fetched yet: send the request again")
        self.ref = ref


class PublishedKeys(Protocol):
    """The keys at hand. A look-up does no I/O."""

    def find(self, ref: KeyRef) -> tuple[Any, ...]:
        """The public keys (`cryptography`) that may have signed: one, or all of a set where no key id is named.

        Raises `KeyUnavailable`, or `VerificationError` where the source is known not to publish such a key.
        """
