"""Secrets at rest and in text: encryption, the key file, redaction."""

from __future__ import annotations

import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core.reply import spellings

REDACTED = "**********"
_SHORTEST = 6
"""A shorter secret would blot out innocent text; such secrets must not stand in text at all."""


class WrongSecretKeyError(Exception):
    """RESCIND_SECRET_KEY is not the one with which this database was written; give the former one as well."""


class Vault:
    """Encrypts with the first key, decrypts with all."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])

    def seal(self, plain: bytes) -> bytes:
        """Encrypted and authenticated."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed. Raises `WrongSecretKeyError`."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise WrongSecretKeyError(
                "RESCIND_SECRET_KEY (or the .key file beside the database) does not open what this database holds: "
                "add the former key after a comma"
            ) from error


def open_vault(given: str, key_file: Path) -> Vault:
    """The vault with the keys `given` (comma-separated), or with the one in `key_file`, made if need be."""
    keys = [key for key in given.split(",") if key]
    return Vault(keys or [_key_in(key_file)])


def _key_in(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text(encoding="ascii").strip()
    key = secrets.token_urlsafe(48)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(key + "\n")
        out.flush()
        os.fsync(out.fileno())
    return key


def _derive(key: str) -> bytes:
    return urlsafe_b64encode(HKDF(SHA256(), 32, salt=None, info=b"rescind/vault/1").derive(key.encode()))


class Redactor:
    """Takes known secrets out of text that leaves for a log, an answer or the database."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()

    def know(self, values: Iterable[str]) -> None:
        """These are the secrets, from now on; the longest first, so that none is cut by another."""
        spelled = {spelling for value in values for spelling in _spelled(value) if len(spelling) >= _SHORTEST}
        self._values = tuple(sorted(spelled, key=len, reverse=True))

    def clean(self, text: str) -> str:
        """`text` without secrets."""
        for value in self._values:
            if value in text:
                text = text.replace(value, REDACTED)
        return text


def _spelled(secret: str) -> Iterable[str]:
    """How a secret may stand in text, with its scheme (`Bearer`) and without."""
    for each in (secret, secret.partition(" ")[2]):
        yield from spellings(each)
