"""Rotation of secrets with an overlap: the former secret is retired, and stays valid for a while beside the new one."""

from __future__ import annotations

import secrets
from base64 import b64encode
from datetime import datetime
from typing import Any

from app.config.faults import Fault, InvalidResourceError
from app.config.models import RetiredSecret, retire
from app.config.resolve import Body, Endpoint
from app.config.subscriptions import make_secret
from app.kit.setup import KEPT_BY_SENDER, issued_by_provider
from app.kit.sign import PUBLIC_KEY
from app.kit.signing import is_keyless

RETIRED = "retired_secrets"
OVERLAP_H, OVERLAP_H_MAX = 24.0, 30 * 24.0


def make_webhook_secret(scheme: str, key: str = "text") -> str:
    """A new secret for an inbound endpoint, in the form that its scheme wants; `key` is `VerifyOptions.key`."""
    if scheme == "standard_webhooks":
        return make_secret()
    if key == "base64":
        return b64encode(secrets.token_bytes(32)).decode()
    # Letters and digits only: it may have to stand in a URL, or be typed into a form.
    return secrets.token_hex(32)


def rotated(endpoint: Endpoint, body: Body, secret: str, overlap_h: float, now: datetime) -> Body:
    """An endpoint's body with `secret` as its only one; the former ones are retired, and valid for the overlap.

    Where the former secret is in the account's config, the endpoint has one of its own from then on.
    """
    former = [value.get_secret_value() for value in endpoint.verify.secrets]
    return {
        **body,
        "verify": {**(body.get("verify") or {}), "secrets": [secret]},
        RETIRED: retire(former, endpoint.spec.retired_secrets, secret, overlap_h, now),
    }


def require_rotatable(endpoint: Endpoint) -> None:
    """Raise `InvalidResourceError` if only the provider can make a new secret, and tell what to do."""
    handler = endpoint.account.handler
    if is_keyless(endpoint.verify):
        text = "its keys are the source's, which publishes new ones by itself: there is nothing to rotate here"
        raise InvalidResourceError([Fault("endpoints", endpoint.spec.id, ("secret",), text)])
    given = [value.get_secret_value() for value in endpoint.verify.secrets]
    if endpoint.verify.scheme in KEPT_BY_SENDER or all(secret.startswith(PUBLIC_KEY) for secret in given):
        text = "the sender alone has the private key: have it make a new pair, and give the public key as `secret`"
        raise InvalidResourceError([Fault("endpoints", endpoint.spec.id, ("secret",), text)])
    if not issued_by_provider(handler, endpoint.verify):
        return
    issuer = handler.title if endpoint.verify.scheme == "handler" else endpoint.verify.scheme.capitalize()
    name = handler.config.webhooks_signed_by
    own = bool(endpoint.spec.verify.secrets) or endpoint.verify.scheme != "handler"
    where = "the endpoint's verify.secrets" if own else f"config.{name} of account {endpoint.spec.account}"
    text = (
        f"{issuer} issues the secret that signs its webhooks ({where}), so that none can be generated: have {issuer} "
        "make a new one, and give that as `secret`; the former stays valid for the overlap"
    )
    raise InvalidResourceError([Fault("endpoints", endpoint.spec.id, ("secret",), text)])


def with_valid_retired(given: Body, stored: Body, now: datetime) -> Body:
    """`given` with the retired secrets of the stored body if it names none, and without those that have expired.

    Rotation is done by the API; a resource file that does not speak of it must not end an overlap.
    """
    retired = given.get(RETIRED, stored.get(RETIRED))
    if not retired or not isinstance(retired, list):
        return given
    valid = [secret for secret in retired if not _has_expired(secret, now)]
    rest = {name: value for name, value in given.items() if name != RETIRED}
    return {**rest, RETIRED: valid} if valid else rest


def _has_expired(retired: Any, now: datetime) -> bool:
    try:
        return RetiredSecret.model_validate(retired).until <= now
    except ValueError:
        return False  # Validation of the whole resource reports the fault.
