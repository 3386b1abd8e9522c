"""Keep a key that is restricted to accounts from what is of others, by what each route declares."""

from __future__ import annotations

from typing import Any

from app.store import ApiKey
from app.web.lookup import missing
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, Route


def refuse_restricted(key: ApiKey) -> None:
    """Raise `Problem` if the key is restricted to accounts: the operation concerns all."""
    if key.accounts is not None:
        detail = (
            f"The key {key.name!r} is restricted to {_listed(key)}, and this operation concerns all accounts: "
            "use a key without restriction."
        )
        raise Problem(Kind.FORBIDDEN, detail)


def restrict(route: Route, key: ApiKey, arguments: dict[str, Any]) -> None:
    """Hold the arguments of a call to the key's accounts. Raises `Problem`; the account of others is not found."""
    if key.accounts is None:
        return
    if route.account_check is AccountCheck.PATH and not key.sees(arguments["account"]):
        raise missing("accounts", arguments["account"])
    if route.account_check is AccountCheck.QUERY:
        query = arguments["query"]
        if query.account is None and len(key.accounts) > 1:
            detail = f"The query parameter account: name one of those of the key {key.name!r}: {_listed(key)}."
            raise Problem(Kind.INVALID, detail, field="account")
        if query.account is None:
            arguments["query"] = query.model_copy(update={"account": key.accounts[0]})
        elif not key.sees(query.account):
            raise missing("accounts", query.account, field="account")


def _listed(key: ApiKey) -> str:
    accounts = key.accounts or ()
    shown = ", ".join(accounts[:10]) + (" and others" if len(accounts) > 10 else "")  # noqa: PLR2004
    return f"account{'s' if len(accounts) > 1 else ''} {shown}"
