"""Secrets at rest: encryption and the key file."""

from __future__ import annotations

import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class WrongSecretKeyError(Exception):
    """RESCIND_SECRET_KEY is not the key that encrypted this database; give the former key as well."""


class Vault:
    """Encrypts with the first key, decrypts with all."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])

    def seal(self, plain: bytes) -> bytes:
        """`plain`, encrypted and authenticated."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """The plain bytes of `sealed`. Raises `WrongSecretKeyError`."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise WrongSecretKeyError(
                "RESCIND_SECRET_KEY (or the .key file beside the database) does not open what this database holds: "
                "add the former key after a comma"
            ) from error


def open_vault(given: str, key_file: Path) -> Vault:
    """A vault with the comma-separated keys in `given`, else with the key in `key_file`, which is made if missing."""
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
