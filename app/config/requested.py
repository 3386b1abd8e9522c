"""Reads what is to be put in force: resources as an operator gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.config.bodies import with_kept_secrets, with_signing_secret
from app.config.faults import Fault, InvalidResourceError, validate
from app.config.resolve import KINDS, Body, Key
from app.config.rotation import with_valid_retired
from app.config.subscriptions import is_signed, make_secret
from app.runtime.validation_messages import unknown_name


@dataclass(slots=True)
class Request:
    """Resources that are to be put in force."""

    bodies: dict[Key, Body] = field(default_factory=dict)
    numbers: dict[Key, int] = field(default_factory=dict)
    """Position of each in the list of its kind."""
    secrets: dict[Key, str] = field(default_factory=dict, repr=False)
    """Generated for subscriptions that have none."""
    faults: list[Fault] = field(default_factory=list)
    """Faults that were found while reading it."""


def read_request(given: Mapping[str, Any], in_force: Mapping[Key, tuple[int, Body]], now: datetime) -> Request:
    """The resources in `given`; what it gives as redacted it has from those `in_force` (version and body)."""
    unknown = sorted(set(given) - set(KINDS))
    request = Request(faults=[Fault(kind, "", (), unknown_name(kind, list(KINDS))) for kind in unknown])
    for kind, model in KINDS.items():
        bodies = given.get(kind) or ()
        if not isinstance(bodies, list | tuple):
            request.faults.append(Fault(kind, "", (), "must be a list"))
            continue
        for number, body in enumerate(bodies):
            try:
                id = str(body.get("id") or "") if isinstance(body, dict) else ""
                if not id:
                    validate((kind, ""), model, body, number)
                elif (kind, id) in request.bodies:
                    request.faults.append(Fault(kind, id, ("id",), "this id stands twice", number))
                else:
                    request.numbers[kind, id] = number
                    request.bodies[kind, id] = body  # to be checked for other faults, if a secret is unknown
                    stored = in_force.get((kind, id), (0, {}))[1]
                    if kind == "subscriptions" and body.get("secret") is None and is_signed(body):
                        if "secret" not in stored:
                            request.secrets[kind, id] = make_secret()
                        body = with_signing_secret(body, stored, request.secrets.get((kind, id)))  # noqa: PLW2901
                    kept = with_kept_secrets(body, stored)
                    request.bodies[kind, id] = with_valid_retired(kept, stored, now)
            except InvalidResourceError as error:
                request.faults += error.faults or [Fault(kind, id, (), str(error), number)]
    return request
