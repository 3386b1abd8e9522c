"""A recipe whose source publishes its key: a signed request verifies by the document, and by no other."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.dev.recipes.checks import faults_of
from app.dev.recipes.folder import read
from app.dev.recipes.shipped import shipped
from app.dev.recipes.trying import try_example
from app.dev.recipes.written import written

VERIFY = """    verify:
      scheme: public_key
      algorithm: ecdsa-sha256
      header: X-Signature
      keys: {url: "https://keys.example.com/shop.pem"}
"""


def test_a_vector_brings_the_key_that_its_source_publishes(tmp_path: Path) -> None:
    folder = tmp_path / "printify"
    shutil.copytree(shipped() / "printify", folder)
    file = folder / "recipe.yaml"
    whole = file.read_text(encoding="utf-8")
    before, _, rest = whole.partition("    verify:\n")
    after = rest.partition('secrets: ["${PRINTIFY_WEBHOOK_SECRET}"]\n')[2]
    asked = before.index("  PRINTIFY_WEBHOOK_SECRET:"), before.index("scopes:")
    file.write_text(before[: asked[0]] + before[asked[1] :] + VERIFY + after, encoding="utf-8")
    assert [fault for fault in faults_of(read(folder)) if "nothing proves a sender" in fault]

    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    body = '{"id": "1"}'
    signature = b64encode(key.sign(body.encode(), ec.ECDSA(hashes.SHA256()))).decode()
    for published, accepted in ((key, True), (other, False)):
        pem = published.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        vector = {
            "document": "https://example.com/signatures",
            "request": {"headers": {"X-Signature": signature}, "body": body},
            "verify": {"at": "2026-03-02T16:00:00Z", "keys": {"https://keys.example.com/shop.pem": pem.decode()}},
        }
        (folder / "vector.json").write_text(json.dumps([vector]), encoding="utf-8")
        faults = faults_of(read(folder))
        assert (faults == []) is accepted, faults

    # Nobody else can sign its example, which is tried all the same.
    recipe, file = read(folder), tmp_path / "printify.yaml"
    file.write_text(written(recipe, recipe.examples), encoding="utf-8")
    trial = try_example(recipe, "updated_on_hold", file, {}, "https://rescind.example.com")
    assert trial.ok, trial.failure
    assert trial.orders[0].verdict.cancelable == "yes"
