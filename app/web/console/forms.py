"""Forms whose fields are members of a resource: read from its body, and written into it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import msgspec

from app.runtime.redaction import REDACTED
from app.web.problems import Kind, Problem

Input = Literal[
    "text",
    "exact",  # text whose spaces count
    "area",
    "number",
    "flag",
    "choice",
    "chooser",  # a choice that shows the group of fields of that name
    "lines",
    "secret",
    "secret_list",  # of one secret
    "key_list",  # of public keys
    "json",
]
_T = TypeVar("_T")
SECRETS: frozenset[Input] = frozenset({"secret", "secret_list", "key_list"})
"""Inputs that never show what is set; empty keeps it."""
AREAS: frozenset[Input] = frozenset({"area", "json", "lines", "key_list"})
DIGITS_MAX = 9
_PEM = re.compile(r"-----BEGIN [^-]+-----[^-]+-----END [^-]+-----")
TEXT_MAX = 200_000
"""Characters of a resource that is written as text."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form: a member of a resource."""

    name: str
    """Of the member; dotted where it is nested."""
    label: str
    hint: str = ""
    input: Input = "text"
    options: Sequence[str] = ()
    default: str = ""
    """What holds where it is empty, as it is shown."""
    required: bool = False
    rows: int = 3

    def changed(self, **members: Any) -> Field:
        """The field with other members."""
        return replace(self, **members)


@dataclass(frozen=True, slots=True)
class Group:
    """Fields that belong together; of a form's groups, that one is shown whose name its chooser has."""

    name: str
    title: str
    about: str = ""
    fields: Sequence[Field] = ()
    groups: Sequence[Group] = ()

    def all_fields(self) -> Iterator[Field]:
        """Its fields, and those of the groups in it."""
        yield from self.fields
        for group in self.groups:
            yield from group.all_fields()


@dataclass(slots=True)
class Form:
    """Fields with their values and faults."""

    fields: Sequence[Field]
    values: Mapping[str, str]
    faults: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Field → what is wrong with it; `text` → all that is wrong with the text."""
    text: str = ""
    """The resource as text."""
    text_fault: bool = False
    groups: Sequence[Group] = ()
    chosen: str = ""
    """The name of the group that is shown; `fields` has its fields too."""
    note: str = ""
    """What to do before it can be saved."""

    @property
    def ungrouped(self) -> list[Field]:
        """The fields in no group."""
        grouped = {given.name for group in self.groups for given in group.all_fields()}
        return [given for given in self.fields if given.name not in grouped]


def form_of(fields: Sequence[Field], body: Mapping[str, Any], problem: Problem | None = None) -> Form:
    """The form for a resource, with the faults that a problem tells of."""
    values = {given.name: _written(given, _member(body, given.name)) for given in fields}
    return Form(fields, values, _faults(fields, problem), text_of(body))


def form_again(fields: Sequence[Field], members: Mapping[str, str], body: Mapping[str, Any], problem: Problem) -> Form:
    """The form as it was sent, with the faults: nothing that was typed is lost but secrets."""
    text = members.get("text")
    if text is not None:  # The fields were not sent, and show what they would change.
        again = form_of(fields, body, problem)
        again.text, again.text_fault = text.replace("\r\n", "\n"), True
        again.faults["text"] = list(problem.members.get("errors", ()))
        return again
    values = {given.name: members.get(given.name, "") for given in fields if given.input not in SECRETS}
    kept = {given.name: _written(given, _member(body, given.name)) for given in fields if given.input in SECRETS}
    return Form(fields, {**values, **kept}, _faults(fields, problem), text_of(body))


def read_form(fields: Sequence[Field], members: Mapping[str, str], base: Mapping[str, Any]) -> dict[str, Any]:
    """The resource `base` with the members that the form gives; an empty field takes the default.

    An empty secret, and a field that has what its page showed, stays as it is. Raises `Problem`.
    """
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(base))
    for given in fields:
        text = members.get(given.name)
        if text is None:
            continue
        text = text.replace("\r\n", "\n")
        shown = "" if given.input in SECRETS else _written(given, _member(body, given.name))
        if _is_as_shown(given, text, shown):
            continue
        _put(body, given.name.split("."), _read(given, text) if text.strip() else None)
    return body


def read_text(text: str) -> dict[str, Any]:
    """A resource that was written as JSON. Raises `Problem`."""
    if len(text) > TEXT_MAX:
        raise Problem(Kind.INVALID, f"The resource has more than {TEXT_MAX} characters.")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(Kind.BAD_REQUEST, f"The text is not a JSON object: {error}.") from error


def text_of(body: Mapping[str, Any]) -> str:
    """A resource as JSON."""
    return msgspec.json.format(msgspec.json.encode(body), indent=2).decode()


def rotation(form: Mapping[str, str]) -> dict[str, Any]:
    """The body of a rotation: what is left empty is the API's default."""
    body: dict[str, Any] = {}
    if form.get("overlap_h", "").strip():
        body["overlap_h"] = number(form["overlap_h"])
    if form.get("secret"):
        body["secret"] = form["secret"]
    return body


