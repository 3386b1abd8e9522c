"""Access tokens of an account: fetched at an endpoint, made by the account (a JWT), or both."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from app.kit.cel.expression import InvalidExpression, Kind, Scope
from app.kit.jwt import KEY_PAIR, SHARED_KEY, check_jwt_key
from app.kit.paths.path import Path
from app.kit.tokens import LIFE_MAX_S, LIFE_S
from handlers.generic.call import check_headers
from handlers.generic.template import SECRETS, leaves, template
from handlers.generic.words import Part

TOKEN, JWT, JTI, REFRESH_TOKEN = "token", "jwt", "jti", "refresh_token"

_REFERENCE = re.compile(r"secrets\.[a-z][a-z0-9_]{0,40}")
_CREDENTIAL_FIELDS = frozenset(
    {"client_secret", "password", "secret", "refresh_token", "assertion", "client_assertion", "api_key", "apikey"}
)
_SET_BY_ALGORITHM = frozenset({"alg"})


def _check_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError(
            "name the secret (secrets.private_key) and give its value under secrets: what is written here in full is "
            "shown to everyone who may read the configuration"
        )
    return value


def _check_algorithm(value: str) -> str:
    if value not in (*SHARED_KEY, *KEY_PAIR):
        raise ValueError(f"give one of {', '.join((*SHARED_KEY, *KEY_PAIR))}")
    return value


SecretReference = Annotated[str, AfterValidator(_check_reference)]


class Jwt(Part):
    """A JWT that the account signs: the token itself, or what a token endpoint takes for one."""

    alg: Annotated[str, AfterValidator(_check_algorithm)] = Field(
        description="The algorithm: HS256, RS256, PS256, ES256 (each also with 384 and 512), or EdDSA."
    )
    key: SecretReference = Field(
        description="The secret with the key (secrets.signing_key): for HS… a shared one, else a private key in PEM."
    )
    key_encoding: Literal["text", "hex", "base64", "base64url"] = Field(
        "text", description="How a shared key is written."
    )
    header: dict[str, Any] = Field({}, description="What stands in the header besides alg and typ; templates.")
    claims: dict[str, Any] = Field(
        description="The claims; strings are templates. iat and exp (by ttl_s) are added; one that is null is left out."
    )
    ttl_s: int = Field(300, ge=10, le=86_400, description="For how many seconds it is good: exp.")

    @field_validator("header")
    @classmethod
    def _check_header(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not _SET_BY_ALGORITHM.isdisjoint(value):
            raise ValueError("leave out alg: it follows from token.jwt.alg")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alg in KEY_PAIR and self.key_encoding != "text":
            raise ValueError(f"key_encoding: {self.alg} takes a key in PEM, which is text")
        return self

    def key_of(self, secrets: Mapping[str, str]) -> str | bytes:
        """The key, from the account's secrets. Raises ValueError, without showing it."""
        text = secrets[self.key.removeprefix(SECRETS)]
        if self.alg in SHARED_KEY:
            return _decoded(text, self.key_encoding)
        # Environment variables often hold the line ends of a PEM as \n.
        return text if "\n" in text else text.replace("\\r", "").replace("\\n", "\n")


class Rotation(Part):
    """A refresh token that changes with each use. The current one is stored, encrypted."""

    initial: SecretReference = Field(
        description="The secret with the first one (secrets.refresh_token). Another one there replaces what is stored."
    )
    path: Path = Field("refresh_token", description="Where the endpoint's response has the next one.")


