"""No credential reaches the database or an answer, wherever in a webhook or a provider's answer it stands (I9)."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import msgspec
from providers import PROVIDER_KEY, Provider
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of, stored_in, webhook

from app.runtime.redaction import REDACTED

PASSWORD = "basic-pass/word+0123"
SPELLINGS = (
    *(TOKEN, PROVIDER_KEY, PASSWORD),
    *(quote(PASSWORD, safe=""), quote(PASSWORD, safe="").lower(), PASSWORD.replace("/", "\\/")),
    *(b64encode(each.encode()).decode().rstrip("=")[:-1] for each in (TOKEN, PROVIDER_KEY, PASSWORD)),
    b64encode(f"hook:{PASSWORD}".encode()).decode()[8:-4],
)


def basic(user: str) -> str:
    return "Basic " + b64encode(f"{user}:{PASSWORD}".encode()).decode()


async def use_basic(rescind: Rescind) -> None:
    verify = {"scheme": "basic", "username": "hook", "secrets": [PASSWORD, TOKEN]}
    await rescind.put("endpoints", ENDPOINT, {"account": ACCOUNT, "verify": verify})


async def stored_without_secrets(rescind: Rescind, directory: Path, ids: list[str]) -> None:
    for id in ids:
        shown = (await rescind.ask("GET", f"/v1/receipts/{id}")).raw
        assert REDACTED.encode() in shown, id
        assert [each for each in SPELLINGS if each.encode() in shown] == [], id
    stored = stored_in(directory)
    assert [each for each in SPELLINGS if each.encode() in stored] == []


async def test_credentials_in_headers_and_query_are_not_stored(rescind: Rescind, tmp_path: Path) -> None:
    await use_basic(rescind)
    auth = {"Authorization": basic("hook")}
    headers = (
        {"X-Proxy-Auth": basic("proxy")},
        {"X-Forwarded-Authorization": "Digest anything"},
        {"X-Original": PROVIDER_KEY},
        {"X-Original": b64encode(PROVIDER_KEY.encode()).decode()},
        {"X-Url": f"/hook?password={quote(PASSWORD, safe='').lower()}"},
        {"X-Other": "bearer of-somebody-else"},
    )
    body, ids = msgspec.json.encode(webhook("order.processed", "o-1")), []
    for more in headers:
        reply = await rescind.ask("POST", f"/webhooks/{ENDPOINT}", data=body, key=None, headers={**auth, **more})
        ids.append(reply.json["receipt"])
        shown = dict((await rescind.get(f"/v1/receipts/{ids[-1]}"))["headers"])
        assert shown[next(iter(more))] == REDACTED, more
    path = f"/webhooks/{ENDPOINT}?again={quote(PASSWORD)}&k={PROVIDER_KEY}"
    ids.append((await rescind.ask("POST", path, data=body, key=None, headers=auth)).json["receipt"])
    await stored_without_secrets(rescind, tmp_path, ids)


async def test_secrets_in_a_body_are_stored_nowhere_and_it_is_read_again_as_it_was(
    rescind: Rescind, tmp_path: Path
) -> None:
    await use_basic(rescind)
    callback = f"https://rescind.example/webhooks/in?token={TOKEN}&p={quote(PASSWORD, safe='')}"
    given = webhook("order.processed", "o-1", metadata={"callback": callback, "note": PASSWORD, "key": [PROVIDER_KEY]})
    given["metadata"]["auth"] = basic("hook")
    plain = json.dumps(given).replace("/", "\\/").encode()
    ids = []
    for body, more in ((plain, {}), (gzip.compress(plain), {"Content-Encoding": "gzip"})):
        headers = {"Authorization": basic("hook"), **more}
        reply = await rescind.ask("POST", f"/webhooks/{ENDPOINT}", data=body, key=None, headers=headers)
        assert reply.status == 200, reply.raw
        ids.append(reply.json["receipt"])
        kept = json.loads(await rescind.receipt_body(ids[-1]))
        assert kept["metadata"]["key"] == [REDACTED]
        assert kept["metadata"]["callback"].startswith("https://rescind.example/webhooks/in?token=**")
    assert (await rescind.order("o-1"))["version"] == 1
    for id in ids:
        await rescind.ask("POST", f"/v1/receipts/{id}/reprocess")
    # What is read again is what was read: no event is new.
    assert (await rescind.order("o-1"))["version"] == 1
    await stored_without_secrets(rescind, tmp_path, ids)


async def test_secrets_in_a_provider_s_answer_are_not_stored(
    rescind: Rescind, provider: Provider, tmp_path: Path
) -> None:
    await provider.create("4711")
    await rescind.tell("order.processed", "4711")
    echo = {"message": f"no: {PROVIDER_KEY}", "b64": b64encode(PROVIDER_KEY.encode()).decode()}
    await provider.fault("status", status=400, body=echo)
    id = await rescind.cancel("4711")
    await rescind.settled(id)
    stored = stored_in(tmp_path)
    assert [each for each in SPELLINGS if each.encode() in stored] == []


async def test_a_header_s_value_that_becomes_a_secret_is_not_stored_from_then_on(rescind: Rescind) -> None:
    """Receipts share the stored form of headers that a sender repeats."""
    later, header = "the-next-secret-0123456789", {"X-Hook-Key": "the-next-secret-0123456789"}

    async def kept(token: str) -> str:
        reply = await rescind.hook(webhook("order.processed", "o-1"), token=token, headers=header)
        assert reply.status == 200
        shown = await rescind.get(f"/v1/receipts/{reply.json['receipt']}")
        return str(dict(shown["headers"])["X-Hook-Key"])

    assert [await kept(TOKEN) for _ in range(2)] == [later] * 2
    verify = {"scheme": "token", "secrets": [TOKEN, later]}
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT, verify=verify))
    assert [await kept(token) for token in (TOKEN, later)] == ["**********"] * 2
    # As well where it is the account that has a new one.
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    assert await kept(TOKEN) == later
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1", config={"api_key": later}))
    assert await kept(TOKEN) == "**********"
