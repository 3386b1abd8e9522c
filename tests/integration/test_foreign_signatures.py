"""Signatures of sources that sign more than the body, or less: from the setup to the recorded order."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import msgspec
from conftest import Start
from integration.test_endpoint_tests import failed, test
from integration.test_endpoints import SOURCE, create
from servers import Reply, Rescind
from unit.kit.signatures import field_hmac, form_hmac, url_hmac

PUBLIC = "https://rescind.example.com/hooks"
KEY = "the-token-of-the-source"
BY_URL = {"scheme": "hmac", "encoding": "base64", "signed": "{url}{body}", "secrets": [KEY]}
BY_FORM = {**BY_URL, "signed": "{url}{form}", "algorithm": "sha1"}
BY_ITEM = {
    "scheme": "hmac",
    "items": "items[].one",
    "signature": "meta.signature",
    "signed": "{json:kind}:{json:id}:{json:status}",
    "secrets": [KEY],
}
JSON = b'{"kind": "placed", "order": {"id": 7, "status": "new"}}'
PATHS = {"order": "id", "status": "status", "event": "kind"}


async def shop(start: Start, fields: dict[str, Any] | None = None, public_url: str = "", **config: Any) -> Rescind:
    rescind = await start(public_url=public_url)
    given = {**SOURCE, "fields": fields or SOURCE["fields"], **config}
    await rescind.put("accounts", "shop", {"provider": "generic", "config": given})
    return rescind


async def post(
    rescind: Rescind, body: bytes, headers: dict[str, str], path: str = "/webhooks/in", **more: str
) -> Reply:
    return await rescind.ask("POST", path, data=body, key=None, headers={**headers, **more})


async def orders(rescind: Rescind) -> dict[str, str]:
    return {order["id"]: order["phase"] for order in (await rescind.get("/v1/orders"))["data"]}


async def test_the_url_is_the_public_one_as_it_was_called(start: Start) -> None:
    rescind = await shop(start, public_url=PUBLIC + "/")
    await create(rescind, account="shop", id="in", verify=BY_URL)
    path = "/webhooks/in?shop=a%2Fb&x="
    right = url_hmac(JSON, KEY, url=PUBLIC + path)
    assert (await post(rescind, JSON, right, path)).status == 200
    assert await orders(rescind) == {"7": "open"}
    for called in ("/webhooks/in", "/webhooks/in?shop=a/b&x=", path + "1"):
        (await post(rescind, JSON, right, called)).problem(401, "unauthentic-webhook")
    assert (await test(rescind, "in"))["ok"]


async def test_a_form_is_signed_by_its_fields(start: Start) -> None:
    rescind = await shop(start, PATHS, PUBLIC, format="form")
    await create(rescind, account="shop", id="in", verify=BY_FORM)
    body = b"status=sent&kind=placed&id=+8"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    headers = form_hmac(body, KEY, url=PUBLIC + "/webhooks/in")
    (await post(rescind, body.replace(b"+8", b"+9"), headers, **form)).problem(401, "unauthentic-webhook")
    assert (await post(rescind, b"kind=placed&id=%208&status=sent", headers, **form)).status == 200
    assert list((await orders(rescind)).values()) == ["completed"]
    # A million fields take no time: they are counted before they are read.
    (await post(rescind, b"&" * 1_000_000, headers, **form)).problem(401, "unauthentic-webhook")


async def test_every_item_is_proven(start: Start) -> None:
    rescind = await shop(start, PATHS, events_path="items[].one")
    await create(rescind, account="shop", id="in", verify=BY_ITEM)

    def item(id: str, **more: str) -> dict[str, Any]:
        fields = {"kind": "placed", "id": id, "status": "new"}
        signature = field_hmac(fields, "kind", "id", "status", secret=KEY)
        return {"one": {**fields, "meta": {"signature": signature}, **more}}

    for items in (
        [item("1"), item("2", status="sent")],
        [item("2", kind="sent"), item("1")],
        [],
        [{"one": {"id": "1"}}],
    ):
        reply = await post(rescind, msgspec.json.encode({"items": items}), {})
        reply.problem(401, "unauthentic-webhook")
    assert await orders(rescind) == {}
    assert (await post(rescind, msgspec.json.encode({"items": [item("1"), item("2")]}), {})).status == 200
    assert await orders(rescind) == {"1": "open", "2": "open"}
    sample = await test(rescind, "in", body='{"items": [{"one": {"kind": "placed", "id": "3", "status": "new"}}]}')
    assert (sample["ok"], sample["events"][0]["order"]) == (True, "3")
    assert failed(await test(rescind, "in", body="{}"))[0] == "signed"


async def test_a_signed_url_that_is_not_known_is_shown_where_operators_look(start: Start) -> None:
    rescind = await shop(start)
    made = await create(rescind, account="shop", id="in", verify={**BY_URL, "secrets": []})
    assert any("RESCIND_PUBLIC_URL" in note for note in made["setup"]["notes"])
    other = await create(rescind, account="shop", id="plain", verify={"scheme": "hmac"})
    assert not any("RESCIND_PUBLIC_URL" in note for note in other["setup"].get("notes", ()))
    refused = await post(rescind, JSON, url_hmac(JSON, KEY, url="/webhooks/in"))
    assert "set RESCIND_PUBLIC_URL" in refused.problem(401, "unauthentic-webhook")["detail"]
    assert "set RESCIND_PUBLIC_URL" in failed(await test(rescind, "in"))[1]
    found = (await rescind.get("/v1/status"))["findings"]
    assert [(one["code"], one["what"], one["state"]) for one in found] == [("public_url", "endpoint in", "fault")]
    await rescind.ask("POST", "/v1/endpoints/in/disable")
    assert (await rescind.get("/v1/status"))["findings"] == []


async def test_a_generated_secret_spells_a_key(start: Start) -> None:
    rescind = await shop(start)
    for form in ("text", "hex", "base64"):
        made = await create(rescind, account="shop", verify={"scheme": "hmac", "key": form})
        assert (await test(rescind, made["id"]))["ok"], form
        rotated = await rescind.ask("POST", f"/v1/endpoints/{made['id']}/rotate", {})
        assert rotated.json["secret"] != made["secret"]
        for secret in (made["secret"], rotated.json["secret"]) if form == "base64" else ():
            assert len(b64decode(secret)) == 32
        assert (await test(rescind, made["id"]))["ok"], form
    wrong = await rescind.ask("POST", f"/v1/endpoints/{made['id']}/rotate", {"secret": "not base64"})
    assert "is not base64" in wrong.problem(422, "invalid-request")["detail"]
