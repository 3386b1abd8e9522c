"""What an account's tables say of a source's words, and the base of the models of its configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.contract import RESERVED_EVENT_PREFIXES, Phase

IGNORE: Literal["ignore"] = "ignore"
ORDER_UPDATED = "order.updated"
"""The type of an event without a name."""

_TYPE = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$"


class Part(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class MappedEvent(Part):
    """What one of the source's events means."""

    type: str | None = Field(
        None, pattern=_TYPE, max_length=100, description="The type of our event, dotted; by default the source's name."
    )
    phase: Phase | None = Field(
        None, description="The order's phase after it; `unknown` has the order probed, and none leaves it as it was."
    )

    @field_validator("type")
    @classmethod
    def _check_type(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(RESERVED_EVENT_PREFIXES):
            raise ValueError(
                f"events whose type begins with {', '.join(RESERVED_EVENT_PREFIXES)} are Rescind's own: "
                "choose another name"
            )
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type is None and self.phase is None:
            raise ValueError(f"say what it means: a type, a phase, or both; or write {IGNORE} instead")
        return self


def type_of(name: str) -> str:
    """The type of an event that is called `name` at the source."""
    return f"source.{name}" if name.startswith(RESERVED_EVENT_PREFIXES) else name
