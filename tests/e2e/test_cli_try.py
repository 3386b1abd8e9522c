"""`rescind try`: what a file makes of webhooks and answers, without a server; and the requests that it signs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_cli_support import PATIENCE_S, Machine, machine

from app.dev.recipes.shipped import shipped

SECRET = "whsec_ZXhhbXBsZS1zaG9wLXNpZ25pbmctc2VjcmV0"
KEY = "example-shop-key"
SHOP = """\
accounts:
  - id: shop
    provider: generic
    config:
      base_url: https://api.shop.example
      api_key: "${SHOP_KEY}"
      fields: {order: id, event: event, status: status, opened_at: placed_at, attributes: {total: total}}
      events: {placed: {type: order.created, phase: open}, newsletter: ignore}
      phases: {placed: open, shipped: in_progress, canceled: canceled}
      cancel:
        url: /orders/{{ order.id }}/cancel
        headers: {Authorization: "Bearer {{ secrets.api_key }}"}
        body: {code: "{{ reason }}", total: "{{ order.attributes.total }}"}
        detail: error
      probe: {url: "/orders/{{ order.id }}", headers: {Authorization: "Bearer {{ secrets.api_key }}"}}
    rules:
      conditions:
        - when: timestamp(order.opened_at) + duration("1h") <= now
          cancelable: "no"
          reason: too_late
          explanation: The hour is over.
          changes_at: timestamp(order.opened_at) + duration("1h")
endpoints:
  - {id: shop-in, account: shop, verify: {scheme: %s, secrets: ["${SHOP_SECRET}"]}}
