"""The Python client does what its operations say, against a real server: typed, paged, repeated, and refused."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from aiohttp import web
from conftest import Start
from generator.client.files import by_tag
from generator.client.methods import Method, methods_of
from providers import Provider
from servers import ACCOUNT, BOOTSTRAP_KEY, CANCEL_BODY, ENDPOINT, ROOT, Rescind, account_of, endpoint_of

from app.runtime.http_server import EndingRunner, stop_listening
from app.web import openapi
from app.web.server import ROUTES
from rescind_client import AsyncRescind, ConnectionFailed, Problem, Retries, models, problems
from rescind_client import Rescind as Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
T = TypeVar("T")
AT_ONCE = Retries(count=2, wait_max_s=1)


async def in_thread(rescind: Rescind, work: Callable[[Client], T]) -> T:
    """What `work` returns; the client waits in a thread, as the server runs in this one."""
    with Client(rescind.url, BOOTSTRAP_KEY) as client:
        return await asyncio.to_thread(work, client)


@asynccontextmanager
async def answering(*statuses: int, retry_after: str = "0") -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server that answers with these statuses, in turn, and the last one from then on; 0 is a broken connection."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        asked.append(request)
        status = statuses[min(len(asked), len(statuses)) - 1]
        if status == 0:
            assert request.transport is not None
            request.transport.close()
        body = {"paused": []} if status == 200 else {"type": "urn:rescind:problem:busy", "title": "Busy", "detail": "x"}
        return web.json_response(body, status=status or 200, headers={"Retry-After": retry_after})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = EndingRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def test_orders_are_canceled_and_read_with_types(shared: Rescind) -> None:
    provider = await Provider.start()
    await provider.create("c-1", "c-2")
    await shared.put("accounts", ACCOUNT, account_of(provider.url))
    await shared.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await shared.tell("order.processed", "c-1")
    appointment = {"id": "a-1", "start_datetime": "2030-01-01T10:00:00Z", "confirmed": True}
    await shared.tell("appointment.scheduled", "c-2", appointments=[appointment])

    def work(client: Client) -> None:
        assert client.cancellations.dry_run(ACCOUNT, "c-1", **CANCEL_BODY).would == "send"
        created = client.cancellations.create(ACCOUNT, "c-1", **CANCEL_BODY, idempotency_key="once")
        assert isinstance(created, models.Cancellation)
        assert created.requested_at.tzinfo is not None
        again = client.cancellations.create(ACCOUNT, "c-1", **CANCEL_BODY, idempotency_key="once")
        assert again.id == created.id
        order = client.orders.get(ACCOUNT, "c-2")
        assert order.appointments[0].starts_at == datetime(2030, 1, 1, 10, tzinfo=UTC)
        with pytest.raises(problems.OrderNotCancelable) as refused:
            client.cancellations.create(ACCOUNT, "c-2", **CANCEL_BODY)
        assert refused.value.members["verdict"]["reason"] == "appointment_confirmed"
        with pytest.raises(problems.NotFound, match="no account 'nobody'"):
            client.orders.get("nobody", "a/b ?")
        assert client.orders.change_tags(ACCOUNT, "c-2", add=["vip"]).tags == ["vip"]
        entries = list(client.orders.iterate_timeline(ACCOUNT, "c-2", limit=1))
        assert [entry.kind for entry in entries][:2] == ["event", "verdict"]
        assert len(entries) > 3

    await in_thread(shared, work)
    await provider.close()


async def test_no_secret_is_in_what_is_printed_of_a_response(shared: Rescind) -> None:
    await shared.put("accounts", "printed", account_of("http://127.0.0.1:9"))
    async with AsyncRescind(shared.url, BOOTSTRAP_KEY) as client:
        key = await client.keys.create(name="printed")
        setup = await client.endpoints.create({"account": "printed", "verify": {"scheme": "token"}})
        assert key.key is not None
        assert setup.secret is not None
        printed = f"{key} {setup} {client!r} {client.keys!r} {vars(client)}"
    assert "name='printed'" in printed
    assert all(secret not in printed for secret in (key.key, setup.secret, BOOTSTRAP_KEY))


async def test_pages_are_followed_by_both_clients(shared: Rescind) -> None:
    await shared.put("accounts", "pages", account_of("http://127.0.0.1:9"))
    await shared.put("endpoints", "pages-in", endpoint_of("pages"))
    orders = [f"p-{number}" for number in range(5)]
    for order in orders:
        await shared.tell("order.processed", order, "pages-in")
    waited = await in_thread(shared, lambda client: list(client.orders.iterate(account="pages", limit=2)))
    async with AsyncRescind(shared.url, BOOTSTRAP_KEY) as client:
        awaited = [order async for order in client.orders.iterate(account="pages", limit=2)]
        first = await client.orders.list(account="pages", limit=2)
    assert [order.id for order in waited] == [order.id for order in awaited] == orders[::-1]
    assert (len(first.data), first.has_more, first.complete) == (2, True, True)


async def test_what_the_server_was_too_busy_for_is_repeated_with_the_same_key() -> None:
    async with answering(503, 429, 200) as (url, asked), AsyncRescind(url, "k", retries=AT_ONCE) as client:
        assert (await client.operation.pause(scope="all")).paused == []
        assert len(asked) == 3
    async with answering(503) as (url, asked), AsyncRescind(url, "k", retries=AT_ONCE) as client:
        with pytest.raises(problems.Busy) as busy:
            await client.keys.create(name="ci")
        assert busy.value.retry_after == "0"
        assert len(asked) == 3
        assert len({request.headers["Idempotency-Key"] for request in asked}) == 1
    async with answering(503, 200, retry_after="60") as (url, asked), AsyncRescind(url, "k", retries=AT_ONCE) as client:
        with pytest.raises(problems.Busy):
            await client.operation.pause(scope="all")
        assert len(asked) == 1, "it waits for no longer than it may"


async def test_a_broken_connection_is_repeated_only_if_that_has_no_further_effect() -> None:
    async with answering(0) as (url, asked), AsyncRescind(url, "k", retries=Retries(count=1)) as client:
        with pytest.raises(ConnectionFailed, match="POST /v1/pause"):
            await client.operation.pause(scope="all")
        assert len(asked) == 1
        with pytest.raises(ConnectionFailed):
            await client.keys.create(name="ci")
        assert len(asked) == 3

    def work(url: str) -> None:
        with Client(url, "k", retries=Retries(count=1)) as waiting, pytest.raises(ConnectionFailed):
            waiting.orders.list()

    async with answering(0) as (url, asked):
        await asyncio.to_thread(work, url)
        assert len(asked) == 2


async def test_without_a_key_the_server_says_that_one_is_needed(
    shared: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESCIND_API_KEY", raising=False)
    async with AsyncRescind(shared.url) as client:
        with pytest.raises(problems.Unauthorized, match="Send an API key"):
            await client.operation.get_status()


async def test_a_response_that_is_no_problem_is_one_all_the_same() -> None:
    async def gateway(_request: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>Bad Gateway")

    runner = web.ServerRunner(web.Server(gateway))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AsyncRescind(f"http://127.0.0.1:{runner.addresses[0][1]}", "k") as client:
        with pytest.raises(Problem, match="502 Error: <html>Bad Gateway"):
            await client.orders.list()
    await stop_listening(runner)
    await runner.cleanup()


async def test_every_operation_is_a_method_whose_example_is_accepted(shared: Rescind) -> None:
    """Each is called with the examples of the OpenAPI document. What they name need not exist: 404 and 409 are fine."""
    document = openapi.document(ROUTES, "")
    await shared.put("accounts", "acme-photos", account_of("http://127.0.0.1:9"))
    await shared.put("endpoints", "acme-photos-in", endpoint_of("acme-photos"))
    await shared.tell("order.processed", "654321", "acme-photos-in")
    succeeded: set[str] = set()
    refused: list[tuple[str, Problem]] = []
    async with AsyncRescind(shared.url, BOOTSTRAP_KEY, retries=Retries(0)) as client:
        for tag, method, arguments in sorted(_calls(document), key=lambda call: call[1].verb == "DELETE"):
            try:
                call = getattr(getattr(client, tag), method.name)
                if method.is_stream:
                    _ = [event async for event in call(**arguments, follow=False)]
                else:
                    await call(**arguments)
            except Problem as problem:
                refused.append((f"{tag}.{method.name}", problem))
            else:
                succeeded.add(method.path)
    assert all(problem.slug for _, problem in refused), "a type of problem that the client does not know"
    faults = [(name, str(problem)) for name, problem in refused if problem.status not in (404, 409, 502, 503)]
    assert [fault for fault in faults if not fault[1].endswith(_EXPECTED)] == []
    assert len(succeeded) > 25


_EXPECTED = ("register the endpoint's URL there by hand.", "only one without a url is pulled.", "stopped (SIGTERM).")
"""How the refusals end that are due to what the examples name, and to there being no other node."""


def _calls(document: dict[str, Any]) -> Iterator[tuple[str, Method, dict[str, Any]]]:
    """(resource, method, arguments) for every operation."""
    for tag, operations in by_tag(document).items():
        for verb, path, operation in operations:
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            body = content.get("example", {})
            variables = {given["name"]: given["example"] for given in operation["parameters"] if given["in"] == "path"}
            for method in methods_of(tag, [(verb, path, operation)], document["components"]["schemas"]):
                fields = (
                    {"resource": body} if method.whole_body else {key: body[key] for key in body if key != "dry_run"}
                )
                yield tag, method, {**variables, **fields}


@pytest.mark.asyncio(loop_scope="function")
async def test_the_example_of_the_documentation_runs(start: Start) -> None:
    page = (ROOT / "docs/how-to/use-the-python-client.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(programs) == 2
    rescind, provider = await start(), await Provider.start()
    await provider.create("654321")
    await rescind.put("accounts", "acme-photos", account_of(provider.url))
    await rescind.put("endpoints", "acme-photos-in", endpoint_of("acme-photos"))
    for program in programs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", program),
            env={**os.environ, "RESCIND_URL": rescind.url, "RESCIND_API_KEY": BOOTSTRAP_KEY},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b""), errors.decode()
        assert b"654321" in output, output
    await provider.close()
