"""A sample webhook of a configured source: the paths of the configuration, filled in."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from app.contract import HttpRequest
from app.kit.form import MEDIA_TYPE
from app.kit.paths.path import is_plain
from app.kit.sample import NoSample
from handlers.generic.config import FORM, Config
from handlers.generic.words import IGNORE

ORDER = "rescind-test-order"
EVENT = "rescind-test-event"


def sample(config: Config, now: datetime) -> HttpRequest:
    """A webhook in the form that the account's config describes. Raises `NoSample` where a path cannot be filled in."""
    time = now.isoformat()
    name = next((name for name, meaning in config.events.items() if meaning != IGNORE), None)
    is_form = config.format == FORM
    headers = {"Content-Type": MEDIA_TYPE if is_form else "application/json"}
    document: dict[str, Any] = {}
    fields = config.fields
    if config.event_header is not None and name is not None:
        headers[config.event_header] = name
    elif fields.event is not None:
        _put(document, fields.event, name or "order.updated")
    elif name is not None and not is_form:
        # Without a place for the event's name it is a CloudEvent, whose type is the name.
        headers["Content-Type"] = "application/cloudevents+json"
        document = {"specversion": "1.0", "id": EVENT, "source": "/rescind/test", "type": name, "time": time}
    _put(document, fields.order, ORDER)
    status = next(iter(config.phases), None)
    for path, value in ((fields.status, status), (fields.event_id, EVENT), (fields.time, time)):
        if path is not None and value is not None:
            _put(document, path, value)
    body: Any = document
    if config.events_path is not None:
        body = {}
        _put(body, config.events_path, [document])
    return HttpRequest("POST", "", headers, _form(body) if is_form else msgspec.json.encode(body))


def _form(fields: dict[str, Any]) -> bytes:
    nested = next((name for name, value in fields.items() if not isinstance(value, str)), None)
    if nested is not None:
        raise NoSample(f"no sample can be made: {nested} would not be text in a form; give a body of the source's own")
    return urlencode(fields).encode()


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    """Set what stands at a dotted path. Raises `NoSample` for a path that is more than that."""
    if not is_plain(path):
        raise NoSample(f"no sample can be made for the path {path}: give a body of the source's own")
    *parents, last = path.split(".")
    for parent in parents:
        inner = document.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise NoSample(f"no sample can be made: {path} is inside of another field; give a body of the source's own")
        document = inner
    document[last] = value
