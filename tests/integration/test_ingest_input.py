"""Whatever is sent gets a clear answer: never a 5xx, and nothing authentic is lost (I10)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from servers import TOKEN, Reply, Rescind, account_of, endpoint_of, webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENT = webhook("order.processed", "o-1", 1_700_000_000.0)
BODY = msgspec.json.encode(EVENT)
BODY_MAX = 1_048_576
numbers = count()


class Inbox:
    """An endpoint of its own, with an account of its own, on the Rescind that the tests share."""

    def __init__(self, rescind: Rescind, name: str) -> None:
        self.rescind, self.name = rescind, name
        self.path = f"/webhooks/{name}?token={TOKEN}"
        self.head = f"POST {self.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()

    async def receipts(self) -> list[Any]:
        return list((await self.rescind.get(f"/v1/receipts?endpoint={self.name}"))["data"])

    async def orders(self) -> list[Any]:
        return list((await self.rescind.get(f"/v1/orders?account={self.name}"))["data"])

    async def hook(self, body: bytes, **more: Any) -> Reply:
        return await self.rescind.hook(body, self.name, **more)


@pytest_asyncio.fixture(loop_scope="module")
async def inbox(shared: Rescind) -> Inbox:
    name = f"case-{next(numbers)}"
    await shared.put("accounts", name, account_of("http://127.0.0.1:9"))
    await shared.put("endpoints", name, endpoint_of(name))
    return Inbox(shared, name)


def json_of(**changes: Any) -> bytes:
    return msgspec.json.encode({**EVENT, **changes})


def literal(key: str, value: bytes) -> bytes:
    """The event with a value that no JSON encoder would write."""
    return BODY[:-1].replace(f'"{key}"'.encode(), b'"_"') + b',"' + key.encode() + b'":' + value + b"}"


QUARANTINED = {
    "empty": b"",
    "space": b"  \n",
    "text": b"hello",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "form": b"event=order.processed&order_id=1",
    "truncated": BODY[:-10],
    "two documents": BODY + BODY,
    "null": b"null",
    "number": b"7",
    "string": b'"order.processed"',
    "list": b"[" + BODY + b"]",
    "NaN": b"NaN",
    "single quotes": BODY.replace(b'"', b"'"),
    "raw NUL": BODY.replace(b"o-1", b"o\x001"),
    "BOM": b"\xef\xbb\xbf" + BODY,
    "UTF-16": BODY.decode().encode("utf-16"),
    "UTF-32": BODY.decode().encode("utf-32"),
    "latin-1": json_of(order_id="o-é").decode().encode("latin-1"),
    "overlong": BODY.replace(b"o-1", b"o-\xc0\xb1"),
    "lone surrogate": BODY.replace(b"o-1", b"\\ud83d"),
    "CESU-8": BODY.replace(b"o-1", b"\xed\xa0\xbd\xed\xb8\x80"),
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "open brackets": b"[" * 1_000_000,
    "no event": b'{"order_id":"o-1"}',
    "no order": b'{"event":"order.processed"}',
    "unknown event": json_of(event="order.exploded"),
    "event a number": json_of(event=7),
    "event an object": json_of(event={"name": "order.processed"}),
    "event empty": json_of(event=""),
    "id empty": json_of(order_id=""),
    "id blank": json_of(order_id="   "),
    "id a float": json_of(order_id=1.5),
    "id huge float": literal("order_id", b"1e400"),
    "id a list": json_of(order_id=["o-1"]),
    "id an object": json_of(order_id={"id": "o-1"}),
    "id true": json_of(order_id=True),
    "id long": json_of(order_id="x" * 201),
    "id of 400 digits": literal("order_id", b"1" + b"0" * 400),
    "id of 5000 digits": literal("order_id", b"1" + b"0" * 5000),
    "id with NUL": json_of(order_id="o\0"),
    "id with a line end": json_of(order_id="o\n"),
    "date in words": json_of(occurred_at="yesterday"),
    "month 13": json_of(occurred_at="2026-13-01T00:00:00Z"),
    "before the first year": json_of(occurred_at="0001-01-01T00:00:00+14:00"),
    "after the last year": json_of(occurred_at="9999-12-31T23:59:59-14:00"),
    "date NaN": json_of(occurred_at="nan"),
    "date infinite": literal("occurred_at", b"1e999"),
    "date huge": json_of(occurred_at=10**18),
    "date an object": json_of(occurred_at={"at": "2026-01-01T00:00:00Z"}),
}
ACCEPTED = {
    "plain": BODY,
    "white space around": b" \r\n\t" + BODY + b"\n",
    "id a number": json_of(order_id=12),
    "id negative": json_of(order_id=-12),
    "id of 64 bits": json_of(order_id=2**64 - 1),
    "id of 30 digits": literal("order_id", b"9" * 30),
    "id in other letters": json_of(order_id="заказ-1"),
    "id an emoji": json_of(order_id="\U0001f3e0"),
    "id with a slash": json_of(order_id="a/b?c#d%20e"),
    "id two dots": json_of(order_id=".."),
    "naive date": json_of(occurred_at="2026-01-01T00:00:00"),
    "a day": json_of(occurred_at="2026-01-01"),
    "first year": json_of(occurred_at="0001-01-01T00:00:00Z"),
    "year 9999": json_of(occurred_at="9999-12-31T23:59:59Z"),
    "unix seconds": json_of(occurred_at=1_700_000_000),
    "unix milliseconds": json_of(occurred_at="1700000000000"),
    "before 1970": json_of(occurred_at=-5_000_000_000),
    "no date": msgspec.json.encode({"event": "order.processed", "order_id": "o-1"}),
    "key twice": BODY[:-1] + b',"order_id":"o-2"}',
    "appointments odd": json_of(appointments=[None, 7, {}, {"start_datetime": "x"}, {"start_datetime": 1e308}]),
    "appointments no list": json_of(appointments="none"),
    "attributes huge": json_of(metadata={"a": "x" * 100_000}),
    "attributes deep": json_of(metadata=msgspec.json.decode(b'{"a":' * 50 + b"1" + b"}" * 50)),
    "attributes with NUL": json_of(metadata={"a\0": "b\0"}),
    "numbers out of range": literal("metadata", b'{"a":1e999,"b":' + b"9" * 40 + b',"c":-0.0}'),
    "many aliases": json_of(request_id=7, external_order_id="e-1", external_id="x-1"),
    "alias odd": json_of(external_order_id={"a": 1}, external_id="\0"),
    "a million bytes": json_of(_="x" * 1_000_000),
}


@pytest.mark.parametrize("body", QUARANTINED.values(), ids=QUARANTINED)
async def test_what_cannot_be_understood_is_kept(inbox: Inbox, body: bytes) -> None:
    reply = await inbox.hook(body)
    assert (reply.status, reply.json["status"]) == (202, "quarantined")
    shown = await inbox.rescind.get(f"/v1/receipts/{reply.json['receipt']}")
    assert shown["reason"]
    assert await inbox.rescind.receipt_body(reply.json["receipt"]) == body
    assert await inbox.orders() == []


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_is_odd_but_readable_is_applied(inbox: Inbox, body: bytes) -> None:
    reply = await inbox.hook(body)
    assert (reply.status, reply.json["status"]) == (200, "accepted"), reply
    assert await inbox.rescind.receipt_body(reply.json["receipt"]) == body
    (order,) = await inbox.orders()
    assert (order["phase"], order["version"]) == ("open", 1)
    known = await inbox.rescind.order(order["id"], inbox.name)
    assert known["id"] == order["id"]
    assert [each["kind"] for each in await inbox.rescind.timeline(order["id"], inbox.name)] == ["event", "verdict"]


# -- Size --------------------------------------------------------------------------------------


async def test_the_largest_body_is_taken_and_one_byte_more_is_not(inbox: Inbox) -> None:
    assert (await inbox.hook(b"x" * BODY_MAX)).status == 202
    (await inbox.hook(b"x" * (BODY_MAX + 1))).problem(413, "body-too-large")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_ten_megabytes_are_refused(inbox: Inbox, chunked: bool) -> None:
    size = 10 * BODY_MAX
    if chunked:
        part = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        sent = inbox.head + b"Transfer-Encoding: chunked\r\n\r\n" + part * (size // 65536) + b"0\r\n\r\n"
    else:
        sent = inbox.head + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
    status, answer = await inbox.rescind.raw(sent)
    assert (status, msgspec.json.decode(answer)["type"]) == (413, "urn:rescind:problem:body-too-large")
    assert await inbox.receipts() == []
    assert (await inbox.hook(BODY)).status == 200


async def test_a_body_in_chunks_is_taken(inbox: Inbox) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for byte in BODY:
            yield bytes([byte])

    reply = await inbox.rescind.ask("POST", inbox.path, data=parts(), key=None)
    assert reply.json["status"] == "accepted"
    assert await inbox.rescind.receipt_body(reply.json["receipt"]) == BODY


# -- Compressed --------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_body_is_understood_and_kept_as_received(inbox: Inbox, coding: str) -> None:
    sent = gzip.compress(BODY) if coding == "gzip" else zlib.compress(BODY)
    reply = await inbox.hook(sent, headers={"Content-Encoding": coding})
    assert (reply.status, reply.json["status"]) == (200, "accepted")
    assert await inbox.rescind.receipt_body(reply.json["receipt"]) == sent
    path = f"/v1/receipts/{reply.json['receipt']}/reprocess"
    assert (await inbox.rescind.ask("POST", path)).json["status"] == "accepted"


COMPRESSED = gzip.compress(BODY)


@pytest.mark.parametrize(
    ("sent", "coding"),
    [
        (b"not gzip", "gzip"),
        (b"", "gzip"),
        (COMPRESSED[:20], "gzip"),
        (COMPRESSED[:-8] + b"\0" * 8, "gzip"),
        (COMPRESSED[:12] + b"\xff" * 30, "gzip"),
        (COMPRESSED + COMPRESSED, "gzip"),
        (COMPRESSED + b"trailing", "gzip"),
        (BODY, "deflate"),
        (BODY, "br"),
        (BODY, "zstd"),
        (BODY, "x-unheard-of"),
        (COMPRESSED, "gzip, gzip"),
        (gzip.compress(b"0" * 50_000_000), "gzip"),
    ],
    ids=[
        "garbage",
        "empty",
        "cut",
        "sum",
        "broken",
        "twice",
        "trailing",
        "deflate",
        "br",
        "zstd",
        "odd",
        "list",
        "bomb",
    ],
)
async def test_a_broken_coding_is_answered_clearly(inbox: Inbox, sent: bytes, coding: str) -> None:
    head = inbox.head + f"Content-Encoding: {coding}\r\nContent-Length: {len(sent)}\r\n\r\n".encode()
    status, answer = await inbox.rescind.raw(head + sent)
    assert status in (200, 202, 400, 413, 415), (status, answer)
    if status < 300:
        assert await inbox.rescind.receipt_body(msgspec.json.decode(answer)["receipt"]) == sent
    else:
        assert msgspec.json.decode(answer)["status"] == status


# -- Requests that are not what HTTP promises ------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["%", "%zz", "%ED%A0%80", "%FF=%FE", "a=%00", "&&&", "=", "a;b", "x=" + "y" * 5000, "%u0041", "a[]=1&a[]=2"],
)
async def test_garbage_in_the_query_is_no_obstacle(inbox: Inbox, query: str) -> None:
    head = inbox.head.replace(f"?token={TOKEN}".encode(), f"?token={TOKEN}&{query}".encode())
    status, answer = await inbox.rescind.raw(head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    assert status == 200, answer
    assert await inbox.rescind.receipt_body(msgspec.json.decode(answer)["receipt"]) == BODY


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"User-Agent:\r\n",
        b"X-Odd: \xff\xfe\r\n",
        b"X-Odd: \xc3\xa9\r\n",
        b"Content-Type: application/json; charset=utf-16\r\n",
        b"Content-Type: nonsense\r\n",
        b"X-Twice: 1\r\nX-Twice: 2\r\n",
        b"Expect: 100-continue\r\n",
        b"Cookie: a=b; c=\r\n",
    ],
    ids=["none", "empty", "bytes", "utf-8", "charset", "type", "twice", "expect", "cookie"],
)
async def test_odd_headers_are_no_obstacle(inbox: Inbox, lines: bytes) -> None:
    status, answer = await inbox.rescind.raw(inbox.head + lines + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    assert status == 200, answer
    receipt = await inbox.rescind.get(f"/v1/receipts/{msgspec.json.decode(answer)['receipt']}")
    names = [name.lower() for name, _ in receipt["headers"]]
    assert names.count("x-twice") == lines.count(b"X-Twice")


@pytest.mark.parametrize(
    "sent",
    [
        b"HEADContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        b"HEADContent-Type: text/json\r\nContent-Type: text/xml\r\n\r\n",
        b"HEADContent-Length: -1\r\n\r\n",
        b"HEADContent-Length: five\r\n\r\n12345",
        b"HEADTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"HEADTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HEADTransfer-Encoding: nonsense\r\n\r\n",
        b"HEADX-Long: " + b"x" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"POST PATH HTTP/9.9\r\n\r\n",
        b"HEADno colon\r\n\r\n",
        b"PO ST PATH HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["lengths", "types", "minus", "words", "both", "chunk", "coding", "long", "version", "colon", "method", "tls"],
)
async def test_what_is_no_http_is_refused(inbox: Inbox, sent: bytes) -> None:
    sent = sent.replace(b"HEAD", inbox.head).replace(b"PATH", inbox.path.encode())
    status, _ = await inbox.rescind.raw(sent, half_close=True)
    assert status in (0, 400, 431, 501, 505)
    assert await inbox.receipts() == []
    assert (await inbox.hook(BODY)).status == 200


@pytest.mark.parametrize("half_close", [False, True], ids=["close", "half-close"])
async def test_half_a_body_is_no_webhook(inbox: Inbox, half_close: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = inbox.head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:40]
    with monkeypatch.context() as patch:
        patch.setattr(inbox.rescind.bodies, "_timeout_s", 0.2)  # of this one only: others may be slow on a busy machine
        status, answer = await inbox.rescind.raw(sent, half_close=half_close)
    assert status in (0, 400, 408), answer
    assert await inbox.receipts() == []
    assert (await inbox.rescind.get("/readyz", key=None))["status"] == "ready"
    assert (await inbox.hook(BODY)).json["status"] == "accepted"


async def test_absent_headers_and_body(inbox: Inbox) -> None:
    head = f"POST {inbox.path} HTTP/1.0\r\n\r\n".encode()
    status, answer = await inbox.rescind.raw(head)
    assert status == 202
    receipt = await inbox.rescind.get(f"/v1/receipts/{msgspec.json.decode(answer)['receipt']}")
    assert (receipt["headers"], receipt["size"], receipt["account"]) == ([], 0, inbox.name)
