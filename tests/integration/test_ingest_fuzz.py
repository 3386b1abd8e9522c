"""Whatever bodies hold: an authentic request is answered 200 or 202, and its receipt gives them back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from servers import TOKEN, Rescind, account_of, endpoint_of

from handlers.planomatic.words import EVENT_TRIGGERS, ORDER_STATUSES

pytestmark = pytest.mark.asyncio(loop_scope="module")
bounded = examples(150, HealthCheck.function_scoped_fixture, derandomize=True)

texts = st.text(max_size=20) | st.sampled_from(["", "\0", "o-1", "o-2", "-1", "nan", "1e999", "\u202e", "\U0001f3e0"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
dates = st.datetimes().map(str) | st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()) | scalars
ids = st.sampled_from(["o-1", "o-2", "o-3", 1, 2]) | values
appointments = st.lists(
    st.fixed_dictionaries({}, optional={"id": ids, "status": values, "start_datetime": dates, "end_datetime": dates})
    | values,
    max_size=3,
)
payloads = st.fixed_dictionaries(
    {"event": st.sampled_from(sorted(EVENT_TRIGGERS)) | values, "order_id": ids},
    optional={
        "request_id": ids,
        "external_order_id": ids,
        "occurred_at": dates,
        "request_datetime": dates,
        "status": st.sampled_from(sorted(ORDER_STATUSES)) | values,
        "appointments": appointments | values,
        "metadata": values,
        "property": values,
        "data": values,
        "order": values,
    },
)


def to_json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return repr(value).encode("utf-8", "surrogatepass")


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A payload with some bytes cut out, put in or changed."""
    body = bytearray(to_json(draw(payloads)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body)


bodies = st.binary(max_size=200) | values.map(to_json) | payloads.map(to_json) | spoiled()


@bounded
@given(body=bodies)
async def test_any_body(shared: Rescind, body: bytes) -> None:
    if not shared.node.config.endpoints:
        await shared.put("accounts", "fuzz", account_of("http://127.0.0.1:9"))
        await shared.put("endpoints", "fuzz", endpoint_of("fuzz"))
    reply = await shared.hook(body, "fuzz")
    assert reply.status == (202 if reply.json["status"] == "quarantined" else 200), reply
    assert await shared.receipt_body(reply.json["receipt"]) == body
    again = await shared.hook(body, "fuzz")
    assert again.json["status"] in ("duplicate", "ignored", "quarantined")
    reprocessed = await shared.ask("POST", f"/v1/receipts/{reply.json['receipt']}/reprocess")
    known = ("accepted", "duplicate")
    expected = known if reply.json["status"] in known else (reply.json["status"],)
    assert (reprocessed.status, reprocessed.json["status"] in expected) == (200, True)


@bounded
@given(query=st.binary(max_size=40), name=texts, value=st.binary(max_size=30))
async def test_any_query_and_header(shared: Rescind, query: bytes, name: str, value: bytes) -> None:
    line = "".join(chr(byte) if 33 <= byte < 127 and byte not in b'#"<>' else f"%{byte:02x}" for byte in query)
    header = bytes(byte for byte in value if byte not in b"\r\n\0")
    label = "".join(char for char in name if char.isascii() and char.isalnum()) or "x"
    head = f"POST /webhooks/fuzz?token={TOKEN}&{line} HTTP/1.1\r\nHost: x\r\nX-{label}: ".encode() + header
    status, answer = await shared.raw(head + b"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
    assert status in (202, 400), answer
    if status == 202:
        assert await shared.receipt_body(msgspec.json.decode(answer)["receipt"]) == b"{}"


async def test_what_was_made_of_it_can_be_shown(shared: Rescind) -> None:
    assert (await shared.get("/readyz", key=None))["status"] == "ready"
    assert await shared.pages("/v1/receipts", 50)
    assert await shared.pages("/v1/events", 50)
    for order in await shared.pages("/v1/orders", 50):
        assert (await shared.order(order["id"], "fuzz"))["version"] == order["version"]
        assert await shared.timeline(order["id"], "fuzz")
