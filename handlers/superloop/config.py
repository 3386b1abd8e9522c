"""What an account at Superloop is configured with.

Superloop documents the cancel call, the token endpoint and the bodies of its webhooks. What it leaves open
(the order resource, its statuses, whether a webhook has a time) is configuration here, with the most likely
spelling as the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import AfterValidator, Field, SecretStr, model_validator

from app.contract import BaseConfig, Phase, check_path, check_url
from app.kit.config import HeaderSecret, timeout_s, undocumented
from app.kit.jwt import is_sound

PRODUCTION_URL = "https://360-api.superloop.com"
TOKEN_URL = "https://sso.superloop.com/auth/realms/superloop/protocol/openid-connect/token"  # noqa: S105 - an address
DEPRECATED_API_VERSIONS = (1, 2)
NEWEST_API_VERSION = 8
"""“Cancel an order” names 1 to 7, and other pages of the same documentation an 8."""

_KEY_BITS_MIN = 2048
_CLIENT = ("client_id", "private_key", "key_id")


def _check_word(value: str) -> str:
    if value != value.strip() or not (value.isprintable() and value.isascii()):
        raise ValueError("give it as Superloop issued it, without white space around it")
    return value


def _check_key(value: SecretStr) -> SecretStr:
    """The private RSA key as PEM. Raises ValueError for anything else; the message never shows the key."""
    pem = value.get_secret_value().strip()
    if "\n" not in pem:
        # Environment variables often hold the line ends of a PEM as \n.
        pem = pem.replace("\\r", "").replace("\\n", "\n").strip()
    try:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise ValueError("the private key is encrypted: give it without a password") from None
    except Exception:  # noqa: BLE001 - the library raises many kinds, and their texts are not ours to show
        raise ValueError("this is not a private key in PEM (it begins with -----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private key is not an RSA key, and RS256 takes no other")  # noqa: TRY004 - as all here
    if key.key_size < _KEY_BITS_MIN:
        raise ValueError(f"the private key has {key.key_size} bits: RS256 takes {_KEY_BITS_MIN} or more")
    if not is_sound(key):
        raise ValueError("the parts of the private key do not belong together")
    return SecretStr(pem + "\n")


Word = Annotated[str, Field(max_length=200), AfterValidator(_check_word)]


class Config(BaseConfig):
    """An account at Superloop: an OAuth client (`client_id`, `private_key`, `key_id`), or a fixed `access_token`."""

    base_url: str = Field(PRODUCTION_URL, description="Where the Connect API is; every path begins with /api there.")
    client_id: Word = Field("", description="The client name that Superloop issued.")
    private_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        None, description="The client's private RSA key as PEM, not encrypted, of at least 2048 bits."
    )
    key_id: Word = Field("", description="The identifier (kid) of the public key that goes with it.")
    token_url: Annotated[str, AfterValidator(check_url)] = Field(
        TOKEN_URL, description="Where a signed assertion is exchanged for an access token."
    )
    audience: str = Field("", description="The assertion's audience (aud); the token URL if empty.")
    access_token: HeaderSecret | None = Field(
        None,
        description="A fixed access token in the place of client_id, private_key and key_id: for tests and trials.",
    )
    api_version: int = Field(
        7, ge=1, le=1000, description="The X-API-VERSION of every call: 1 to 8. Superloop calls 1 and 2 deprecated."
    )
    allow_unknown_api_version: bool = Field(
        False, description="Whether api_version may be one that no document names, because Superloop told you of it."
    )
    order_path: Annotated[str, AfterValidator(lambda path: path and check_path(path))] = undocumented(
        "/api/connect/orders/{id}",
        "Where an order is read: the path of the Location that creating an order answers with, with {id} "
        "for the order's id. Empty: the account cannot be asked how an order stands.",
    )
    status_keys: tuple[str, ...] = undocumented(
        ("status", "orderStatus"), "Where an order states its status; the first that does."
    )
    appointment_keys: tuple[str, ...] = undocumented(
        ("appointments", "appointment"),
        "Where an order that is read lists its appointments (a list, or one object); the first that does.",
    )
    phases: dict[str, Phase] = undocumented(
        {},
        "What a status of an order says: status to phase, beside the ones that are known. A phase of "
        "canceled or completed outranks isCancellable, and any other counts only where isCancellable is not there.",
    )
    time_keys: tuple[str, ...] = undocumented(
        (),
        "Where a webhook's body says when it happened; none does by the documents, and the time of receipt "
        "counts. Only for keys that every event has: two clocks would put events in the wrong order.",
    )
    timeout_s: float = timeout_s("Superloop")

    def warnings(self) -> tuple[str, ...]:
        """As of `BaseConfig`: a deprecated `api_version`."""
        if self.api_version not in DEPRECATED_API_VERSIONS:
            return ()
        advice = f"set a later one, up to {NEWEST_API_VERSION}"
        return (f"api_version: Superloop has deprecated version {self.api_version}; {advice}.",)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.api_version > NEWEST_API_VERSION and not self.allow_unknown_api_version:
            raise ValueError(
                f"no document names api_version {self.api_version} (1 to {NEWEST_API_VERSION} are named); if "
                "Superloop told you of it, set allow_unknown_api_version: true"
            )
        given = [name for name in _CLIENT if getattr(self, name)]
        missing = [name for name in _CLIENT if name not in given]
        if self.access_token is not None and given:
            raise ValueError(f"give either access_token or {_listed(_CLIENT)}, not both ({_listed(given)} is there)")
        if self.access_token is None and missing:
            instead = "" if given else ", or a fixed access_token instead"
            raise ValueError(f"{_listed(missing)} missing: an OAuth client needs {_listed(_CLIENT)}{instead}")
        return self


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
