"""Resources, checked and ready for use: what an operator wrote, joined with handlers, rules and policies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from app.config.models import AccountSpec, EndpointSpec, PolicySpec, Spec
from app.config.registry import UnknownHandlerError, handler
from app.contract import (
    BaseConfig,
    Handler,
    InvalidCancel,
    Limits,
    VerifyOptions,
)
from app.core.policy.model import InvalidPolicy, Mode, Policy
from app.core.unit_of_work import AccountView
from app.kit.signing import OPTIONS, PROOF_IN_HEADERS, unheeded
from app.runtime.redaction import Redactor
from app.runtime.validation_messages import in_plain_words

KINDS: dict[str, type[Spec]] = {"accounts": AccountSpec, "endpoints": EndpointSpec, "policies": PolicySpec}


SINGULAR = {"accounts": "account", "endpoints": "endpoint", "policies": "policy"}


FAULTS_IN_MESSAGE = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a resource."""

    kind: str
    id: str
    path: tuple[str | int, ...]
    """Where in the resource; empty: the resource as a whole."""
    message: str
    number: int | None = None
    """Which of its kind it is in what was given, from 0, where that is known."""

    def __str__(self) -> str:
        where = self.kind if self.number is None else f"{self.kind}[{self.number}]"
        if self.id:
            where = f"{SINGULAR.get(self.kind, self.kind)} {self.id}"
        path = ".".join(str(part) for part in self.path)
        return f"{where}: {path}: {self.message}" if path else f"{where}: {self.message}"


class InvalidResourceError(Exception):
    """A resource is not as it must be: which one, which field, and what is wrong; `faults` has everything found."""

    def __init__(self, message: str | Sequence[Fault]) -> None:
        self.faults = () if isinstance(message, str) else tuple(message)
        if not isinstance(message, str):
            more = len(message) - FAULTS_IN_MESSAGE
            shown = "; ".join(map(str, message[:FAULTS_IN_MESSAGE]))
            message = f"{shown}; and {more} more" if more > 0 else shown
        super().__init__(message)


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

    @property
    def proof_in_headers(self) -> bool:
        """Whether a request can be verified before its body has come."""
        scheme = self.verify.scheme
        return self.account.handler.proof_in_headers if scheme == "handler" else scheme in PROOF_IN_HEADERS


@dataclass(frozen=True, slots=True)
class Prepared:
    """All resources, ready for use."""

    accounts: dict[str, Account]
    endpoints: dict[str, Endpoint]
    policies: dict[str, PolicySpec]


def prepare(
    raw: Mapping[tuple[str, str], tuple[int, dict[str, Any]]],
    saved: Collection[tuple[str, str]] = (),
    broken: Collection[tuple[str, str]] = (),
) -> Prepared:
    """All resources, from (kind, id) → (version, body). Raises `InvalidResourceError` with all that is wrong.

    Those in `saved` are being saved now, and must pass every check. What an earlier release let pass stays in force
    until then, so that no upgrade keeps a server from starting. Of those in `broken` it is known what is wrong.
    """
    gathered = _Gathered(set(broken))
    specs: dict[str, dict[str, tuple[int, Any]]] = {kind: {} for kind in KINDS}
    for (kind, id), (version, body) in sorted(raw.items()):
        with gathered.of(kind, id):
            specs[kind][id] = version, validated((kind, id), KINDS[kind], body)
    prepared = _prepare(specs, saved, gathered)
    if gathered.faults:
        raise InvalidResourceError(gathered.faults)
    return prepared


@dataclass(slots=True)
class _Gathered:
    """What is wrong, of all resources: everything is said at once."""

    lame: set[tuple[str, str]]
    """Of these it is known what is wrong: what needs them is not wrong for it."""
    faults: list[Fault] = field(default_factory=list)

    @contextmanager
    def of(self, kind: str, id: str) -> Iterator[None]:
        try:
            yield
        except InvalidResourceError as error:
            self.faults.extend(error.faults or [Fault(kind, id, (), str(error))])
            self.lame.add((kind, id))


