"""Tests of endpoints: a signed sample, sent through the real path, of which nothing is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Struct
from pydantic import Field

from app.config.resolve import Endpoint
from app.config.scope import Scope
from app.contract import HttpRequest, Phase
from app.kit.sample import NoSample, sample_of, signed
from app.kit.sign import CannotSign
from app.web import endpoints, examples
from app.web.examples import example
from app.web.lookup import missing, require_endpoint
from app.web.parsing import ParsedWebhook
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, Body, Call, RouteTable
from app.workers.sample_sender import TEST_HEADER, NotReached, SampleEvent, SampleReport, make_mark, send

ROUTES = RouteTable(endpoints.ROUTES.tag, id=examples.ENDPOINT)
EVENTS_MAX = 100


class SampleBody(Body):
    """What to send, and where to."""

    via: Literal["server", "public_url"] = Field(
        "server",
        description="`server`: to the very server that serves this request. `public_url`: to RESCIND_PUBLIC_URL, "
        "through every proxy in between.",
    )
    body: str | None = Field(None, max_length=1_000_000, description="A body to send instead of the provider's sample.")
    headers: dict[str, str] = Field({}, max_length=50, description="Headers to send besides, such as a topic.")


example(SampleBody(via="server"))


class SampleStep(Struct):
    """One step of a test."""

    step: Literal["signed", "reached", "enabled", "verified", "parsed"]
    ok: bool
    detail: str


class SampleResult(Struct):
    """How a sample webhook fared. Nothing of it is recorded."""

    ok: bool
    """Whether every step succeeded."""
    url: str
    steps: list[SampleStep]
    """In turn, up to the first that failed."""
    status: str = ""
    """What would have become of it: `accepted`, `ignored` or `quarantined`."""
    events: list[SampleEvent] = []
    """The events that it would have given."""


example(
    SampleResult(
        ok=True,
        url=f"https://rescind.example.com/webhooks/{examples.ENDPOINT}",
        steps=[
            SampleStep("signed", True, "by scheme token, with the endpoint's secret"),
            SampleStep("reached", True, "the server took the request"),
            SampleStep("enabled", True, ""),
            SampleStep("verified", True, ""),
            SampleStep("parsed", True, "1 event"),
        ],
        status="accepted",
        events=[SampleEvent("order.processed", examples.ORDER, examples.REQUESTED_AT, Phase.OPEN, None)],
    )
)


@ROUTES.post(
    "/v1/endpoints/{id}/test",
    Scope.WRITE,
    name="testEndpoint",
    problems=[missing("endpoints", examples.ENDPOINT), Kind.INVALID],
    account_check=AccountCheck.HANDLER,
)
async def send_sample(call: Call, id: str, body: SampleBody) -> SampleResult:
    """Send a signed sample webhook to an endpoint through the real path, and record nothing of it."""
    endpoint, now = require_endpoint(call.node, call.key, id), datetime.now(UTC)
    result = SampleResult(ok=False, url=_url(call, id, body.via), steps=[])
    steps = result.steps
    try:
        sample = _sample(endpoint, body, now)
        called = f"{call.node.settings.public_url.rstrip('/')}/webhooks/{id}{sample.url}"
        webhook = signed(endpoint.account.handler, sample, endpoint.verify, now, called)
        steps.append(SampleStep("signed", True, f"by scheme {endpoint.verify.scheme}, with the endpoint's secret"))
        report = await send(result.url, webhook, make_mark(call.node.vault, id, now))
    except (NoSample, CannotSign) as error:
        steps.append(SampleStep("signed", False, str(error)))
    except NotReached as error:
        steps.append(SampleStep("reached", False, str(error)))
    else:
        steps += _steps(report)
        result.status, result.events = report.status, report.events
    result.ok = all(step.ok for step in steps)
    return result


def report_of(endpoint: Endpoint, parsed: ParsedWebhook | None, fault: str = "") -> web.Response:
    """The response to a marked request: `parsed`, or the fault for which it was refused."""
    report = SampleReport(endpoint.spec.enabled, not fault, fault)
    if parsed is not None:
        report.status, report.reason = parsed.status, parsed.reason
        events = [event for command in parsed.commands for event in command.events][:EVENTS_MAX]
        report.events = [
            SampleEvent(event.type, event.order, event.occurred_at, event.facts.phase, event.facts.provider_status)
            for event in events
        ]
    headers: Mapping[str, str] = {TEST_HEADER: "1"}
    return web.Response(body=msgspec.json.encode(report), content_type="application/json", headers=headers)


def _sample(endpoint: Endpoint, given: SampleBody, now: datetime) -> HttpRequest:
    config: Any = endpoint.account.config
    if given.body is not None:
        headers = {"Content-Type": "application/json", **given.headers}
        return HttpRequest("POST", "", headers, given.body.encode("utf-8", "replace"))
    sample = sample_of(endpoint.account.handler, config, now)
    return msgspec.structs.replace(sample, headers={**sample.headers, **given.headers})


def _steps(report: SampleReport) -> list[SampleStep]:
    steps = [SampleStep("reached", True, "the server took the request")]
    detail = "" if report.enabled else "it is disabled: real webhooks get 404; `rescind endpoints enable` enables it"
    steps.append(SampleStep("enabled", report.enabled, detail))
    steps.append(SampleStep("verified", report.verified, report.detail))
    if report.verified:
        count = len(report.events)
        detail = report.reason or f"{count} event{'' if count == 1 else 's'}"
        steps.append(SampleStep("parsed", report.status != "quarantined", detail))
    return steps


def _url(call: Call, id: str, via: str) -> str:
    if via == "public_url":
        base = call.node.settings.public_url
        if not base:
            raise Problem(
                Kind.INVALID,
                "RESCIND_PUBLIC_URL is not set where the server runs: set it there, or test straight to the server.",
                field="via",
            )
        return f"{base.rstrip('/')}/webhooks/{id}"
    transport = call.request.transport
    address = transport.get_extra_info("sockname") if transport is not None else None
    if not isinstance(address, tuple):
        raise Problem(Kind.INVALID, "The server listens on no address: test with via: public_url.", field="via")
    host, port = str(address[0]), address[1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/webhooks/{id}"
