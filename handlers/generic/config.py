"""The configuration of an account at a source without a handler of its own; all of it is checked when it is saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    field_serializer,
    field_validator,
    model_validator,
)

from app.contract import Authorize, BaseConfig, Phase, PostHandshakes
from app.kit.cel import expression
from app.kit.cel.expression import InvalidExpression, Kind, Scope
from app.kit.config import Secret, timeout_s
from app.kit.paths.path import Path
from handlers.generic import challenges as asked
from handlers.generic.call import HEADER_NAME, Call, Cancel, Probe
from handlers.generic.registration_calls import RegistrationApi
from handlers.generic.template import SECRETS, leaves, reads, template, with_secrets
from handlers.generic.throttle import Throttle
from handlers.generic.token import TOKEN, Token, check_token, with_token
from handlers.generic.words import IGNORE, MappedEvent, Part

Header = Annotated[str, Field(min_length=1, max_length=100, pattern=HEADER_NAME)]
SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
API_KEY = "api_key"
NONE = "none"
AUTO, FORM = "auto", "form"
_NO_CANCEL = (
    "Its source offers no cancel (config.cancel is none), so nothing can be sent: cancel the order there by hand."
)


class AppointmentFields(Part):
    """Paths to appointments. `list` starts at the event, the others at one appointment."""

    list: Path
    id: Path | None = Field(None, description="Without one, the start names the appointment.")
    status: Path | None = None
    starts_at: Path | None = None
    ends_at: Path | None = None
    complete: bool = Field(
        default=True, description="Whether the list has all appointments of the order, or only some."
    )


class AliasFields(Part):
    """Paths to aliases: to one, or to a list."""

    unique: Path | None = Field(None, description="Other ids of this order, which no other order ever has.")
    shared: Path | None = Field(None, description="References that several orders may carry.")


def _alias_way(value: Any) -> str:
    return "path" if isinstance(value, str) else "kinds"


AliasPaths = Annotated[Annotated[Path, Tag("path")] | Annotated[AliasFields, Tag("kinds")], Discriminator(_alias_way)]


class Fields(Part):
    """Paths into an event, in JMESPath. Of a CloudEvent the root is the event: `data.order.id`, `subject`."""

    order: Path = Field(description="The order's id.")
    event: Path | None = Field(None, description="The event's name. Of a CloudEvent it is its `type`.")
    event_id: Path | None = Field(None, description="An id that every redelivery repeats, and no other event has.")
    time: Path | None = Field(None, description="When the event happened. Of a CloudEvent it is its `time`.")
    status: Path | None = Field(None, description="The order's status, in the source's word.")
    opened_at: Path | None = Field(None, description="When the order was placed.")
    aliases: AliasPaths | None = Field(
        None,
        description="Other names of the order: one, or a list. They are shared (several orders may carry one), unless "
        "`{unique: …, shared: …}` has a path to the unique ones.",
    )
    attributes: dict[Annotated[str, Field(min_length=1, max_length=100)], Path] = Field(
        {}, max_length=100, description="What else is stored of the order: our name → its path."
    )
    appointments: AppointmentFields | None = None

    @property
    def alias_paths(self) -> tuple[str | None, str | None]:
        """The paths to the unique aliases and to the shared ones."""
        if isinstance(self.aliases, AliasFields):
            return self.aliases.unique, self.aliases.shared
        return None, self.aliases


class Handshake(Part):
    """Which senders of CloudEvents are allowed to send, if they ask by OPTIONS."""

    origins: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Their WebHook-Request-Origin; * is any. By default none is allowed."
    )
    per_min: int | None = Field(None, ge=1, description="Requests per minute that are allowed; none: any number.")


def _way(value: Any) -> str:
    """Which of the two ways states what an event means, so that an error is about that one."""
    return IGNORE if isinstance(value, str) else "meaning"


def _unless_none(value: Any) -> Any:
    if value is None:
        raise ValueError(f"say how an order is canceled; or write {NONE}, if the source offers no cancel")
    return None if value == NONE else value


EventMeaning = Annotated[
    Annotated[Literal["ignore"], Tag(IGNORE)] | Annotated[MappedEvent, Tag("meaning")], Discriminator(_way)
]


class Config(BaseConfig):
    """An account at any source of orders. The README walks through an example."""

    base_url: str = Field(description="The URL of the API; the URLs of the calls are appended.")
    api_key: Secret | None = Field(None, description="The secret of the calls: `secrets.api_key` in their templates.")
    secrets: dict[SecretName, Secret] = Field(
        {}, max_length=20, repr=False, description="Further secrets, by name: `secrets.<name>` in templates."
    )
    fields: Fields = Field(description="Where an event holds the order's id, status and so on.")
    format: Literal["auto", "json", "form"] = Field(
        "auto",
        description="What a body is: JSON, or a form, whose fields are read by name; auto: by its Content-Type.",
    )
    events_path: Path | None = Field(
        None, description="The path to the list of events in a body; by default a body is one event."
    )
    event_header: Header | None = Field(None, description="The header with the event's name, if the body has none.")
    key_header: Header | None = Field(
        None,
        description="The header that every redelivery of a request repeats; read where the signature covers it, or "
        "`fields.time` is set.",
    )
    events: dict[str, EventMeaning] = Field(
        {},
        max_length=500,
        description="What the source's events mean: {type, phase}, or `ignore`. Empty: any event counts by its status.",
    )
    phases: dict[str, Phase] = Field(
        {}, max_length=500, description="The source's statuses (words, numbers, true and false) → our phases."
    )
    unknown_events: Literal["quarantine", "uncertain", "ignore"] = Field(
        "quarantine", description="What happens to an event that `events` does not list."
    )
    unknown_statuses: Literal["uncertain", "quarantine"] = Field(
        "uncertain", description="What happens to an event whose status `phases` does not list."
    )
    money: tuple[str, ...] = Field(
        (),
        max_length=100,
        description="Further fields whose numbers are money, and stored as they are spelled.",
    )
    handshake: Handshake = Field(
        Handshake(), description="Which senders of CloudEvents are allowed, if they ask by OPTIONS."
    )
    challenges: tuple[asked.Challenge, ...] = Field(
        (),
        max_length=asked.CHALLENGES_MAX,
        description="Requests by which the source checks the URL before it sends webhooks, and their responses; the "
        "first that a request is decides.",
    )
    cancel: Annotated[Cancel | None, BeforeValidator(_unless_none)] = Field(
        description="The call that cancels an order; none if the source offers no cancel."
    )
    probe: Probe | None = Field(None, description="The call that returns the state of an order.")
    token: Token | None = Field(None, description="How the token of the calls is had: `token` in their templates.")
    key_token: Token | None = Field(
        None,
        description="How the token is had with which published keys are fetched (`verify.keys.authorized`), where that "
        "is not the token of the calls.",
    )
    registration: RegistrationApi | None = Field(
        None, description="The API to register webhooks with: topics, and the calls `list`, `create` and `delete`."
    )
    throttle: Throttle | None = Field(
        None, description="When the account waits by what a response says of the source's limit; for all calls."
    )
    timeout_s: float = timeout_s("the source")

    @field_validator("secrets")
    @classmethod
    def _check_names(cls, value: dict[str, Secret]) -> dict[str, Secret]:
        for name in value:
            if name == API_KEY:
                raise ValueError("api_key has a field of its own beside secrets: give it there")
            try:
                expression.compile(SECRETS + name, with_secrets(frozenset({name})), Kind.STRING)
            except InvalidExpression:
                raise ValueError(f"{name} is a word of CEL's own: give the secret another name") from None
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        mapped = (event for event in self.events.values() if isinstance(event, MappedEvent))
        if not self.phases and not any(event.phase for event in mapped):
            raise ValueError(
                "phases: without phases here or in events nothing is ever known of an order: list statuses"
            )
        if self.phases and self.fields.status is None:
            raise ValueError("fields.status: phases are told by the status: say where an event states it")
        if self.cancel is not None and self.cancel.probe_before and self.probe is None:
            raise ValueError("cancel.probe_before: there is no call to probe by: configure `probe`, or leave this out")
        self._check_token()
        for name, call in self._calls():
            for header, text in call.headers.items():
                _check_template(f"{name}.headers.{header}", text, self.scope_of(call))
            for where, text in leaves(call.body, f"{name}.body"):
                _check_template(where, text, self.scope_of(call))
            if self.token is not None:
                _check_sends_token(name, call, self.scope_of(call))
        if self.registration is not None:
            create, delete = self.registration.create, self.registration.delete
            self.registration.check(create.names_read(self.scope_of(create)), delete.names_read(self.scope_of(delete)))
        asked.check(self.challenges, frozenset(self.secret_values))
        return self

    def _check_token(self) -> None:
        if self.token is not None and self.authorization() is not None:
            raise ValueError("token: this provider's handler gives its calls their credentials: leave it out")
        if self.token is not None:
            check_token("token", self.token, self.secret_values)
        if self.key_token is not None:
            check_token("key_token", self.key_token, self.secret_values)
            if self.key_token.refresh_token is not None:
                raise ValueError(
                    "key_token.refresh_token: each node fetches keys by itself, and a refresh token that changes with "
                    "each use is good for one of them: use client credentials"
                )
            if "refresh_on" in self.key_token.model_fields_set:
                raise ValueError("key_token.refresh_on: a key is fetched again after a 401 only: leave it out")

    def _calls(self) -> Iterator[tuple[str, Call]]:
        """(where it is configured, the call)."""
        for part, names in ((self, ("cancel", "probe")), (self.registration, ("list", "create", "delete"))):
            for name in names if part is not None else ():
                call = getattr(part, name)
                if call is not None:
                    yield name if part is self else f"registration.{name}", call

    @field_serializer("cancel")
    def _show_cancel(self, value: Cancel | None) -> Any:
        return NONE if value is None else value

    def no_cancel(self) -> str | None:
        """See `BaseConfig.no_cancel`."""
        return None if self.cancel is not None else _NO_CANCEL

    def post_handshakes(self) -> PostHandshakes:
        """See `BaseConfig.post_handshakes`."""
        return asked.post_handshakes(self.challenges)

    def handshake_methods(self) -> frozenset[str]:
        """See `BaseConfig.handshake_methods`."""
        return asked.methods(self.challenges)

    def unread_header(self, proven: frozenset[str] | None) -> str | None:
        """See `BaseConfig.unread_header`."""
        name = self.key_header
        is_read = name is None or proven is None or name.lower() in proven or self.fields.time is not None
        return None if is_read else name

    def authorization(self) -> Authorize | None:
        """What gives calls their credentials, where `source_handler` was given something for that."""
        return None

    def scope_of(self, call: Call) -> Scope:
        """The names that the call's headers and body may use."""
        scope = with_secrets(frozenset(self.secret_values), call.names)
        return scope if self.token is None else with_token(scope)

    @property
    def secret_values(self) -> dict[str, str]:
        """The secrets in plain, by name: also those in fields of their own (`api_key`, and what a handler adds)."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        given = {**self.secrets, **{name: value for name, value in fields.items() if isinstance(value, SecretStr)}}
        return {name: secret.get_secret_value() for name, secret in given.items()}


def _check_sends_token(name: str, call: Call, scope: Scope) -> None:
    texts = [*call.headers.values(), *(text for _, text in leaves(call.body, ""))]
    own = next((header for header in call.headers if header.lower() == "authorization"), None)
    if own is not None and not any(reads(text, scope, TOKEN) for text in texts):
        raise ValueError(f"{name}.headers.{own}: this call would not send the token: read it as {{{{ token }}}}")


def _check_template(where: str, text: str, scope: Scope) -> None:
    try:
        template(text, scope)
    except InvalidExpression as error:
        raise ValueError(f"{where}: {error}") from None
