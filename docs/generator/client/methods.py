"""The methods of a tag's class, from the operations of the OpenAPI document."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from generator.client.types import Schema, annotation, schema_name

_WIDTH = 108


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method."""

    wire: str
    kind: str
    meaning: str
    is_required: bool = False

    @property
    def name(self) -> str:
        """As Python may have it."""
        return f"{self.wire}_" if keyword.iskeyword(self.wire) else self.wire

    def declared(self) -> str:
        """As in a signature; what is None is left out of the request."""
        if self.is_required:
            return f"{self.name}: {self.kind}"
        kind = " | ".join(part for part in self.kind.split(" | ") if part != "None")
        return f"{self.name}: {kind} | None = None"


@dataclass(frozen=True, slots=True)
class Method:
    """One operation as a method, but for `async`."""

    name: str
    summary: str
    verb: str
    path: str
    in_path: list[Parameter]
    in_query: list[Parameter]
    in_body: list[Parameter]
    whole_body: bool
    """Whether the only field of the body is the body."""
    fixed: Mapping[str, object]
    """Fields of the body that the method stands for."""
    is_once: bool
    result: str
    row: str | None
    """Of a page: the class of its rows."""
    is_stream: bool
    """Whether it gives the events of a stream, of which `result` is the class."""
    raises: list[str]


def methods_of(tag: str, operations: list[tuple[str, str, Schema]], components: Mapping[str, Schema]) -> list[Method]:
    """The methods for (verb, path, operation)."""
    return [
        method for verb, path, operation in operations for method in _methods(tag, verb, path, operation, components)
    ]


def _methods(tag: str, verb: str, path: str, operation: Schema, components: Mapping[str, Schema]) -> Iterator[Method]:
    successes = {status: given for status, given in operation["responses"].items() if status.startswith("2")}
    kinds = list(dict.fromkeys(map(_result, successes.values())))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    fields, whole = _body(body, components)
    name = _name(operation["operationId"], tag)
    known: dict[str, Any] = {
        "verb": verb,
        "path": path,
        "in_path": [_parameter(given, is_required=True) for given in operation["parameters"] if given["in"] == "path"],
        "in_query": [_parameter(given) for given in operation["parameters"] if given["in"] == "query"],
        "is_once": any(given["name"] == "Idempotency-Key" for given in operation["parameters"]),
        "is_stream": any("text/event-stream" in given.get("content", {}) for given in successes.values()),
        "whole_body": whole,
        "raises": _slugs(operation),
    }
    row = kinds[0].partition("[")[2].rstrip("]") if kinds[0].startswith(("Page[", "SearchPage[")) else None
    if len(kinds) == 1:
        yield Method(
            name=name, summary=operation["summary"], in_body=fields, fixed={}, result=kinds[0], row=row, **known
        )
        return
    # The response to a dry run is another one: it is a method of its own.
    result, other = sorted(kinds, key=lambda kind: kind == "DryRun")
    fields = [field for field in fields if field.wire != "dry_run"]
    yield Method(name=name, summary=operation["summary"], in_body=fields, fixed={}, result=result, row=None, **known)
    summary = "Return what the request would lead to, and change nothing."
    fixed, known["is_once"] = {"dry_run": True}, False
    yield Method(name="dry_run", summary=summary, in_body=fields, fixed=fixed, result=other, row=None, **known)


def _result(response: Schema) -> str:
    streamed = response.get("content", {}).get("text/event-stream")
    if streamed is not None:
        return annotation(streamed["x-item-schema"], sent=False)
    content = response.get("content", {}).get("application/json")
    if content is None:
        return "None"
    return annotation(content["schema"], sent=False)


def _body(schema: Schema | None, components: Mapping[str, Schema]) -> tuple[list[Parameter], bool]:
    """(the fields of a body, whether the body is any object, which is one parameter)."""
    if schema is None:
        return [], False
    name = schema_name(schema)
    model = components[name] if name else schema
    if not model.get("properties"):
        return [Parameter("resource", "Mapping[str, Any]", model.get("description", ""), is_required=True)], True
    required = model.get("required", ())
    fields = [
        Parameter(wire, annotation(given, sent=True), given.get("description", ""), is_required=wire in required)
        for wire, given in model["properties"].items()
    ]
    return sorted(fields, key=lambda field: not field.is_required), False


def _parameter(given: Schema, *, is_required: bool = False) -> Parameter:
    kind = "str" if is_required else annotation(given["schema"], sent=True)
    meaning = given.get("description") or given["schema"].get("description", "")
    if given["name"] == "cursor":
        kind = "str"
    return Parameter(given["name"], kind, meaning, is_required)


