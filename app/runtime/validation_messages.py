"""Validation messages for people: what is wrong with a value, and what it should be."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

_MESSAGES = {
    "missing": "is required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping (name: value)",
    "model_type": "must be a mapping (name: value)",
    "model_attributes_type": "must be a mapping (name: value)",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
_SLUG = "^[a-z0-9][a-z0-9._-]{0,62}$"


def validation_message(error: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """The message for one validation error of `model`, without the value, which may be a secret."""
    kind = error["type"]
    if kind == "extra_forbidden" and model is not None:
        return unknown_name(str(error["loc"][-1]), sorted(_names_at(model, error["loc"][:-1])))
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    if kind == "string_pattern_mismatch" and error.get("ctx", {}).get("pattern") == _SLUG:
        return "must begin with a lower-case letter or a digit; then up to 62 of these, '.', '_' and '-' may follow"
    text = error["msg"].removeprefix("Value error, ")
    for prefix in ("Input should be ", "String should ", "Value should ", "Tuple should ", "List should "):
        if text.startswith(prefix):
            return f"must {'be ' if prefix.startswith('Input') else ''}{text.removeprefix(prefix)}"
    return text


def without_tls(error: OSError) -> str | None:
    """The message for a connection that failed because the peer does not speak TLS; None for another failure."""
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "what listens there speaks no TLS: is its URL http:// and not https://?"
    return None


def connection_fault(error: OSError) -> str:
    """Why a connection failed, in the system's words."""
    if reason := without_tls(error):
        return reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message or error}"
    if isinstance(error, ssl.SSLError):  # whose number is OpenSSL's, not the system's
        return f"no TLS connection: {error.reason or error}"
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)


def sentence(text: object) -> str:
    """A message as a sentence: with a period, unless it ends with a question."""
    return f"{text}" if f"{text}".endswith("?") else f"{text}."


def unknown_name(given: str, known: Sequence[str]) -> str:
    """The message for an unknown name."""
    near = get_close_matches(given, known, 1, 0.6)
    if near:
        return f"there is no such setting; did you mean {near[0]!r}?"
    return f"there is no such setting; there are: {', '.join(known)}" if known else "there is no such setting"


def _names_at(model: type[BaseModel], path: Path) -> set[str]:
    """The field names of the mapping at `path` in `model`."""
    models = [model]
    for part in path:
        inner = [nested for outer in models for nested in _inner(outer, part)]
        models = inner or models  # `part` may be an index in a list, or the name of a variant
    return {info.alias or name for outer in models for name, info in outer.model_fields.items()}


def _inner(model: type[BaseModel], part: str | int) -> Iterator[type[BaseModel]]:
    info = model.model_fields.get(str(part))
    if info is not None:
        yield from _models_in(info.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
