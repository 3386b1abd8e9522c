"""The console's form for how an endpoint verifies its requests: nothing that it does not change is changed by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browsers import Browser, text_of
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from providers import Provider
from servers import ACCOUNT, Rescind, account_of
from shown_forms import members_of
from unit.kit.test_published_signatures import ADYEN, ADYEN_KEY, SQUARE, TWILIO

from app.contract import VerifyOptions

KEY = "a-secret-of-the-source"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
EBAY = {
    "scheme": "public_key",
    "algorithm": "ecdsa-sha1",
    "signature": "{header:X-EBAY-SIGNATURE:signature}",
    "key_id": "{header:X-EBAY-SIGNATURE:kid}",
    "keys": {"url": "https://api.example.com/commerce/notification/v1/public_key/{key_id}", "read": "key"},
}
PAYPAL = {
    "scheme": "public_key",
    "algorithm": "rsa-sha256",
    "header": "PAYPAL-TRANSMISSION-SIG",
    "signed": "{header:PAYPAL-TRANSMISSION-ID}|{header:PAYPAL-TRANSMISSION-TIME}|WH-1|{crc32}",
    "keys": {
        "certificate_url": "{header:PAYPAL-CERT-URL}",
        "hosts": ["api.example.com"],
        "names": ["*.example.com"],
        "chain": False,
    },
}
SLACK = {
    "scheme": "hmac",
    "header": "X-Slack-Signature",
    "prefix": "v0=",
    "timestamp_header": "X-Slack-Request-Timestamp",
    "timestamp_format": "unix",
    "signed": "v0:{timestamp}:{body}",
    "tolerance_s": 120.5,
}
LINES = {"scheme": "hmac", "signed": "\n{method}\r\n{url}\n\n{body}\n ", "prefix": "Signature ", "encoding": "hex"}
SNS = {"scheme": "sns", "topics": ["arn:aws:sns:us-east-1:123456789012:orders", "arn:aws:sns:us-east-1:1:b"]}
ENDPOINTS: dict[str, dict[str, Any]] = {
    "twilio": {**TWILIO, "secrets": [KEY]},
    "square": {**SQUARE, "secrets": [KEY, f"{KEY}-2"]},
    "adyen": {**ADYEN, "secrets": [ADYEN_KEY]},
    "ebay": EBAY,
    "paypal": PAYPAL,
    "slack": {**SLACK, "secrets": [KEY]},
    "lines": {**LINES, "secrets": [KEY]},
    "sns": SNS,
    "pem": {"scheme": "public_key", "algorithm": "ecdsa-sha256", "secrets": [PEM], "encoding": "hex"},
    "basic": {"scheme": "basic", "username": " ann ", "header": "X-Auth", "secrets": [KEY]},
    "stripe": {"scheme": "stripe", "tolerance_s": 0, "secrets": [KEY]},
    "github": {"scheme": "github", "header": "X-Sig", "secrets": [KEY]},
    "own": {"header": "X-Token", "secrets": [KEY]},
}


@pytest.fixture
async def rescind(tmp_path: Path, provider: Provider) -> AsyncIterator[Rescind]:
    started = await Rescind.start(tmp_path)
    await started.put("accounts", ACCOUNT, account_of(provider.url))
    yield started
    await started.stop()


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    opened = Browser(rescind.url)
    await opened.sign_in()
    return opened


async def edit(browser: Browser, id: str, **typed: str) -> tuple[int, str]:
    """Send the form of an endpoint as its page shows it, with what was typed; of another scheme, its empty options."""
    path = f"/endpoints/{id}"
    members = members_of(await browser.get(path), path)
    if typed.get("options_of", members["options_of"]) != members["options_of"]:
        members = {name: text for name, text in members.items() if not name.startswith("verify.")}
    status, _, text = await browser.ask("POST", path, {**members, **typed})
    return status, text


async def test_an_edit_leaves_every_option_as_it_was(rescind: Rescind, browser: Browser) -> None:
    for id, verify in ENDPOINTS.items():
        await rescind.put("endpoints", id, {"account": ACCOUNT, "verify": verify})
        stored = rescind.node.config.endpoints[id].spec.verify
        assert (await edit(browser, id, silent_after="6h"))[0] == 303, id
        after = rescind.node.config.endpoints[id].spec
        assert after.silent_after is not None, id
        assert after.verify == stored, id
        assert after.verify.model_fields_set == stored.model_fields_set, id


async def test_what_is_wrong_is_told_at_the_option_that_it_names(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("endpoints", "in", {"account": ACCOUNT, "verify": {"scheme": "token", "secrets": [KEY]}})
    source = {"verify.algorithm": "ecdsa-sha1", "verify.signature": "{header:S:signature}"}
    wrong = [
        ("hmac", {"verify.timestamp_format": "unix_ms"}, "verify-timestamp_format", "there is no time to compare"),
        ("hmac", {"verify.signed": "{url}"}, "verify-signed", "the signature proves nothing"),
        ("hmac", {"verify.signed": "{timestamp}{body}"}, "verify-signed", "say in timestamp_header where it stands"),
        ("hmac", {"verify.key": "hex"}, "verify-secrets", "a secret is not hex"),
        ("hmac", {"verify.tolerance_s": "soon"}, "verify-tolerance_s", "number"),
        ("public_key", {"verify.secrets": PEM}, "verify-algorithm", "say which algorithm the source signs with"),
        ("public_key", {}, "verify-secrets", "must name at least one secret"),
        ("public_key", {**source, "verify.keys.hosts": "a.example"}, "verify-keys", "give one of jwks_url"),
        ("public_key", {**source, "verify.secrets": "AAAA"}, "verify-secrets", "no public key in PEM"),
        ("sns", {}, "verify-topics", "topic"),
        ("standard_webhooks", {}, "verify-secrets", "must name at least one secret"),
    ]
    for scheme, typed, place, says in wrong:
        status, text = await edit(browser, "in", **{"verify.scheme": scheme, "options_of": scheme, **typed})
        assert status == 422, (scheme, typed)
        _, _, fault = text.partition(f'<div class="fault" id="f-{scheme}-{place}-fault">')
        assert says in unescape(fault.partition("</div>")[0]), (scheme, typed, place)
        shown = members_of(text, "/endpoints/in")
        assert shown["options_of"] == scheme
        for name, value in typed.items():
            assert name == "verify.secrets" or shown[name] == value, name
    assert (await rescind.get("/v1/endpoints/in"))["version"] == 1


async def test_without_a_script_another_scheme_s_options_are_shown_before_anything_is_saved(
    rescind: Rescind, browser: Browser
) -> None:
    verify = {"scheme": "github", "header": "X-Sig", "secrets": [KEY]}
    await rescind.put("endpoints", "in", {"account": ACCOUNT, "verify": verify})
    status, text = await edit(browser, "in", **{"verify.scheme": "hmac", "silent_after": "7h"})
    assert status == 200
    assert "These are the options of hmac: nothing is saved yet" in text
    shown = members_of(text, "/endpoints/in")
    assert (shown["options_of"], shown["silent_after"], shown["verify.header"]) == ("hmac", "7h", "")
    assert (await rescind.get("/v1/endpoints/in"))["version"] == 1
    status, _, _ = await browser.ask("POST", "/endpoints/in", {**shown, "verify.algorithm": "sha512"})
    assert status == 303
    saved = (await rescind.get("/v1/endpoints/in"))["verify"]
    assert saved == {"scheme": "hmac", "algorithm": "sha512", "secrets": ["**********"]}
    stored = rescind.node.config.endpoints["in"].verify.secrets
    assert [secret.get_secret_value() for secret in stored] == [KEY]


async def test_a_public_key_never_becomes_the_key_of_an_hmac(rescind: Rescind, browser: Browser) -> None:
    verify = {"scheme": "public_key", "algorithm": "ecdsa-sha256", "secrets": [PEM]}
    await rescind.put("endpoints", "in", {"account": ACCOUNT, "verify": verify})
    status, text = await edit(browser, "in", **{"verify.scheme": "hmac", "options_of": "hmac"})
    assert status == 422
    assert "must name at least one secret" in text
    # Keys that are fetched from now on take the place of the one that is stored, and the page says where from.
    typed = {"verify.keys.jwks_url": "https://keys.example.com/jwks"}
    assert (await edit(browser, "in", **typed))[0] == 303
    assert "secrets" not in (await rescind.get("/v1/endpoints/in"))["verify"]
    shown = text_of(await browser.get("/endpoints/in"))
    assert "ECDSA signature (SHA-256) over body, base64, in X-Signature, by a key from keys.example.com" in shown
    assert "Public keys" in shown


async def test_a_new_endpoint_has_the_options_of_its_scheme(rescind: Rescind, browser: Browser) -> None:
    path = "/endpoints/~new"
    for id, verify in ENDPOINTS.items():
        fields = {f"verify.{name}": _typed(value) for name, value in verify.items() if name != "keys"}
        fields |= {f"verify.keys.{name}": _typed(value) for name, value in verify.get("keys", {}).items()}
        shown = members_of(await browser.get(f"{path}?account={ACCOUNT}"), path)
        scheme = verify.get("scheme", "handler")
        if len(verify.get("secrets", [])) > 1:
            continue  # The form takes one; more are for rotations.
        status, _, text = await browser.ask("POST", path, {**shown, **fields, "id": id, "options_of": scheme})
        assert status == 200, (id, text_of(text))
        wanted = {**verify, **({"signed": verify["signed"].replace("\r\n", "\n")} if "signed" in verify else {})}
        stored = rescind.node.config.endpoints[id].spec.verify
        stripped = wanted | (
            {"secrets": [secret.strip() for secret in verify["secrets"]]} if "secrets" in verify else {}
        )
        assert stored == VerifyOptions.model_validate(stripped), id


async def test_a_reader_is_shown_no_options_form(rescind: Rescind) -> None:
    await rescind.put("endpoints", "in", {"account": ACCOUNT, "verify": {"scheme": "token", "secrets": [KEY]}})
    made = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json
    browser = Browser(rescind.url)
    await browser.sign_in(made["key"])
    page = await browser.get("/endpoints/in")
    assert "data-group" not in page
    for path in ("/endpoints/in", "/endpoints/~new"):
        form = {"verify.scheme": "hmac", "options_of": "token", "account": ACCOUNT}
        status, _, _ = await browser.send(page, path, form)
        assert status == 403, path


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
