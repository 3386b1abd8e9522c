"""The operator's configuration: accounts, endpoints and policies, versioned, encrypted, with an audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec
from pydantic import ValidationError

from app.config.bodies import without_secrets
from app.config.faults import SINGULAR, Fault, InvalidResourceError
from app.config.formats import secrets_in_url
from app.config.models import PolicySpec
from app.config.removed import REMOVED
from app.config.requested import Request, read_request
from app.config.resolve import Account, Body, Endpoint, Key, Resolved, resolve
from app.config.secret_values import secrets_in
from app.config.secrets import Vault
from app.config.subscriptions import SubscriptionSpec
from app.config.template_check import faults_in_templates
from app.config.type_check import faults_in_types
from app.contract import Rules
from app.core.outbound.routing import Router
from app.core.outbound.types import CLOSING_SOON
from app.core.policy.expression import InvalidPolicy
from app.core.policy.model import Mode, Policy
from app.core.unit_of_work import AccountView
from app.kit.destinations import EVERYWHERE, Network, fault_in_url
from app.runtime.allowance import Allowance
from app.runtime.redaction import Redactor
from app.store import (
    AccountInUse,
    RecheckOrders,
    Resource,
    ResourceChange,
    Store,
    StoredResponse,
    StoreOutdated,
    StoreUnavailable,
)

T = TypeVar("T")

LOOK_UPS_PER_S = 5
"""How often it is looked whether another node made an endpoint: anybody can ask for some that are not there."""
TRIES = 10
"""How often a change is tried while other nodes make theirs."""
USERS_SHOWN = 20
"""How many users of an account a refusal to remove it names."""
UNPROVEN = "would cancel for real, and was neither backtested nor in shadow mode as it stands"


class UnprovenPolicyError(Exception):
    """A policy would cancel for real, and was never backtested or in shadow mode."""

    def __init__(self, policies: Sequence[str]) -> None:
        super().__init__(f"{', '.join(policies)} {UNPROVEN}")
        self.policies = policies


class ResourceExistsError(Exception):
    """A resource that is to be created exists; change it, or choose another id."""


Action = Literal["create", "update", "delete", "unchanged"]
Respond = Callable[[Resolved], StoredResponse | None]
"""Makes the response to store in the transaction of a change, from the resources as they will be."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry of a plan: how a resource would change, or has changed."""

    kind: str
    id: str
    action: Action
    before: Body | None
    after: Body | None
    warnings: tuple[str, ...] = ()
    """What works and should be changed."""
    secret: str | None = field(default=None, repr=False)
    """The signing secret that was generated for a new subscription; shown nowhere else."""


