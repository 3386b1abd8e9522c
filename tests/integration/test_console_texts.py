"""Accounts and endpoints that are pasted into the console as YAML or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browsers import Browser, text_of
from providers import Provider
from servers import ACCOUNT, ROOT, Rescind, account_of
from shown_forms import members_of

from app.config.file import VARIABLE, parse
from app.contract import VerifyOptions
from app.web.console.texts import TEXT_MAX

NEW = "/accounts/~new"
GENERIC = f"{NEW}?provider=generic"
ACCOUNT_YAML = """\
id: shop
provider: generic
config:
  base_url: https://shop.example.com   # the shop's
  api_key: a-key-of-the-shop
  fields: {order: id, status: status}
  phases: {placed: open}
  cancel: {url: "/orders/{{ order.id }}/cancel"}
"""


@pytest.fixture
async def rescind(tmp_path: Path) -> AsyncIterator[Rescind]:
    started = await Rescind.start(tmp_path)
    yield started
    await started.stop()


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    opened = Browser(rescind.url)
    await opened.sign_in()
    return opened


async def paste(browser: Browser, path: str, text: str) -> tuple[int, str]:
    """Send a text as a browser does, by the page's form for texts."""
    page = await browser.get(GENERIC if path == NEW else path)
    sent = next(members_of(page, path, nth) for nth in (0, 1) if "text" in members_of(page, path, nth))
    status, _, shown = await browser.ask("POST", path, {**sent, "text": text.replace("\n", "\r\n")})
    return status, unescape(shown)


def recipe(folder: Path) -> tuple[str, Any]:
    """(a recipe with values in place of its variables, the same as it is read)."""
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    asks = parse(text, folder.name)[1]["asks"]
    filled = VARIABLE.sub(lambda found: str(asks[found[1]]["example"]), text)
    return filled, parse(filled, folder.name)[1]


async def test_every_recipe_can_be_pasted(rescind: Rescind, browser: Browser) -> None:
    folders = sorted(path.parent for path in (ROOT / "deploy" / "recipes").glob("*/recipe.yaml"))
    assert folders
    for folder in folders:
        text, content = recipe(folder)
        [account], endpoints = content["accounts"], content.get("endpoints", [])
        status, shown = await paste(browser, NEW, text)
        assert status == 303, (folder.name, text_of(shown))
        saved = await rescind.get(f"/v1/accounts/{account['id']}")
        assert saved["config"].keys() == account["config"].keys(), folder.name
        assert rescind.node.config.accounts[account["id"]].spec.config == account["config"], folder.name
        for endpoint in endpoints:
            status, shown = await paste(browser, "/endpoints/~new", text)
            assert status == 200, (folder.name, text_of(shown))
            stored = rescind.node.config.endpoints[endpoint["id"]].spec.verify
            assert stored == VerifyOptions.model_validate(endpoint["verify"]), folder.name


async def test_an_account_is_pasted_as_yaml_and_edited_as_either(rescind: Rescind, browser: Browser) -> None:
    assert (await paste(browser, NEW, ACCOUNT_YAML))[0] == 303
    saved = await rescind.get("/v1/accounts/shop")
    assert (saved["provider"], saved["config"]["fields"]) == ("generic", {"order": "id", "status": "status"})
    kept = ACCOUNT_YAML.replace("a-key-of-the-shop", '"**********"').replace(
        "placed: open", "placed: open, gone: canceled"
    )
    assert (await paste(browser, "/accounts/shop", kept))[0] == 303
    account = rescind.node.config.accounts["shop"].spec.config
    assert (account["phases"], account["api_key"]) == ({"placed": "open", "gone": "canceled"}, "a-key-of-the-shop")
    body = {"provider": "generic", "config": {**account, "phases": {"placed": "open"}}}
    assert (await paste(browser, "/accounts/shop", json.dumps(body)))[0] == 303
    status, shown = await paste(browser, NEW, ACCOUNT_YAML)
    assert (status, "already" in shown) == (409, True)


