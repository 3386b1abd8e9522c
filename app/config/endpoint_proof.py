"""How an endpoint's requests are proven: its options in force, and what is wrong with them."""

from __future__ import annotations

from app.config.faults import Fault, InvalidResourceError
from app.config.models import EndpointSpec
from app.contract import BaseConfig, Handler, VerifyOptions
from app.kit.signing import OPTIONS, is_keyless, unheeded


def verify_of(spec: EndpointSpec, config: BaseConfig) -> VerifyOptions:
    """The endpoint's options in force; `config` is its account's. Raises `InvalidResourceError` without a secret."""
    verify, name = spec.verify, config.webhooks_signed_by
    secret = getattr(config, name) if name is not None and verify.scheme == "handler" else None
    if not verify.secrets and secret is not None:
        verify = verify.model_copy(update={"secrets": (secret,)})
    if not verify.secrets and is_keyless(verify):
        return verify
    if not verify.secrets or not all(secret.get_secret_value() for secret in verify.secrets):
        other = f", or set config.{name} of account {spec.account}" if name and verify.scheme == "handler" else ""
        text = f"must name at least one secret, none empty{other}"
        raise InvalidResourceError([Fault("endpoints", spec.id, ("verify", "secrets"), text)])
    return verify


def check_verify(spec: EndpointSpec, handler: Handler, config: BaseConfig) -> None:
    """Raise `InvalidResourceError` for an option that the scheme ignores."""
    options = spec.verify
    used = handler.verify_options if options.scheme == "handler" else OPTIONS[options.scheme]
    unused = None if used is None else unheeded(options, used)
    if unused is not None:
        option, message = unused
        raise InvalidResourceError([Fault("endpoints", spec.id, ("verify", option), message)])
    if options.keys is not None and options.keys.authorized and handler.authorize(config) is None:
        text = (
            f"account {spec.account} has no token that keys can be fetched with: give it one of client credentials "
            "(config.key_token of generic); a refresh token that changes with each use is for the account's calls alone"
        )
        raise InvalidResourceError([Fault("endpoints", spec.id, ("verify", "keys", "authorized"), text)])


def unread(header: str, spec: EndpointSpec) -> tuple[str, str]:
    """(that the header with an event's id is not read at this endpoint and why, what to do)."""
    detail = (
        f"key_header {header} of account {spec.account} is not read: the signature of the scheme {spec.verify.scheme} "
        "does not cover it, so anyone who has a copy of a request could send it again under another id; requests with "
        "equal bodies count as one event"
    )
    do = f"Set config.fields.time of account {spec.account}: it says when an event occurred. Or leave key_header out."
    if spec.verify.scheme in ("hmac", "public_key"):
        do = f"If the source signs the header, put {{header:{header}}} into verify.signed. Else: {do}"
    return detail, do
