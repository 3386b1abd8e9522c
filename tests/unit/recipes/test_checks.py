"""A recipe with a fault is refused, and the fault names the file and the field."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.dev.recipes.checks import faults_of
from app.dev.recipes.folder import RecipeError, open_recipe, read
from app.dev.recipes.shipped import shipped

Change = Callable[[Path], None]
WORKS = "printify"


def text(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        file = folder / "recipe.yaml"
        whole = file.read_text(encoding="utf-8")
        assert old in whole
        file.write_text(whole.replace(old, new, 1), encoding="utf-8")

    return change


def data(name: str, *path: str | int, value: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        whole = inner = json.loads(file.read_text(encoding="utf-8"))
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        file.write_text(json.dumps(whole), encoding="utf-8")

    return change


def nothing_guessed(folder: Path) -> None:
    file = folder / "recipe.yaml"
    whole = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"(?s)guessed:.*?statuses:", "statuses:", whole), encoding="utf-8")


def source_last(folder: Path) -> None:
    file = folder / "recipe.yaml"
    first, _, rest = file.read_text(encoding="utf-8").partition("\n")
    file.write_text(f"{rest}{first}\n", encoding="utf-8")


def new_fixture(folder: Path) -> None:
    data("fixtures/canceled.json", "events", value=[])(folder)
    data("fixtures/canceled.json", "orders", value={})(folder)


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def vector(folder: Path) -> None:
    fixture = json.loads((folder / "fixtures/canceled.json").read_text(encoding="utf-8"))
    headers = {"X-Pfy-Signature": f"sha256={'0' * 64}"}
    request = {"headers": headers, "body": json.dumps(fixture["request"]["body"])}
    entry = {"document": "https://example.com", "request": request, "verify": {"at": "2026-03-02T16:00:00Z"}}
    (folder / "vector.json").write_text(json.dumps([entry]), encoding="utf-8")


ORDER = "5cb87a8cd490a2ccb256cec4"
FAULTS: dict[str, tuple[Change, str]] = {
    "a key that nobody knows": (text("source: Printify", "source: Printify\nsauce: x"), "recipe.yaml:2:1: sauce"),
    "a cell is missing": (text("  probe: GET", "  prob: GET"), "cells.probe: is required"),
    "a variable nobody asks for": (text("{PRINTIFY_SHOP_ID}/orders", "{SHOP}/orders"), "${SHOP} is not in `asks`"),
    "a value nobody uses": (
        text('secrets: ["${PRINTIFY_WEBHOOK_SECRET}"]', 'secrets: ["${PRINTIFY_TOKEN}"]'),
        "asks.PRINTIFY_WEBHOOK_SECRET: the resources do not use it",
    ),
    "a secret in full": (text('"${PRINTIFY_TOKEN}"', '"pfy-live-4711"'), "a secret field holds no secret"),
    "an example in full": (
        data("answers.json", 0, "requests", 0, "headers", value={"Authorization": "Bearer example-printify-token"}),
        "answers.json: the example of PRINTIFY_TOKEN stands here in full",
    ),
    "a secret with a default": (
        text("    example: example-printify-token", "    example: x\n    default: x"),
        "asks.PRINTIFY_TOKEN: a secret has no default",
    ),
    "an example of another form": (
        text('example: "815256"', "example: shop"),
        "asks.PRINTIFY_SHOP_ID: example does not match pattern",
    ),
    "nothing is guessed": (nothing_guessed, "are synthetic: say what no document states"),
    "a status is not mapped": (text("        had-issues: in_progress\n", ""), "'had-issues' is not in config.phases"),
    "a topic is not mapped": (
        text('        "order:updated": {type: order.updated}\n', ""),
        "'order:updated' is not in config.events",
    ),
    "a configuration that is refused": (text("base_url: https://api.printify.com", "base_url: 4"), "config.base_url"),
    "an option the scheme ignores": (
        text("      scheme: hmac\n", "      scheme: github\n"),
        "endpoint printify-in: verify.prefix",
    ),
    "a header that nothing proves": (
        text(
            "      fields:\n        event: type\n        event_id: id\n        time: created_at\n",
            "      key_header: X-Id\n      fields:\n        event: type\n        event_id: id\n",
        ),
        "endpoint printify-in: key_header X-Id of account printify is not read",
    ),
    "another event": (
        data("fixtures/canceled.json", "events", 0, "type", value="order.created"),
        "fixtures/canceled.json: events: they are",
    ),
    "another verdict": (
        data("fixtures/canceled.json", "orders", ORDER, "cancelable", value="yes"),
        "fixtures/canceled.json: orders: they are",
    ),
    "a new fixture, without its orders": (
        data("fixtures/canceled.json", "orders", value={}),
        "fixtures/canceled.json: orders: say for each order",
    ),
    "a new fixture": (
        new_fixture,
        'fixtures/canceled.json: orders: they are {"5cb87a8cd490a2ccb256cec4": {"phase": "canceled"',
    ),
    "a fixture that arrives before its events": (
        data("fixtures/canceled.json", "at", value=None),
        "fixtures/canceled.json: at: it arrives at 2026-03-02T16:04:06+00:00, before its event of 2026-03-02T16:30:00",
    ),
    "a fixture that comes after none": (
        data("fixtures/canceled.json", "after", value=["opened"]),
        "fixtures/canceled.json: after: there is no fixtures/opened.json",
    ),
    "two outcomes": (data("fixtures/canceled.json", "ignored", value="x"), "fixtures/canceled.json: give one of"),
    "a signature that is wrong": (vector, "vector.json[0]: its proof is not accepted"),
    "another outcome": (
        data("answers.json", 2, "outcome", value="succeeded"),
        "answers.json (in production already): outcome: it is refused",
    ),
    "another call": (
        data("answers.json", 0, "requests", 0, "method", value="PUT"),
        "answers.json (canceled): requests.0: it is",
    ),
    "a response too many": (
        data("answers.json", 0, "responses", value=[{"status": 200}] * 2),
        "answers.json (canceled): responses:",
    ),
    "a response too few": (
        data("answers.json", 0, "responses", value=[]),
        "answers.json (canceled): responses: the flow makes more than 0 calls",
    ),
    "other facts": (
        data("answers.json", 6, "facts", "phase", value="canceled"),
        "answers.json (the order): facts: they are",
    ),
    "no answers": (without("answers.json"), "answers.json: requests: give the call of one cancel"),
    "the example is not there": (
        text("fixture: updated_on_hold", "fixture: paid"),
        "example.fixture: there is no fixtures/paid.json",
    ),
    "an example without an order": (text("{fixture: updated_on_hold, ", "{"), "example: give a fixture"),
    "resources before the rest": (source_last, "accounts and endpoints must be the last keys"),
}


OTHERS: dict[str, tuple[str, Change, str]] = {
    "another response to a challenge": (
        "woocommerce",
        data("fixtures/ping.json", "response", "status", value=204),
        "fixtures/ping.json: response: it is",
    ),
    "no challenge": (
        "woocommerce",
        data("fixtures/ping.json", "request", "body", value="webhook=3"),
        "fixtures/ping.json: response: it is no challenge",
    ),
    "a challenge is not configured": (
        "woocommerce",
        text("verified: false, ", ""),
        "fixtures/ping.json: response: it is no challenge",
    ),
    "another wait": (
        "shopify",
        text("restored_per_s: 2}", "restored_per_s: 1}"),
        "bucket): hold_s: it is",
    ),
    "other registrations": (
        "shopify",
        text("url: address", "url: format"),
        "registrations: they are",
    ),
    "another call to register": (
        "shopify",
        text("format: json}}", "format: xml}}"),
        "are made): requests.0: it is",
    ),
    "another failure to register": (
        "shopify",
        text(
            "          id: webhook.id\n",
            "          id: webhook.id\n          answers: [{status: 401, outcome: succeeded}]\n",
        ),
        "(token revoked while webhooks are made)",
    ),
    "a probe before the cancel that is not there": (
        "square",
        text("probe: the order,", "probe: an order,"),
        "example.probe: there is no answer 'an order' with facts",
    ),
    "a cancel that is not made of the probe before": ("square", text(" probe: the order,", ""), "requests.0: it is"),
    "a certificate for another name": (
        "paypal",
        text('names: ["*.${PAYPAL_DOMAIN}"]', 'names: ["keys.example.com"]'),
        "fixtures/created.json: verify: its proof is not accepted: the certificate is not for keys.example.com",
    ),
    "a signature in the body by another key": (
        "adyen",
        text("key: hex", "key: text"),
        "vector.json[0]: its proof is not",
    ),
    "an order that no probe tells of": (
        "shipstation",
        text("probe: the order,", "probe: an order,"),
        "example.probe: there is no answer 'an order' with facts",
    ),
}


def faults(folder: Path) -> list[str]:
    try:
        return faults_of(read(folder))
    except RecipeError as error:
        return list(error.faults)


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named(case: str, tmp_path: Path) -> None:
    change, expected = FAULTS[case]
    folder = tmp_path / WORKS
    shutil.copytree(shipped() / WORKS, folder)
    change(folder)
    found = faults(folder)
    assert any(expected in fault for fault in found), found


@pytest.mark.parametrize("case", OTHERS)
def test_a_fault_is_named_at_other_sources_too(case: str, tmp_path: Path) -> None:
    name, change, expected = OTHERS[case]
    folder = tmp_path / name
    shutil.copytree(shipped() / name, folder)
    change(folder)
    found = faults(folder)
    assert any(expected in fault for fault in found), found


def test_a_recipe_is_found_by_its_name_its_folder_and_its_file() -> None:
    folder = shipped() / WORKS
    for given in (WORKS, str(folder), str(folder / "recipe.yaml")):
        assert open_recipe(given).name == WORKS
    with pytest.raises(RecipeError, match=r"there are: .*printify"):
        open_recipe("nobody")
    with pytest.raises(RecipeError, match=r"answers.json is no recipe: give its folder, or the recipe.yaml in it"):
        open_recipe(str(folder / "answers.json"))


def test_headers_of_an_answer_are_read_as_any_document_spells_them(tmp_path: Path) -> None:
    folder = tmp_path / WORKS
    shutil.copytree(shipped() / WORKS, folder)
    answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    number = next(number for number, answer in enumerate(answers) if answer["outcome"] == "throttled")
    data("answers.json", number, "responses", 0, "headers", value={"Retry-After": "7"})(folder)
    data("answers.json", number, "after_s", value=7.0)(folder)
    assert faults(folder) == []
