"""What a handler sees of Rescind, and Rescind of a handler.

Everything here is data or the shape of a function. A handler imports this module and
``app.core``'s pure pieces, and nothing else of the application: it performs no I/O, reads no
clock and draws no random numbers. It talks to its provider by *flows*: generators that yield
`HttpRequest` and are sent the `HttpResponse`.

Times are aware datetimes in UTC. Durations are floats named ``…_s`` (seconds).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = [
    "Appointment",
    "BaseConfig",
    "CancelOutcome",
    "CancelRequest",
    "CancelResult",
    "Cancelable",
    "Facts",
    "Flow",
    "Handler",
    "HttpRequest",
    "HttpResponse",
    "Ignored",
    "InboundRequest",
    "InvalidCancel",
    "Limits",
    "MalformedPayload",
    "Observed",
    "Order",
    "Parsed",
    "Phase",
    "ProbeUnavailable",
    "Rules",
    "Simulator",
    "Unrecognized",
    "Verdict",
    "VerificationError",
    "VerifyOptions",
]


# -- What is known of an order ---------------------------------------------------------------


class Phase(StrEnum):
    """Where an order is, in our words. A provider's own string is its *status*."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"


class Appointment(Struct, frozen=True, omit_defaults=True):
    """One appointment of an order; `status` is the provider's own string where it has one."""

    id: str
    status: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None


class Facts(Struct, frozen=True, omit_defaults=True):
    """What one event states of its order. What it leaves at the default it does not speak of."""

    phase: Phase | None = None
    """`Phase.UNKNOWN` says: this event makes the standing of the order uncertain."""
    provider_status: str | None = None
    opened_at: datetime | None = None
    appointments: tuple[Appointment, ...] = ()
    """Added to the known ones by id, or all there are if `appointments_complete`."""
    appointments_complete: bool = False
    attributes: dict[str, Any] = {}
    """The provider's own fields as it spells them; money as strings."""
    aliases: tuple[str, ...] = ()
    """Other ids by which the provider names the same order."""
    snapshot: bool = False
    """The provider's present word on the whole order: it may reopen even a closed one."""


class Order(Struct, frozen=True, omit_defaults=True):
    """The fold of an order's events: the same for any arrival order of the same events."""

    account: str
    id: str
    aliases: tuple[str, ...] = ()
    phase: Phase = Phase.UNKNOWN
    provider_status: str | None = None
    opened_at: datetime | None = None
    last_event_at: datetime | None = None
    appointments: tuple[Appointment, ...] = ()
    attributes: dict[str, Any] = {}
    version: int = 0
    """How many events were folded; 0 is an order never heard of."""
    sources: dict[str, str] = {}
    """Field → id of the event that last set it: what verdicts cite as evidence."""
    anomalies: tuple[str, ...] = ()
    """Ids of events that contradict a final phase; they are kept, and changed nothing."""

    def evidence(self, *fields: str) -> tuple[str, ...]:
        """Ids of the events behind `fields`, without repeats, in the order given."""
        return tuple(dict.fromkeys(self.sources[name] for name in fields if name in self.sources))


class Cancelable(StrEnum):
    """May the order still be canceled? What is not known is `unknown`, never `no`."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Verdict(Struct, frozen=True, omit_defaults=True):
    """A handler's judgment of an order at one moment."""

    cancelable: Cancelable
    reason: str
    """A code of the handler's, lower_snake_case, stable over releases."""
    explanation: str = ""
    evidence: tuple[str, ...] = ()
    changes_at: datetime | None = None
    """When time alone will change this verdict; None if only an event can."""


# -- What comes in ---------------------------------------------------------------------------


class InboundRequest(Struct, frozen=True):
    """One webhook request as it was received."""

    headers: Mapping[str, str]
    """Looked up without regard to case."""
    query: Mapping[str, str]
    body: bytes


class VerifyOptions(BaseModel):
    """How an endpoint authenticates its requests; `scheme: handler` is the provider's own way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: str = "handler"
    secrets: tuple[SecretStr, ...]
    """All are accepted: add the new one, wait until the provider uses it, drop the old one."""
    header: str | None = None
    """Where the token or signature stands, if not at the scheme's usual place."""
    tolerance_s: float | None = None
    """How old a signed timestamp may be; None takes the scheme's own."""


class VerificationError(Exception):
    """The request does not prove who sent it. The message names what is missing or wrong, never a secret."""


class MalformedPayload(Exception):
    """An authentic request whose body is not what the provider documents; it goes to quarantine."""


