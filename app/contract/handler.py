"""The handler: everything Rescind knows of one provider, as data and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, ClassVar, Protocol, Self, runtime_checkable
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from app.contract.handshake import HandshakeResponse, PostHandshakes
from app.contract.inbound import InboundRequest, Parsed, VerifyOptions
from app.contract.knowledge import Facts, Order, Phase, Verdict
from app.contract.outbound import (
    Authorize,
    CancelRequest,
    CancelResult,
    Context,
    Flow,
    HttpRequest,
    HttpResponse,
    ProbeUnavailable,
    Registration,
)
from app.contract.setup import Setup
from app.contract.zones import check_zone, zone_of

UNDOCUMENTED: dict[str, JsonValue] = {"undocumented": True}
"""`json_schema_extra` of a setting that exists because the provider's documents leave something open."""
_PLACE = "{id}"


class Limits(BaseModel):
    """How often an account may call its provider.

    In no window of `per_s` seconds more than `requests`; or, with `burst` and `rate_per_s`, as from a leaky
    bucket: so many at once, and the place of one more each 1 / `rate_per_s` seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(100, ge=1, le=1_000_000)
    per_s: float = Field(60.0, gt=0, le=86_400, allow_inf_nan=False)
    burst: int | None = Field(None, ge=1, le=1_000_000)
    rate_per_s: float | None = Field(None, ge=0.001, le=1_000_000, allow_inf_nan=False)
    concurrency: int = Field(4, ge=1, le=1000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.burst is None) != (self.rate_per_s is None):
            raise ValueError("a leaky bucket needs both burst and rate_per_s")
        if self.burst is not None and {"requests", "per_s"} & self.model_fields_set:
            raise ValueError("give either requests and per_s (a window) or burst and rate_per_s (a leaky bucket)")
        return self


class BaseConfig(BaseModel):
    """What every account's `config` takes; handlers add their own fields."""

    # A secret that is refused must not show in the error that says so.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    webhooks_signed_by: ClassVar[str | None] = None
    """The field with the secret by which the provider signs webhooks, an optional `SecretStr`; an endpoint without
    secrets of its own is verified by it."""

    base_url: str = ""
    timezone: str | None = Field(
        None,
        description="The IANA zone in which the provider writes times without an offset. Not set: an event that "
        "states such a time counts from its receipt, and any other such time is unknown.",
    )

    @property
    def zone(self) -> tzinfo | None:
        """The zone of times without an offset, where the operator knows it."""
        return None if self.timezone is None else zone_of(self.timezone)

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str | None) -> str | None:
        return None if value is None else check_zone(value)

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        # Empty is for handlers that know the URL by something else.
        if value or cls.model_fields["base_url"].default:
            check_url(value)
        return value.rstrip("/")

    def no_cancel(self) -> str | None:
        """Why no order of this account can be canceled here, in a sentence; None: they can."""
        return None

    def post_handshakes(self) -> PostHandshakes:
        """Which POST requests `Handler.handshake` is asked about before they are taken for webhooks."""
        return ""

    def handshake_methods(self) -> frozenset[str]:
        """Methods besides POST of which `Handler.handshake` responds to some requests; those that have one."""
        return frozenset({"OPTIONS"})

    def unread_header(self, proven: frozenset[str] | None) -> str | None:  # noqa: ARG002 - a hook
        """The header that the config names as the one with an event's id, where it is not read; None: all is well.

        `proven` are the headers that an endpoint's proof covers, as in `InboundRequest.proven_headers`.
        """
        return None

    def warnings(self) -> tuple[str, ...]:
        """What an operator should change although it works: whole sentences, without secrets."""
        return ()


def check_url(value: str) -> str:
    """`value`, if a provider can be called there; raises ValueError. For validators of configuration."""
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValueError("give an http or https URL without a query, such as https://api.example.com")
    if url.username is not None or url.password is not None:
        raise ValueError("leave the user and password out of the URL: credentials have fields of their own")
    return value


def check_path(value: str) -> str:
    """`value`, if an order can be asked for at that path; raises ValueError. For validators of configuration."""
    is_sendable = value.isprintable() and "#" not in value and not any(map(str.isspace, value))
    if not value.startswith("/") or value.count(_PLACE) != 1 or not is_sendable:
        raise ValueError(
            f"give a path that begins with / and holds {_PLACE} once (/orders/{_PLACE}), without spaces and without #"
        )
    return value


