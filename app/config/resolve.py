"""Resources, validated and joined: accounts with their handlers, rules and policies, endpoints with their accounts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from pydantic import ValidationError

from app.config.endpoint_proof import check_verify, unread, verify_of
from app.config.faults import Fault, InvalidResourceError, validate
from app.config.models import AccountSpec, EndpointSpec, PolicySpec
from app.config.registry import UnknownHandlerError, handler
from app.config.secret_values import secrets_in
from app.config.subscriptions import SubscriptionSpec
from app.contract import BaseConfig, Handler, InvalidCancel, Limits, PostHandshakes, VerifyOptions
from app.core.outbound.routing import Filter, Router
from app.core.policy.expression import InvalidPolicy
from app.core.policy.model import Mode, Policy
from app.core.unit_of_work import AccountView
from app.kit.signing import PROOF_IN_HEADERS, signed_body, signed_headers
from app.runtime.redaction import Redactor

Spec = AccountSpec | EndpointSpec | PolicySpec | SubscriptionSpec
KINDS: dict[str, type[Spec]] = {
    "accounts": AccountSpec,
    "endpoints": EndpointSpec,
    "policies": PolicySpec,
    "subscriptions": SubscriptionSpec,
}

Key = tuple[str, str]
"""(kind, id) of a resource."""
Body = dict[str, Any]
Versions = Mapping[Key, tuple[int, Body]]
"""Resource → (version, body)."""


@dataclass(frozen=True, slots=True)
class Account:
    """A resolved account."""

    spec: AccountSpec
    version: int
    handler: Handler
    config: BaseConfig
    limits: Limits
    view: AccountView

    @property
    def warnings(self) -> tuple[str, ...]:
        """Parts of its config that work and that the operator should change."""
        return tuple(f"account {self.spec.id}: config.{text}" for text in self.config.warnings())

    @property
    def topics(self) -> tuple[str, ...]:
        """What is to be registered at its provider; nothing where `no_registration` says why."""
        return tuple(self.handler.topics(self.config))

    @property
    def no_registration(self) -> str | None:
        """Why webhooks cannot be registered through the provider's API; None: they can."""
        if self.handler.register is None:
            return f"{self.handler.title} has no API to register webhooks with"
        if not self.topics:
            return f"the config of account {self.spec.id} does not say how webhooks are registered"
        return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A resolved endpoint."""

    spec: EndpointSpec
    version: int
    account: Account
    verify: VerifyOptions
    """The options in force: with the account's webhook secret if the endpoint has no secrets."""
    retired: tuple[tuple[VerifyOptions, datetime], ...]
    """(the options with a secret that was rotated out, until when that is accepted)."""
    networks: tuple[IPv4Network | IPv6Network, ...]
    """From where requests are taken; empty: from everywhere."""
    redactor: Redactor = field(repr=False)
    """Removes the secrets of the endpoint and its account from stored receipts."""
    post_handshakes: PostHandshakes
    """Which POST requests may be handshakes."""
    proven_headers: frozenset[str] | None
    """See `InboundRequest.proven_headers`."""
    proven_body: str | None
    """See `InboundRequest.proven_body`."""

    @property
    def proof_in_headers(self) -> bool:
        """Whether a request can be verified before its body has arrived."""
        scheme = self.verify.scheme
        return self.account.handler.proof_in_headers if scheme == "handler" else scheme in PROOF_IN_HEADERS

    @property
    def unread_header(self) -> str | None:
        """The header that its account's config names in vain; see `BaseConfig.unread_header`."""
        return self.account.config.unread_header(self.proven_headers)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works and should be changed."""
        header = self.unread_header
        return () if header is None else (f"endpoint {self.spec.id}: {'. '.join(unread(header, self.spec))}",)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All secrets by which a request may be verified, retired ones included."""
        return tuple(secrets_in([self.verify, *(options for options, _ in self.retired)]))


@dataclass(frozen=True, slots=True)
class Resolved:
    """All resources, resolved, by id."""

    accounts: dict[str, Account]
    endpoints: dict[str, Endpoint]
    policies: dict[str, PolicySpec]
    subscriptions: dict[str, SubscriptionSpec]

    def warnings(self, kind: str, id: str) -> tuple[str, ...]:
        """Parts of a resource that work and should be changed."""
        if kind == "accounts":
            return self.accounts[id].warnings
        return self.endpoints[id].warnings if kind == "endpoints" else ()

    def router(self) -> Router:
        """Who receives which messages."""
        return Router(
            [
                Filter(id, spec.events, spec.accounts, spec.ordered, spec.payload == "full", spec.lead, spec.delays)
                for id, spec in self.subscriptions.items()
            ]
        )


