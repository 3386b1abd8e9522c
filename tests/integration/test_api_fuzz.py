"""Whatever is asked of the API, it answers with what it means or a problem, and never with a fault of its own."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of

from app.web.routes import Route
from app.web.server import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="module")
bounded = examples(250, HealthCheck.function_scoped_fixture, derandomize=True)

texts = st.text(max_size=12) | st.sampled_from(
    ["", "\0", "-1", "9" * 30, "1e400", "nan", "*", "a*b", "o-1", ACCOUNT, "yes", "2026-01-01T00:00:00Z", "\u202e"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
moments = st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat())
ids = st.sampled_from(["o-1", ACCOUNT, ENDPOINT, "can_0000000000000001", "rcp_0000000000000001", "evt_" + "0" * 32])
limits = st.fixed_dictionaries({}, optional={"requests": scalars, "per_s": scalars, "concurrency": scalars})
configs = st.fixed_dictionaries({}, optional={"api_key": scalars, "base_url": scalars, "timezone": texts, "x": values})
scopes = {"account": ids | scalars, "policy": texts, "policies": st.booleans()}
conditions = st.sampled_from(
    ["true", "order.phase == 'open'", "order.attributes.x == 1", "now > now", "event.type == 'x'"]
)
policies = st.fixed_dictionaries(
    {"accounts": st.lists(st.just("nobody") | texts), "when": conditions | texts, "cancel": values},
    optional={"wait": texts, "mode": st.just("enforce"), "limits": values, "on": st.lists(texts)},
)
fixtures = st.fixed_dictionaries({"account": ids, "order": values}, optional={"event": values, "tags": st.lists(texts)})
BODIES: dict[str, st.SearchStrategy[Any]] = {
    "CancelBody": st.fixed_dictionaries(
        {"reason": st.sampled_from(["duplicate_order"]) | scalars, "note": texts | scalars},
        optional={"deadline": moments | scalars, "dry_run": scalars, "force": scalars},
    ),
    "ResolveBody": st.fixed_dictionaries({"outcome": st.sampled_from(["succeeded", "x"]), "note": scalars}),
    "KeyBody": st.fixed_dictionaries({"name": scalars}, optional={"scope": st.just("read") | scalars}),
    "RotateBody": st.fixed_dictionaries({}, optional={"overlap_h": scalars, "secret": texts | scalars}),
    "RegisterBody": st.fixed_dictionaries({}, optional={"renew": scalars}),
    "SampleBody": st.fixed_dictionaries(
        {},
        optional={
            "via": st.sampled_from(["server", "public_url"]) | scalars,
            "body": texts | scalars,
            "headers": st.dictionaries(texts | st.sampled_from(["Content-Encoding", "Host"]), texts, max_size=3)
            | values,
        },
    ),
    "PauseBody": st.fixed_dictionaries({}, optional={**scopes, "reason": scalars}),
    "ResumeBody": st.fixed_dictionaries({}, optional=scopes),
    "ProbesBody": st.fixed_dictionaries({}, optional={"account": ids | scalars, "orders": st.lists(texts) | values}),
    "TagsBody": st.fixed_dictionaries({}, optional={"add": st.lists(texts) | values, "remove": st.lists(texts)}),
    "PolicyTestBody": st.fixed_dictionaries(
        {}, optional={"policy": policies | values, "account": ids, "order": ids, "fixture": fixtures, "at": moments}
    ),
    # Without an account that is there: no process is to be started for it.
    "BacktestBody": st.fixed_dictionaries(
        {"policy": policies | values}, optional={"since": moments, "listed": scalars}
    ),
    "BatchBody": st.fixed_dictionaries(
        {
            "cancellations": st.lists(
                st.fixed_dictionaries(
                    {"account": ids, "order": ids, "reason": st.just("duplicate_order"), "note": texts}
                ),
                max_size=3,
            )
        }
    ),
    "ResourceBody": st.fixed_dictionaries(
        {"provider": st.just("planomatic") | scalars},
        optional={"config": configs | values, "rules": values, "limits": limits | values, "verify": values},
    )
    | policies,
    "ApplyBody": st.fixed_dictionaries(
        {
            "resources": st.dictionaries(
                st.sampled_from(["accounts", "endpoints", "policies", "x"]), values, max_size=2
            )
            | values
        },
        optional={"dry_run": scalars, "prune": st.just(False)},
    ),
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes, str]:
    """(method, path and query, body, Idempotency-Key)."""
    route: Route = draw(st.sampled_from(ROUTES))
    path = route.path
    for name in ("account", "order", "id", "backtest"):
        value = draw(ids | texts.filter(bool)) if "{" + name + "}" in path else ""
        path = path.replace("{" + name + "}", quote(value.encode("utf-8", "surrogatepass"), safe=""))
    given = draw(st.dictionaries(st.sampled_from([*route.query.model_fields, "x"]), texts | moments, max_size=3))
    query = "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in given.items())
    body = b""
    if route.body is not None:
        body = draw(BODIES.get(route.body.__name__, values).map(to_json) | values.map(to_json) | st.binary(max_size=30))
    return route.method, f"{path}?{query}", body, draw(st.sampled_from(["", "k-1", "k-2", "\u00e9"]))


def to_json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return repr(value).encode("utf-8", "surrogatepass")


@bounded
@given(request=requests())
async def test_any_request(shared: Rescind, request: tuple[str, str, bytes, str]) -> None:
    if ENDPOINT not in shared.node.config.endpoints:
        await shared.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
        await shared.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        await shared.tell("order.processed", "o-1")
    method, path, body, idempotency = request
    headers = {"Idempotency-Key": idempotency} if idempotency else {}
    reply = await shared.ask(method, path, data=body or None, headers=headers)
    assert reply.status < 500, reply
    if reply.status >= 400:
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert reply.json["status"] == reply.status
    assert TOKEN.encode() not in reply.raw


async def test_it_still_serves(shared: Rescind) -> None:
    assert (await shared.get("/readyz", key=None))["status"] == "ready"
    for path in ("/v1/orders", "/v1/cancellations", "/v1/events"):
        await shared.pages(path, 20)
