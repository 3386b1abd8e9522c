"""How an account's webhooks are registered at its source: the calls that list, create and delete them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from app.contract import CancelOutcome
from app.kit.cel.expression import Expression, Kind, Scope
from app.kit.paths.path import Path
from handlers.generic.call import AnswerRow, Call
from handlers.generic.template import leaves, template
from handlers.generic.words import Part

TOPICS_MAX = 100
ID, URL, TOPIC, TOPICS = "registration.id", "registration.url", "registration.topic", "registration.topics"

_NOW = Scope.of({"now": Kind.TIMESTAMP})
_CREATED = _NOW.plus({URL: Kind.STRING, TOPIC: Kind.STRING, TOPICS: Kind.STRINGS})
_DELETED = _NOW.plus({ID: Kind.STRING, URL: Kind.STRING, TOPIC: Kind.STRING})
_OUTCOMES = (
    CancelOutcome.SUCCEEDED,
    CancelOutcome.REFUSED,
    CancelOutcome.RETRY,
    CancelOutcome.THROTTLED,
    CancelOutcome.UNAUTHORIZED,
)

Topic = Annotated[str, Field(min_length=1, max_length=200)]


class RegistrationFields(Part):
    """Paths into one registration, as the source lists it."""

    id: Path
    url: Path = Field(description="Where it leads.")
    topic: Path | None = Field(
        None, description="Its topic, or a list of topics; none where a registration is for all topics."
    )


class RegistrationCall(Call):
    """A call about registrations."""

    @field_validator("answers")
    @classmethod
    def _check_answers(cls, value: tuple[AnswerRow, ...]) -> tuple[AnswerRow, ...]:
        for row in value:
            if row.outcome not in _OUTCOMES:
                raise ValueError(f"such an answer cannot mean {row.outcome}; it can mean {', '.join(_OUTCOMES)}")
        return value

    def names_read(self, scope: Scope) -> frozenset[str]:
        """The names that its templates read; `scope` is that of headers and body."""
        texts = [self.url, *self.headers.values(), *(text for _, text in leaves(self.body, ""))]
        parts = (part for text in texts for part in template(text, scope).parts)
        return frozenset().union(*(part.names for part in parts if isinstance(part, Expression)))


class ListCall(RegistrationCall):
    """The call that lists the registrations there are. It must change nothing at the source."""

    names: ClassVar[Scope] = _NOW

    method: Literal["POST", "DELETE", "PUT", "PATCH", "GET"] = Field("GET", description="The method: GET or POST.")
    items: Path | None = Field(None, description="The path to the list in the response; none: the response is a list.")
    fields: RegistrationFields = Field(description="Where a registration in the list states what.")
    next: Path | None = Field(
        None,
        description="The path to the URL of the next page, which must be below base_url, or to its query (`?page=2`).",
    )

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value not in ("GET", "POST"):
            raise ValueError("a list reads: use GET, or POST where the source wants it so")
        return value


class CreateCall(RegistrationCall):
    """The call that registers a webhook: one for each topic, or one for all where it reads no single topic."""

    names: ClassVar[Scope] = _CREATED

    id: Path = Field(description="The path to the new registration's id in the response.")
    secret: Path | None = Field(
        None,
        description="The path to the secret that the source made for the registration: it becomes the endpoint's.",
    )


class DeleteCall(RegistrationCall):
    """The call that deletes a registration."""

    names: ClassVar[Scope] = _DELETED

    method: Literal["POST", "DELETE", "PUT", "PATCH", "GET"] = Field("DELETE", description="The method.")


class RegistrationApi(Part):
    """The source's API to register webhooks with."""

    topics: tuple[Topic, ...] = Field(
        min_length=1, max_length=TOPICS_MAX, description="What is to be registered, in the source's words."
    )
    list: ListCall
    create: CreateCall
    delete: DeleteCall

    @model_validator(mode="after")
    def _check_topics(self) -> Self:
        if len(set(self.topics)) < len(self.topics):
            raise ValueError("topics: a topic stands there twice")
        return self

    def check(self, names: frozenset[str], deleted: frozenset[str]) -> None:
        """Raise ValueError where the calls do not fit together.

        Args:
            names: what the templates of `create` read.
            deleted: what those of `delete` read.
        """
        if URL not in names:
            raise ValueError(f"registration.create: nothing in it states the webhook's URL: {{{{ {URL} }}}}")
        if {TOPIC, TOPICS} <= names:
            raise ValueError(f"registration.create: use {TOPIC} (a call for each) or {TOPICS} (one for all), not both")
        if not deleted & {ID, URL}:
            raise ValueError(f"registration.delete: nothing in it states which registration: {{{{ {ID} }}}}")
        if TOPIC in names and self.list.fields.topic is None:
            raise ValueError(
                "registration.list.fields.topic: each topic is registered by a call of its own: say where a "
                "registration states its topic"
            )
        if TOPIC in names and self.create.secret is not None and len(self.topics) > 1:
            raise ValueError(
                "registration.create.secret: an endpoint has one secret, and each topic would get another: "
                f"register all by one call ({{{{ {TOPICS} }}}}), or give each topic an account and an endpoint"
            )