def resolve(
    bodies: Versions,
    saved: Collection[Key] = (),
    *,
    faults: Sequence[Fault] = (),
    numbers: Mapping[Key, int] | None = None,
) -> Resolved:
    """Resolve all resources. Raises `InvalidResourceError` with `faults`, found before, and all other faults.

    Resources in `saved` are being saved now and must pass every check; others stay in force as an earlier release
    accepted them, so that no upgrade keeps a server from starting. `numbers` are their positions in the request.
    """
    collector = _FaultCollector(list(faults), {(fault.kind, fault.id) for fault in faults})
    specs: dict[str, dict[str, tuple[int, Any]]] = {kind: {} for kind in KINDS}
    for (kind, id), (version, body) in bodies.items():
        spec, found = _read(kind, id, body, (numbers or {}).get((kind, id)))
        collector.add(kind, id, found)
        if spec is not None:
            specs[kind][id] = version, spec
    collector.faults.sort(key=_position)
    resolved = _resolve({kind: dict(sorted(specs[kind].items())) for kind in KINDS}, saved, collector)
    if collector.faults:
        raise InvalidResourceError(collector.faults)
    return resolved


@dataclass(slots=True)
class _FaultCollector:
    """Collects the faults of all resources, so that one message reports all."""

    faults: list[Fault]
    faulty: set[Key]
    """Resources with faults: what refers to them is not at fault for that."""

    def add(self, kind: str, id: str, faults: Sequence[Fault]) -> None:
        if faults:
            self.faults.extend(faults)
            self.faulty.add((kind, id))

    @contextmanager
    def of(self, kind: str, id: str) -> Iterator[None]:
        try:
            yield
        except InvalidResourceError as error:
            self.add(kind, id, error.faults or [Fault(kind, id, (), str(error))])


def _position(fault: Fault) -> tuple[bool, int, int]:
    """Sorts faults by where the request has them; those of resources that are in force already come last."""
    kinds = list(KINDS)
    kind = kinds.index(fault.kind) if fault.kind in kinds else -1
    return (fault.number is None and fault.id != "", kind, -1 if fault.number is None else fault.number)


_REQUIRED = {
    "accounts": {"id", "provider", "config", "rules"},
    "endpoints": {"id"},
    "policies": {"id", "accounts"},
    "subscriptions": {"id"},
}
_STAND_INS: dict[str, Body] = {
    "endpoints": {"verify": {"scheme": "token", "secrets": ["-"]}},
    "policies": {"when": "true"},
}


def _read(kind: str, id: str, body: Any, number: int | None = None) -> tuple[Any | None, Sequence[Fault]]:
    """(spec, faults) of a body. With faults the spec lacks the fields at fault, so that the rest is checked too.

    The spec is None if too little is left to check.
    """
    try:
        return validate((kind, id), KINDS[kind], body, number), ()
    except InvalidResourceError as error:
        faults = error.faults
    wrong = {fault.path[0] if fault.path else "id" for fault in faults}
    if not isinstance(body, dict) or wrong & _REQUIRED[kind]:
        return None, faults
    stand_ins = {name: value for name, value in _STAND_INS.get(kind, {}).items() if name in wrong}
    rest = {name: value for name, value in body.items() if name not in wrong} | stand_ins
    try:
        return KINDS[kind].model_validate(rest), faults
    except ValidationError:
        return None, faults


def _resolve(
    specs: Mapping[str, Mapping[str, tuple[int, Any]]], saved: Collection[Key], collector: _FaultCollector
) -> Resolved:
    policies: dict[str, Policy] = {}
    by_account: dict[str, list[Policy]] = {}
    for id, (_, spec) in specs["policies"].items():
        with collector.of("policies", id):
            policies[id] = policy_of(spec)
            for account in spec.accounts:
                by_account.setdefault(account, []).append(policies[id])
    accounts: dict[str, Account] = {}
    for id, (version, spec) in specs["accounts"].items():
        with collector.of("accounts", id):
            accounts[id] = _account(spec, version, by_account.get(id, ()))
    policy_specs: dict[str, PolicySpec] = {id: specs["policies"][id][1] for id in policies}
    for id, spec in policy_specs.items():
        for number, account in enumerate(spec.accounts):
            if ("accounts", account) not in collector.faulty:  # its faults are reported already
                with collector.of("policies", id):
                    _check_account(spec, number, accounts, saved, policies[id])
    endpoints: dict[str, Endpoint] = {}
    for id, (version, spec) in specs["endpoints"].items():
        if ("accounts", spec.account) not in collector.faulty:
            with collector.of("endpoints", id):
                endpoints[id] = _endpoint(spec, version, accounts)
                if ("endpoints", id) in saved:
                    check_verify(spec, accounts[spec.account].handler, accounts[spec.account].config)
    subscriptions: dict[str, SubscriptionSpec] = {id: spec for id, (_, spec) in specs["subscriptions"].items()}
    return Resolved(accounts, endpoints, policy_specs, subscriptions)


def policy_of(spec: PolicySpec) -> Policy:
    """The policy that a spec describes. Raises `InvalidResourceError` with all faults."""
    try:
        return spec.policy()
    except InvalidPolicy as error:
        raise InvalidResourceError([*_faults_in_policy(spec)]) from error