async def test_a_fault_has_its_line_and_the_text_stays(rescind: Rescind, browser: Browser) -> None:
    wrong = [
        (ACCOUNT_YAML.replace("order: id,", "order: 'id[',"), 422, 6, "config.fields.order", "ends too early"),
        (ACCOUNT_YAML.replace("placed: open", "placed: opened"), 422, 7, "config.phases.placed", "'open'"),
        (ACCOUNT_YAML.replace("a-key-of-the-shop", "${SHOP_KEY}"), 422, 5, "config.api_key", "in place of ${SHOP_KEY}"),
        (ACCOUNT_YAML.replace("id: shop\n", ""), 422, 1, "id", "is required"),
        (ACCOUNT_YAML.replace("  fields: {", "  fields: }"), 400, 6, "", "this is not YAML"),
        ("accounts:\n- " + ACCOUNT_YAML.replace("\n", "\n  ").replace("order: id,", ""), 422, 7, "", "config.fields"),
        (json.dumps({**parse(ACCOUNT_YAML, "x")[1], "deadline_h": "soon"}, indent=1), 422, 0, "deadline_h", "number"),
    ]
    for text, expected, line, place, says in wrong:
        status, shown = await paste(browser, NEW, text)
        assert status == expected, (says, text_of(shown))
        _, _, fault = shown.partition('<div class="fault" id="text-fault">')
        told = text_of(fault.partition("</div>")[0])
        assert says in told or says in text_of(shown), (says, told)
        assert f"Line {line}" in told if line else "Line" in told, told
        assert place in told, told
        assert f'aria-invalid="true">\n{text}</textarea>' in shown
    assert (await rescind.get("/v1/accounts"))["data"] == []


async def test_what_cannot_be_read_is_refused(rescind: Rescind, browser: Browser) -> None:
    bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"k{n}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for n, (a, b) in enumerate(zip("abcdefg", "bcdefgh", strict=True))
    )
    for text in (
        "",
        "- a\n- b",
        "just text",
        "{? null : 1}",
        "id: x\n? [a, b]\n: c",
        "id: &x [*x]",
        "id: x\nconfig: " + "[" * 3000,
        '{"id": "x", "config": ' + "[" * 300 + "]" * 300 + "}",
        bomb,
        "accounts: []",
        "accounts: [{id: a}, {id: b}]",
        "accounts: 1",
        "id: .nan",
        "id: \x00",
        "!!python/object:os.system {}",
        "id: x\n" + "# long\n" * TEXT_MAX,
    ):
        status, shown = await paste(browser, NEW, text)
        assert status in (400, 422), (text[:60], status)
        assert 'role="alert"' in shown, text[:60]
    assert (await rescind.get("/v1/accounts"))["data"] == []


async def test_a_refused_text_leaves_the_fields_beside_it_as_they_were(
    rescind: Rescind, browser: Browser, provider: Provider
) -> None:
    """They are a form of their own: saved after a fault of the text, it must take nothing away."""
    await rescind.put("accounts", ACCOUNT, account_of(provider.url))
    verify = {"scheme": "hmac", "algorithm": "sha512", "prefix": "v0=", "secrets": ["a-secret-of-the-source"]}
    await rescind.put("endpoints", "in", {"account": ACCOUNT, "silent_after": "6h", "verify": verify})
    before = rescind.node.config.endpoints["in"].spec
    status, shown = await paste(browser, "/endpoints/in", "verify: {scheme: github")
    assert status == 400
    page = re.sub(r"&#39;", "'", shown)
    assert (await browser.ask("POST", "/endpoints/in", members_of(page, "/endpoints/in")))[0] == 303
    assert rescind.node.config.endpoints["in"].spec == before


async def test_a_reader_s_text_is_not_read(rescind: Rescind, browser: Browser) -> None:
    made = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "write"})).json
    reader = Browser(rescind.url)
    await reader.sign_in(made["key"])
    form = {"provider": "generic", "text": "id: ["}
    assert (await reader.send(await reader.get("/orders"), NEW, form))[0] == 403
    assert (await browser.send(await browser.get("/orders"), NEW, form))[0] == 400
