"""The cases of the suite over all handlers: the files in their `fixtures/` folders, and one order at a simulator.

- `*.json`: one webhook request each. `provenance` (recorded, documented or synthetic) and `document` say where
  it is from; `request` has `headers`, `query` and `body` (a string is sent unchanged, else as JSON); the expected
  result is `events`, or a part of the reason in `ignored`, `unrecognized` or `malformed`. Optional: `config`, and
  `verify` (`secrets`, and the time `at`) if the request proves its sender.
- `_answers.json`: the provider's responses. `flow` (cancel or probe), `responses`, and `outcome` (for a probe that
  succeeds: `facts`), with `after_s`, `hold_s`, `may_have_applied`, and a part of `detail`. Optional: `config`, `order`.
- `_scenario.json`: `config` (and `rules`); an `order` for the responses; `create` and `close`, actions of the
  simulator (`"{order}"` is replaced by the order's id, which `create` returns as `order_id`); `simulator`, its
  arguments; `secrets` and `webhook_headers` (headers that the sender adds to its own); `reason` and `note` of a good
  cancel, and `invalid` ones with their `field`. `proof` says how its webhooks prove their sender: `headers` that must
  all be there (with `?token` for the query), `signs_body`, and `tolerance_s` or null. Optional `options`: more
  of the endpoint's `verify`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from multidict import CIMultiDict
from pydantic import BaseModel, SecretStr

from app.config.registry import found_handlers, handlers
from app.contract import (
    Cancelable,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    Handler,
    HttpRequest,
    HttpResponse,
    Ignored,
    InboundRequest,
    Order,
    Parsed,
    ParsedEvent,
    Phase,
    ProbeUnavailable,
    Simulator,
    Source,
    Unrecognized,
    VerifyOptions,
)
from app.core.event import Event, to_event
from app.core.order import fold
from app.core.verdict import judge
from app.kit.signing import verify_scheme

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
T = TypeVar("T")
ONLY = "RESCIND_SUITE_HANDLER"


@dataclass(frozen=True)
class Fixture:
    handler: Handler
    name: str
    data: dict[str, Any]

    @property
    def request(self) -> InboundRequest:
        given = self.data["request"]
        request = inbound(given["headers"], given["body"], given["query"])
        return msgspec.structs.replace(request, proven_headers=self.handler.signed_headers)

    def parse(self, request: InboundRequest | None = None) -> Parsed:
        config = config_of(self.handler, self.data.get("config", {}))
        return self.handler.parse(request or self.request, config)


def folder(handler: Handler) -> Path:
    return found_handlers()[handler.name].folder / "fixtures"


def chosen() -> dict[str, Handler]:
    """The handlers that the suite runs over: all, or the one that RESCIND_SUITE_HANDLER names."""
    name = os.environ.get(ONLY)
    return {key: handler for key, handler in handlers().items() if name in (None, key)}


def inbound(headers: Mapping[str, str], body: Any, query: Mapping[str, str]) -> InboundRequest:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return InboundRequest(CIMultiDict(headers), query, raw)


def scenario(handler: Handler) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder(handler) / "_scenario.json").read_text(encoding="utf-8"))
    return loaded


def rules_of(handler: Handler) -> Any:
    return handler.rules.model_validate(scenario(handler).get("rules", {}))


def context(now: datetime = NOW) -> Context:
    return Context(now, nonce="0123456789abcdef")


def options_of(handler: Handler, *secrets: str) -> VerifyOptions:
    given = scenario(handler).get("options", {})
    return VerifyOptions(secrets=tuple(SecretStr(secret) for secret in secrets), **given)


def config_of(handler: Handler, more: Mapping[str, Any] | None = None) -> Any:
    return handler.config.model_validate({**scenario(handler)["config"], **(more or {})})


def fixtures() -> Iterator[Fixture]:
    for handler in chosen().values():
        for path in sorted(folder(handler).glob("[!_]*.json")):
            yield Fixture(handler, path.stem, json.loads(path.read_text(encoding="utf-8")))


def ids(cases: list[Fixture]) -> list[str]:
    """How pytest shows them."""
    return [f"{case.handler.name}-{case.name}" for case in cases]


def responses() -> Iterator[Fixture]:
    for handler in chosen().values():
        for data in json.loads((folder(handler) / "_answers.json").read_text(encoding="utf-8")):
            yield Fixture(handler, data["name"], data)


def as_json(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def observed(parsed: Parsed) -> list[ParsedEvent]:
    assert not isinstance(parsed, (Ignored, Unrecognized)), parsed.reason
    return list(parsed)


def drive(flow: Flow[T], responses: list[HttpResponse]) -> tuple[T, list[HttpRequest]]:
    """Run a flow on prepared responses, all of which it must use; returns its result and its requests."""
    requests, left = [], list(responses)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            request = flow.send(left.pop(0))
    except StopIteration as end:
        assert not left, "the flow ended before it had all the responses"
        return end.value, requests


def converse(flow: Flow[T], simulator: Simulator, now: float) -> T:
    """Run a flow against the simulator."""
    try:
        request = next(flow)
        while True:
            request = flow.send(simulator.handle(request, now))
    except StopIteration as end:
        result: T = end.value
        return result


@dataclass(frozen=True)
class Exchange:
    """A flow on prepared responses: its requests and its result."""

    result: CancelResult | Facts | ProbeUnavailable
    requests: list[HttpRequest]
    hold_s: float


def exchange(fixture: Fixture) -> Exchange:
    """Run the flow of a fixture of responses."""
    given = scenario(fixture.handler)
    order = msgspec.convert({"account": "account", **(fixture.data.get("order") or given["order"])}, Order)
    responses = [
        HttpResponse(response["status"], response["headers"], inbound({}, response["body"], {}).body)
        for response in fixture.data["responses"]
    ]
    config, flow_context = config_of(fixture.handler, fixture.data.get("config")), context()
    if fixture.data["flow"] == "probe":
        assert fixture.handler.probe is not None
        facts, requests = drive(fixture.handler.probe([order], config, flow_context), responses)
        assert len(facts) == 1
        return Exchange(facts[0], requests, flow_context.hold_s)
    request = CancelRequest(order, given["reason"], given["note"])
    results, requests = drive(fixture.handler.cancel([request], config, flow_context), responses)
    assert len(results) == 1
    return Exchange(results[0], requests, flow_context.hold_s)


class Loop:
    """One account with one order at a simulated provider, and the order's events."""

    def __init__(self, handler: Handler) -> None:
        assert handler.simulator is not None
        self.handler, self.given, self.config = handler, scenario(handler), config_of(handler)
        self.simulator = handler.simulator(**self.given.get("simulator", {}))
        self.now = NOW.timestamp()
        self.events: list[Event] = []
        self.id = ""
        self.memory: dict[str, tuple[datetime, Any]] = {}

    def act(self, action: Mapping[str, Any]) -> None:
        """Perform an action at the provider, and record what a node would learn of it."""
        self.now += 1
        named = {key: self.id if value == "{order}" else value for key, value in action.items()}
        result = self.simulator.act(named, self.now)
        self.id = self.id or str(result["order_id"])
        self.settle()

    def settle(self) -> None:
        """Record the webhooks; probe the order if they do not tell its phase."""
        self.receive()
        if self.order.phase is Phase.UNKNOWN and self.handler.probe is not None:
            self.probe()

    def receive(self) -> None:
        options = options_of(self.handler, *self.given["secrets"])
        for webhook in self.simulator.emitted():
            headers = CIMultiDict({**webhook.headers, **self.given["webhook_headers"]})
            request = InboundRequest(headers, {}, webhook.body, proven_headers=self.handler.signed_headers)
            verify(self.handler, request, options, self.at)
            parsed = self.handler.parse(request, self.config)
            if not isinstance(parsed, Ignored):
                self.events += [to_event(event, "account", self.at, Source.WEBHOOK, None) for event in observed(parsed)]

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    @property
    def order(self) -> Order:
        return fold("account", self.events[0].order if self.events else self.id, self.events)[0]

    def verdict(self) -> Cancelable:
        return judge(self.handler, rules_of(self.handler), self.order, self.at).cancelable

    def cancel(self) -> CancelResult:
        self.now += 1
        request = CancelRequest(self.order, self.given["reason"], self.given["note"])
        context = Context(self.at, f"nonce-{self.now}", self.memory)
        [result] = converse(self.handler.cancel([request], self.config, context), self.simulator, self.now)
        self.settle()
        return result

    def probe(self) -> Facts:
        assert self.handler.probe is not None
        self.now += 1
        context = Context(self.at, f"nonce-{self.now}", self.memory)
        [facts] = converse(self.handler.probe([self.order], self.config, context), self.simulator, self.now)
        assert isinstance(facts, Facts), facts
        assert facts.snapshot
        seen = ParsedEvent(self.order.id, "order.probed", str(self.now).encode(), facts, self.at)
        self.events.append(to_event(seen, "account", self.at, Source.PROVIDER, None))
        return facts


def verify(handler: Handler, request: InboundRequest, options: VerifyOptions, at: datetime) -> None:
    """Verify a request as an endpoint does."""
    if options.scheme == "handler":
        handler.verify(request, options, at)
    else:
        verify_scheme(request, options, at)


def secrets_of(config: BaseModel) -> list[str]:
    values = [getattr(config, name) for name in type(config).model_fields]
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from strings(member)
    elif isinstance(value, list):
        for element in value:
            yield from strings(element)
