"""The files of a recipe: `recipe.yaml`, `fixtures/*.json`, `answers.json` and `vector.json`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from app.contract import Cancelable, CancelOutcome, Phase

Sentence = Annotated[str, Field(min_length=2, max_length=1000)]
Url = Annotated[str, Field(pattern=r"^https://[^\s]+$", max_length=500)]
VariableName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,60}$")]
FixtureName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Provenance = Literal["recorded", "documented", "synthetic"]
OUTCOMES = ("events", "ignored", "unrecognized", "malformed", "response")
"""What a fixture may expect; it has one of them."""
FACTS = "facts"
REGISTRATIONS, FAILED = "registrations", "failed"
"""Outcomes of the calls about registrations: they did what they are for, or they failed."""
Flow = Literal["cancel", "probe", "registrations", "register", "unregister"]


class Part(BaseModel):
    """A part of a recipe: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ask(Part):
    """A value that `rescind recipe add` asks for; `${NAME}` stands for it in the resources."""

    text: Sentence
    """What it is, and where the operator finds it."""
    secret: bool = False
    """The value comes from the environment, and is never asked for nor written."""
    example: str = Field(min_length=1, max_length=10_000)
    """A stand-in of the right form, which the fixtures use."""
    default: str | None = None
    """What is written unless the operator says otherwise."""
    pattern: str | None = None
    """A regular expression that the whole value matches."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.secret and self.default is not None:
            raise ValueError("a secret has no default")
        for name, value in (("example", self.example), ("default", self.default)):
            if value is not None and not self.fits(value):
                raise ValueError(f"{name} does not match pattern")
        return self

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from None
        return value

    def fits(self, value: str) -> bool:
        """Whether the value has the form that `pattern` asks for."""
        return self.pattern is None or re.fullmatch(self.pattern, value) is not None


class Missing(Part):
    """What a recipe cannot do, and why."""

    missing: Sentence


def _cell_kind(value: Any) -> str:
    return "statement" if isinstance(value, str) else "missing"


Cell = Annotated[Annotated[Sentence, Tag("statement")] | Annotated[Missing, Tag("missing")], Discriminator(_cell_kind)]


class Cells(Part):
    """How each part of the integration works, or `{missing: reason}`. The table of sources is made of them."""

    signature: Cell
    """What proves the sender of a webhook."""
    handshake: Cell
    """What the source asks of the URL before it sends."""
    events: Cell
    """Which webhooks tell of orders."""
    states: Cell
    """The source's statuses as our phases."""
    verdict: Cell
    """What decides whether an order can be canceled."""
    cancel: Cell
    """The call that cancels."""
    authentication: Cell
    """What the calls carry as proof."""
    probe: Cell
    """The call that returns an order."""
    limits: Cell
    """The source's rate limits, and how they are kept."""


CELLS = tuple(Cells.model_fields)


class Statuses(Part):
    """The statuses that a document lists: each must be in the account's `phases`."""

    document: Url
    listed: tuple[str, ...] = Field(min_length=1)


class Example(Part):
    """The order of the answers, and the words of its cancel."""

    fixture: FixtureName | None = None
    """The fixture whose order it is."""
    order: str | None = None
    """Where no webhook tells of orders: the order's id."""
    probe: str | None = None
    """The answer whose facts the order has at its cancel: where no webhook tells of orders, or a probe comes before."""
    reason: str
    note: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.fixture is None) == (self.order is None) or (self.order is not None and self.probe is None):
            raise ValueError(
                "give a fixture; or, where no webhook tells of orders, an order and the answer to its probe"
            )
        return self


class RecipeSpec(Part):
    """`recipe.yaml`."""

    source: str = Field(min_length=1, max_length=60)
    """The source's name for people."""
    docs: tuple[Url, ...] = Field(min_length=1)
    """The documents that the recipe rests on."""
    asks: dict[VariableName, Ask] = Field(min_length=1)
    scopes: tuple[Sentence, ...] = ()
    """Rights that the credentials need at the source."""
    topics: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()
    """Events to subscribe the endpoint to, as the source spells them."""
    setup: tuple[Sentence, ...] = ()
    """What to do at the source, step by step."""
    guessed: tuple[Sentence, ...] = ()
    """What no document states, and should be checked against the source."""
    statuses: Statuses | None = None
    cells: Cells
    example: Example
    accounts: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=1)
    """One account, as in a resource file."""
    endpoints: tuple[dict[str, Any], ...] = Field((), max_length=1)
    """Its endpoint, as in a resource file; none where the source sends nothing that can be used."""


