"""What an account at Superloop is configured with.

Superloop documents the cancel call, the token endpoint and the bodies of its webhooks. What it leaves open
(the order resource, its statuses, whether a webhook has a time) is configuration here, with the most likely
spelling as the default.
"""

from __future__ import annotations

from typing import Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, SecretStr, field_validator, model_validator

from app.contract import UNDOCUMENTED, BaseConfig, Phase, check_path, check_url

PRODUCTION_URL = "https://360-api.superloop.com"
TOKEN_URL = "https://sso.superloop.com/auth/realms/superloop/protocol/openid-connect/token"  # noqa: S105 - an address
DEPRECATED_API_VERSIONS = (1, 2)
DOCUMENTED_API_VERSIONS = range(1, 9)
"""“Cancel an order” names 1 to 7, and other pages of the same documentation an 8."""

_KEY_BITS_MIN = 2048
_OAUTH = ("client_id", "private_key", "key_id")


class Config(BaseConfig):
    """An account at Superloop: an OAuth client (`client_id`, `private_key`, `key_id`), or a fixed `access_token`."""

    base_url: str = Field(PRODUCTION_URL, description="Where the Connect API is; every path begins with /api there.")
    client_id: str = Field("", max_length=200, description="The client name that Superloop issued.")
    private_key: SecretStr | None = Field(
        None, description="The client's private RSA key as PEM, not encrypted, of at least 2048 bits."
    )
    key_id: str = Field("", max_length=200, description="The identifier (kid) of the public key that goes with it.")
    token_url: str = Field(TOKEN_URL, description="Where a signed assertion is exchanged for an access token.")
    audience: str = Field("", description="The assertion's audience (aud); the token URL if empty.")
    access_token: SecretStr | None = Field(
        None,
        description="A fixed access token in the place of client_id, private_key and key_id: for tests and trials.",
    )
    api_version: int = Field(
        7, ge=1, le=1000, description="The X-API-VERSION of every call: 1 to 8. Superloop calls 1 and 2 deprecated."
    )
    allow_unknown_api_version: bool = Field(
        False, description="Whether api_version may be one that no document names, because Superloop told you of it."
    )
    order_path: str = Field(
        "/api/connect/orders/{id}",
        description="Where an order is read: the path of the Location that creating an order answers with, with {id} "
        "for the order's id. Empty: the account cannot be asked how an order stands.",
        json_schema_extra=UNDOCUMENTED,
    )
    status_keys: tuple[str, ...] = Field(
        ("status", "orderStatus"),
        description="Where an order states its status; the first that does.",
        json_schema_extra=UNDOCUMENTED,
    )
    appointment_keys: tuple[str, ...] = Field(
        ("appointments", "appointment"),
        description="Where an order that is read lists its appointments (a list, or one object); the first that does.",
        json_schema_extra=UNDOCUMENTED,
    )
    phases: dict[str, Phase] = Field(
        {},
        description="What a status of an order says: status to phase, beside the ones that are known. A phase of "
        "canceled or completed outranks isCancellable, and any other counts only where isCancellable is not there.",
        json_schema_extra=UNDOCUMENTED,
    )
    time_keys: tuple[str, ...] = Field(
        (),
        description="Where a webhook's body says when it happened; none does by the documents, and the time of receipt "
        "counts. Only for keys that every event has: two clocks would put events in the wrong order.",
        json_schema_extra=UNDOCUMENTED,
    )
    timeout_s: float = Field(15.0, gt=0, le=120, description="How long to wait for Superloop's answer, in seconds.")

    @field_validator("access_token")
    @classmethod
    def _check_access_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_token(value.get_secret_value()):
            raise ValueError("an access token is one word of printable ASCII (is there a line end from a file?)")
        return value

    @field_validator("private_key")
    @classmethod
    def _check_private_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        pem = value.get_secret_value().strip()
        if "\n" not in pem:
            # Environment variables often hold the line ends of a PEM as \n.
            pem = pem.replace("\\r", "").replace("\\n", "\n").strip()
        _check_pem(pem)
        return SecretStr(pem + "\n")

    @field_validator("client_id", "key_id")
    @classmethod
    def _check_word(cls, value: str) -> str:
        if value != value.strip() or not (value.isprintable() and value.isascii()):
            raise ValueError("give it as Superloop issued it, without white space around it")
        return value

    @field_validator("token_url")
    @classmethod
    def _check_token_url(cls, value: str) -> str:
        return check_url(value)

    @field_validator("order_path")
    @classmethod
    def _check_order_path(cls, value: str) -> str:
        return check_path(value) if value else value

    def warnings(self) -> tuple[str, ...]:
        if self.api_version in DEPRECATED_API_VERSIONS:
            newest = DOCUMENTED_API_VERSIONS[-1]
            return (
                f"api_version: Superloop has deprecated version {self.api_version}; set a later one, up to {newest}.",
            )
        return ()

    @model_validator(mode="after")
    def _check_api_version(self) -> Self:
        if self.api_version not in DOCUMENTED_API_VERSIONS and not self.allow_unknown_api_version:
            raise ValueError(
                f"no document names api_version {self.api_version} (1 to {DOCUMENTED_API_VERSIONS[-1]} are named); if "
                "Superloop told you of it, set allow_unknown_api_version: true"
            )
        return self

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        given = [name for name in _OAUTH if getattr(self, name)]
        missing = [name for name in _OAUTH if name not in given]
        if self.access_token is not None:
            if given:
                raise ValueError(f"give either access_token or {_listed(_OAUTH)}, not both ({_listed(given)} is there)")
        elif missing:
            instead = "" if given else ", or a fixed access_token instead"
            raise ValueError(f"{_listed(missing)} missing: an OAuth client needs {_listed(_OAUTH)}{instead}")
        return self


def is_token(value: str) -> bool:
    """Can it stand in an `Authorization` header, as RFC 6750 has it?"""
    return 0 < len(value) <= 16_384 and value.isascii() and value.isprintable() and " " not in value  # noqa: PLR2004 - a bound on headers


def _check_pem(pem: str) -> None:
    """Raise ValueError unless it is a private RSA key; the message never shows it."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise ValueError("the private key is encrypted: give it without a password") from None
    except Exception:  # noqa: BLE001 - the library raises many kinds, and their texts are not ours to show
        raise ValueError("this is not a private key in PEM (it begins with -----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private key is not an RSA key, and RS256 takes no other") from None  # noqa: TRY004 - as all here
    if key.key_size < _KEY_BITS_MIN:
        raise ValueError(f"the private key has {key.key_size} bits: RS256 takes {_KEY_BITS_MIN} or more")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
