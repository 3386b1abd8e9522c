"""Resources, checked and ready for use: what an operator wrote, joined with handlers, rules and policies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from app.contract import (
    BaseConfig,
    Cancelable,
    Handler,
    InboundRequest,
    InvalidCancel,
    Limits,
    Order,
    Rules,
    Verdict,
    VerifyOptions,
)
from app.core.desk import AccountView
from app.core.policy import InvalidPolicy, Mode, Policy
from app.core.signing import OPTIONS, unheeded
from app.redaction import Redactor
from app.registry import UnknownHandlerError, handler
from app.specs import AccountSpec, EndpointSpec, PolicySpec, Spec

KINDS: dict[str, type[Spec]] = {"accounts": AccountSpec, "endpoints": EndpointSpec, "policies": PolicySpec}


SINGULAR = {"accounts": "account", "endpoints": "endpoint", "policies": "policy"}


class InvalidResourceError(Exception):
    """A resource is not as it must be: which one, which field, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account, ready for use."""

    spec: AccountSpec
    version: int
    handler: Handler
    config: BaseConfig
    limits: Limits
    view: AccountView

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its operator should change although it works, by its configuration."""
        return tuple(f"account {self.spec.id}: config.{text}" for text in self.config.warnings())


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint, ready for use."""

    spec: EndpointSpec
    version: int
    account: Account
    verify: VerifyOptions
    """As it is in force: with the account's webhook secret where the endpoint has none of its own."""
    redactor: Redactor = field(repr=False)
    """Knows what must not stand in a stored receipt: the secrets of the endpoint and of its account."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All resources, ready for use."""

    accounts: dict[str, Account]
    endpoints: dict[str, Endpoint]
    policies: dict[str, PolicySpec]


def prepare(
    raw: Mapping[tuple[str, str], tuple[int, dict[str, Any]]], saved: Collection[tuple[str, str]] = ()
) -> Prepared:
    """All resources, from (kind, id) → (version, body). Raises `InvalidResourceError`.

    Those in `saved` are being saved now, and must pass every check. What an earlier release let pass stays in force
    until then, so that no upgrade keeps a server from starting.
    """

    def each(kind: str, spec: type[Spec]) -> Iterable[tuple[str, int, Any]]:
        for (found, id), (version, body) in sorted(raw.items()):
            if found == kind:
                yield id, version, validated(f"{SINGULAR[kind]} {id}", spec, body)

    policies = {id: spec for id, _, spec in each("policies", PolicySpec)}
    by_account: dict[str, list[Policy]] = {}
    for spec in policies.values():
        made = policy_of(spec)
        for account in spec.accounts:
            by_account.setdefault(account, []).append(made)
    accounts = {
        id: _account(spec, version, by_account.get(id, ())) for id, version, spec in each("accounts", AccountSpec)
    }
    for spec in policies.values():
        _check_accounts(spec, accounts, saved)
    endpoints = {id: _endpoint(spec, version, accounts) for id, version, spec in each("endpoints", EndpointSpec)}
    for id, endpoint in endpoints.items():
        if ("endpoints", id) in saved:
            _check_verify(endpoint)
    return Prepared(accounts, endpoints, policies)


def policy_of(spec: PolicySpec) -> Policy:
    """The policy, ready to be weighed. Raises `InvalidResourceError`."""
    try:
        return spec.made()
    except InvalidPolicy as error:
        raise InvalidResourceError(f"policy {spec.id}: {error.field}: {error}") from error


def _check_accounts(spec: PolicySpec, accounts: Mapping[str, Account], saved: Collection[tuple[str, str]]) -> None:
    for id in spec.accounts:
        account = accounts.get(id)
        if account is None:
            raise InvalidResourceError(f"policy {spec.id} needs the account {id}, which is not there")
        if ("policies", spec.id) in saved or ("accounts", id) in saved:
            _check_words(spec, account)
        if not account.view.rules.duplicate_keys and policy_of(spec).reads_duplicates:
            raise InvalidResourceError(
                f"policy {spec.id}: when: order.duplicates is always empty for account {id}, whose rules name no "
                "duplicate_keys: name the attributes that are alike where two orders are the same"
            )