def _prepare(
    specs: Mapping[str, Mapping[str, tuple[int, Any]]], saved: Collection[tuple[str, str]], gathered: _Gathered
) -> Prepared:
    made: dict[str, Policy] = {}
    by_account: dict[str, list[Policy]] = {}
    for id, (_, spec) in specs["policies"].items():
        with gathered.of("policies", id):
            made[id] = policy_of(spec)
            for account in spec.accounts:
                by_account.setdefault(account, []).append(made[id])
    accounts: dict[str, Account] = {}
    for id, (version, spec) in specs["accounts"].items():
        with gathered.of("accounts", id):
            accounts[id] = _account(spec, version, by_account.get(id, ()))
    policies: dict[str, PolicySpec] = {id: specs["policies"][id][1] for id in made}
    for id, spec in policies.items():
        for number, account in enumerate(spec.accounts):
            if ("accounts", account) not in gathered.lame:  # what is wrong with that one is said already
                with gathered.of("policies", id):
                    _check_account(spec, number, accounts, saved, made[id])
    endpoints: dict[str, Endpoint] = {}
    for id, (version, spec) in specs["endpoints"].items():
        if ("accounts", spec.account) not in gathered.lame:
            with gathered.of("endpoints", id):
                endpoints[id] = _endpoint(spec, version, accounts)
                if ("endpoints", id) in saved:
                    _check_verify(endpoints[id])
    return Prepared(accounts, endpoints, policies)


def policy_of(spec: PolicySpec) -> Policy:
    """The policy, ready to be weighed. Raises `InvalidResourceError` with all that is wrong."""
    try:
        return spec.made()
    except InvalidPolicy as error:
        raise InvalidResourceError([*_faults_in_policy(spec)]) from error


def _faults_in_policy(spec: PolicySpec) -> Iterator[Fault]:
    """Everything that is wrong: each field at fault is replaced, so that the next fault is found."""
    usable: dict[str, Any] = {"when": "true", "wait": None, "before_close": None}
    usable |= {name: PolicySpec.model_fields[name].default for name in ("duplicates_within", "approve_within")}
    while True:
        try:
            spec.made()
        except InvalidPolicy as error:
            yield Fault("policies", spec.id, (error.field,), str(error))
            if error.field not in usable:
                return
            spec = spec.model_copy(update={error.field: usable.pop(error.field)})
        else:
            return


def policy_in(id: str, body: dict[str, Any]) -> PolicySpec:
    """The policy that a body holds. Raises `InvalidResourceError` with all that is wrong."""
    try:
        spec: PolicySpec = validated(("policies", id), PolicySpec, body)
    except InvalidResourceError as error:
        rest = rest_of("policies", body, error.faults)
        more = () if rest is None else _faults_in_policy(PolicySpec.model_validate(rest))
        raise InvalidResourceError([*error.faults, *more]) from error
    policy_of(spec)
    return spec


_NEEDED = {"accounts": {"id", "provider", "config", "rules"}, "endpoints": {"id"}, "policies": {"id", "accounts"}}
_STAND_INS: dict[str, dict[str, Any]] = {
    "endpoints": {"verify": {"scheme": "token", "secrets": ["-"]}},
    "policies": {"when": "true"},
}


def rest_of(kind: str, body: Any, faults: Sequence[Fault]) -> dict[str, Any] | None:
    """A resource without the fields in which `faults` were found, so that the rest is checked too; None: no use."""
    wrong = {fault.path[0] if fault.path else "id" for fault in faults}
    if not isinstance(body, dict) or wrong & _NEEDED[kind]:
        return None
    stand_ins = {name: value for name, value in _STAND_INS.get(kind, {}).items() if name in wrong}
    rest = {name: value for name, value in body.items() if name not in wrong} | stand_ins
    try:
        KINDS[kind].model_validate(rest)
    except ValidationError:
        return None
    return rest


def _check_account(
    spec: PolicySpec,
    number: int,
    accounts: Mapping[str, Account],
    saved: Collection[tuple[str, str]],
    policy: Policy,
) -> None:
    id = spec.accounts[number]
    account = accounts.get(id)
    if account is None:
        raise InvalidResourceError([Fault("policies", spec.id, ("accounts", number), _no_account(id, accounts))])
    if ("policies", spec.id) in saved or ("accounts", id) in saved:
        _check_words(spec, account)
    if not account.view.rules.duplicate_keys and policy.reads_duplicates:
        text = (
            f"order.duplicates is always empty for account {id}, whose rules name no duplicate_keys: name the "
            "attributes that are alike where two orders are the same"
        )
        raise InvalidResourceError([Fault("policies", spec.id, ("when",), text)])


