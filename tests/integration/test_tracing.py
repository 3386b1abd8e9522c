"""Traces: one goes from a webhook through the commit, the policy, the call and its answer to the delivery."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from contract.store_cases import commit
from integration.test_policies import save
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from providers import Provider, until
from receivers import Receiver
from servers import ACCOUNT, Rescind, account_of, endpoint_of
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from app.contract import HttpRequest
from app.runtime import ids, tracing
from app.runtime.http_client import Conversation, converse, open_session
from app.store import Store
from app.workers.trace_upkeep import KEPT, TraceUpkeep

pytestmark = pytest.mark.usefixtures("quick")


class Spans:
    """What was traced."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def of_trace(self, trace: int) -> dict[str, ReadableSpan]:
        spans = [span for span in self.exporter.get_finished_spans() if span.context.trace_id == trace]
        return {span.name: span for span in spans}

    def has_attempt(self, trace: int) -> bool:
        """Whether an attempt to cancel that belongs to the trace has ended."""
        return "attempt cancel" in self.of_trace(trace)


@pytest.fixture
def spans() -> Iterator[Spans]:
    traced = Spans()
    tracing.use(traced.provider)
    yield traced
    tracing.shut_down()


async def configure(rescind: Rescind, provider: Provider, receiver: Receiver) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url))
    await rescind.put("endpoints", "acme-in", endpoint_of(ACCOUNT))
    await rescind.put("subscriptions", "crm", {"url": receiver.url, "events": ["cancellation.succeeded"]})
    await save(rescind)


def trace_of(headers: Any) -> int:
    return int(headers["traceparent"].split("-")[1], 16)


async def test_one_trace_goes_from_the_webhook_to_the_delivery_also_through_a_restart(
    start: Any, provider: Provider, receiver: Receiver, spans: Spans
) -> None:
    rescind = await start()
    await configure(rescind, provider, receiver)
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await provider.create("o-1")
    receipt = await rescind.tell("order.processed", "o-1")
    await rescind.stop()
    rescind = await start()
    await rescind.ask("POST", "/v1/resume", {"scope": "all"})

    async def delivered() -> bool:
        return bool(spans.named("deliver"))

    await until(delivered, "the delivery")
    [webhook] = spans.named("POST /webhooks/{endpoint}")
    # The delivery may end before the attempt does, which has recorded its result by then.
    await until(lambda: asyncio.sleep(0, spans.has_attempt(webhook.context.trace_id)), "the end of the attempt")
    assert webhook.attributes is not None
    assert webhook.attributes["rescind.receipt"] == receipt
    assert webhook.parent is None
    trace = spans.of_trace(webhook.context.trace_id)
    about = {"rescind.account": ACCOUNT, "rescind.order": "o-1"}
    for name in ("policy.acted", "cancellation.scheduled", "attempt cancel", "cancellation.succeeded"):
        assert about.items() <= dict(trace[name].attributes or {}).items(), name
    assert trace["attempt cancel"].attributes["rescind.outcome"] == "succeeded"  # type: ignore[index]
    assert trace["call POST"].attributes["rescind.status_code"] == 200  # type: ignore[index]
    assert trace["call POST"].parent.span_id == trace["attempt cancel"].context.span_id  # type: ignore[union-attr]
    assert trace["deliver"].attributes["rescind.outcome"] == "delivered"  # type: ignore[index]
    assert {trace_of(request.headers) for request in receiver.requests} == {webhook.context.trace_id}
    others = {span.context.trace_id for span in spans.named("POST /v1/resume")}
    assert webhook.context.trace_id not in others


async def test_a_cancel_by_the_api_continues_the_trace_of_its_caller(
    start: Any, provider: Provider, receiver: Receiver, spans: Spans
) -> None:
    rescind = await start()
    await configure(rescind, provider, receiver)
    await rescind.ask("DELETE", "/v1/policies/p")
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    context = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    reply = await rescind.request_cancel("o-1", headers=context)
    assert reply.headers["X-Request-Id"].startswith("req_")
    await rescind.settled(reply.json["id"])

    async def delivered() -> bool:
        return bool(receiver.requests)

    await until(delivered, "the delivery")
    assert trace_of(receiver.requests[0].headers) == trace_of(context)
    await until(lambda: asyncio.sleep(0, spans.has_attempt(trace_of(context))), "the end of the attempt")


async def test_providers_get_the_context_only_if_that_is_configured(receiver: Receiver, spans: Spans) -> None:
    async with open_session((ip_network("127.0.0.0/8"),)) as session:

        async def call() -> Any:
            def flow() -> Any:
                yield HttpRequest("POST", f"{receiver.url}/cancel?token=secret", {"X-A": "1"})

            async def permit(_: HttpRequest) -> None:
                return None

            await converse(flow(), session, Conversation(), permit)
            return receiver.requests[-1].headers

        assert "traceparent" not in await call()
        tracing.use(spans.provider, providers=True)
        headers = await call()
        assert headers["X-A"] == "1"
        assert trace_of(headers) == spans.named("call POST")[-1].context.trace_id
        tracing.shut_down()
        assert "traceparent" not in await call()
    assert not any("secret" in str(span.attributes) for span in spans.exporter.get_finished_spans())


async def test_nothing_is_stored_while_tracing_is_off(rescind: Rescind, provider: Provider) -> None:
    await save(rescind)
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    (listed,) = (await rescind.get("/v1/cancellations?policy=p"))["data"]
    await rescind.settled(listed["id"])
    assert await rescind.node.store.trace_contexts([listed["id"]]) == {}


def test_nothing_is_imported_while_tracing_is_off() -> None:
    script = "import app.cli.main, app.serve, sys; sys.exit(any('opentelemetry' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


async def test_old_contexts_are_deleted_and_the_first_one_stays(rescind: Rescind) -> None:
    store: Store = rescind.node.store
    now = datetime.now(UTC)
    old, new = (ids.at(int((now - KEPT + timedelta(hours=hours)).timestamp() * 1000)) for hours in (-1, 1))
    names = [ids.show(prefix, id) for prefix in (ids.CANCELLATION, ids.MESSAGE) for id in (old, new)]
    await commit(store, traces=dict.fromkeys(names, "first"))
    await commit(store, traces=dict.fromkeys(names, "second"))
    await TraceUpkeep(store).delete_old(now)
    assert await store.trace_contexts(names) == dict.fromkeys((names[1], names[3]), "first")


async def test_log_lines_have_the_ids_of_what_they_are_about(rescind: Rescind, provider: Provider) -> None:
    def note(_logger: Any, _method: str, event: Any) -> Any:
        return {**get_contextvars(), **event}

    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    seen: list[dict[str, Any]] = []
    original = rescind.node.duties.tools.session._request

    async def failing(*_: Any, **__: Any) -> Any:
        seen.append(get_contextvars())
        raise RuntimeError("broken")

    rescind.node.duties.tools.session._request = failing  # type: ignore[method-assign]
    with capture_logs([note]) as logged:
        id = await rescind.cancel("o-1")

        async def failed() -> bool:
            return "handler_failed" in {line["event"] for line in logged}

        await until(failed, "the call that fails")
        await rescind.node.pause("all", "enough", "test")
    rescind.node.duties.tools.session._request = original  # type: ignore[method-assign]
    assert {"account": ACCOUNT, "order": "o-1", "cancellation": id}.items() <= seen[0].items()
    assert seen[0]["attempt"].startswith("att_")
    assert "request" not in seen[0]
    lines = [line for line in logged if line["event"] == "handler_failed"]
    assert [line["cancellation"] for line in lines[:1]] == [id]
