"""Bodies of resources: as the API shows them, and with the secrets that a changed one keeps."""

from __future__ import annotations

from typing import Any

from app.config.faults import InvalidResourceError
from app.config.models import AccountSpec
from app.config.registry import handler
from app.config.resolve import KINDS, Body
from app.runtime.redaction import REDACTED


def without_secrets(kind: str, body: Body) -> Body:
    """A resource without secrets: validation finds them, and dumping the models redacts them."""
    spec = KINDS[kind].model_validate(body)
    shown: Body = spec.model_dump(mode="json", exclude_unset=True)
    if isinstance(spec, AccountSpec):
        config = handler(spec.provider).config.model_validate(spec.config)
        shown["config"] = config.model_dump(mode="json", exclude_unset=True)
    return shown


def with_signing_secret(given: Body, stored: Body, generated: str | None) -> Body:
    """A subscription that is given without a secret, with the generated one or those that it has."""
    if generated is not None:
        return {**given, "secret": generated}
    kept: Body = {name: stored[name] for name in ("secret", "retired_secrets") if name in stored}
    return {**given, **kept}


def with_kept_secrets(given: Any, stored: Any) -> Any:
    """`given`, with every redacted value replaced by the stored one: also a URL whose path is redacted."""
    if isinstance(given, str) and given.endswith(REDACTED):
        if not isinstance(stored, str) or not stored.startswith(given.removesuffix(REDACTED)):
            raise InvalidResourceError(f"{REDACTED} stands for a secret that is not known here: give the secret itself")
        return stored
    if isinstance(given, dict):
        before = stored if isinstance(stored, dict) else {}
        return {key: with_kept_secrets(value, before.get(key)) for key, value in given.items()}
    if isinstance(given, list | tuple):
        # In a list of secrets the first redacted one stands for the first stored one, at any position.
        listed = stored if isinstance(stored, list) else []
        former = iter(listed)
        return [
            with_kept_secrets(item, next(former, None))
            if item == REDACTED
            else with_kept_secrets(item, listed[number] if number < len(listed) else None)
            for number, item in enumerate(given)
        ]
    return given