def _faults_in_policy(spec: PolicySpec) -> Iterator[Fault]:
    """All faults of a policy: each field at fault is replaced by a default, so that the next fault shows."""
    defaults: dict[str, Any] = {"when": "true", "wait": None, "before_close": None}
    defaults |= {name: PolicySpec.model_fields[name].default for name in ("duplicates_within", "approve_within")}
    while True:
        try:
            spec.policy()
        except InvalidPolicy as error:
            yield Fault("policies", spec.id, (error.field,), str(error), None, error.line, error.column)
            if error.field not in defaults:
                return
            spec = spec.model_copy(update={error.field: defaults.pop(error.field)})
        else:
            return


def read_policy(id: str, body: Body) -> PolicySpec:
    """The spec of a policy. Raises `InvalidResourceError` with all faults."""
    spec, faults = _read("policies", id, body)
    if spec is not None:
        faults = [*faults, *_faults_in_policy(spec)]
    if faults or not isinstance(spec, PolicySpec):
        raise InvalidResourceError(faults)
    return spec


def _check_account(
    spec: PolicySpec,
    number: int,
    accounts: Mapping[str, Account],
    saved: Collection[Key],
    policy: Policy,
) -> None:
    id = spec.accounts[number]
    account = accounts.get(id)
    if account is None:
        raise InvalidResourceError([Fault("policies", spec.id, ("accounts", number), _no_account(id, accounts))])
    if ("policies", spec.id) in saved or ("accounts", id) in saved:
        _check_cancel_arguments(spec, account)
    if not account.view.rules.duplicate_keys and policy.reads_duplicates:
        text = (
            f"order.duplicates is always empty for account {id}, whose rules name no duplicate_keys: name the "
            "attributes that are equal where two orders are the same"
        )
        raise InvalidResourceError([Fault("policies", spec.id, ("when",), text)])


def _no_account(id: str, accounts: Collection[str]) -> str:
    near = get_close_matches(id, accounts, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no account {id!r}{hint}"


def _check_cancel_arguments(spec: PolicySpec, account: Account) -> None:
    if account.view.no_cancel is not None and spec.mode is not Mode.SHADOW:
        text = f"account {account.spec.id}: {account.view.no_cancel} Leave the account out, or set mode to shadow"
        raise InvalidResourceError([Fault("policies", spec.id, ("mode",), text)])
    try:
        account.handler.check(spec.cancel.reason, spec.cancel.note, account.view.rules)
    except InvalidCancel as error:
        text = f"account {account.spec.id}: {error}"
        raise InvalidResourceError([Fault("policies", spec.id, ("cancel", error.field), text)]) from error


def _account(spec: AccountSpec, version: int, policies: Sequence[Policy]) -> Account:
    try:
        view = replace(view_of(spec, policies), version=version)
    except InvalidResourceError as error:
        raise InvalidResourceError([*error.faults, *_faults_in_config(spec)]) from error
    config = validate(("accounts", spec.id, "config"), view.handler.config, spec.config)
    view = replace(view, no_cancel=config.no_cancel())
    return Account(spec, version, view.handler, config, spec.limits or view.handler.limits, view)


def _faults_in_config(spec: AccountSpec) -> Sequence[Fault]:
    """The faults of an account's config; none if its provider is unknown."""
    try:
        validate(("accounts", spec.id, "config"), handler(spec.provider).config, spec.config)
    except InvalidResourceError as error:
        return error.faults
    except UnknownHandlerError:
        pass
    return ()


def view_of(spec: AccountSpec, policies: Sequence[Policy] = ()) -> AccountView:
    """What decisions need to know of an account; it holds no secrets. Raises `InvalidResourceError`."""
    try:
        provider = handler(spec.provider)
    except UnknownHandlerError as error:
        raise InvalidResourceError([Fault("accounts", spec.id, ("provider",), str(error))]) from error
    return AccountView(
        id=spec.id,
        handler=provider,
        rules=validate(("accounts", spec.id, "rules"), provider.rules, spec.rules),
        unknown_orders=spec.unknown_orders,
        stale_after_s=spec.stale_after_s,
        deadline=timedelta(hours=spec.deadline_h),
        policies=tuple(policies),
    )


def _endpoint(spec: EndpointSpec, version: int, accounts: Mapping[str, Account]) -> Endpoint:
    if spec.account not in accounts:
        raise InvalidResourceError([Fault("endpoints", spec.id, ("account",), _no_account(spec.account, accounts))])
    account = accounts[spec.account]
    verify = verify_of(spec, account.config)
    if spec.keep_registered and account.no_registration is not None:
        text = f"{account.no_registration}; leave keep_registered out and register the URL by hand"
        raise InvalidResourceError([Fault("endpoints", spec.id, ("keep_registered",), text)])
    retired = tuple(
        (verify.model_copy(update={"secrets": (former.secret,)}), former.until) for former in spec.retired_secrets
    )
    secrets = [*secrets_in(verify), *secrets_in(spec.retired_secrets), *secrets_in(account.config)]
    networks = tuple(map(ip_network, spec.allow_from))
    is_own, handshakes = verify.scheme == "handler", account.config.post_handshakes()
    headers = account.handler.signed_headers if is_own else signed_headers(verify)
    body = None if is_own else signed_body(verify)
    return Endpoint(spec, version, account, verify, retired, networks, Redactor(secrets), handshakes, headers, body)
