"""What goes out: calls to a provider, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import Struct

from app.contract.knowledge import Facts, Order


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
    confidential: bool = False
    """True if the answer holds credentials (a token): it is neither stored nor shown."""
    shared: str = ""
    """Calls of one account with the same key here that are due at once are made once, and all their flows are sent the
    same response: a burst fetches one token. Only for calls that are repeatable. Empty: the call is made for itself."""

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


NEVER = datetime.max.replace(tzinfo=UTC)
"""The end of what does not run out."""


@dataclass(slots=True)
class Context:
    """What a flow may use besides its arguments: the clock, chance and memory of the account that it runs for."""

    now: datetime
    """When the flow began."""
    nonce: str = ""
    """Unique to this flow and not to be guessed."""
    memory: dict[str, tuple[datetime, Any]] = field(default_factory=dict, repr=False)
    """The account's: lost when the process ends or the account's configuration changes. Not for what is the order's."""
    durable: dict[str, str] = field(default_factory=dict, repr=False)
    """What `keep` keeps durably: it outlives the process and changes of the configuration."""
    concealed: set[str] = field(default_factory=set, repr=False)
    """Credentials that the flow came by, besides the configured ones: they are taken out of all that is shown."""
    refused: HttpRequest | None = None
    """The request that `Authorize` made last, if it was answered with 401."""
    drawn: int = 0
    """How many numbers `unique` has given."""
    hold_s: float = 0.0
    """For how long the whole account shall not call, as the provider's headers ask; read when the flow has ended."""

    def unique(self) -> str:
        """Another text at each call, unique and not to be guessed: for what is good for one use."""
        self.drawn += 1
        return self.nonce if self.drawn == 1 else f"{self.nonce}-{self.drawn}"

    def recall(self, key: str) -> Any:
        """What was kept under `key` and has not run out, or None."""
        until, value = self.memory.get(key, (self.now, None))
        return value if until > self.now else self.durable.get(key)

    def keep(self, key: str, value: Any, until: datetime = NEVER, *, durable: bool = False) -> None:
        """Remember `value` for later flows.

        `durable`: for credentials that can be had only once (a refresh token that changes with each use). The value is
        text, does not run out, and is stored encrypted before the flow's next call leaves.
        """
        if durable:
            self.durable.pop(key, None)
            self.durable[key] = value
        else:
            self.memory[key] = (until, value)

    def forget(self, key: str) -> None:
        """Forget what is kept under `key`, if anything is."""
        self.memory.pop(key, None)

    def conceal(self, *credentials: str) -> None:
        """Let nobody see these, wherever a response repeats them."""
        self.concealed.update(credentials)

    def hold(self, wait_s: float) -> None:
        """Nobody on this account shall call within `wait_s`, although the answer itself was no denial."""
        self.hold_s = max(self.hold_s, wait_s)


class CancelRequest(Struct, frozen=True):
    """One order to cancel, with the words to say to its provider."""

    order: Order
    reason: str
    note: str | None = None
    id: str = ""
    """The cancellation's id: the same in every try, in any process."""
    attempt: int = 1
    """The number of this try; one that ended before the cancel call was sent may be counted again."""
    probed: bool = False
    """What is known of the order is what a probe said just now."""


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
    PROBE_FIRST = "probe_first"
    """Nothing was sent: what is known of the order does not suffice for the call. It is probed, and if the verdict on
    what the probe says allows it, sent. Where the flow has probed itself, what that said is in `facts`."""


class CancelResult(Struct, frozen=True):
    """What came of one cancel call for one order."""

    outcome: CancelOutcome
    detail: str = ""
    """One sentence for people, without secrets."""
    after_s: float | None = None
    """For RETRY and THROTTLED: how long the provider asks to wait, if it says."""
    facts: Facts | None = None
    """What the answer says of the order besides. After SUCCEEDED it is canceled, whatever phase they name. With
    PROBE_FIRST: a snapshot, as a probe gives it."""
    may_have_applied: bool = False
    """For RETRY: it may yet have taken effect, so a later refusal is not believed without a probe."""
    ambiguous: bool = False
    """For RETRY: the provider may say the same of an order that cannot be canceled. After the second time a probe
    decides, or else what is known of the order; unless the provider is down for all orders."""
    misdirected: bool = False
    """For RETRY: the server that responded is not the provider's API, so the account's configuration may be wrong."""


class ProbeUnavailable(Exception):
    """The provider did not tell how the order stands; the message says why. It is asked again later."""

    def __init__(
        self,
        detail: str,
        *,
        outcome: CancelOutcome = CancelOutcome.RETRY,
        after_s: float | None = None,
        misdirected: bool = False,
    ) -> None:
        super().__init__(detail)
        self.outcome = outcome
        """RETRY, THROTTLED or UNAUTHORIZED, with the meaning they have for a cancel; REFUSED: the provider
        knows no such order, and to ask again is in vain; INDETERMINATE: it cannot be asked about this order, so only
        a webhook, its answer to a cancel, or a person will tell."""
        self.after_s = after_s
        self.misdirected = misdirected
        """As of a cancel."""


Authorize = Callable[[HttpRequest, Any, Context], Flow[HttpRequest | ProbeUnavailable]]
"""(request, config, context) → the request with the account's credentials; or why there are none, and nothing is sent.

It may call for a token first. After a 401 it is asked once more, with the refused request in `Context.refused`; where
it makes the same request again, that is not sent.
"""


class Registration(Struct, frozen=True):
    """One webhook that the provider sends, as its registration API knows it."""

    id: str
    url: str
    topic: str


class RegistrationWithSecret(Registration, frozen=True):
    """A webhook that was just registered, with the secret that the provider made for it, and shows only now."""

    secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"RegistrationWithSecret({self.id}, {self.topic})"


class RegistrationFailed(Exception):
    """The provider's registration API did not do it; the message says why, without secrets."""