def number(text: str) -> Any:
    """A number that was typed; other text as it is, for the operation to refuse."""
    try:
        return msgspec.json.decode(text.strip())
    except msgspec.DecodeError:
        return text.strip()


def whole(text: str | None, default: _T) -> int | _T:
    """A whole number that was typed; `default` for other text, and for one that no field takes."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else default


def fields_of_schema(prefix: str, schema: Mapping[str, Any], *, skip: Sequence[str] = ()) -> list[Field]:
    """The fields of a JSON Schema of an object, required ones first."""
    required = set(schema.get("required", ()))
    fields = [
        _of_schema(f"{prefix}.{name}", name, _resolved(part, schema), required=name in required)
        for name, part in schema.get("properties", {}).items()
        if name not in skip
    ]
    return sorted(fields, key=lambda given: not given.required)


def _of_schema(path: str, name: str, part: Mapping[str, Any], *, required: bool) -> Field:
    default = part.get("default")
    shown = "" if default in (None, [], {}, "") else _plain(default)
    options = [str(option) for option in part.get("enum", ())]
    return Field(path, name, str(part.get("description", "")), _input(part), options, shown, required)


def _input(part: Mapping[str, Any]) -> Input:
    if part.get("writeOnly"):
        return "secret"
    if "enum" in part:
        return "choice"
    kinds: dict[Any, Input] = {"string": "text", "boolean": "flag", "integer": "number", "number": "number"}
    if part.get("type") == "array" and part.get("items", {}).get("type") == "string":
        return "lines"
    return kinds.get(part.get("type"), "json")


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A property with what it refers to, and without the alternative `null`."""
    merged = dict(part)
    for _ in range(3):
        options = [option for option in merged.get("anyOf", ()) if option.get("type") != "null"]
        if len(options) == 1:
            merged = {**options[0], **{name: value for name, value in merged.items() if name != "anyOf"}}
        if "$ref" in merged:
            referred = schema.get("$defs", {}).get(str(merged.pop("$ref")).rpartition("/")[2], {})
            merged = {**referred, **merged}
    return merged


def _plain(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _member(body: Mapping[str, Any], name: str) -> Any:
    value: Any = body
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _put(body: dict[str, Any], names: Sequence[str], value: Any) -> None:
    """Set a member, or remove it where `value` is None, with the objects that become empty by that."""
    first, *rest = names
    if not rest:
        body.pop(first, None)
        if value is not None:
            body[first] = value
        return
    inner = body.get(first)
    if not isinstance(inner, dict):
        inner = {}
    _put(inner, rest, value)
    body.pop(first, None)
    if inner:
        body[first] = inner


def _is_as_shown(given: Field, text: str, shown: str) -> bool:
    """Whether nothing was changed in a field: a browser sends no line breaks of an input, and one kind of an area."""
    return text == (re.sub(r"\r\n?", "\n", shown) if given.input in AREAS else re.sub(r"[\r\n]", "", shown))


def _written(given: Field, value: Any) -> str:
    if given.input in SECRETS:
        return REDACTED if value is not None else ""
    if value is None:
        return ""
    if given.input == "lines" and isinstance(value, list):
        return "\n".join(map(str, value))
    if given.input == "json":
        return text_of(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _read(given: Field, text: str) -> Any:
    if given.input == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if given.input in ("number", "flag"):
        return number(text)
    if given.input == "json":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            fault = {"path": given.name.split("."), "message": f"it is not JSON: {error}"}
            raise Problem(Kind.INVALID, f"The field {given.name} is not JSON: {error}.", errors=[fault]) from error
    if given.input == "secret_list":
        return [text.strip()]
    if given.input == "key_list":
        return [key.strip() for key in _PEM.findall(text) or text.splitlines() if key.strip()]
    return text if given.input in ("area", "exact") else text.strip()


def _faults(fields: Sequence[Field], problem: Problem | None) -> dict[str, list[Mapping[str, Any]]]:
    """The faults of each field; one of a member that holds several fields stands under its own name."""
    faults: dict[str, list[Mapping[str, Any]]] = {}
    for fault in () if problem is None else problem.members.get("errors", ()):
        place = ".".join(map(str, fault["path"])) if "path" in fault else str(fault.get("field", ""))
        for given in fields:
            if place == given.name or place.startswith(f"{given.name}."):
                faults.setdefault(given.name, []).append(fault)
        if place and any(given.name.startswith(f"{place}.") for given in fields):
            faults.setdefault(place, []).append(fault)
    return faults
