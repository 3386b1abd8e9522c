"""What the suite over all handlers is made of: the files in their `fixtures/` folders, and one order at a simulator.

- `*.json`: one webhook request each. `provenance` (recorded, documented or synthetic) and `document` say where
  it is from; `request` has `headers`, `query` and `body` (a string is sent as it is, else as JSON); what comes of it
  is `events`, or a part of the reason in `ignored`, `unrecognized` or `malformed`. Optional: `config`, and
  `verify` (`secrets`, and `at`, the moment) where the request proves its sender.
- `_answers.json`: provider's answers. `flow` (cancel or probe), `responses`, and `outcome` (for a probe that
  succeeds: `facts`), with `after_s`, `doubtful`, and a part of `detail`.
- `_scenario.json`: `config`; an `order` for the answers; `create` and `close`, actions of the simulator
  (`"{order}"` stands for the order's id); `secrets` and `webhook_headers`; `reason` and `note` of a good
  cancel, and `invalid` ones with their `field`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from multidict import CIMultiDict
from pydantic import BaseModel, SecretStr

import handlers as packages
from app.contract import (
    Cancelable,
    CancelRequest,
    CancelResult,
    Facts,
    Flow,
    Handler,
    HttpRequest,
    HttpResponse,
    Ignored,
    InboundRequest,
    Observed,
    Order,
    Parsed,
    ProbeUnavailable,
    Simulator,
    Unrecognized,
    VerifyOptions,
)
from app.core.event import Event, Source, stamp
from app.core.order import fold
from app.core.verdict import judge
from app.registry import handlers

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
T = TypeVar("T")


@dataclass(frozen=True)
class Fixture:
    handler: Handler
    name: str
    data: dict[str, Any]

    @property
    def request(self) -> InboundRequest:
        given = self.data["request"]
        return inbound(given["headers"], given["body"], given["query"])

    def parse(self, request: InboundRequest | None = None) -> Parsed:
        config = config_of(self.handler, self.data.get("config", {}))
        return self.handler.parse(request or self.request, config)


def folder(handler: Handler) -> Path:
    return Path(packages.__path__[0]) / handler.name / "fixtures"


def inbound(headers: Mapping[str, str], body: Any, query: Mapping[str, str]) -> InboundRequest:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return InboundRequest(CIMultiDict(headers), query, raw)


def scenario(handler: Handler) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder(handler) / "_scenario.json").read_text(encoding="utf-8"))
    return loaded


def config_of(handler: Handler, more: Mapping[str, Any] | None = None) -> Any:
    return handler.config.model_validate({**scenario(handler)["config"], **(more or {})})


def fixtures() -> Iterator[Fixture]:
    for handler in handlers().values():
        for path in sorted(folder(handler).glob("[!_]*.json")):
            yield Fixture(handler, path.stem, json.loads(path.read_text(encoding="utf-8")))


def answers() -> Iterator[Fixture]:
    for handler in handlers().values():
        for each in json.loads((folder(handler) / "_answers.json").read_text(encoding="utf-8")):
            yield Fixture(handler, each["name"], each)


def as_json(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def observed(parsed: Parsed) -> list[Observed]:
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    return list(parsed)


def drive(flow: Flow[T], responses: list[HttpResponse]) -> tuple[T, list[HttpRequest]]:
    """Run a flow against answers given beforehand; all of them must be wanted."""
    asked, left = [], list(responses)
    try:
        request = next(flow)
        while True:
            asked.append(request)
            request = flow.send(left.pop(0))
    except StopIteration as end:
        assert not left, "the flow ended before it had all the answers"
        return end.value, asked


def converse(flow: Flow[T], simulator: Simulator, now: float) -> T:
    """Run a flow against the simulator."""
    try:
        request = next(flow)
        while True:
            request = flow.send(simulator.handle(request, now))
    except StopIteration as end:
        result: T = end.value
        return result


def ask(answer: Fixture) -> tuple[CancelResult | Facts | ProbeUnavailable, list[HttpRequest]]:
    given = scenario(answer.handler)
    order = msgspec.convert({"account": "account", **given["order"]}, Order)
    responses = [
        HttpResponse(each["status"], each["headers"], inbound({}, each["body"], {}).body)
        for each in answer.data["responses"]
    ]
    config = config_of(answer.handler, answer.data.get("config"))
    if answer.data["flow"] == "probe":
        assert answer.handler.probe is not None
        facts, asked = drive(answer.handler.probe([order], config), responses)
        assert len(facts) == 1
        return facts[0], asked
    wish = CancelRequest(order, given["reason"], given["note"])
    results, asked = drive(answer.handler.cancel([wish], config), responses)
    assert len(results) == 1
    return results[0], asked


class Loop:
    """One account at a simulated provider, and the events that came of it."""

    def __init__(self, handler: Handler) -> None:
        assert handler.simulator is not None
        self.handler, self.given, self.config = handler, scenario(handler), config_of(handler)
        self.simulator = handler.simulator(**self.given.get("simulator", {}))
        self.now = NOW.timestamp()
        self.events: list[Event] = []

    def act(self, action: Mapping[str, Any]) -> None:
        self.now += 1
        named = {key: self.order.id if value == "{order}" else value for key, value in action.items()}
        self.simulator.act(named, self.now)
        self.hear()

    def hear(self) -> None:
        options = VerifyOptions(secrets=tuple(SecretStr(each) for each in self.given["secrets"]))
        at = datetime.fromtimestamp(self.now, UTC)
        for webhook in self.simulator.emitted():
            headers = CIMultiDict({**webhook.headers, **self.given["webhook_headers"]})
            request = InboundRequest(headers, {}, webhook.body)
            self.handler.verify(request, options, at)
            parsed = observed(self.handler.parse(request, self.config))
            self.events.extend(stamp(each, "account", at, Source.WEBHOOK, None) for each in parsed)

    @property
    def order(self) -> Order:
        return fold("account", self.events[0].order, self.events)[0]

    def verdict(self) -> Cancelable:
        return judge(self.handler, self.handler.rules(), self.order, NOW).cancelable

    def cancel(self) -> CancelResult:
        self.now += 1
        wish = CancelRequest(self.order, self.given["reason"], self.given["note"])
        [result] = converse(self.handler.cancel([wish], self.config), self.simulator, self.now)
        self.hear()
        return result

    def probe(self) -> Facts:
        assert self.handler.probe is not None
        self.now += 1
        [facts] = converse(self.handler.probe([self.order], self.config), self.simulator, self.now)
        assert isinstance(facts, Facts), facts
        assert facts.snapshot
        return facts


def secrets_of(config: BaseModel) -> list[str]:
    values = [getattr(config, name) for name in type(config).model_fields]
    return [each.get_secret_value() for each in values if isinstance(each, SecretStr)]


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
