"""What a person enters at a provider so that its webhooks reach an endpoint."""

from __future__ import annotations

from msgspec import Struct


class SetupField(Struct, frozen=True):
    """One field of the provider's form."""

    name: str
    """As the form labels it."""
    value: str
    """The text to paste."""


class Setup(Struct, frozen=True, omit_defaults=True):
    """How a provider is told of an endpoint's URL. It may hold the endpoint's secret."""

    where: str
    """Where the form is, in a sentence."""
    fields: tuple[SetupField, ...]
    notes: tuple[str, ...] = ()
    """What else to know or to do, a sentence each."""

    def __repr__(self) -> str:
        """Without values: they may hold the secret."""
        return f"Setup({', '.join(field.name for field in self.fields)})"