"""
PLACED = '{"id": "o-1", "event": "placed", "status": "placed", "placed_at": "2030-01-01T10:00:00Z", "total": 49.90}\n'
NOON = "2030-01-01T10:30:00Z"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        made.env |= {"SHOP_KEY": KEY, "SHOP_SECRET": SECRET}
        made.write("shop.yaml", SHOP % "shopify")
        made.write("body.json", PLACED)
        yield made


def _signature(here: Machine, file: str = "body.json") -> str:
    """The header that `--sign` makes for a body."""
    [command] = here.json("try", "shop.yaml", "--sign", "--webhook", file)["commands"]
    return str(command).partition("-H 'X-Shopify-Hmac-SHA256: ")[2].partition("'")[0]


def test_a_signed_webhook_gives_its_event_the_verdict_and_the_exact_call(here: Machine):
    proof = f"X-Shopify-Hmac-SHA256: {_signature(here)}"
    ran = here.run("try", "shop.yaml", "--webhook", "body.json", "-H", proof, "--at", NOON, "--reason", "mistake")
    for line in (
        "proof   verified by scheme shopify",
        "event        order.created of order o-1",
        'attributes   {"total":"49.90"}',
        "verdict     yes (open)",
        "closes at   2030-01-01T11:00:00Z",
        "    POST https://api.shop.example/orders/o-1/cancel",
        '    {"code":"mistake","total":"49.90"}',
        "    GET https://api.shop.example/orders/o-1",
    ):
        assert line in ran.out, ran.out
    late = here.json("try", "shop.yaml", "--webhook", "body.json", "-H", proof, "--at", "2030-01-01T11:00:00Z")
    assert late["orders"][0]["verdict"]["reason"] == "too_late"
    assert late["orders"][0]["cancel"]["admitted"] == "rejected"
    assert all(secret not in ran.out + ran.err + json.dumps(late) for secret in (KEY, SECRET))


def test_the_first_thing_that_fails_is_named(here: Machine):
    wrong = ("-H", "X-Shopify-Hmac-SHA256: AAAA")
    refused = here.run("try", "shop.yaml", "--webhook", "body.json", *wrong, code=1)
    assert "not verified: the signature is wrong" in refused.err
    assert f"X-Shopify-Hmac-SHA256: {_signature(here)}; there is AAAA" in refused.out
    here.write("unknown.json", PLACED.replace('"placed"', '"lost"', 1))
    assert (
        "goes to quarantine: `events` does not list 'lost'"
        in here.run("try", "shop.yaml", "--webhook", "unknown.json", "--unsigned", code=1).err
    )
    here.write("nameless.json", PLACED.replace('"id"', '"number"'))
    assert (
        "nothing stands at id (fields.order)"
        in here.run("try", "shop.yaml", "--webhook", "nameless.json", "--unsigned", code=1).err
    )
    here.write("letter.json", PLACED.replace('"placed"', '"newsletter"', 1))
    ignored = here.json("try", "shop.yaml", "--webhook", "letter.json", "--unsigned")
    assert (ignored["webhooks"][0]["status"], ignored["ok"]) == ("ignored", True)


def test_several_webhooks_fold_to_one_state(here: Machine):
    here.write("shipped.json", '{"id": "o-1", "status": "shipped"}')
    here.write("other.json", PLACED.replace("o-1", "o-2"))
    files = [part for name in ("body", "shipped", "body", "other") for part in ("--webhook", f"{name}.json")]
    tried = here.json("try", "shop.yaml", *files, "--unsigned", "--at", NOON)
    assert [webhook["status"] for webhook in tried["webhooks"]] == ["accepted", "accepted", "duplicate", "accepted"]
    assert [(order["id"], order["phase"]) for order in tried["orders"]] == [("o-1", "in_progress"), ("o-2", "open")]


def test_an_answer_is_told_as_what_follows_from_it(here: Machine):
    here.write("no.json", '{"error": "shipped already"}')
    about = ("try", "shop.yaml", "--webhook", "body.json", "--unsigned", "--at", NOON)
    refused = here.json(*about, "--answer", "no.json", "--status", "409")["orders"][0]["cancel"]["result"]
    assert (refused["outcome"], refused["next"]["state"]) == ("refused", "refused")
    assert "shipped already" in refused["detail"]
    throttled = here.json(*about, "--status", "429", "--answer-header", "Retry-After: 30")
    result = throttled["orders"][0]["cancel"]["result"]
    assert (result["after_s"], result["next"]["waiting"], result["next"]["due_in_s"]) == (30, "throttled", 30)
    assert "the order is probed" in here.run(*about, "--status", "502").out
    here.write("order.json", '{"id": "o-1", "status": "canceled"}')
    probed = here.json(*about, "--flow", "probe", "--answer", "order.json")["orders"][0]["probe"]["result"]
    assert (probed["phase"], probed["verdict"]["cancelable"]) == ("canceled", "no")


def test_a_webhook_signed_by_a_published_key_verifies_by_the_answer_of_its_url(here: Machine):
    [vector] = json.loads((shipped() / "ebay" / "vector.json").read_text(encoding="utf-8"))
    [(url, document)] = vector["verify"]["keys"].items()
    here.write("deleted.json", vector["request"]["body"])
    here.write("key.json", json.dumps(document))
    here.write("headers", "\n".join(f"{name}: {value}" for name, value in vector["request"]["headers"].items()))
    about = ("try", "ebay", "--webhook", "deleted.json", "-H", "@headers")
    missing = here.run(*about, code=1)
    assert url in missing.err
    assert "--keys FILE" in missing.out
    assert "verified by scheme public_key" in here.run(*about, "--keys", "key.json").out
    assert "--unsigned takes them for authentic" in _said(here, *about, "--keys", "key.json", "--unsigned")
    refused = _said(here, "try", "shop.yaml", "--webhook", "body.json", "--keys", "key.json")
    assert "shop-in verifies by its secrets (shopify)" in refused


def test_an_account_without_an_endpoint_is_tried_by_the_answer_to_its_probe(here: Machine):
    here.write("polled.yaml", (SHOP % "shopify").partition("endpoints:")[0])
    here.write("order.json", PLACED)
    about = ("try", "polled.yaml", "--order", "o-1", "--at", NOON)
    ran = here.run(*about, "--flow", "probe", "--answer", "order.json").out
    for line in (
        "phase then    open",
        "verdict then  yes (open)",
        "Cancel o-1 as the answer shows it",
        "would be sent",
    ):
        assert line in ran, ran
    assert KEY not in ran
    assert "--flow probe --answer FILE tries what a poll shows" in here.run(*about, code=1).out
    for more in (("--webhook", "body.json"), ("--sign",), ("--method", "GET")):
        assert "no endpoint of the file takes webhooks for the account shop" in _said(here, *about, *more)
    assert "give --endpoint or --account" in _said(here, *about, "--endpoint", "a", "--account", "shop")


def _said(here: Machine, *command: str) -> str:
    """The usage error, without the frame."""
    return " ".join(here.run(*command, code=2).err.replace("│", " ").split())


def test_usage(here: Machine):
    assert "give a --webhook" in here.run("try", "shop.yaml", code=2).err
    del here.env["SHOP_SECRET"]
    missing = here.run("try", "shop.yaml", "--webhook", "body.json", code=2).err
    assert "shop.yaml:24:70: the environment variable SHOP_SECRET is not set" in missing
    here.write("shop.env", f"SHOP_SECRET={SECRET}\n")
    here.run("try", "shop.yaml", "--webhook", "body.json", "--unsigned", "--env-file", "shop.env")
    here.env["SHOP_SECRET"] = SECRET
    here.write("two.yaml", (SHOP % "shopify") + "  - {id: b, account: shop, verify: {secrets: ['a-token-of-it']}}\n")
    assert "there are b, shop-in" in here.run("try", "two.yaml", "--webhook", "body.json", code=2).err
    assert here.json("try", "shopify", "--order", "1")["provider"]
    here.run("try", "two.yaml", "--endpoint", "b", "--webhook", "body.json", "--unsigned")
    here.write("wrong.yaml", (SHOP % "shopify").replace("phases:", "phrases:"))
    assert "wrong.yaml:9:7: account shop: config.phrases" in here.run("try", "wrong.yaml", "--sign", code=2).err


@pytest.mark.parametrize("scheme", ["shopify", "token", "basic", "standard_webhooks"])
def test_a_signed_command_is_taken_by_a_server(here: Machine, scheme: str):
    here.write("shop.yaml", SHOP % scheme)
    here.write("it's a body.json", PLACED)
    here.serve("--apply", "shop.yaml")
    url = here.env["RESCIND_URL"]
    for more in ((), ("--webhook", "it's a body.json")):
        command = here.run("try", "shop.yaml", "--sign", "--to", url, *more).out
        assert KEY not in command
        assert SECRET not in command
        ran = subprocess.run(
            ["/bin/sh", "-c", command],
            env=here.env,
            cwd=here.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert "HTTP/1.1 200" in ran.stdout, (command, ran.stdout, ran.stderr)


def test_what_depends_on_an_unknown_url_is_said(here: Machine):
    signed = SHOP % "hmac, header: X-Sign, signed: '{url}{body}'"
    challenge = "[{when: has(request.query.code), body: '{{ sha256(request.query.code + request.url) }}'}]"
    here.write("shop.yaml", signed.replace("      phases:", f"      challenges: {challenge}\n      phases:", 1))
    unknown = here.run("try", "shop.yaml", "--sign", "--to", "http://127.0.0.1:8701")
    assert "RESCIND_PUBLIC_URL is not set" in unknown.err
    asked = ("try", "shop.yaml", "--method", "GET", "--query", "code=1")
    assert "RESCIND_PUBLIC_URL is not set" in here.run(*asked, code=1).out
    here.env["RESCIND_PUBLIC_URL"] = "https://rescind.example.com"
    assert here.run("try", "shop.yaml", "--sign").err == ""
    here.run(*asked)
