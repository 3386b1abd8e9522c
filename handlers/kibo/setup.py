"""What to enter at Kibo so that its webhooks arrive, and a sample of them."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from app.contract import HttpRequest, Setup, SetupField, VerifyOptions
from app.kit.sample import simulated
from app.kit.sign import CannotSign
from app.kit.signing import secrets_of
from handlers.kibo.config import Config
from handlers.kibo.signature import DATE_HEADER, SIGNATURE_HEADER, http_date, sign
from handlers.kibo.simulator import Kibo
from handlers.kibo.words import FAMILIES


def setup(url: str, _options: VerifyOptions, config: Config) -> Setup:
    """Kibo signs with the application's shared secret, which it shows and nobody can choose."""
    fields = (
        SetupField("Event URL", url),
        SetupField("Events", "\n".join(f"{family}.*" for family in sorted(FAMILIES))),
    )
    notes = (
        f"The application must be installed in tenant {config.tenant}; its shared secret signs the webhooks.",
        "Kibo resends what is answered with 202: set quarantine_status: 200 on the endpoint.",
    )
    return Setup("In Kibo's Dev Center, in your application, under Packages, Events.", fields, notes)


def sample(config: Config, now: datetime) -> HttpRequest:
    """A webhook about an order that was just placed by this tenant's shop."""
    return simulated(Kibo(tenant=config.tenant), now)


def sign_webhook(webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    """The webhook with the `Date` and the signature of `now`."""
    keys = secrets_of(options)
    if not keys:
        raise CannotSign("the endpoint has no secret")
    date = http_date(now)
    proof = sign(keys[0], date.encode(), webhook.body).decode()
    replaced = {DATE_HEADER.lower(), SIGNATURE_HEADER.lower()}
    headers = {name: value for name, value in webhook.headers.items() if name.lower() not in replaced}
    return replace(webhook, headers={**headers, DATE_HEADER: date, options.header or SIGNATURE_HEADER: proof})
