"""Masking of what a trial shows: an account's secrets, credentials made of them, and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from app.config.resolve import Account, Endpoint
from app.config.secret_values import secrets_in
from app.runtime.redaction import REDACTED, Redactor

STAND_IN_TOKEN = "token-of-a-trial"  # noqa: S105 - it opens nothing
"""Given to a flow where a source would issue a token."""
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")


class Mask:
    """Replaces what is secret in texts about one endpoint and its account, or an account without one."""

    def __init__(self, target: Endpoint | Account) -> None:
        account, own = (target, ()) if isinstance(target, Account) else (target.account, target.secrets)
        self._secrets = frozenset([*own, *secrets_in(account.config), STAND_IN_TOKEN])
        self._redactor = Redactor(self._secrets)

    def conceal(self, credentials: Iterable[str]) -> None:
        """Mask these too: credentials that a flow came by."""
        self._redactor.set_secrets(credentials)

    def text(self, text: str) -> str:
        """`text` without secrets, and without JWTs."""
        return _JWT.sub(REDACTED, self._redactor.clean(text))

    def body(self, body: bytes) -> str:
        """A body as text; what is not UTF-8 is escaped."""
        return self.text(body.decode("utf-8", "backslashreplace"))

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers; of credentials only their scheme is left."""
        return {name: self._header(name, value) for name, value in headers.items()}

    def value(self, value: object) -> object:
        """JSON without secrets."""
        return self._redactor.clean_value(value)

    def _header(self, name: str, value: str) -> str:
        if value in self._secrets:  # also one that is too short for the redactor
            return REDACTED
        if name.lower() not in _CREDENTIALS:
            return self.text(value)
        scheme, space, _ = value.partition(" ")
        return f"{scheme} {REDACTED}" if space else REDACTED
