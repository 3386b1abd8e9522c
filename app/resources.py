"""Accounts and endpoints: what the operator configures, versioned, encrypted, with an audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from app.contract import BaseConfig, Cancelable, Handler, InboundRequest, Limits, Order, Rules, Verdict, VerifyOptions
from app.core.desk import AccountView
from app.registry import UnknownHandlerError, handler
from app.secrets import REDACTED, Redactor, Vault
from app.store import Resource, ResourceChange, Store

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class InvalidResourceError(Exception):
    """A resource is not as it must be: which one, which field, and what is wrong."""


class Polling(BaseModel):
    """Orders that nothing was heard of are asked about, with what cancels leave of the limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_s: float = Field(900.0, ge=0.1, le=30 * 86_400, allow_inf_nan=False)
    """An order that is not over, and was not heard of for so long, is asked about."""
    when: Literal["always", "quiet"] = "always"
    """`quiet`: only while the account gets no webhooks at all."""
    quiet_after_s: float = Field(3600.0, ge=0.1, le=30 * 86_400, allow_inf_nan=False)
    """An account has gone quiet when no webhook came for so long."""
    share: float = Field(0.5, gt=0, le=1)
    """No question is asked while more than this share of the limit is used: the rest is for cancels."""


class AccountSpec(BaseModel):
    """One merchant at one provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    provider: str
    config: dict[str, Any] = Field({}, repr=False)
    """Of the handler's own `Config`; here its secrets are plain."""
    rules: dict[str, Any] = {}
    """Overrides of the handler's `Rules`."""
    limits: Limits | None = None
    unknown_orders: Literal["probe", "send", "reject"] = "probe"
    deadline_h: float = Field(72.0, gt=0, le=24 * 365)
    """How long a cancellation without a deadline of its own is tried."""
    polling: Polling | None = None
    stale_after_s: float | None = Field(None, gt=0, le=366 * 86_400, allow_inf_nan=False)
    """A verdict `yes` that rests on nothing newer than this is `unknown`: a cancel is preceded by a probe."""