def _slugs(operation: Schema) -> list[str]:
    """The problems that are the operation's own."""
    common = {"unauthorized", "forbidden", "busy", "bad-request", "body-too-large", "too-many-requests"}
    slugs = [slug for status, given in operation["responses"].items() if status >= "4" for slug in _shown(given)]
    return [slug for slug in slugs if slug not in common]


def _shown(response: Schema) -> list[str]:
    return re.findall(r"`([a-z-]+)`", response["description"])


def _name(operation_id: str, tag: str) -> str:
    """`create` for `createCancellation` of the tag Cancellations."""
    words = re.sub(r"([A-Z])", r"_\1", operation_id).lower().split("_")
    singular = tag[:-3] + "y" if tag.endswith("ies") else tag.removesuffix("s")
    kept = [word for word in words if word not in (tag, singular)]
    return "_".join(kept) or operation_id


def written(method: Method, *, is_async: bool) -> Iterator[str]:
    """The source of the method, and of the iteration over its pages."""
    if method.is_stream:
        kind = f"{'AsyncEventStream' if is_async else 'EventStream'}[{method.result}]"
        yield from _function(method, method.name, kind, "return self._transport.stream(", is_async=False, raises=True)
        return
    call = "return await self._transport.send(" if is_async else "return self._transport.send("
    yield from _function(method, method.name, method.result, call, is_async=is_async, raises=True)
    if method.row is not None:
        rest = method.name.partition("_")[2]
        name = "iterate" + (f"_{rest}" if rest else "")
        kind = f"{'AsyncIterator' if is_async else 'Iterator'}[{method.row}]"
        yield from _function(method, name, kind, "return self._transport.iterate(", is_async=False, raises=False)


def _function(method: Method, name: str, result: str, call: str, *, is_async: bool, raises: bool) -> Iterator[str]:
    positional, named = [*method.in_path], [*method.in_body]
    if method.whole_body:
        positional, named = [*positional, *method.in_body], []
    in_query = [given for given in method.in_query if raises or given.wire != "cursor"]
    named += in_query
    if method.is_once:
        named.append(Parameter("idempotency_key", "str", "Made if it is not given; a retry has the same."))
    star = ["*"] if named else []
    signature = ", ".join(["self", *[given.declared() for given in positional], *star, *[g.declared() for g in named]])
    yield f"    {'async ' if is_async else ''}def {name}({signature}) -> {result}:"
    yield _docstring(method, [*positional, *named], is_pages=not raises)
    yield f"        {call}{_request(method, in_query)})"
    yield ""


def _docstring(method: Method, parameters: list[Parameter], *, is_pages: bool) -> str:
    first = f"{method.summary.rstrip('.')}{': the rows of all pages' if is_pages else ''}."
    lines = (
        [f'"""{first}']
        if len(first) < _WIDTH
        else [f'"""{textwrap.wrap(first, _WIDTH)[0]}', *textwrap.wrap(first, _WIDTH)[1:]]
    )
    explained = [given for given in parameters if given.meaning]
    if explained:
        lines += ["", "Args:"]
        for given in parameters:
            meaning = given.meaning or f"The field `{given.wire}`."
            lines += textwrap.wrap(
                f"{given.name}: {meaning}", _WIDTH, initial_indent="    ", subsequent_indent="        "
            )
    if method.raises and not is_pages:
        text = f"Problem: {', '.join(method.raises)}."
        lines += ["", "Raises:"]
        lines += textwrap.wrap(
            text, _WIDTH, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False
        )
    return textwrap.indent("\n".join([*lines, '"""']) if len(lines) > 1 else f'{lines[0]}"""', "        ")


def _request(method: Method, in_query: list[Parameter]) -> str:
    path = re.sub(r"{(\w+)}", r"{segment(\1)}", method.path)
    prefix = "f" if "{" in path else ""
    result = "type(None)" if method.result == "None" else method.result
    arguments = [f'"{method.verb}"', f'{prefix}"{path}"', result]
    if in_query:
        arguments.append(f"query=given({_passed(in_query)})")
    if method.whole_body:
        arguments.append("body=resource")
    elif method.in_body or method.fixed:
        fixed = [f"{name}={value!r}" for name, value in method.fixed.items()]
        arguments.append(f"body=given({', '.join(filter(None, [_passed(method.in_body), *fixed]))})")
    if method.is_once:
        arguments.append("headers=once(idempotency_key)")
    return f"Request({', '.join(arguments)})"


def _passed(parameters: list[Parameter]) -> str:
    return ", ".join(f"{given.name}={given.name}" for given in parameters)


def models_of(method: Method) -> set[str]:
    """The names in a method's annotations that are models."""
    kinds = [method.result, *[given.kind for given in (*method.in_query, *method.in_body)]]
    return {word for kind in kinds for word in re.findall(r"\b[A-Z]\w+", re.sub(r'"[^"]*"', "", kind))}
