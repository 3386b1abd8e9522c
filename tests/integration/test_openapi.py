"""`/openapi.json` is valid, complete, and true of what is served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio
from providers import Provider, until
from servers import ACCOUNT, ENDPOINT, STREAM, Rescind, account_of, endpoint_of
from streams import stream

from app.core.outbound.examples import NOW, message
from app.core.outbound.message import Target
from app.core.outbound.types import CLOSING_SOON
from app.store import Changes
from app.web.console.pages import FILES as CONSOLE_FILES
from app.web.console.pages import PAGES as CONSOLE_PAGES
from app.web.console.rendering import STATIC
from app.web.problems import Kind
from app.web.routes import Route
from app.web.server import ROUTES, make_app

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATHS = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/scalar.js", "/docs/start.js")
PAGES = {("GET", "/approvals/{token}"), ("POST", "/approvals/{token}")}
OPERATIONAL = {("GET", path) for path in PATHS} | PAGES
CONSOLE = {(page.method, page.path) for page in (*CONSOLE_PAGES, *CONSOLE_FILES)} | {
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("POST", "/sign-out"),
    *(("GET", f"/static/{file.name}") for file in STATIC.iterdir()),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document(shared: Rescind) -> dict[str, Any]:
    return dict(await shared.get("/openapi.json", key=None))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(shared: Rescind) -> Rescind:
    """A Rescind with something of everything."""
    provider = await Provider.start()
    await provider.create("o-1", "o-2")
    await shared.put("accounts", ACCOUNT, account_of(provider.url))
    await shared.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    appointment = {"id": "a-1", "start_datetime": "2030-01-01T10:00:00Z", "confirmed": True}
    await shared.tell("order.processed", "o-1", request_id="r-1")
    await shared.tell("appointment.scheduled", "o-2", appointments=[appointment])
    await shared.hook(b"\xff")
    await shared.settled(await shared.cancel("o-1"))
    await shared.ask("POST", "/v1/pause", {"account": ACCOUNT})
    await shared.cancel("o-3")
    await shared.request_cancel("o-2")
    await shared.ask("POST", "/v1/keys", {"name": "ci"})
    words = {"reason": "duplicate_order", "note": "x"}
    await shared.put("policies", "p", {"accounts": [ACCOUNT], "when": "order.phase == 'open'", "cancel": words})
    await shared.put("subscriptions", "crm", {"url": "https://crm.example/hooks", "enabled": False})
    written = message(1, CLOSING_SOON, NOW, ACCOUNT, (Target("crm"),))
    async with shared.node.store.transaction() as transaction:
        await transaction.commit(Changes(messages=[written]))
    await shared.ask("POST", f"/v1/accounts/{ACCOUNT}/orders/o-2/tags", {"add": ["vip"]})
    items = [{"account": ACCOUNT, "order": "o-4", **words}, {"account": "nobody", "order": "o-4", **words}]
    await shared.ask("POST", "/v1/cancellation-batches", {"cancellations": items})
    started = (await shared.ask("POST", "/v1/policies/p/backtest", {})).json

    async def ended() -> bool:
        return bool((await shared.get(f"/v1/policies/p/backtests/{started['id']}"))["state"] == "done")

    await until(ended, "the end of the backtest")
    await provider.close()
    return shared


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(each)


TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def conforms(value: Any, schema: dict[str, Any], document: dict[str, Any], where: str = "$") -> None:
    """Assert that `value` is as the schema says, for as much of JSON Schema as the document uses."""
    assert schema is not False, f"{where} is one too many"
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        faults = [fault for option in schema["anyOf"] if (fault := fault_of(value, option, document, where))]
        assert len(faults) < len(schema["anyOf"]), f"{where}: none of anyOf: {faults}"
    expected = TYPES.get(schema.get("type", ""), object)
    assert isinstance(value, expected), f"{where}: {value!r} is not {schema['type']}"
    assert value in schema.get("enum", [value]), f"{where}: {value!r} is not in {schema.get('enum')}"
    if isinstance(value, dict):
        missing = set(schema.get("required", ())) - set(value)
        assert not missing, f"{where}: without {missing}"
        for key, each in value.items():
            described = schema.get("properties", {key: {}})
            assert key in described, f"{where}: {key} is not described"
            conforms(each, described[key], document, f"{where}.{key}")
    for index, each in enumerate(value if isinstance(value, list) else ()):
        described = [*schema.get("prefixItems", ()), *[schema.get("items", {})] * len(value)][index]
        conforms(each, described, document, f"{where}[{index}]")


def fault_of(value: Any, schema: dict[str, Any], document: dict[str, Any], where: str) -> str:
    try:
        conforms(value, schema, document, where)
    except AssertionError as fault:
        return str(fault)
    return ""


async def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert {"title", "version"} <= set(document["info"])
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names) == len(ROUTES) + 3
    schemas = document["components"]["schemas"]
    for node in nodes(document):
        if "$ref" in node:
            assert node["$ref"].startswith("#/components/schemas/")
            assert node["$ref"].rpartition("/")[2] in schemas
    for method, path, operation in operations(document):
        assert operation["summary"].endswith("."), path
        assert operation["responses"], path
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[2-5]\d\d", status)
            assert response["description"], (method, path, status)
        in_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert all(each["required"] for each in operation["parameters"] if each["in"] == "path")
        assert ("requestBody" in operation) <= (method in ("POST", "PUT"))
        for each in operation["parameters"]:
            assert each["schema"], each


async def test_what_is_served_is_what_is_described(shared: Rescind, document: dict[str, Any]) -> None:
    described = {(method, path) for method, path, _ in operations(document)}
    served = {
        (route.method, resource.canonical)
        for resource in make_app(shared.node).router.resources()
        for route in resource
        if route.method not in ("HEAD", "*")
    }
    assert served - OPERATIONAL - CONSOLE == described
    for path, methods in document["paths"].items():
        url = re.sub(r"{\w+}", "x", path)
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            reply = await shared.ask(method, url)
            assert (reply.status == 405) == (method.lower() not in methods), (method, path, reply.status)


async def test_every_answer_to_a_webhook_is_described(document: dict[str, Any]) -> None:
    # 400: the body did not arrive in time.
    expected = {"200", "202", "400", "401", "403", "404", "413", "429", "503"}
    assert set(document["paths"]["/webhooks/{endpoint}"]["post"]["responses"]) == expected


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_the_parameters_are_those_that_are_read(document: dict[str, Any], route: Route) -> None:
    operation = document["paths"][route.path][route.method.lower()]
    in_query = {each["name"]: each for each in operation["parameters"] if each["in"] == "query"}
    assert set(in_query) == set(route.query.model_fields)
    in_header = [each["name"] for each in operation["parameters"] if each["in"] == "header"]
    assert in_header == ["Idempotency-Key"] * route.idempotency_key + ["Last-Event-ID"] * route.is_stream
    if route.body is not None:
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        fields = document["components"]["schemas"][name].get("properties", {})
        assert set(fields) == set(route.body.model_fields)
    assert str(route.status) in operation["responses"]
    assert operation["description"].endswith(f"Requires an API key of scope `{route.scope}`.")
    assert operation["security"] == [{"apiKey": [route.scope]}]


async def test_answers_are_as_described(busy: Rescind, document: dict[str, Any]) -> None:
    await busy.node.log_sealer.seal()
    cancellations = (await busy.get("/v1/cancellations"))["data"]
    receipt = (await busy.get("/v1/receipts"))["data"][0]["id"]
    event = (await busy.get("/v1/events"))["data"][0]["id"]
    ids = {"accounts": [ACCOUNT], "endpoints": [ENDPOINT], "events": [event], "receipts": [receipt]}
    ids["cancellations"] = [each["id"] for each in cancellations]
    ids["cancellation-batches"] = [each["batch"] for each in cancellations if each["batch"]]
    backtest = (await busy.get("/v1/policies/p/backtests"))["data"][0]["id"]
    ids["attempts"] = [row["id"] for row in (await busy.get("/v1/attempts"))["data"]]
    ids["messages"] = ["msg_0000000000000001"]
    ids["policies"], ids["subscriptions"] = ["p"], ["crm"]
    seen = 0
    for method, path, operation in operations(document):
        if method != "GET" or path == "/webhooks/{endpoint}":
            continue
        ((kind, content),) = operation["responses"]["200"]["content"].items()
        if kind == "text/event-stream":
            assert path == STREAM
            async with stream(busy, "follow=false&since=2000-01-01T00:00:00Z") as opened:
                for row in await opened.rest():
                    conforms(row, content["x-item-schema"], document, path)
            continue
        schema = content["schema"]
        for id in ids.get(path.split("/")[2], ["-"]):
            for order in ("o-1", "o-2", "o-3") if "{order}" in path else ("-",):
                url = path.replace("{account}", ACCOUNT).replace("{order}", order).replace("{id}", id)
                url = url.replace("{backtest}", backtest).replace("{message}", "msg_0000000000000001")
                conforms(await busy.get(url), schema, document, url)
                seen += 1
    assert seen > 20


async def test_problems_are_as_described(busy: Rescind, document: dict[str, Any]) -> None:
    problem = document["components"]["schemas"]["Problem"]
    assert problem["properties"]["type"]["enum"] == [f"urn:rescind:problem:{kind.slug}" for kind in Kind]
    path = "/v1/accounts/{account}/orders/{order}/cancellations"
    bodies: list[tuple[Any, str]] = [
        ({"reason": "duplicate_order", "note": "x"}, "o-3"),
        ({"reason": "duplicate_order", "note": "x"}, "o-2"),
        ({"reason": "bad", "note": "x"}, "o-1"),
        ({}, "o-1"),
        (b"{", "o-1"),
        (b"x" * 2_000_000, "o-1"),
    ]
    for body, order in bodies:
        url = path.replace("{account}", ACCOUNT).replace("{order}", order)
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        reply = await busy.ask("POST", url, **sent)
        conforms(reply.json, {**problem, "properties": {**problem["properties"], **_extra()}}, document)
        described = document["paths"][path]["post"]["responses"]
        assert str(reply.status) in described, reply
        slug = reply.json["type"].rpartition(":")[2]
        assert f"`{slug}`" in described[str(reply.status)]["description"], slug


def _extra() -> dict[str, Any]:
    return {name: {} for name in ("verdict", "cancellation", "errors", "field")}


async def test_every_event_has_every_field_of_its_schema(busy: Rescind, document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Event"]
    assert set(schema["required"]) == set(schema["properties"])
    events = (await busy.get("/v1/events"))["data"]
    assert events
    assert all(set(event) == set(schema["required"]) for event in events)
