"""Accounts, endpoints and policies: what the operator configures, versioned, encrypted, with an audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
from pydantic import ValidationError

from app.config.models import AccountSpec, PolicySpec
from app.config.registry import handler
from app.config.removed import REMOVED
from app.config.resolve import (
    KINDS,
    Account,
    Endpoint,
    Fault,
    InvalidResourceError,
    Prepared,
    policy_of,
    prepare,
    rest_of,
    secrets_in,
    validated,
)
from app.config.secrets import Vault
from app.contract import (
    Rules,
)
from app.core.policy.model import InvalidPolicy, Mode, Policy
from app.core.unit_of_work import AccountView
from app.runtime.redaction import REDACTED, Redactor
from app.runtime.validation_messages import unknown_name
from app.store import RecheckOrders, Resource, ResourceChange, Store

USERS_SHOWN = 20
"""So many of those that use an account are named where it is to be removed."""


UNPROVEN = (
    "`apply` refuses it without --yes: it would cancel for real, "
    "and was neither backtested nor in shadow mode as it stands"
)


class UnprovenPolicyError(Exception):
    """A policy would cancel for real, and nobody has seen what: it was never backtested, nor in shadow mode."""

    def __init__(self, policies: Sequence[str]) -> None:
        super().__init__(
            f"{', '.join(policies)} would cancel for real, and was neither backtested nor in shadow mode as it stands"
        )
        self.policies = policies


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of a plan: what would change, or did."""

    kind: str
    id: str
    action: Literal["create", "update", "delete", "unchanged"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    warnings: tuple[str, ...] = ()
    """What should be changed although it works."""


class ConfigStore:
    """The resources in force, in memory; the store has every version."""

    def __init__(self, store: Store, vault: Vault, redactor: Redactor) -> None:
        self._store, self._vault, self._redactor = store, vault, redactor
        self._raw: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self._turn = asyncio.Lock()
        self.accounts: dict[str, Account] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.policies: dict[str, PolicySpec] = {}

    async def load(self) -> None:
        """Read everything from the store. Raises `WrongSecretKeyError`."""
        stored = await self._store.resources()
        raw = {
            (each.kind, each.id): (each.version, msgspec.json.decode(self._vault.open(each.body))) for each in stored
        }
        self._take(raw, prepare(raw))

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
        """Make the resources in `given` (as in a resource file) the ones in force, and say what that changes.

        A secret given as `**********` stays what it was. With `prune` what is not in `given` goes.
        Raises `InvalidResourceError`, and `UnprovenPolicyError` where nobody did `confirm`; then changes nothing.
        """
        async with self._turn:
            try:
                wanted = self._wanted(given)
            except RecursionError as error:
                raise InvalidResourceError("the resources are nested too deeply") from error
            gone = set(self._raw) - set(wanted) if prune else set()
            return await self._change(wanted, gone, by=by, now=now, dry_run=dry_run, confirm=confirm)

    async def remove(self, kind: str, id: str, *, by: str, now: datetime) -> None:
        """Take one away. Raises KeyError if there is none, `InvalidResourceError` if another needs it."""
        async with self._turn:
            if (kind, id) not in self._raw:
                raise KeyError(id)
            self._refuse_if_used(kind, id)
            await self._change({}, {(kind, id)}, by=by, now=now, dry_run=False, confirm=True)

    def view(self, account: str) -> AccountView:
        """What decisions need to know of an account, also of one that was removed while it had orders."""
        known = self.accounts.get(account)
        return known.view if known else AccountView(account, REMOVED, Rules(), "reject")

    def accounts_of(self) -> Mapping[str, Sequence[str]]:
        """Policy → the accounts that it speaks of."""
        return {id: spec.accounts for id, spec in self.policies.items()}

    def ids(self, kind: str) -> list[str]:
        """The ids of all resources of a kind."""
        return sorted(id for found, id in self._raw if found == kind)

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
        confirm: bool,
    ) -> list[Difference]:
        merged = {key: held for key, held in self._raw.items() if key not in gone}
        for key, body in wanted.items():
            version, before = self._raw.get(key, (0, None))
            merged[key] = (version if before == body else version + 1), body
        prepared = prepare(merged, wanted.keys())  # raises for what cannot be
        unproven = [] if confirm else await self._unproven(wanted)
        if unproven and not dry_run:
            raise UnprovenPolicyError(unproven)
        await self._refuse_if_busy(gone)
        plan, puts, trail = [], [], []
        for key, body in wanted.items():
            version, before = self._raw.get(key, (0, None))
            action: Literal["create", "update", "unchanged"] = (
                "create" if before is None else "unchanged" if before == body else "update"
            )
            shown = _public(key[0], body)
            warnings = prepared.accounts[key[1]].warnings if key[0] == "accounts" else ()
            if key[0] == "policies" and key[1] in unproven:
                warnings = (UNPROVEN,)
            plan.append(Difference(*key, action, _public(key[0], before) if before else None, shown, warnings))
            if action != "unchanged":
                puts.append(Resource(*key, version + 1, now, by, self._vault.seal(msgspec.json.encode(body))))
                trail.append(ResourceChange(*key, version + 1, now, by, action, shown))
        for key in sorted(gone):
            version, before = self._raw[key]
            plan.append(Difference(*key, "delete", _public(key[0], before), None))
            trail.append(ResourceChange(*key, version, now, by, "delete", _public(key[0], before)))
        if not dry_run and trail:
            awakenings = [RecheckOrders(account, now) for account in self._affected(prepared)]
            await self._store.save_resources(puts, sorted(gone), trail, awakenings)
            self._take(merged, prepared)
        return plan

    def _affected(self, prepared: Prepared) -> list[str]:
        """The accounts whose orders are judged otherwise from now on, or by other policies."""
        return [
            id
            for id, account in prepared.accounts.items()
            if id in self.accounts
            and (
                account.view.rules != self.accounts[id].view.rules
                or account.view.stale_after_s != self.accounts[id].view.stale_after_s
                or account.view.no_cancel != self.accounts[id].view.no_cancel
                or account.view.policies != self.accounts[id].view.policies
            )
        ]

    async def _unproven(self, wanted: Mapping[tuple[str, str], dict[str, Any]]) -> list[str]:
        unproven = []
        for (kind, id), body in wanted.items():
            if kind != "policies":
                continue
            made = policy_of(validated((kind, id), PolicySpec, body))
            if made.mode is Mode.ENFORCE and not await self._is_proven(made):
                unproven.append(id)
        return unproven

    async def _is_proven(self, policy: Policy) -> bool:
        if policy.condition_hash in await self._store.backtested_conditions(policy.id):
            return True
        for body in await self._store.former_bodies("policies", policy.id):
            try:
                # Whoever saved it in enforce mode before has confirmed it.
                former = PolicySpec.model_validate(body).made()
            except (ValidationError, InvalidPolicy):
                continue  # an earlier release had another form
            if former.condition_hash == policy.condition_hash and former.mode is not Mode.APPROVE:
                return True
        return False

    def _refuse_if_used(self, kind: str, id: str) -> None:
        if kind != "accounts":
            return
        users = [f"endpoint {each.spec.id}" for each in self.endpoints.values() if each.spec.account == id]
        users += [f"policy {each.id}" for each in self.policies.values() if id in each.accounts]
        if users:
            named = ", ".join(users[:USERS_SHOWN]) + (" and others" if len(users) > USERS_SHOWN else "")
            raise InvalidResourceError(f"account {id} is used by {named}: remove or change these first")

    async def _refuse_if_busy(self, gone: Iterable[tuple[str, str]]) -> None:
        busy = await self._store.accounts_with_cancellations()
        for kind, id in gone:
            if kind == "accounts" and id in busy:
                raise InvalidResourceError(f"account {id} has cancellations under way: revoke or settle them first")

    def _wanted(self, given: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
        faults = [Fault(kind, "", (), unknown_name(kind, list(KINDS))) for kind in sorted(set(given) - set(KINDS))]
        wanted: dict[tuple[str, str], dict[str, Any]] = {}
        rests: dict[tuple[str, str], dict[str, Any] | None] = {}
        for kind, spec in KINDS.items():
            listed, wrong = _listed(kind, given.get(kind))
            faults += wrong
            for number, each in enumerate(listed):
                id = str(each.get("id") or "") if isinstance(each, dict) else ""
                if (kind, id) in wanted:
                    faults.append(Fault(kind, id, ("id",), "this id stands twice", number))
                    continue
                try:
                    body = _with_kept_secrets(each, self._raw.get((kind, id), (0, {}))[1])
                    validated((kind, id), spec, body, number)
                    wanted[kind, id] = body
                except InvalidResourceError as error:
                    faults += error.faults or [Fault(kind, id, (), str(error), number)]
                    rests[kind, id] = rest_of(kind, each, error.faults)
        if faults:
            raise InvalidResourceError([*faults, *self._other_faults(wanted, rests)])
        return wanted

    def _other_faults(
        self,
        wanted: Mapping[tuple[str, str], dict[str, Any]],
        rests: Mapping[tuple[str, str], dict[str, Any] | None],
    ) -> Sequence[Fault]:
        """What is wrong besides, also in what is left of those at fault: everything is said at once."""
        held = {key: each for key, each in self._raw.items() if key not in rests}
        given = {**wanted, **{key: rest for key, rest in rests.items() if rest is not None}}
        try:
            prepare({**held, **{key: (0, body) for key, body in given.items()}}, given.keys(), rests.keys())
        except InvalidResourceError as error:
            return error.faults
        return ()

    def _take(self, raw: dict[tuple[str, str], tuple[int, dict[str, Any]]], prepared: Prepared) -> None:
        self.accounts, self.endpoints, self.policies = prepared.accounts, prepared.endpoints, prepared.policies
        self._raw = raw
        secrets = [secret for each in self.accounts.values() for secret in secrets_in(each.config)]
        secrets += [secret for each in self.endpoints.values() for secret in secrets_in(each.verify)]
        self._redactor.know(secrets)


def _listed(kind: str, given: Any) -> tuple[Sequence[Any], list[Fault]]:
    """The resources of a kind, and what is wrong with them as a whole."""
    if given is None:
        return (), []
    if not isinstance(given, list | tuple):
        return (), [Fault(kind, "", (), "must be a list")]
    return given, []


def _public(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """A resource as it may be shown: validated, so that every secret is known as one, and dumped without them."""
    spec = KINDS[kind].model_validate(body)
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
