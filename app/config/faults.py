"""What is wrong with a resource: which one, which field, and how to correct it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.runtime.validation_messages import validation_message

M = TypeVar("M", bound=BaseModel)

SINGULAR = {
    "accounts": "account",
    "endpoints": "endpoint",
    "policies": "policy",
    "subscriptions": "subscription",
}
FAULTS_IN_MESSAGE = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a resource."""

    kind: str
    id: str
    path: tuple[str | int, ...]
    """The field; empty for the resource as a whole."""
    message: str
    number: int | None = None
    """Position in the request's list of its kind, from 0, where known."""
    line: int | None = None
    """In an expression: the line of its text, from 1."""
    column: int | None = None

    def __str__(self) -> str:
        where = self.kind if self.number is None else f"{self.kind}[{self.number}]"
        if self.id:
            where = f"{SINGULAR.get(self.kind, self.kind)} {self.id}"
        path = ".".join(str(part) for part in self.path)
        return f"{where}: {path}: {self.message}" if path else f"{where}: {self.message}"


class InvalidResourceError(Exception):
    """A resource is invalid. The message names the first faults; `faults` has all."""

    def __init__(self, message: str | Sequence[Fault]) -> None:
        self.faults = () if isinstance(message, str) else tuple(message)
        if not isinstance(message, str):
            more = len(message) - FAULTS_IN_MESSAGE
            shown = "; ".join(map(str, message[:FAULTS_IN_MESSAGE]))
            message = f"{shown}; and {more} more" if more > 0 else shown
        super().__init__(message)


def validate(where: tuple[str, ...], model: type[M], body: Any, number: int | None = None) -> M:
    """`body`, found at `where` (kind, id, field…), as a `model`. Raises `InvalidResourceError`."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        kind, id, *path = where
        faults = [
            Fault(kind, id, (*path, *details["loc"]), validation_message(details, model), number)
            for details in error.errors(include_input=False, include_url=False)
        ]
        raise InvalidResourceError(faults) from None
