"""Runs a recipe's fixtures and answers as a node would, by the recipe's own account and endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from pydantic import SecretStr

from app.config.resolve import Account, Endpoint, Resolved, resolve
from app.contract import (
    CancelRequest,
    Context,
    Facts,
    Flow,
    HandshakeResponse,
    HttpRequest,
    HttpResponse,
    Ignored,
    InboundRequest,
    Order,
    Parsed,
    ParsedEvent,
    Registration,
    RegistrationFailed,
    Source,
    Unrecognized,
    Verdict,
    VerifyOptions,
)
from app.core.event import to_event
from app.core.order import apply, fold
from app.dev.recipes.folder import Recipe
from app.dev.recipes.model import AnswerSpec, ExpectedRequest, FixtureSpec, Proof, Request, Response
from app.dev.suite.cases import NOW, context, drive, inbound, verify
from app.dev.trial.flows import CANCELLATION

T = TypeVar("T")
HOST = "https://rescind.example.com"
"""Where an endpoint of a recipe is, for signatures that cover the URL."""


class TrialError(Exception):
    """A fixture or an answer cannot be run; the message says why."""


@dataclass(frozen=True)
class Trial:
    """The account and the endpoint of a recipe, resolved with its stand-ins."""

    recipe: Recipe
    account: Account
    endpoint: Endpoint | None

    def request(self, given: Request) -> InboundRequest:
        """A fixture's request, as it would arrive."""
        url = given.url or f"{HOST}/webhooks/{self.recipe.endpoint_id}"
        return replace(inbound(given.headers, given.body, given.query), method=given.method, url=url)

    def outgoing(self, given: Request) -> HttpRequest:
        """The same request, unsigned, as the source would make it."""
        request = self.request(given)
        return HttpRequest(given.method, request.url, dict(given.headers), request.body)

    def options(self, proof: Proof | None) -> VerifyOptions:
        """How the endpoint verifies a request with that proof. Raises `TrialError`."""
        if self.endpoint is None:
            raise TrialError("the recipe has no endpoint that could verify it")
        changes: dict[str, Any] = dict(proof.options) if proof is not None else {}
        if proof is not None and proof.secrets:
            changes["secrets"] = tuple(SecretStr(secret) for secret in proof.secrets)
        return VerifyOptions.model_validate({**self.endpoint.verify.model_dump(exclude_unset=True), **changes})

    def verify(self, request: InboundRequest, options: VerifyOptions, at: datetime) -> None:
        """Check the proof of a request. Raises `VerificationError`."""
        verify(self.account.handler, request, options, at)

    def parse(self, given: Request) -> Parsed:
        """What the endpoint reads out of a request. Raises `MalformedPayload`."""
        request, endpoint = self.request(given), self.endpoint
        if endpoint is not None:
            request = replace(request, proven_headers=endpoint.proven_headers, proven_body=endpoint.proven_body)
        return self.account.handler.parse(request, self.account.config)

    def handshake(self, fixture: FixtureSpec) -> HandshakeResponse | None:
        """The response to a challenge; None: it is none."""
        ask = self.account.handler.handshake
        request = replace(self.request(fixture.request), proven=fixture.verify is not None)
        return None if ask is None else ask(request, self.account.config)

    def orders_after(self, name: str) -> dict[str, Order]:
        """The orders of a fixture's events, after them and those before. Raises `TrialError`, `MalformedPayload`."""
        events = []
        for earlier in self._way_to(name):
            at = self.recipe.fixtures[earlier].moment(NOW)
            parsed = self.events(earlier)
            events += [to_event(event, self.account.spec.id, at, Source.WEBHOOK, None) for event in parsed]
        ids = dict.fromkeys(event.order for event in self.events(name))
        own = {id: [event for event in events if event.order == id] for id in ids}
        return {id: fold(self.account.spec.id, id, listed)[0] for id, listed in own.items()}

    def events(self, name: str) -> list[ParsedEvent]:
        """The events of a fixture. Raises `TrialError`, `MalformedPayload`."""
        parsed = self.parse(self.recipe.fixtures[name].request)
        if isinstance(parsed, Ignored | Unrecognized):
            raise TrialError(f"fixtures/{name}.json gives no events: {parsed.reason}")
        return list(parsed)

    def verdict(self, order: Order, at: datetime) -> Verdict:
        """May the order be canceled?"""
        return self.account.view.judge(order, at)

    def exchange(self, answer: AnswerSpec) -> Exchange:
        """Run a flow on an answer's responses. Raises `TrialError`, `MalformedPayload`."""
        flow_context = context()
        responses = responses_of(answer)
        calls: list[HttpRequest] = []
        try:
            result, _ = drive(_recorded(self._flow(answer, flow_context), calls), responses)
        except IndexError:
            raise TrialError(f"responses: the flow makes more than {len(responses)} calls") from None
        except AssertionError as error:
            raise TrialError(f"responses: {error}") from None
        except RegistrationFailed as error:
            result = error
        return Exchange(result, calls, flow_context.hold_s)

    def _flow(self, answer: AnswerSpec, flow_context: Context) -> Flow[Any]:
        """The flow of an answer, whose result is of one order. Raises `TrialError`, `MalformedPayload`."""
        handler, config = self.account.handler, self.account.config
        if answer.flow == "cancel":
            example = self.recipe.spec.example
            # Of a cancel with a probe before it, this is the cancel.
            request = CancelRequest(self._order_of(answer), example.reason, example.note, CANCELLATION, probed=True)
            return _first(handler.cancel([request], config, flow_context))
        if answer.flow == "probe" and handler.probe is not None:
            return _first(handler.probe([self._order_of(answer)], config, flow_context))
        if answer.flow == "register" and handler.register is not None:
            url = f"{HOST}/webhooks/{self.recipe.endpoint_id}"
            return handler.register(url, handler.topics(config), config, flow_context)
        if answer.flow == "registrations" and handler.registrations is not None:
            return handler.registrations(config, flow_context)
        if answer.flow == "unregister" and handler.unregister is not None:
            listed = [Registration(one.id, one.url, one.topic) for one in answer.registrations or ()]
            return handler.unregister(listed, config, flow_context)
        raise TrialError(f"flow: the handler has no {answer.flow}")

    def _order_of(self, answer: AnswerSpec) -> Order:
        """The order that an answer is about. Raises `TrialError`, `MalformedPayload`."""
        example = self.recipe.spec.example
        account, fixture = self.account.spec.id, answer.order or example.fixture
        order = (
            Order(account, str(example.order)) if fixture is None else next(iter(self.orders_after(fixture).values()))
        )
        if answer.flow == "probe" or answer.order is not None or example.probe is None:
            return order
        probed = next((one for one in self.recipe.answers if one.name == example.probe), None)
        if probed is None or probed.facts is None:
            raise TrialError(f"example.probe: there is no answer {example.probe!r} with facts")
        facts = msgspec.convert(probed.facts, Facts)
        event = to_event(ParsedEvent(order.id, "order.probed", b"", facts, NOW), account, NOW, Source.PROVIDER, None)
        return apply(order, event)

    def _way_to(self, name: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
        """The fixtures before `name`, and itself."""
        if name not in self.recipe.fixtures:
            raise TrialError(f"there is no fixtures/{name}.json")
        if name in seen:
            raise TrialError(f"fixtures/{name}.json comes after itself")
        for earlier in self.recipe.fixtures[name].after:
            yield from self._way_to(earlier, (*seen, name))
        yield name


@dataclass(frozen=True)
class Exchange:
    """A flow on prepared responses: its result, its calls, and how long the lane waits after it."""

    result: Any
    calls: list[HttpRequest]
    hold_s: float


def responses_of(answer: AnswerSpec) -> list[HttpResponse]:
    """The source's responses to the calls of an answer's flow, in turn."""
    return [
        HttpResponse(given.status, _lowered(given.headers), inbound({}, given.body, {}).body)
        for given in answer.responses
    ]


def _lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _first(flow: Flow[list[T]]) -> Flow[T]:
    results = yield from flow
    return results[0]


def _recorded(flow: Flow[T], calls: list[HttpRequest]) -> Flow[T]:
    """The flow, with its calls added to `calls`, also where it fails."""
    response = None
    while True:
        try:
            request = next(flow) if response is None else flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result
        calls.append(request)
        response = yield request


def trial_of(recipe: Recipe) -> Trial:
    """Resolve a recipe with its stand-ins. Raises `InvalidResourceError`, and `KeyError` for what it does not ask."""
    resolved = _resolved(recipe.example_resources)
    endpoints = [*resolved.endpoints.values()]
    return Trial(recipe, next(iter(resolved.accounts.values())), endpoints[0] if endpoints else None)


def _resolved(resources: dict[str, list[dict[str, Any]]]) -> Resolved:
    bodies = {(kind, str(body.get("id", ""))): (1, body) for kind, listed in resources.items() for body in listed}
    return resolve(bodies, saved=bodies.keys())


def shown_events(events: list[ParsedEvent]) -> list[dict[str, Any]]:
    """Events as fixtures have them: without their keys."""
    listed: list[dict[str, Any]] = json_of(events)
    return [{name: value for name, value in event.items() if name != "key"} for event in listed]


def standings(trial: Trial, name: str, fixture: FixtureSpec) -> tuple[dict[str, Any], dict[str, str]]:
    """(how each order stands after a fixture's events, why the rules failed for those for which they did), by id.

    Raises `TrialError`, `MalformedPayload`.
    """
    found, failed = dict[str, Any](), dict[str, str]()
    for id, order in trial.orders_after(name).items():
        verdict = trial.verdict(order, fixture.moment(NOW))
        found[id] = {"phase": order.phase, "cancelable": verdict.cancelable, "reason": verdict.reason}
        if verdict.reason == "rule_failed":
            failed[id] = verdict.explanation
    return found, failed


def shown_response(given: HandshakeResponse, expected: Response | None) -> dict[str, Any]:
    """The response to a challenge, in the form of what is expected; of headers all, if nothing is."""
    wanted, body = (given.headers, None) if expected is None else (expected.headers, expected.body)
    headers, body = _in_form(given.headers, given.body, wanted, body)
    return {"status": given.status, "headers": headers, "body": body, "confirm": given.confirm}


def shown_call(call: HttpRequest, expected: ExpectedRequest) -> dict[str, Any]:
    """A call, in the form of what is expected."""
    headers, body = _in_form(call.headers, call.body, expected.headers, expected.body)
    return {"method": call.method, "url": call.url, "headers": headers, "body": body}


def _in_form(
    headers: Mapping[str, str], body: bytes, expected: Mapping[str, str], expected_body: Any
) -> tuple[dict[str, str], Any]:
    """Headers and body in the form of what is expected: the headers that it has, and JSON if it has JSON."""
    shown: Any = body.decode(errors="replace")
    if not isinstance(expected_body, str):
        with suppress(ValueError):
            shown = json.loads(body)
    given = {name.lower(): value for name, value in headers.items()}
    return {name: given.get(name.lower(), "") for name in expected}, shown


def json_of(value: Any) -> Any:
    """A structure of the contract as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def facts_of(result: Any) -> Any:
    """The facts of a probe as JSON; None for any other result."""
    return json_of(result) if isinstance(result, Facts) else None
