"""Templates of subscriptions, checked when they are saved: with the example of every type that they will be given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import msgspec
from pydantic import ValidationError

from app.config.faults import Fault
from app.config.resolve import Body, Key
from app.config.subscriptions import SubscriptionSpec
from app.core.outbound import examples
from app.core.outbound.notices.notice import Link
from app.core.outbound.notices.template import NAMES, InvalidTemplateError, names_in, render_template
from app.core.outbound.notices.texts import digest_of, notice_of
from app.core.outbound.notices.values import digest_values, notice_values, template_values
from app.core.outbound.patterns import matches_any
from app.core.outbound.types import OUTBOUND_TYPES

_LINK = Link("Review and decide", "https://rescind.example/approvals/token")
_ID = "msg_0d39a8f1e2004001"
_HOSTILE = '"\\\n\t<&>{{'
"""Put before every text of an example: JSON that takes it unescaped is no JSON any more."""
Where = tuple[str | int, ...]


def faults_in_templates(bodies: Mapping[Key, Body], numbers: Mapping[Key, int]) -> list[Fault]:
    """The faults of the templates among resources that are saved; `numbers` are their positions in the request.

    Hundreds take seconds: to be called in a thread.
    """
    faults = []
    for (kind, id), body in bodies.items():
        if kind == "subscriptions" and body.get("template") is not None:
            with suppress(ValidationError):  # reported with the other faults
                of_template = faults_in_template(SubscriptionSpec.model_validate(body))
                faults += [replace(fault, number=numbers.get((kind, id))) for fault in of_template]
    return faults


def faults_in_template(spec: SubscriptionSpec) -> list[Fault]:
    """The faults of a subscription's template: one for each text, with what to do."""
    if spec.template is None:
        return []
    texts: list[tuple[Where, str]] = [(("template", "body"), spec.template.body)]
    texts += [(("template", "headers", name), text) for name, text in spec.template.headers.items()]
    values = list(_examples(spec))
    faults = []
    for path, text in texts:
        json = path[-1] == "body" and "json" in spec.template.content_type.lower()
        problem = _problem(text, values, json=json)
        if problem is not None:
            faults.append(Fault("subscriptions", spec.id, path, problem))
    return faults


def _examples(spec: SubscriptionSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    """(type, values) of every type that the subscription receives, and of a digest of all."""
    notices, values = [], []
    for type in OUTBOUND_TYPES:
        if matches_any(spec.events, type):
            message = examples.message(1, type, examples.NOW, examples.ACCOUNT)
            notices.append(notice_of(_ID, message, _LINK if type == "policy.proposed" else None))
            values.append(notice_values(notices[-1], message, full=spec.payload == "full"))
            yield type, template_values(values[-1], [values[-1]])
    if notices and spec.schedule.gathers:
        yield "digest", template_values(digest_values(digest_of(notices)), values)


def _problem(text: str, examples: list[tuple[str, dict[str, Any]]], *, json: bool) -> str | None:
    try:
        for path in names_in(text):
            problem = _unknown(path, [values for _, values in examples])
            if problem is not None:
                return problem
        for type, values in examples:
            problem = _rendered(text, type, values, json=json)
            if problem is not None:
                return problem
    except InvalidTemplateError as error:
        return str(error)
    return None


def _rendered(text: str, type: str, values: dict[str, Any], *, json: bool) -> str | None:
    try:
        output = render_template(text, values)
    except InvalidTemplateError as error:
        return f"with a message of type {type}: {error}"
    if not json:
        return None
    if not _is_json(output):
        return f"gives no JSON for a message of type {type}; for other text set template.content_type"
    if not _is_json(render_template(text, _hostile(values))):
        return f"gives no JSON for a message of type {type} with quotes in its text: add | json to the values"
    return None


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def _hostile(value: Any) -> Any:
    if isinstance(value, dict):
        # What conditions compare stays as it is.
        kept = ("type", "timestamp", "severity", "account", "id")
        return {name: item if name in kept else _hostile(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_hostile(item) for item in value]
    return f"{_HOSTILE}{value}" if isinstance(value, str) else value


def _unknown(path: tuple[str, ...], examples: list[dict[str, Any]]) -> str | None:
    """What is wrong with a name that no example has."""
    if path[0] not in NAMES:
        return f"there is no {path[0]!r}{_near(path[0], NAMES)}; templates read {', '.join(NAMES)}"
    deepest, names = 0, dict[str, None]()
    for values in examples:
        value: Any = values
        for depth, name in enumerate(path):
            if not isinstance(value, Mapping):
                return None  # inside of a list, or a value that is null in the example
            if name not in value:
                if depth > deepest:
                    deepest, names = depth, {}
                if depth == deepest:
                    names.update(dict.fromkeys(value))
                break
            value = value[name]
        else:
            return None
    if not examples:
        return None
    name = ".".join(path[: deepest + 1])
    return f"no message that it receives has {name}{_near(path[deepest], names)}"


def _near(name: str, names: Any) -> str:
    near = get_close_matches(name, list(names), 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