class Observed(Struct, frozen=True):
    """One event read out of a webhook, before Rescind stamps its id and time of receipt."""

    order: str
    type: str
    """Dotted, in the provider-independent vocabulary where one fits (`appointment.scheduled`)."""
    key: bytes
    """What is the same in every redelivery of this event and differs in any other event."""
    facts: Facts
    occurred_at: datetime | None = None
    """None where the provider does not say; the time of receipt stands in."""


class Ignored(Struct, frozen=True):
    """An authentic webhook that is understood and says nothing about an order."""

    reason: str


class Unrecognized(Struct, frozen=True):
    """An authentic, well-formed webhook of a kind this handler does not know; it goes to quarantine."""

    reason: str


Parsed = Sequence[Observed] | Ignored | Unrecognized


# -- What goes out ---------------------------------------------------------------------------


class HttpRequest(Struct, frozen=True):
    """One call to a provider."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes = b""
    timeout_s: float = 15.0
    repeatable: bool = False
    """True if sending it twice does no harm (a read, a token). A lost answer to any other
    request leaves its outcome unknown, and nothing is repeated before a probe."""

    def __repr__(self) -> str:
        """Without headers and body: they hold the credentials."""
        return f"HttpRequest({self.method} {self.url.partition('?')[0]})"


class HttpResponse(Struct, frozen=True):
    """The provider's answer. Header names are lower case."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


T = TypeVar("T")

Flow = Generator[HttpRequest, HttpResponse, T]
"""A dialogue with a provider: yields requests, is sent responses, returns its result."""


class CancelRequest(Struct, frozen=True):
    """One order to cancel, with the words to say to its provider."""

    order: Order
    reason: str
    note: str | None = None


class CancelOutcome(StrEnum):
    """What a provider's answer to a cancel means."""

    SUCCEEDED = "succeeded"
    ACCEPTED = "accepted"
    """Queued at the provider; the order's status will tell."""
    REFUSED = "refused"
    RETRY = "retry"
    """It failed at the provider and may be sent again."""
    THROTTLED = "throttled"
    """The provider's limit is reached: nobody on this account may send until `after_s`."""
    UNAUTHORIZED = "unauthorized"
    """The credentials are wrong: sending more is in vain until a person acts."""
    INDETERMINATE = "indeterminate"
    """It may or may not have happened: probe before anything is sent again."""


class CancelResult(Struct, frozen=True):
    """What came of one cancel call for one order."""

    outcome: CancelOutcome
    detail: str = ""
    """One sentence for people, without secrets."""
    after_s: float | None = None
    """For RETRY and THROTTLED: how long the provider asks to wait, if it says."""
    facts: Facts | None = None
    """What the answer says of the order besides."""
    doubtful: bool = False
    """For RETRY: it may yet have taken effect, so a later refusal is not believed without a probe."""


class ProbeUnavailable(Exception):
    """The provider did not tell how the order stands; the message says why. It is asked again later."""

    def __init__(
        self, detail: str, *, outcome: CancelOutcome = CancelOutcome.RETRY, after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.outcome = outcome
        """RETRY, THROTTLED or UNAUTHORIZED, with the meaning they have for a cancel; REFUSED: the provider
        knows no such order, and to ask again is in vain."""
        self.after_s = after_s


class Limits(BaseModel):
    """How often an account may call its provider: in no window of `per_s` seconds more than `requests`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(100, ge=1, le=1_000_000)
    per_s: float = Field(60.0, gt=0, le=86_400, allow_inf_nan=False)
    concurrency: int = Field(4, ge=1, le=1000)


class BaseConfig(BaseModel):
    """What every account's `config` takes; handlers add their own fields."""

    # A secret that is refused must not show in the error that says so.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: str = ""


class Rules(BaseModel):
    """A provider's admin-managed parameters, with documented defaults; accounts override them at run time."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    parse: Callable[[InboundRequest, Any], Parsed]
    """(request, config). Raises `MalformedPayload`."""
    verdict: Callable[[Order, Any, datetime], Verdict]
    """(order, rules, now). Total: every phase and status has an answer."""
    check: Callable[[str, str | None, Any], None]
    """(reason, note, rules). Raises `InvalidCancel` before anything is sent."""
    cancel: Callable[[Sequence[CancelRequest], Any], Flow[list[CancelResult]]]
    """(requests, config) → one result for each request, in order."""
    probe: Callable[[Sequence[Order], Any], Flow[list[Facts | ProbeUnavailable]]] | None = None
    """(orders, config) → one snapshot for each order, in order; None: the provider cannot be asked."""
    cancel_batch_max: int = 1
    cancel_is_idempotent: bool = False
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