def _check_words(spec: PolicySpec, account: Account) -> None:
    if account.view.no_cancel is not None and spec.mode is not Mode.SHADOW:
        raise InvalidResourceError(
            f"policy {spec.id}: mode: account {account.spec.id}: {account.view.no_cancel} "
            "Leave the account out, or set mode to shadow"
        )
    try:
        account.handler.check(spec.cancel.reason, spec.cancel.note, account.view.rules)
    except InvalidCancel as error:
        where = f"policy {spec.id}: cancel.{error.field}: account {account.spec.id}"
        raise InvalidResourceError(f"{where}: {error}") from error


def _account(spec: AccountSpec, version: int, policies: Sequence[Policy]) -> Account:
    view = replace(view_of(spec, policies), version=version)
    config = validated(f"account {spec.id}: config", view.handler.config, spec.config)
    view = replace(view, no_cancel=config.no_cancel())
    return Account(spec, version, view.handler, config, spec.limits or view.handler.limits, view)


def view_of(spec: AccountSpec, policies: Sequence[Policy] = ()) -> AccountView:
    """What decisions need to know of an account, which is nothing secret. Raises `InvalidResourceError`."""
    try:
        provider = handler(spec.provider)
    except UnknownHandlerError as error:
        raise InvalidResourceError(f"account {spec.id}: {error}") from error
    return AccountView(
        id=spec.id,
        handler=provider,
        rules=validated(f"account {spec.id}: rules", provider.rules, spec.rules),
        unknown_orders=spec.unknown_orders,
        stale_after_s=spec.stale_after_s,
        deadline=timedelta(hours=spec.deadline_h),
        policies=tuple(policies),
    )


def _endpoint(spec: EndpointSpec, version: int, accounts: Mapping[str, Account]) -> Endpoint:
    if spec.account not in accounts:
        raise InvalidResourceError(f"endpoint {spec.id} needs the account {spec.account}, which is not there")
    account = accounts[spec.account]
    verify = _verify_of(spec, account)
    if spec.keep_registered and account.handler.register is None:
        raise InvalidResourceError(
            f"endpoint {spec.id}: {account.handler.title} has no API to register webhooks with; "
            "leave keep_registered out and register the URL by hand"
        )
    return Endpoint(spec, version, account, verify, Redactor([*secrets_in(verify), *secrets_in(account.config)]))


def _check_verify(endpoint: Endpoint) -> None:
    """Raise `InvalidResourceError` for an option that would be heeded by nobody."""
    options, own = endpoint.spec.verify, endpoint.account.handler.verify_options
    heeded = own if options.scheme == "handler" else OPTIONS[options.scheme]
    found = None if heeded is None else unheeded(options, heeded)
    if found is not None:
        raise InvalidResourceError(f"endpoint {endpoint.spec.id}: verify.{found[0]}: {found[1]}")


def _verify_of(spec: EndpointSpec, account: Account) -> VerifyOptions:
    """How the endpoint's requests are verified. Raises `InvalidResourceError` where no secret is named."""
    verify, name = spec.verify, account.config.webhooks_signed_by
    secret = getattr(account.config, name) if name is not None and verify.scheme == "handler" else None
    if not verify.secrets and secret is not None:
        verify = verify.model_copy(update={"secrets": (secret,)})
    if not verify.secrets or not all(each.get_secret_value() for each in verify.secrets):
        other = f", or set config.{name} of account {account.spec.id}" if name and verify.scheme == "handler" else ""
        raise InvalidResourceError(
            f"endpoint {spec.id}: verify.secrets must name at least one secret, none empty{other}"
        )
    return verify


def _refuse(*_: Any, **__: Any) -> Any:
    raise InvalidResourceError("the account was removed")


def _refuse_request(_request: InboundRequest, _options: VerifyOptions, _now: datetime) -> None:
    _refuse()


def _unknown(order: Order, _rules: Any, _now: datetime) -> Verdict:
    text = "The account was removed, and its rules with it."
    return Verdict(Cancelable.UNKNOWN, "account_removed", text, order.evidence("phase"))


REMOVED = Handler(
    name="removed",
    title="An account that was removed",
    docs=(),
    config=BaseConfig,
    rules=Rules,
    limits=Limits(),
    verify=_refuse_request,
    parse=_refuse,
    verdict=_unknown,
    check=_refuse,
    cancel=_refuse,
)


def validated(where: str, model: type[BaseModel], body: Any) -> Any:
    """`body` as a `model`. Raises `InvalidResourceError`, which says where."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InvalidResourceError(f"{where}{'.' + path if path else ''}: {first['msg']}") from None


def secrets_in(value: Any) -> Iterable[str]:
    """Every secret in a model, however deep."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from secrets_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from secrets_in(each)