class EndpointSpec(BaseModel):
    """An inbound webhook URL of an account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    account: Slug
    verify: VerifyOptions
    keep_registered: bool = False
    """Register the URL at the provider through its API, and again whenever the provider has dropped it."""


Spec = AccountSpec | EndpointSpec


@dataclass(frozen=True, slots=True)
class Account:
    """An account, ready for use."""

    spec: AccountSpec
    version: int
    handler: Handler
    config: BaseConfig
    limits: Limits
    view: AccountView


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint, ready for use."""

    spec: EndpointSpec
    version: int
    account: Account
    secrets: tuple[str, ...] = field(repr=False)
    """What must not stand in a stored receipt, whatever header or parameter it came in."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of a plan: what would change, or did."""

    kind: str
    id: str
    action: Literal["create", "update", "delete", "unchanged"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


_KINDS: dict[str, type[Spec]] = {"accounts": AccountSpec, "endpoints": EndpointSpec}


class Directory:
    """The resources in force, in memory; the store has every version."""

    def __init__(self, store: Store, vault: Vault, redactor: Redactor) -> None:
        self._store, self._vault, self._redactor = store, vault, redactor
        self._raw: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self._turn = asyncio.Lock()
        self.accounts: dict[str, Account] = {}
        self.endpoints: dict[str, Endpoint] = {}

    async def load(self) -> None:
        """Read everything from the store. Raises `WrongSecretKeyError`."""
        stored = await self._store.resources()
        raw = {
            (each.kind, each.id): (each.version, msgspec.json.decode(self._vault.open(each.body))) for each in stored
        }
        self._take(raw)

    async def apply(
        self, given: Mapping[str, Any], *, by: str, now: datetime, dry_run: bool = False, prune: bool = False
    ) -> list[Difference]:
        """Make the resources in `given` (as in a resource file) the ones in force, and say what that changes.

        A secret given as `**********` stays what it was. With `prune` what is not in `given` goes.
        Raises `InvalidResourceError`, and then changes nothing.
        """
        async with self._turn:
            try:
                wanted = self._wanted(given)
            except RecursionError as error:
                raise InvalidResourceError("the resources are nested too deeply") from error
            gone = set(self._raw) - set(wanted) if prune else set()
            return await self._change(wanted, gone, by=by, now=now, dry_run=dry_run)

    async def remove(self, kind: str, id: str, *, by: str, now: datetime) -> None:
        """Take one away. Raises KeyError if there is none, `InvalidResourceError` if another needs it."""
        async with self._turn:
            if (kind, id) not in self._raw:
                raise KeyError(id)
            await self._change({}, {(kind, id)}, by=by, now=now, dry_run=False)

    def view(self, account: str) -> AccountView:
        """What decisions need to know of an account, also of one that was removed while it had orders."""
        known = self.accounts.get(account)
        return known.view if known else AccountView(account, _REMOVED, Rules(), "reject")

    def shown(self, kind: str, id: str) -> dict[str, Any] | None:
        """A resource as answers show it: without secrets."""
        found = self._raw.get((kind, id))
        return None if found is None else {**_public(kind, found[1]), "version": found[0]}

    async def _change(
        self,
        wanted: Mapping[tuple[str, str], dict[str, Any]],
        gone: Iterable[tuple[str, str]],
        *,
        by: str,
        now: datetime,
        dry_run: bool,
    ) -> list[Difference]:
        merged = {key: held for key, held in self._raw.items() if key not in gone}
        merged |= {key: (self._raw[key][0] + 1 if key in self._raw else 1, body) for key, body in wanted.items()}
        _prepare(merged)  # raises for what cannot be
        await self._refuse_if_busy(gone)
        plan, puts, trail = [], [], []
        for key, body in wanted.items():
            version, before = self._raw.get(key, (0, None))
            action: Literal["create", "update", "unchanged"] = (
                "create" if before is None else "unchanged" if before == body else "update"
            )
            shown = _public(key[0], body)
            plan.append(Difference(*key, action, _public(key[0], before) if before else None, shown))
            if action == "unchanged":
                merged[key] = self._raw[key]
            else:
                puts.append(Resource(*key, version + 1, now, by, self._vault.seal(msgspec.json.encode(body))))
                trail.append(ResourceChange(*key, version + 1, now, by, action, shown))
        for key in sorted(gone):
            version, before = self._raw[key]
            plan.append(Difference(*key, "delete", _public(key[0], before), None))
            trail.append(ResourceChange(*key, version, now, by, "delete", _public(key[0], before)))
        if not dry_run and trail:
            await self._store.save_resources(puts, sorted(gone), trail)
            self._take(merged)
        return plan

    async def _refuse_if_busy(self, gone: Iterable[tuple[str, str]]) -> None:
        busy = await self._store.accounts_with_cancellations()
        for kind, id in gone:
            if kind == "accounts" and id in busy:
                raise InvalidResourceError(f"account {id} has cancellations under way: revoke or settle them first")

    def _wanted(self, given: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
        unknown = set(given) - set(_KINDS)
        if unknown:
            raise InvalidResourceError(f"unknown kind {', '.join(sorted(unknown))}: known are {', '.join(_KINDS)}")
        wanted = {}
        for kind, spec in _KINDS.items():
            for number, each in enumerate(_listed(kind, given.get(kind))):
                id = each.get("id") if isinstance(each, dict) else None
                where = f"{kind}[{number}]" + (f" ({id})" if id else "")
                if (kind, str(id)) in wanted:
                    raise InvalidResourceError(f"{where}: this id stands twice")
                kept = self._raw.get((kind, str(id)), (0, {}))[1]
                body = _with_kept_secrets(each, kept)
                _validated(where, spec, body)
                wanted[kind, str(id)] = body
        return wanted

    def _take(self, raw: dict[tuple[str, str], tuple[int, dict[str, Any]]]) -> None:
        self.accounts, self.endpoints = _prepare(raw)
        self._raw = raw
        secrets = [secret for each in self.accounts.values() for secret in _secrets_in(each.config)]
        secrets += [secret for each in self.endpoints.values() for secret in _secrets_in(each.spec.verify)]
        self._redactor.know(secrets)


def _prepare(
    raw: Mapping[tuple[str, str], tuple[int, dict[str, Any]]],
) -> tuple[dict[str, Account], dict[str, Endpoint]]:
    accounts, endpoints = {}, {}
    for (kind, id), (version, body) in raw.items():
        if kind == "accounts":
            accounts[id] = _account(_validated(f"account {id}", AccountSpec, body), version)
    for (kind, id), (version, body) in raw.items():
        if kind == "endpoints":
            endpoints[id] = _endpoint(_validated(f"endpoint {id}", EndpointSpec, body), version, accounts)
    return accounts, endpoints


def _account(spec: AccountSpec, version: int) -> Account:
    try:
        provider = handler(spec.provider)
    except UnknownHandlerError as error:
        raise InvalidResourceError(f"account {spec.id}: {error}") from error
    config = _validated(f"account {spec.id}: config", provider.config, spec.config)
    rules = _validated(f"account {spec.id}: rules", provider.rules, spec.rules)
    view = AccountView(spec.id, provider, rules, spec.unknown_orders, spec.stale_after_s)
    return Account(spec, version, provider, config, spec.limits or provider.limits, view)


def _endpoint(spec: EndpointSpec, version: int, accounts: Mapping[str, Account]) -> Endpoint:
    if spec.account not in accounts:
        raise InvalidResourceError(f"endpoint {spec.id} needs the account {spec.account}, which is not there")
    if not spec.verify.secrets or not all(secret.get_secret_value() for secret in spec.verify.secrets):
        raise InvalidResourceError(f"endpoint {spec.id}: verify.secrets must name at least one secret, none empty")
    account = accounts[spec.account]
    if spec.keep_registered and account.handler.register is None:
        raise InvalidResourceError(
            f"endpoint {spec.id}: {account.handler.title} has no API to register webhooks with; "
            "leave keep_registered out and register the URL by hand"
        )
    secrets = tuple(secret.get_secret_value() for secret in spec.verify.secrets)
    return Endpoint(spec, version, account, secrets)


def _refuse(*_: Any, **__: Any) -> Any:
    raise InvalidResourceError("the account was removed")


def _refuse_request(_request: InboundRequest, _options: VerifyOptions, _now: datetime) -> None:
    _refuse()


def _unknown(order: Order, _rules: Any, _now: datetime) -> Verdict:
    text = "The account was removed, and its rules with it."
    return Verdict(Cancelable.UNKNOWN, "account_removed", text, order.evidence("phase"))


_REMOVED = Handler(
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


def _validated(where: str, model: type[BaseModel], body: Any) -> Any:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InvalidResourceError(f"{where}{'.' + path if path else ''}: {first['msg']}") from None


def _listed(kind: str, given: Any) -> Sequence[Any]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise InvalidResourceError(f"{kind}: must be a list")
    return given


def _public(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """A resource as it may be shown: validated, so that every secret is known as one, and dumped without them."""
    spec = _KINDS[kind].model_validate(body)
    shown: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=True)
    if isinstance(spec, AccountSpec):
        config = handler(spec.provider).config.model_validate(spec.config)
        shown["config"] = config.model_dump(mode="json", exclude_unset=True)
    return shown


def _with_kept_secrets(given: Any, kept: Any) -> Any:
    """`given`, with every value that was shown as redacted put back to what it was."""
    if given == REDACTED:
        if not isinstance(kept, str):
            raise InvalidResourceError(f"{REDACTED} stands for a secret that is not known here: give the secret itself")
        return kept
    if isinstance(given, dict):
        before = kept if isinstance(kept, dict) else {}
        return {key: _with_kept_secrets(value, before.get(key)) for key, value in given.items()}
    if isinstance(given, list | tuple):
        # In a list of secrets the first redacted one stands for the first that was there, wherever it stands now.
        former = iter(kept if isinstance(kept, list) else ())
        return [_with_kept_secrets(each, next(former, None)) if each == REDACTED else each for each in given]
    return given


def _secrets_in(value: Any) -> Iterable[str]:
    """Every secret in a model, however deep."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _secrets_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets_in(each)