class ConfigStore:
    """The resources in force, in memory. The store is the truth, and keeps the audit trail.

    Other nodes change resources, too: who decides by them says by which version, and the store refuses what was decided
    by an older one than its own (`StoreOutdated`).
    """

    def __init__(
        self, store: Store, vault: Vault, redactor: Redactor, *, allow: Collection[Network] | None = None
    ) -> None:
        """Make an empty one. `allow`: private networks that subscriptions may name; None: any."""
        self._store, self._vault, self._redactor, self._allow = store, vault, redactor, allow
        self._bodies: dict[Key, tuple[int, Body]] = {}
        self._changing, self._loading = asyncio.Lock(), asyncio.Lock()
        self._look_ups = Allowance(LOOK_UPS_PER_S)
        self.loaded_version = 0
        """The version of the whole configuration that is in force here (`Store.configuration_version`)."""
        self.on_load: Callable[[], None] = _do_nothing
        """Called when the resources have been loaded again."""
        self.accounts: dict[str, Account] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.changed_at: dict[Key, datetime] = {}
        """When each resource was last changed."""
        self.policies: dict[str, PolicySpec] = {}
        self.subscriptions: dict[str, SubscriptionSpec] = {}
        self.router = Router()
        """Who receives which messages."""

    async def load(self) -> None:
        """Read everything from the store. Raises `WrongSecretKeyError`."""
        async with self._loading:
            # First the version: resources that are newer than it are loaded once more; older ones must not be.
            version = await self._store.configuration_version()
            stored = await self._store.resources()
            bodies = {
                (resource.kind, resource.id): (resource.version, msgspec.json.decode(self._vault.open(resource.body)))
                for resource in stored
            }
            resolved = resolve(bodies)
            if version < self.loaded_version and await self._store.configuration_version() != version:
                return  # a change was made here meanwhile; else a standby that had not heard of all took over
            self.changed_at = {(resource.kind, resource.id): resource.updated_at for resource in stored}
            self._take(bodies, resolved, version)
        self.on_load()

    async def endpoint(self, id: str) -> Endpoint | None:
        """The endpoint with this id; one that is not known here is looked for among what other nodes have changed.

        Raises `StoreError`.
        """
        if id not in self.endpoints and self._look_ups.admit():
            await self.refresh()
        return self.endpoints.get(id)

    async def refresh(self) -> None:
        """Load everything again if another node changed something. Raises `StoreError`."""
        if await self._store.configuration_version() != self.loaded_version:
            await self.load()

    async def apply(
        self,
        given: Mapping[str, Any],
        *,
        by: str,
        now: datetime,
        dry_run: bool = False,
        prune: bool = False,
        confirm: bool = False,
    ) -> list[Difference]:
        """Put the resources in `given` (as in a resource file) in force. Returns the changes.

        A secret given as `**********` keeps its value. With `prune` resources that are not in `given` are removed.
        Raises `InvalidResourceError`, and `UnprovenPolicyError` without `confirm`; then nothing is changed.
        """

        async def change() -> list[Difference]:
            request = read_request(given, self._bodies, now)
            # What has no id may be a resource that is in force: nothing is missing before all can be read.
            removed = set(self._bodies) - set(request.bodies) if prune and not request.faults else set()
            return await self._change(request, removed, by=by, now=now, dry_run=dry_run, confirm=confirm)

        try:
            return await self._in_turn(change)
        except RecursionError as error:
            raise InvalidResourceError("the resources are nested too deeply") from error

    async def edit(
        self,
        kind: str,
        id: str,
        edit: Callable[[Body], Body],
        *,
        by: str,
        now: datetime,
        respond: Respond | None = None,
    ) -> None:
        """Put in force what `edit` makes of a resource's body; the body has the secrets in plain text.

        Raises KeyError if there is no such resource, `InvalidResourceError`, and what `edit` raises.
        """

        async def change() -> None:
            body = edit(deepcopy(self._bodies[kind, id][1]))
            await self._put(kind, body, by=by, now=now, respond=respond)

        await self._in_turn(change)

    async def create(self, kind: str, body: Body, *, by: str, now: datetime, respond: Respond | None = None) -> None:
        """Put a new resource in force. Raises `ResourceExistsError`, `InvalidResourceError`."""

        async def change() -> None:
            if (kind, body.get("id")) in self._bodies:
                raise ResourceExistsError(f"{SINGULAR[kind]} {body['id']!r} exists already")
            await self._put(kind, body, by=by, now=now, respond=respond)

        await self._in_turn(change)

    async def _in_turn(self, change: Callable[[], Awaitable[T]]) -> T:
        """Make a change to the resources as they are now, on all nodes: none is lost, and none is made twice."""
        async with self._changing:
            for _ in range(TRIES):
                await self.refresh()
                try:
                    return await change()
                except StoreOutdated:
                    continue
        raise StoreUnavailable("other nodes change the configuration all the time; try again in a moment")

    async def _put(self, kind: str, body: Body, *, by: str, now: datetime, respond: Respond | None) -> None:
        request = read_request({kind: [body]}, self._bodies, now)
        await self._change(request, (), by=by, now=now, dry_run=False, confirm=False, respond=respond)

    async def remove(self, kind: str, id: str, *, by: str, now: datetime) -> None:
        """Remove a resource. Raises KeyError if there is none, `InvalidResourceError` if it is in use."""

        async def change() -> None:
            if (kind, id) not in self._bodies:
                raise KeyError(id)
            self._refuse_if_used(kind, id)
            await self._change(Request(), {(kind, id)}, by=by, now=now, dry_run=False, confirm=True)

        await self._in_turn(change)

    def view(self, account: str) -> AccountView:
        """What decisions need to know of an account, also of a removed one that still has orders."""
        known = self.accounts.get(account)
        return known.view if known else AccountView(account, REMOVED, Rules(), "reject")

    def accounts_of(self) -> Mapping[str, Sequence[str]]:
        """Policy → its accounts."""
        return {id: spec.accounts for id, spec in self.policies.items()}

    def ids(self, kind: str) -> list[str]:
        """The ids of all resources of a kind."""
        return sorted(id for of_kind, id in self._bodies if of_kind == kind)

    def version(self, kind: str, id: str) -> int:
        """The version of a resource; 0 if there is none."""
        return self._bodies.get((kind, id), (0, {}))[0]

    def shown(self, kind: str, id: str) -> Body | None:
        """A resource as the API shows it: without secrets."""
        if (kind, id) not in self._bodies:
            return None
        version, body = self._bodies[kind, id]
        return {**without_secrets(kind, body), "version": version}

    async def _change(
        self,
        request: Request,
        removed: Collection[Key],
        *,
        by: str,
        now: datetime,
        dry_run: bool,
        confirm: bool,
        respond: Respond | None = None,
    ) -> list[Difference]:
        bodies = {key: versioned for key, versioned in self._bodies.items() if key not in removed}
        for key, body in request.bodies.items():
            version, before = self._bodies.get(key, (0, None))
            bodies[key] = (version if before == body else version + 1), body
        of_templates = await asyncio.to_thread(faults_in_templates, request.bodies, request.numbers)
        of_types = faults_in_types(request.bodies, request.numbers)
        faults = [*request.faults, *self._private_urls(request), *of_types, *of_templates]
        resolved = resolve(bodies, request.bodies.keys(), faults=faults, numbers=request.numbers)
        unproven = [] if confirm else await self._unproven(request.bodies)
        if unproven and not dry_run:
            raise UnprovenPolicyError(unproven)
        await self._refuse_if_busy(removed)
        plan, puts, trail = [], [], []
        for key, body in request.bodies.items():
            kind, id = key
            version, before = self._bodies.get(key, (0, None))
            action: Action = "create" if before is None else "unchanged" if before == body else "update"
            shown = without_secrets(kind, body)
            warnings = resolved.warnings(kind, id)
            if kind == "policies" and id in unproven:
                warnings = (f"`apply` refuses it without --yes: it {UNPROVEN}",)
            redacted = without_secrets(kind, before) if before else None
            secret = None if dry_run else request.secrets.get(key)
            plan.append(Difference(kind, id, action, redacted, shown, warnings, secret))
            if action != "unchanged":
                puts.append(Resource(kind, id, version + 1, now, by, self._vault.seal(msgspec.json.encode(body))))
                trail.append(ResourceChange(kind, id, version + 1, now, by, action, shown))
        for kind, id in sorted(removed):
            version, before = self._bodies[kind, id]
            shown = without_secrets(kind, before)
            plan.append(Difference(kind, id, "delete", shown, None))
            trail.append(ResourceChange(kind, id, version, now, by, "delete", shown))
        response = None if respond is None else respond(resolved)
        if not dry_run and (trail or response):
            rechecks = [RecheckOrders(account, now) for account in self._affected(resolved)]
            rechecks += self._new_leads(resolved, now)
            try:
                version = await self._store.save_resources(
                    puts, sorted(removed), trail, rechecks, response, self.loaded_version
                )
            except AccountInUse as error:
                raise _busy(error.account) from error
            if version >= self.loaded_version:
                self.changed_at.update(((put.kind, put.id), now) for put in puts)
                self._take(bodies, resolved, version)
        return plan

    def _private_urls(self, request: Request) -> Iterator[Fault]:
        """The faults of subscriptions whose URL names a private address; what a name resolves to is judged later."""
        for (kind, id), body in request.bodies.items():
            url = body.get("url") if kind == "subscriptions" and self._allow is not None else None
            if isinstance(url, str) and fault_in_url(url, EVERYWHERE) is None:
                fault = fault_in_url(url, self._allow or ())
                if fault is not None:
                    yield Fault(kind, id, ("url",), fault, request.numbers.get((kind, id)))

    def _affected(self, resolved: Resolved) -> list[str]:
        """The accounts whose orders get other verdicts or other policies."""
        return [
            id
            for id, account in resolved.accounts.items()
            if id in self.accounts
            and any(
                getattr(account.view, name) != getattr(self.accounts[id].view, name)
                for name in ("rules", "stale_after_s", "no_cancel", "policies")
            )
        ]

    def _new_leads(self, resolved: Resolved, now: datetime) -> list[RecheckOrders]:
        """Re-checks of orders of which subscribers want to be told earlier or later than before that they close."""
        if resolved.subscriptions == self.subscriptions:
            return []
        accounts = resolved.accounts.keys()
        new = resolved.router().leads_of(CLOSING_SOON, accounts) - self.router.leads_of(CLOSING_SOON, accounts)
        return [RecheckOrders(account, now, closing_lead=lead) for account, lead in sorted(new)]

    async def _unproven(self, bodies: Mapping[Key, Body]) -> list[str]:
        """The policies that would cancel for real, and were never seen doing it."""
        unproven = []
        for (kind, id), body in bodies.items():
            if kind == "policies":
                policy = PolicySpec.model_validate(body).policy()
                if policy.mode is Mode.ENFORCE and not await self._is_proven(policy):
                    unproven.append(id)
        return unproven

    async def _is_proven(self, policy: Policy) -> bool:
        if policy.condition_hash in await self._store.backtested_conditions(policy.id):
            return True
        for body in await self._store.former_bodies("policies", policy.id):
            try:
                # A version that was saved in enforce mode was confirmed then.
                former = PolicySpec.model_validate(body).policy()
            except (ValidationError, InvalidPolicy):
                continue  # written by an earlier release in another form
            if former.condition_hash == policy.condition_hash and former.mode is not Mode.APPROVE:
                return True
        return False

    def _refuse_if_used(self, kind: str, id: str) -> None:
        if kind != "accounts":
            return
        users = [f"endpoint {endpoint.spec.id}" for endpoint in self.endpoints.values() if endpoint.spec.account == id]
        users += [f"policy {policy.id}" for policy in self.policies.values() if id in policy.accounts]
        if users:
            named = ", ".join(users[:USERS_SHOWN]) + (" and others" if len(users) > USERS_SHOWN else "")
            raise InvalidResourceError(f"account {id} is used by {named}: remove or change these first")

    async def _refuse_if_busy(self, removed: Iterable[Key]) -> None:
        busy = await self._store.accounts_with_cancellations()
        for kind, id in removed:
            if kind == "accounts" and id in busy:
                raise _busy(id)

    def _take(self, bodies: dict[Key, tuple[int, Body]], resolved: Resolved, version: int) -> None:
        self.loaded_version = version
        self.accounts, self.endpoints, self.policies = resolved.accounts, resolved.endpoints, resolved.policies
        self.subscriptions, self.router = resolved.subscriptions, resolved.router()
        self._bodies = bodies
        secrets = [secret for account in self.accounts.values() for secret in secrets_in(account.config)]
        secrets += [secret for endpoint in self.endpoints.values() for secret in endpoint.secrets]
        for spec in self.subscriptions.values():
            secrets += [*secrets_in(spec), *secrets_in_url(spec.format, spec.url)]
        self._redactor.set_secrets(secrets)


def _busy(account: str) -> InvalidResourceError:
    return InvalidResourceError(f"account {account} has cancellations under way: revoke or settle them first")


def _do_nothing() -> None:
    return None