class Token(Part):
    """How the account comes by the token of its calls, which their templates read as `token`."""

    url: str | None = Field(None, max_length=2000, description="The token endpoint, as a whole URL.")
    method: Literal["POST", "GET", "PUT"] = Field("POST", description="The method.")
    headers: dict[str, str] = Field({}, description="Headers, by name; templates.")
    body: Any = Field(None, description="The body, whose strings are templates.")
    encoding: Literal["form", "json"] = Field("form", description="The format of the body.")
    access_token: Path = Field("access_token", description="Where the response has the token.")
    expires_in: Path = Field("expires_in", description="Where the response says for how many seconds it is good.")
    life_s: float = Field(
        LIFE_S, ge=2, le=LIFE_MAX_S, description="For how many seconds it is good where the response does not say."
    )
    refresh_on: tuple[Literal[401, 403], ...] = Field(
        (401,),
        min_length=1,
        description="Statuses of calls by which the source says that the token expired: [401], or [401, 403].",
    )
    jwt: Jwt | None = Field(
        None, description="A JWT: with a url `jwt` in the templates of that call, else the token itself, for each call."
    )
    refresh_token: Rotation | None = Field(
        None, description="A refresh token that changes with each use: `refresh_token` in the templates of the call."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        url = urlsplit(value or "https://x")
        if url.scheme not in ("http", "https") or not url.hostname or url.fragment or not (value or "x").isprintable():
            raise ValueError("give the whole URL, such as https://api.example.com/oauth/token")
        if url.username is not None or url.password is not None or "{{" in (value or ""):
            raise ValueError("leave credentials and templates out of the URL: headers and body may hold them")
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: dict[str, str]) -> dict[str, str]:
        return check_headers(value, (SECRETS, JWT, REFRESH_TOKEN))

    @field_validator("body")
    @classmethod
    def _check_body(cls, value: Any) -> Any:
        for where, text in leaves(value, "body"):
            name = where.rpartition(".")[2].lower()
            if name in _CREDENTIAL_FIELDS and "{{" not in text:
                raise ValueError(f"take {name} from secrets: {{{{ secrets.{name} }}}}; what is written here is shown")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        own = {
            "method",
            "headers",
            "body",
            "encoding",
            "access_token",
            "expires_in",
            "life_s",
            "refresh_token",
            "refresh_on",
        }
        needless = sorted(own & self.model_fields_set)
        if self.url is None and self.jwt is None:
            raise ValueError("give a url to fetch a token from, or a jwt")
        if self.url is None and needless:
            raise ValueError(f"{', '.join(needless)}: of use only with a url to fetch a token from")
        if self.url is not None and self.encoding == "form" and self.body is not None:
            fields = self.body.values() if isinstance(self.body, dict) else [self.body]
            if not isinstance(self.body, dict) or any(isinstance(field, dict | list) for field in fields):
                raise ValueError("body: a form is names and texts; for anything else set encoding: json")
        return self

    def scope(self, secrets: frozenset[str]) -> Scope:
        """The names that headers and body of the token's call may use; `secrets` are the account's."""
        more = {JWT: Kind.STRING} if self.jwt is not None else {}
        return self.claims_scope(secrets).plus({**more, **({REFRESH_TOKEN: Kind.STRING} if self.refresh_token else {})})

    def claims_scope(self, secrets: frozenset[str]) -> Scope:
        """The names that header and claims of the JWT may use."""
        return Scope.of(
            {"now": Kind.TIMESTAMP, JTI: Kind.STRING, **{SECRETS + name: Kind.STRING for name in secrets}}, digests=True
        )


@lru_cache(maxsize=256)
def with_token(scope: Scope) -> Scope:
    """What headers and bodies of calls may use where the account has a token."""
    return scope.plus({TOKEN: Kind.STRING})


def check_token(field: str, token: Token, secrets: Mapping[str, str]) -> None:
    """Raises ValueError for what only the account's secrets tell: unknown ones, and keys that fit no algorithm.

    `field` is where the configuration has the token.
    """
    names = frozenset(secrets)
    scope, claims = token.scope(names), token.claims_scope(names)
    references = [("jwt.key", token.jwt.key)] if token.jwt is not None else []
    references += [("refresh_token.initial", token.refresh_token.initial)] if token.refresh_token is not None else []
    for where, reference in references:
        if reference.removeprefix(SECRETS) not in names:
            raise ValueError(f"{field}.{where}: there is no {reference}: add it under secrets")
    trees = [(token.headers, "headers", scope), (token.body, "body", scope)]
    if token.jwt is not None:
        trees += [(token.jwt.header, "jwt.header", claims), (token.jwt.claims, "jwt.claims", claims)]
    for tree, name, allowed in trees:
        for where, text in leaves(tree, f"{field}.{name}"):
            try:
                template(text, allowed)
            except InvalidExpression as error:
                raise ValueError(f"{where}: {error}") from None
    if token.jwt is not None:
        try:
            check_jwt_key(token.jwt.alg, token.jwt.key_of(secrets))
        except ValueError as error:
            raise ValueError(f"{field}.jwt.key: {error}") from None


def _decoded(text: str, encoding: str) -> bytes:
    try:
        if encoding == "hex":
            return bytes.fromhex(text)
        if encoding == "base64":
            return base64.b64decode(text, validate=True)
        if encoding == "base64url":
            return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"it is not written in {encoding}: see key_encoding") from None
    return text.encode()
