"""The handler of any source that a configuration describes."""

from __future__ import annotations

from app.contract import Handler, Limits
from app.kit.signing import OPTIONS
from handlers.generic.cancel import cancel, probe
from handlers.generic.config import Config
from handlers.generic.credentials import key_authorization
from handlers.generic.registration import register, registrations, topics, unregister
from handlers.generic.rules import Rules, check, verdict
from handlers.generic.setup import sample
from handlers.generic.simulator import ExampleShop
from handlers.generic.webhook import handshake, parse, verify

HANDLER = Handler(
    name="generic",
    title="Any source, by configuration",
    docs=(
        "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md",
        "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md",
        "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md",
        "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md",
        "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
        "https://jmespath.org/specification.html",
        "https://cel.dev",
    ),
    config=Config,
    rules=Rules,
    limits=Limits(requests=60, per_s=60.0, concurrency=2),
    verify=verify,
    verify_options=OPTIONS["token"],
    proof_in_headers=True,
    sample=sample,
    parse=parse,
    verdict=verdict,
    check=check,
    cancel=cancel,
    probe=probe,
    handshake=handshake,
    authorize=key_authorization,
    topics=topics,
    registrations=registrations,
    register=register,
    unregister=unregister,
    private=frozenset(
        {
            "customer",
            "client",
            "buyer",
            "recipient",
            "user",
            "first_name",
            "last_name",
            "contact",
            "email",
            "phone",
            "telephone",
            "address",
            "billing_address",
            "shipping_address",
            "payment",
            "data_base64",  # a whole CloudEvent's data, in which any of these may stand
        }
    ),
    personal=frozenset({"*"}),  # which attributes there are, the operator says
    simulator=ExampleShop,
)