def _no_account(id: str, accounts: Collection[str]) -> str:
    near = get_close_matches(id, accounts, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no account {id!r}{hint}"


def _check_words(spec: PolicySpec, account: Account) -> None:
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
    config = validated(("accounts", spec.id, "config"), view.handler.config, spec.config)
    view = replace(view, no_cancel=config.no_cancel())
    return Account(spec, version, view.handler, config, spec.limits or view.handler.limits, view)


def _faults_in_config(spec: AccountSpec) -> Sequence[Fault]:
    """What is wrong with an account's config, where its provider is known."""
    try:
        validated(("accounts", spec.id, "config"), handler(spec.provider).config, spec.config)
    except InvalidResourceError as error:
        return error.faults
    except UnknownHandlerError:
        pass
    return ()


def view_of(spec: AccountSpec, policies: Sequence[Policy] = ()) -> AccountView:
    """What decisions need to know of an account, which is nothing secret. Raises `InvalidResourceError`."""
    try:
        provider = handler(spec.provider)
    except UnknownHandlerError as error:
        raise InvalidResourceError([Fault("accounts", spec.id, ("provider",), str(error))]) from error
    return AccountView(
        id=spec.id,
        handler=provider,
        rules=validated(("accounts", spec.id, "rules"), provider.rules, spec.rules),
        unknown_orders=spec.unknown_orders,
        stale_after_s=spec.stale_after_s,
        deadline=timedelta(hours=spec.deadline_h),
        policies=tuple(policies),
    )


def _endpoint(spec: EndpointSpec, version: int, accounts: Mapping[str, Account]) -> Endpoint:
    if spec.account not in accounts:
        raise InvalidResourceError([Fault("endpoints", spec.id, ("account",), _no_account(spec.account, accounts))])
    account = accounts[spec.account]
    verify = _verify_of(spec, account)
    if spec.keep_registered and account.handler.register is None:
        text = (
            f"{account.handler.title} has no API to register webhooks with; "
            "leave keep_registered out and register the URL by hand"
        )
        raise InvalidResourceError([Fault("endpoints", spec.id, ("keep_registered",), text)])
    return Endpoint(spec, version, account, verify, Redactor([*secrets_in(verify), *secrets_in(account.config)]))


def _check_verify(endpoint: Endpoint) -> None:
    """Raise `InvalidResourceError` for an option that would be heeded by nobody."""
    options, own = endpoint.spec.verify, endpoint.account.handler.verify_options
    heeded = own if options.scheme == "handler" else OPTIONS[options.scheme]
    found = None if heeded is None else unheeded(options, heeded)
    if found is not None:
        raise InvalidResourceError([Fault("endpoints", endpoint.spec.id, ("verify", found[0]), found[1])])


def _verify_of(spec: EndpointSpec, account: Account) -> VerifyOptions:
    """How the endpoint's requests are verified. Raises `InvalidResourceError` where no secret is named."""
    verify, name = spec.verify, account.config.webhooks_signed_by
    secret = getattr(account.config, name) if name is not None and verify.scheme == "handler" else None
    if not verify.secrets and secret is not None:
        verify = verify.model_copy(update={"secrets": (secret,)})
    if not verify.secrets or not all(each.get_secret_value() for each in verify.secrets):
        other = f", or set config.{name} of account {account.spec.id}" if name and verify.scheme == "handler" else ""
        text = f"must name at least one secret, none empty{other}"
        raise InvalidResourceError([Fault("endpoints", spec.id, ("verify", "secrets"), text)])
    return verify


def validated(where: tuple[str, ...], model: type[BaseModel], body: Any, number: int | None = None) -> Any:
    """`body`, which stands at `where` (kind, id, field…), as a `model`. Raises `InvalidResourceError`."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        kind, id, *before = where
        found = error.errors(include_input=False, include_url=False)
        faults = [Fault(kind, id, (*before, *each["loc"]), in_plain_words(each, model), number) for each in found]
        raise InvalidResourceError(faults) from None


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
