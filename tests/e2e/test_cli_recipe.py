"""`rescind recipe`: a resource file for a source, without secrets, and how it differs from the recipe later."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_cli_support import Machine, Terminal, machine

from app.dev.recipes.shipped import names, shipped

ADD = ("recipe", "add", "shopify", "--set", "SHOPIFY_SHOP=acme", "--yes")
LITERAL = "shpat_0123456789abcdef"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def text(here: Machine, name: str = "shopify.yaml") -> str:
    return (here.folder / name).read_text(encoding="utf-8")


def test_recipes_are_listed_with_what_works(here: Machine):
    rows = here.json("recipe", "list")["data"]
    assert [row["name"] for row in rows] == names()
    assert all(row["error"] is None and {*row["works"], *row["missing"]} >= {"cancel", "probe"} for row in rows)
    states = {row["name"]: row["state"] for row in rows}
    assert (states["shopify"], states["etsy"]) == ("complete", "partial: no cancel")
    assert states["shipstation"] == "partial: no signature, no events"
    assert {row["state"] == "complete" for row in rows if not row["missing"]} == {True}
    shown = here.run("recipe", "list").out
    assert "partial: no signature, no events" in shown
    assert "its webhooks carry no proof" in shown


def test_a_file_is_written_that_works_and_holds_no_secret(here: Machine):
    here.env["RESCIND_PUBLIC_URL"] = "https://hooks.acme.example"
    added = here.json(*ADD)
    assert added["file"] == "shopify.yaml"
    assert added["url"] == "https://hooks.acme.example/webhooks/shopify-in"
    assert added["unset"] == ["SHOPIFY_ACCESS_TOKEN", "SHOPIFY_CLIENT_SECRET"]
    assert "orders/create" in added["topics"]
    assert added["trial"]["ok"]
    assert added["trial"]["orders"][0]["verdict"]["cancelable"] == "yes"
    assert "https://acme.myshopify.com/admin/api/2025-10/orders" in json.dumps(added["trial"])
    assert 'api_key: "${SHOPIFY_ACCESS_TOKEN}"' in text(here)
    assert "example-shopify" not in text(here) + json.dumps(added)
    here.env |= {"SHOPIFY_ACCESS_TOKEN": LITERAL, "SHOPIFY_CLIENT_SECRET": "c"}
    shown = here.run("try", "shopify.yaml", "--order", "4711")
    assert "https://acme.myshopify.com" in shown.out
    assert LITERAL not in shown.out + shown.err


def test_topics_are_left_to_do_only_where_the_endpoint_is_not_kept_registered(here: Machine):
    assert "Topics that Rescind subscribes it to" in here.run(*ADD).out
    own = here.folder / "own"
    shutil.copytree(shipped() / "shopify", own / "shopify")
    recipe = own / "shopify" / "recipe.yaml"
    whole = recipe.read_text(encoding="utf-8")
    recipe.write_text(whole.replace("    keep_registered: true\n", ""), encoding="utf-8")
    added = here.run("recipe", "add", str(own / "shopify"), *ADD[3:], "--into", "own.yaml")
    assert "Topics to subscribe it to" in added.out


def test_an_account_has_the_id_and_the_variables_that_are_asked_for(here: Machine):
    here.run(*ADD, "--account", "acme-shop", "--set", "SHOPIFY_ACCESS_TOKEN=ACME_TOKEN")
    written = text(here, "acme-shop.yaml")
    assert "- id: acme-shop\n" in written
    assert "- id: acme-shop-in\n    account: acme-shop\n" in written
    assert '"${ACME_TOKEN}"' in written
    assert "SHOPIFY_ACCESS_TOKEN" not in written


def test_a_source_of_which_no_webhook_tells_an_order_is_tried_by_its_probe(here: Machine):
    added = here.json("recipe", "add", "shipstation", "--yes")
    assert (added["untried"], added["url"]) == (None, None)
    assert {"signature", "events"} <= set(added["missing"])
    [order] = added["trial"]["orders"]
    assert (order["probe"]["result"]["phase"], order["cancel"]["admitted"]) == ("open", "sent")
    assert order["cancel"]["calls"][-1]["url"] == "https://ssapi.shipstation.com/orders/94113592"
    assert "example-shipstation" not in json.dumps(added)
    sid = "TWILIO_ACCOUNT_SID=AC11111111111111111111111111111111"
    added = here.json("recipe", "add", "twilio", "--set", sid, "--yes")
    assert added["trial"]["ok"]
    assert added["trial"]["orders"][0]["cancel"]["calls"][-1]["body"] == "Status=canceled"
    assert "What does not work" in here.run("recipe", "add", "shipstation", "--account", "other", "--yes").out


def test_nothing_is_overwritten(here: Machine):
    here.write("shopify.yaml", "mine")
    assert "shopify.yaml exists already and was not changed" in here.run(*ADD, code=1).err
    assert text(here) == "mine"


def test_what_is_missing_or_wrong_is_said_and_nothing_is_written(here: Machine):
    for settings, code, said in [
        ((), 2, "SHOPIFY_SHOP (--set SHOPIFY_SHOP=…; such as example-shop)"),
        (("--set", f"SHOPIFY_ACCESS_TOKEN={LITERAL}"), 2, "never the secret itself"),
        (("--set", "SHOPIFY_SHOP=a b"), 2, "it does not match"),
        (("--set", "SHOP=acme"), 2, "asks for SHOPIFY_SHOP"),
    ]:
        ran = here.run("recipe", "add", "shopify", *settings, code=code)
        assert said in " ".join(ran.err.replace("│", " ").split())
        assert LITERAL not in ran.out + ran.err
    assert not (here.folder / "shopify.yaml").exists()
    assert "There is no recipe 'nobody'" in here.run("recipe", "add", "nobody", code=1).err
    here.write("recipe.yaml", "askz: {}\n")
    assert "did you mean 'asks'?\n" in here.run("recipe", "test", "recipe.yaml", code=1).err


def test_a_value_that_no_account_can_have_is_named(here: Machine):
    ran = here.run("recipe", "add", "woocommerce", "--set", "WOOCOMMERCE_URL=https://me@shop.example", "--yes", code=1)
    said = " ".join(ran.err.split())
    assert "woocommerce.yaml was written, and must be corrected" in said
    assert "leave the user and password out of the URL" in said
    assert "Traceback" not in said


def test_a_person_is_asked_until_the_answer_fits(here: Machine):
    with Terminal(here, "recipe", "add", "shopify") as terminal:
        terminal.sees("SHOPIFY_SHOP: ")
        terminal.types("Acme Shop\n")
        terminal.sees("it does not match")
        terminal.types("acme\n")
        terminal.sees("SHOPIFY_API_VERSION [2025-10]: ")
        terminal.types("\n")
        terminal.sees("SHOPIFY_ACCESS_TOKEN, the name of the environment variable with it [SHOPIFY_ACCESS_TOKEN]: ")
        terminal.types("ACME_TOKEN\n")
        terminal.sees("[SHOPIFY_CLIENT_SECRET]: ")
        terminal.types("\n")
        assert terminal.ends() == 0, terminal.seen
    assert '"${ACME_TOKEN}"' in text(here)


def test_a_file_is_compared_with_its_recipe(here: Machine):
    here.run(*ADD)
    assert here.json("recipe", "diff", "shopify.yaml")["data"][0]["differences"] == []
    assert here.run("recipe", "diff", "shopify.yaml").err == "There are no differences.\n"
    here.write("shopify.yaml", text(here).replace("burst: 40", "burst: 20").replace("    quarantine_status: 200\n", ""))
    [found] = here.json("recipe", "diff", "shopify.yaml", code=1)["data"]
    differences = {row["path"]: (row["file"], row["recipe"]) for row in found["differences"]}
    assert differences == {"account.limits.burst": (20, 40), "endpoint.quarantine_status": (None, 200)}
    assert not found["changed"]
    here.write("shopify.yaml", text(here).replace("# recipe: shopify ", "# recipe: shopify 0"))
    assert "of this release has changed since" in here.run("recipe", "diff", "shopify.yaml", code=1).out
    here.write("rescind.yaml", "accounts: []\n")
    assert "has no account with the comment" in here.run("recipe", "diff", code=2).err


def test_a_recipe_of_ones_own_is_tested_and_added(here: Machine):
    folder = here.folder / "printify"
    shutil.copytree(shipped() / "printify", folder)
    assert "printify: ok" in here.run("recipe", "test", "printify/recipe.yaml").out
    file = folder / "fixtures/canceled.json"
    file.write_text(
        file.read_text(encoding="utf-8").replace('"cancelable": "no"', '"cancelable": "yes"'), encoding="utf-8"
    )
    ran = here.run("recipe", "test", "printify", code=1)
    assert "fixtures/canceled.json: orders: they are" in ran.err
    wrote = here.run("recipe", "test", "printify/recipe.yaml", "--write")
    assert '-      "cancelable": "yes",\n+      "cancelable": "no",' in wrote.out
    assert "Wrote fixtures/canceled.json: compare" in " ".join(wrote.err.split())
    assert "printify: ok" in wrote.out
    assert here.json("recipe", "test", "printify", "--write")["written"] == []
    assert "Nothing was written" in here.run("recipe", "test", "printify", "--write").err
    assert "is for a recipe of your own" in here.run("recipe", "test", "shopify", "--write", code=2).err
    added = here.json("recipe", "add", "printify", "--set", "PRINTIFY_SHOP_ID=7", "--yes")
    assert added["trial"]["ok"]
    assert "/v1/shops/7/orders" in text(here, "printify.yaml")
