"""The key that signs the log's checkpoints. It is made once, and kept in the database, encrypted.

It outlives a restart and a rotation of the master key. Anyone who has the database and the master key can sign as well:
a checkpoint proves something only to who keeps it elsewhere.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode

from app.config.secrets import Vault
from app.core.checkpoint import CheckpointKey
from app.store import SEALED, Reader

CHECKPOINT_KEY = "log_checkpoints"
"""Its name among the sealed keys."""
_KEYS_MAX = 100


def checkpoint_key(kept: bytes) -> CheckpointKey:
    """The key that signs, from the bytes that are kept: 32 in base64, as of all keys that Rescind makes for itself."""
    return CheckpointKey(urlsafe_b64decode(kept))


async def stored_public_key(reader: Reader, vault: Vault) -> bytes | None:
    """The public key of a log's checkpoints; None if the log has no key yet. Raises `WrongSecretKeyError`."""
    column = next(column for column in SEALED if column.table == "sealed_keys")
    values = {name: sealed for (name,), sealed in await reader.sealed_values(column, None, _KEYS_MAX)}
    sealed = values.get(CHECKPOINT_KEY)
    return None if sealed is None else checkpoint_key(vault.open(sealed)).public