class Rules(BaseModel):
    """A provider's admin-managed parameters, with documented defaults; accounts override them at run time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    duplicate_keys: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="Attributes (dotted where they are nested) that are equal where two orders are the same; "
        "none: no order is taken for a duplicate.",
    )


def one_kind_of_id(_name: str) -> str | None:
    """`Handler.id_kind` of a provider whose orders have one id each, and no other names."""
    return "id"


class InvalidCancel(Exception):
    """The arguments of a cancel break a limit of the provider's: `field` is the argument at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """Everything Rescind knows of one provider. `config` and `rules` arguments are of the classes named here."""

    name: str
    title: str
    docs: Sequence[str]
    """Where the provider documents what this handler does."""
    config: type[BaseConfig]
    rules: type[Rules]
    limits: Limits
    verify: Callable[[InboundRequest, VerifyOptions, datetime], None]
    """(request, options, now). Raises `VerificationError` unless the raw request was signed with one of the
    secrets; compares in constant time."""
    verify_options: frozenset[str] | None = None
    """Which of `VerifyOptions` `verify` heeds besides `secrets`: any other is refused when an endpoint is saved.
    None: not declared, so none is refused."""
    proof_in_headers: bool = False
    """`verify` looks at headers and query only: it is asked before a body is taken in from a stranger, and is
    given an empty one."""
    signed_headers: frozenset[str] | None = None
    """Headers that the proof covers which `verify` checks, in lower case: `InboundRequest.proven_headers` of endpoints
    with the scheme `handler`. None: it proves the sender of the whole request, as a token does; or `parse` takes no id
    out of a header."""
    sign: Callable[[HttpRequest, VerifyOptions, datetime], HttpRequest] | None = None
    """(webhook, options, now) → the webhook with the proof that `verify` asks for, made as the provider makes it with
    the first of the secrets. None: the proof is the token that `app.kit.sign.sign_token` sends."""
    sample: Callable[[Any, datetime], HttpRequest] | None = None
    """(config, now) → an unsigned webhook about an order that does not exist, as the provider would send it to this
    account; the URL's path is empty. None: the first webhook of the simulator's `create_order`."""
    setup: Callable[[str, VerifyOptions, Any], Setup] | None = None
    """(url, options, config) → what to enter at the provider. `options.secrets` has the secret to enter, or nothing
    where the provider issues it. None: `app.kit.setup` describes what the scheme needs."""
    parse: Callable[[InboundRequest, Any], Parsed]
    """(request, config). Raises `MalformedPayload`."""
    verdict: Callable[[Order, Any, datetime], Verdict]
    """(order, rules, now). Total: every phase and status has an answer."""
    check: Callable[[str, str | None, Any], None]
    """(reason, note, rules). Raises `InvalidCancel` before anything is sent."""
    check_order: Callable[[str], None] = lambda _: None
    """(order's id). Raises `InvalidCancel` for the field `order` where no order at the provider can have that id."""
    other_names: Callable[[str], Sequence[str]] = lambda _: ()
    """(order's id) → names under which the order may be known here, where that id is known by none: somebody gave an
    id of the provider's without what marks it among the names."""
    cancel: Callable[[Sequence[CancelRequest], Any, Context], Flow[list[CancelResult]]]
    """(requests, config, context) → one result for each request, in order. To yield a second request that is not
    repeatable says that the one before it had no effect (a token was refused, say): before it is sent, the fence is
    asked again, and the flow may end there."""
    probe: Callable[[Sequence[Order], Any, Context], Flow[list[Facts | ProbeUnavailable]]] | None = None
    """(orders, config, context) → one snapshot for each order, in order; None: the provider cannot be asked."""
    cancel_batch_max: int = 1
    """How many orders one `cancel` takes. More than one: due cancels of an account leave together."""
    probe_batch_max: int = 1
    cancel_is_idempotent: bool = False
    topics: Callable[[Any], Sequence[str]] = lambda _: ()
    """(config) → what must be registered for the handler to know all it needs, where the provider has a registration
    API; nothing: webhooks of this account are registered by hand."""
    registrations: Callable[[Any, Context], Flow[list[Registration]]] | None = None
    """(config, context) → all that there are; raises `RegistrationFailed`, as the next two do."""
    register: Callable[[str, Sequence[str], Any, Context], Flow[list[Registration]]] | None = None
    """(url, topics, config, context) → what was made; as `RegistrationWithSecret` where the provider makes a secret for
    each webhook, which then becomes the endpoint's. What it replaces, it removes itself."""
    unregister: Callable[[Sequence[Registration], Any, Context], Flow[None]] | None = None
    """(registrations, config, context)."""
    handshake: Callable[[InboundRequest, Any], HandshakeResponse | None] | None = None
    """(request, config) → the response to a GET, HEAD or OPTIONS request, by which some senders ask for permission to
    send; and to a POST request where `BaseConfig.post_handshakes` says so. None: it is no handshake. Strangers reach
    it: `request.proven` says whether the request has proved its sender."""
    authorize: Callable[[Any], Authorize | None] = lambda _: None
    """(config) → what gives the fetch of a key its credentials, where the provider shows keys only to its clients
    (`KeySource.authorized`). It keeps nothing durably: each node fetches by itself. None: the account has nothing that
    may be used for that."""
    id_kind: Callable[[str], str | None] = one_kind_of_id
    """Which of the provider's ids a name is, where orders have several (`orderID`, `entityId`); None: a name that an
    order has only until its own id is known. An order has one id of each kind: what would give it two is refused."""
    private: frozenset[str] = frozenset()
    """Names in webhooks (keys of JSON at any depth, fields of forms) under which people's data and access codes stand,
    which no event keeps. They are in receipts only, and are shown masked."""
    personal: frozenset[str] = frozenset()
    """Names of attributes, at any depth, under which people's data may stand although events keep them, as policies
    may need them while the order lives. Retention and erasure replace the values; no verdict may read them. `*`: all
    attributes."""
    words: Mapping[str, Phase] = field(default_factory=dict)
    """The provider's words → our phases, for the generated tables."""
    simulator: Callable[..., Simulator] | None = None


class Simulator(Protocol):
    """A pure, faithful fake of a provider. `now` is unix seconds, and nothing else tells it the time."""

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one API call as the provider would; its effects are on this object."""
        ...

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what happens on the provider's side (`{"do": "create_order", …}`). Raises ValueError, saying why."""
        ...

    def emitted(self) -> list[HttpRequest]:
        """Webhooks that arose since the last call, oldest first, signed; the URL's path is empty."""
        ...


@runtime_checkable
class SignsTime(Protocol):
    """A simulator whose webhooks prove when they were sent: one that is sent again is signed anew."""

    def resigned(self, webhook: HttpRequest, now: float) -> HttpRequest:
        """The same webhook, as it is sent at `now`."""
        ...
