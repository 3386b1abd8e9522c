"""Requests that sources signed with keys that they publish verify by what the URL of the keys answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from key_pairs import NOW as SIGNED_AT
from key_pairs import Authority, jwk_of, pem, pem_of, private_key, signature
from unit.trial.support import NOW, given, placed, source

from app.dev.recipes.shipped import FILE, shipped
from app.dev.trial.keys import KeyAnswer
from app.dev.trial.report import Proof
from app.dev.trial.run import Wanted, run
from app.dev.trial.source import TrialSource, read_source

SNS = json.loads((Path(__file__).parents[2] / "fixtures" / "signatures" / "sns.json").read_text(encoding="utf-8"))


def _proof(tried: TrialSource, body: bytes, *headers: tuple[str, str], at: datetime = NOW, keys: list[bytes]) -> Proof:
    answers = [KeyAnswer(f"{number}.key", document) for number, document in enumerate(keys)]
    [webhook] = run(tried, tried.endpoint(None), [given(body, *headers)], Wanted(at, keys=answers)).webhooks
    assert webhook.proof is not None
    return webhook.proof


def test_the_published_vector_of_ebay_verifies_by_the_answer_that_is_published_with_it() -> None:
    ebay = read_source(shipped() / "ebay" / FILE, {}, NOW)
    [vector] = json.loads((shipped() / "ebay" / "vector.json").read_text(encoding="utf-8"))
    [(url, document)] = vector["verify"]["keys"].items()
    body, headers = vector["request"]["body"].encode(), vector["request"]["headers"].items()
    answer = json.dumps(document).encode()
    proof = _proof(ebay, body, *headers, keys=[answer])
    assert (proof.ok, proof.checked) == (True, True), proof
    assert proof.detail == f"by 0.key, taken for the answer of {url}"
    assert not _proof(ebay, body.replace(b"2021", b"2022", 1), *headers, keys=[answer]).ok
    missing = _proof(ebay, body, *headers, keys=[])
    assert (missing.ok, missing.cause) == (False, "key_unavailable")
    assert url in missing.detail
    assert "which it gives only to its clients" in missing.hints[0]
    bare = _proof(ebay, body, *headers, keys=[document["key"].encode()])
    assert not bare.ok
    assert "not the JSON that keys.read wants" in bare.hints[0]


def test_messages_of_sns_verify_by_the_certificate_of_amazon(tmp_path: Path) -> None:
    message, certificate_given = SNS["messages"][0], SNS["certificate"].encode()
    topics = {"scheme": "sns", "topics": [message["TopicArn"]]}
    shop, body = source(tmp_path, verify=topics), json.dumps(message).encode()
    at = datetime(2026, 3, 6, 20, 5, tzinfo=UTC)
    assert _proof(shop, body, at=at, keys=[certificate_given]).ok
    forged = json.dumps({**message, "Message": "another"}).encode()
    assert _proof(shop, forged, at=at, keys=[certificate_given]).detail == "the signature is wrong"
    # As on a server, a certificate must be valid at the time, and for the names of SNS.
    late = _proof(shop, body, at=datetime(2040, 1, 1, tzinfo=UTC), keys=[certificate_given])
    assert "the certificate expired on" in late.hints[0]
    other = Authority().issue("shop.example", private_key("rsa-sha256"))
    assert "the certificate is not for" in _proof(shop, body, at=at, keys=[pem(other)]).hints[0]


def test_a_key_set_and_a_chain_are_read_as_a_server_reads_them(tmp_path: Path) -> None:
    key, body = private_key("ecdsa-sha256"), placed()
    signed = ("X-Sign", signature("ecdsa-sha256", body, key)), ("X-Key", "two")
    by_set = {"jwks_url": "https://shop.example/jwks"}
    verify: dict[str, Any] = {"scheme": "public_key", "header": "X-Sign", "algorithm": "ecdsa-sha256"}
    shop = source(tmp_path, verify={**verify, "key_id": "{header:X-Key}", "keys": by_set})
    sets = [json.dumps({"keys": [jwk_of(key, id)]}).encode() for id in ("one", "two")]
    # Of several answers the one with the key is used; what the others lack does not matter.
    assert (
        _proof(shop, body, *signed, keys=sets).detail == "by 1.key, taken for the answer of https://shop.example/jwks"
    )
    assert "it has no key 'two'" in _proof(shop, body, *signed, keys=sets[:1]).hints[0]
    assert not _proof(shop, body, *signed, keys=[b"{}"]).ok
    root = Authority()
    leaf = root.issue("keys.shop.example", key)
    by_chain = {"certificate_url": "https://shop.example/cert", "roots": pem(root.root).decode()}
    chained = source(tmp_path, verify={**verify, "keys": by_chain})
    assert _proof(chained, body, *signed, at=SIGNED_AT, keys=[pem(leaf, root.intermediate)]).ok
    assert not _proof(chained, body, *signed, at=SIGNED_AT, keys=[pem(leaf)]).ok
    stranger = Authority("Another Root")
    foreign = pem(stranger.issue("keys.shop.example", key), stranger.intermediate)
    assert not _proof(chained, body, *signed, at=SIGNED_AT, keys=[foreign]).ok
    plain = source(tmp_path, verify={**verify, "keys": {"url": "https://shop.example/key"}})
    assert _proof(plain, body, *signed, keys=[pem_of(key).encode()]).ok