class Sourced(Part):
    """Content that says where it is from."""

    provenance: Provenance
    document: str = Field(min_length=4)
    """The document (its URL), and what of the content is made up."""


class Request(Part):
    """A request to the endpoint. A body that is a string is sent unchanged, any other as JSON."""

    method: Literal["GET", "HEAD", "OPTIONS", "POST"] = "POST"
    url: str = ""
    """The URL that the source calls, where its signature covers that; default: the endpoint's at an example host."""
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    body: Any = ""


class Proof(Part):
    """The secrets and the time by which a request proves its sender."""

    secrets: tuple[str, ...] = ()
    """None: the examples of the recipe."""
    at: AwareDatetime
    options: dict[str, Any] = {}
    """Changes of the endpoint's `verify` for this request."""
    keys: dict[str, Any] = {}
    """URL → what the source publishes there: a key or certificate in PEM, or JSON."""


class Standing(Part):
    """Where an order stands after a fixture's events."""

    phase: Phase
    cancelable: Cancelable
    reason: str
    """The verdict's reason."""


class Response(Part):
    """What the endpoint responds to a challenge."""

    status: int = 200
    headers: dict[str, str] = {}
    """Headers that are not listed may be anything."""
    body: Any = ""
    confirm: str = ""
    """The URL that is called before."""


class FixtureSpec(Sourced):
    """`fixtures/NAME.json`: a webhook, and what becomes of it."""

    request: Request
    verify: Proof | None = None
    at: AwareDatetime | None = None
    """When the request arrives and the verdict is judged."""
    after: tuple[FixtureName, ...] = ()
    """Fixtures whose events came before."""
    events: tuple[dict[str, Any], ...] | None = None
    orders: dict[str, Standing] = {}
    """By the source's id: how the orders stand after these events."""
    ignored: str | None = None
    unrecognized: str | None = None
    malformed: str | None = None
    response: Response | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in OUTCOMES if getattr(self, name) is not None]
        if len(given) != 1:
            cure = " (`rescind recipe test FILE --write` writes what it gives)" if not given else ""
            raise ValueError(f"give one of {', '.join(OUTCOMES)}{cure}")
        if (self.events and not self.orders) or (self.events is None and self.orders):
            raise ValueError("orders: say for each order of `events` how it stands after them")
        return self

    @property
    def outcome(self) -> str:
        """Which of `OUTCOMES` it expects."""
        return next(name for name in OUTCOMES if getattr(self, name) is not None)

    def moment(self, default: datetime) -> datetime:
        """When it arrives."""
        return self.at or (self.verify.at if self.verify is not None else default)


class GivenResponse(Part):
    """A response of the source."""

    status: int = Field(ge=100, le=599)
    headers: dict[str, str] = {}
    body: Any = ""


class ExpectedRequest(Part):
    """A call to the source. Headers that are not listed may be anything; `${NAME}` stands for an example."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: Any = ""


class GivenRegistration(Part):
    """A webhook that is registered at the source."""

    id: str
    url: str
    topic: str


class AnswerSpec(Sourced):
    """One of `answers.json`: the source's responses to a flow, and what they mean."""

    name: str = Field(min_length=1)
    flow: Flow
    order: FixtureName | None = None
    """The fixture whose order it is about; default: the example's."""
    requests: tuple[ExpectedRequest, ...] | None = None
    """The calls that the flow makes."""
    responses: tuple[GivenResponse, ...]
    outcome: Literal["facts", "registrations", "failed"] | CancelOutcome
    facts: dict[str, Any] | None = None
    registrations: tuple[GivenRegistration, ...] | None = None
    """What is listed or made; for `unregister` what is deleted."""
    detail: str = ""
    """A part of the sentence for people."""
    after_s: float | None = None
    hold_s: float = 0.0
    may_have_applied: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.outcome == FACTS) != (self.facts is not None):
            raise ValueError("facts: give them with the outcome facts, and only then")
        if self.outcome == FACTS and self.flow != "probe":
            raise ValueError("outcome: only a probe has facts")
        if (self.outcome in (REGISTRATIONS, FAILED)) != (self.flow not in ("cancel", "probe")):
            raise ValueError("outcome: registrations and failed are those of registrations, register and unregister")
        if self.registrations is None and (self.outcome == REGISTRATIONS or self.flow == "unregister"):
            raise ValueError("registrations: list them")
        return self


class VectorSpec(Part):
    """One of `vector.json`: a signed request that a document publishes. Its signature must verify as it stands."""

    document: Url
    request: Request
    verify: Proof
