"""The part of an endpoint's form that says how its requests are verified: of each scheme the options that it heeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_type_hints

from app.config.registry import handlers
from app.contract import VerifyOptions
from app.kit.setup import KEPT_BY_SENDER
from app.kit.signing import OPTIONS, HmacScheme
from app.kit.signing.key_material import ALGORITHMS
from app.web.console.forms import Field, Group, Input, fields_of_schema
from app.web.console.page import Page

HANDLER = "handler"
SCHEMES = get_args(VerifyOptions.model_fields["scheme"].annotation)
CHOICE, OPTIONS_OF, SECRETS = "verify.scheme", "options_of", "verify.secrets"
CHOOSER = Field(CHOICE, "How requests are verified", "handler: the provider's own way.", "chooser", SCHEMES, HANDLER)
_CHOICES = {
    "hmac": get_args(get_type_hints(HmacScheme)["algorithm"]),
    "public_key": tuple(ALGORITHMS),
}
"""Scheme → the algorithms that it takes."""
_REQUIRED = {("public_key", "algorithm"), ("sns", "topics")}
_DEFAULTS = {("public_key", "encoding"): "base64"}
"""What holds where an option is empty, if it is not the model's default."""
_INPUTS: Mapping[str, Input] = {"signed": "area", "prefix": "exact", "username": "exact", "roots": "area"}
"""Options whose spaces or lines count."""
_SECRETS_OF_A_KIND = KEPT_BY_SENDER | {"standard_webhooks"}
"""Schemes whose secrets are of no use to others: with a public key as the key of an HMAC anybody could sign."""


def groups(own: frozenset[str] | None, *, is_new: bool) -> list[Group]:
    """The options of each scheme; `own` are those of the provider's own way (see `own_options`)."""
    heeded = {HANDLER: _any_own() if own is None else own, **OPTIONS}
    return [_group(scheme, heeded[scheme], is_new=is_new) for scheme in SCHEMES]


def own_options(page: Page, account: str) -> frozenset[str] | None:
    """What the own way of an account's provider heeds; None if its handler, or nobody, says."""
    resolved = page.node.config.accounts.get(account)
    return None if resolved is None else resolved.handler.verify_options


def scheme_of(body: Mapping[str, Any]) -> str:
    """The scheme of an endpoint's body."""
    verify = body.get("verify")
    return str((verify.get("scheme") if isinstance(verify, Mapping) else None) or HANDLER)


def chosen_scheme(members: Mapping[str, str], base: Mapping[str, Any]) -> str:
    """The scheme that a form chooses; that of the body `base` where it does not say."""
    given = members.get(CHOICE)
    return scheme_of(base) if given is None else given.strip() or HANDLER


def is_unseen(members: Mapping[str, str], scheme: str) -> bool:
    """Whether a scheme was chosen whose options the page did not show, as without a script."""
    return members.get(OPTIONS_OF, scheme) != scheme


def fields_of(given: Sequence[Group], scheme: str) -> list[Field]:
    """The fields of one scheme; none for text that names no scheme, which the API refuses."""
    return [field for group in given if group.name == scheme for field in group.all_fields()]


def base_for(base: Mapping[str, Any], scheme: str) -> dict[str, Any]:
    """The body that a form with this scheme changes: without what only the former scheme could use."""
    former = scheme_of(base)
    if former == scheme:
        return dict(base)
    secrets = (base.get("verify") or {}).get("secrets")
    keeps = secrets and _SECRETS_OF_A_KIND.isdisjoint({former, scheme})
    rest = {name: value for name, value in base.items() if name != "verify"}
    return {**rest, "verify": {"secrets": secrets}} if keeps else rest


def without_needless_secrets(body: dict[str, Any], members: Mapping[str, str]) -> dict[str, Any]:
    """`body` without the stored public keys, where keys are fetched from now on."""
    verify = body.get("verify")
    if verify and verify.get("keys") and not members.get(SECRETS, "").strip():
        body["verify"] = {name: value for name, value in verify.items() if name != "secrets"}
    return body


def members_for_other_scheme(members: Mapping[str, str]) -> dict[str, str]:
    """What was typed, without the options of a scheme that is no longer chosen."""
    return {name: text for name, text in members.items() if not name.startswith("verify.") or name == CHOICE}


def _group(scheme: str, heeded: frozenset[str], *, is_new: bool) -> Group:
    fields, inner = [], list[Group]()
    for field in _option_fields():
        name = field.name.removeprefix("verify.")
        if name not in heeded:
            continue
        if name == "keys":
            about = VerifyOptions.model_fields["keys"].description or ""
            inner.append(Group(field.name, "keys", _plain(about), tuple(_key_fields())))
        else:
            fields.append(_of_scheme(field, scheme, name))
    title = "The provider's own way" if scheme == HANDLER else f"Options of {scheme}"
    return Group(scheme, title, "", (*fields, *_secret_fields(scheme, is_new=is_new)), tuple(inner))


def _of_scheme(field: Field, scheme: str, name: str) -> Field:
    return field.changed(
        options=_CHOICES.get(scheme, ()) if name == "algorithm" else field.options,
        default="" if (scheme, name) in _REQUIRED else _DEFAULTS.get((scheme, name), field.default),
        required=(scheme, name) in _REQUIRED,
    )


def _secret_fields(scheme: str, *, is_new: bool) -> list[Field]:
    if scheme == "sns":
        return []
    if scheme == "public_key":
        kept = "" if is_new else " Empty: those that are set stay."
        about = f"In PEM or base64 DER, one per line or PEM block, if they are not fetched (keys).{kept}"
        return [Field(SECRETS, "The source's public keys", about, "key_list")]
    about = (
        "Empty: one is generated, and shown once. Give it where the provider makes the secret."
        if is_new
        else "Empty: it stays. To replace it while the former one stays valid for a while, rotate it instead."
    )
    return [Field(SECRETS, "Secret", about, "secret_list")]


@cache
def _option_fields() -> tuple[Field, ...]:
    return _described("verify", VerifyOptions.model_json_schema(), ("scheme", "secrets"))


@cache
def _key_fields() -> tuple[Field, ...]:
    schema = VerifyOptions.model_json_schema()
    return _described("verify.keys", {**schema["$defs"]["KeySource"], "$defs": {}}, ())


def _described(prefix: str, schema: Mapping[str, Any], skip: Sequence[str]) -> tuple[Field, ...]:
    fields = fields_of_schema(prefix, schema, skip=skip)
    return tuple(
        field.changed(hint=_plain(field.hint), input=_INPUTS.get(field.name.rpartition(".")[2], field.input))
        for field in fields
    )


def _plain(text: str) -> str:
    return " ".join(text.split())


def _any_own() -> frozenset[str]:
    """What some handler's own way heeds."""
    return frozenset[str]().union(*(handler.verify_options or () for handler in handlers().values()))
