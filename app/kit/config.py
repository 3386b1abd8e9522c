"""Fields of an account's configuration that most handlers have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from app.contract import UNDOCUMENTED, BaseConfig, check_path


def _check_trimmed(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.startswith("-----BEGIN "):
        return SecretStr(text.strip())  # a PEM file ends with a line end
    if text != text.strip():
        raise ValueError("remove the white space around it (a line end from a file, perhaps)")
    return value


def _check_header(value: SecretStr) -> SecretStr:
    if not all("!" <= char <= "~" for char in value.get_secret_value()):
        raise ValueError("only visible ASCII characters fit in a header: remove spaces and line ends")
    return value


Secret = Annotated[SecretStr, Field(min_length=1), AfterValidator(_check_trimmed)]
"""A secret that is sent in a body."""
HeaderSecret = Annotated[SecretStr, Field(min_length=1), AfterValidator(_check_header)]
"""A secret that is sent in a header, where a line end would begin another one."""
PathTemplate = Annotated[str, AfterValidator(check_path)]
"""The path at which an order is fetched, with `{id}` in the place of its id."""


def undocumented(default: Any, description: str, **limits: Any) -> Any:
    """A field that exists because the provider's documents leave something open; `limits` are pydantic's."""
    return Field(default, description=description, json_schema_extra=UNDOCUMENTED, **limits)


def timeout_s(provider: str) -> Any:
    """The field `timeout_s`: 15 seconds, at most 120."""
    return Field(15.0, gt=0, le=120, description=f"How long to wait for {provider}'s answer, in seconds.")


def secret_values(config: BaseConfig) -> tuple[str, ...]:
    """The secrets among the fields of an account's configuration, in plain text, for an excerpt without them."""
    values = (getattr(config, name) for name in type(config).model_fields)
    return tuple(value.get_secret_value() for value in values if isinstance(value, SecretStr))
