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
        every = [Fernet(_derive(key)) for key in keys]
        self._current, self._fernet = every[0], MultiFernet(every)

    def seal(self, plain: bytes) -> bytes:
        """`plain`, encrypted and authenticated."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """The plain bytes of `sealed`. Raises `WrongSecretKeyError`."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise _wrong_key() from error

    def is_current(self, sealed: bytes) -> bool:
        """Whether `sealed` is encrypted with the first key."""
        try:
            self._current.decrypt(sealed)
        except InvalidToken:
            return False
        return True

    def reseal(self, sealed: bytes) -> bytes:
        """The same, encrypted with the first key. Raises `WrongSecretKeyError`."""
        try:
            return self._fernet.rotate(sealed)
        except InvalidToken as error:
            raise _wrong_key() from error


def open_vault(given: str, key_file: Path) -> Vault:
    """A vault with the comma-separated keys in `given`, else with those in `key_file`, which is made if missing."""
    return Vault(split_keys(given) or _keys_in(key_file))


def split_keys(text: str) -> list[str]:
    """The keys in RESCIND_SECRET_KEY (between commas) or in a key file (one on each line), the current one first."""
    return text.replace(",", "\n").split()


def make_key() -> str:
    """A new key."""
    return secrets.token_urlsafe(48)


def write_keys(file: Path, keys: Iterable[str]) -> None:
    """Replace a key file, atomically and on disk when this returns; only its owner can read it."""
    partial = Path(f"{file}.new")
    partial.unlink(missing_ok=True)
    _write(partial, keys)
    partial.replace(file)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _keys_in(file: Path) -> list[str]:
    keys = [make_key()]
    try:
        _write(file, keys)
    except FileExistsError:
        stored = split_keys(file.read_text(encoding="ascii"))
        if stored:
            return stored
        write_keys(file, keys)  # The process that made the file ended before it wrote the key.
    return keys


def _write(file: Path, keys: Iterable[str]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.writelines(f"{key}\n" for key in keys)
        out.flush()
        os.fsync(out.fileno())


def _wrong_key() -> WrongSecretKeyError:
    return WrongSecretKeyError(
        "RESCIND_SECRET_KEY (or the .key file beside the database) does not open what this database holds: "
        "add the former key after a comma"
    )


def _derive(key: str) -> bytes:
    return urlsafe_b64encode(HKDF(SHA256(), 32, salt=None, info=b"rescind/vault/1").derive(key.encode()))
