"""`rescind keys rotate-master`: a new key for the secrets at rest."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import output
from app.cli.database import require_existing
from app.cli.failure import Failure
from app.cli.local import expected_errors, local_settings, log_to_stderr
from app.cli.options import Json
from app.cli.progress import progress

if TYPE_CHECKING:
    from app.config.master_key import Progress
    from app.store.opening import Database


def rotate_master(json: Json = False) -> None:
    """Encrypt all stored secrets with a new key while no server runs; run it again if it was interrupted."""
    # Without RESCIND_SECRET_KEY a new key is made, and replaces the one in the key file when all is done. With
    # RESCIND_SECRET_KEY=NEW,FORMER the first key is the new one.
    settings = local_settings()
    require_existing(settings)
    log_to_stderr(settings, "error")
    from app.config.master_key import RotationError, keys_for

    given, key_file = settings.secret_key.get_secret_value(), Path(f"{settings.database_path}.key")
    if not given and not key_file.is_file():
        raise Failure(f"There is no key: set RESCIND_SECRET_KEY=NEW,FORMER, or restore {key_file}.")
    try:
        with expected_errors(settings):
            keys = keys_for(given, key_file)
            end = asyncio.run(_rotate(settings.database, keys, None if given else key_file, quiet=json))
    except RotationError as error:
        raise Failure(f"{error}.") from error
    where = "RESCIND_SECRET_KEY" if given else str(key_file)
    if json:
        output.print_json({"values": end.total, "encrypted_anew": end.resealed, "key": where})
        return
    output.say(f"All {end.total} stored secrets are encrypted with the new key ({end.resealed} of them now).")
    if given:
        output.say(
            "Remove the former keys from RESCIND_SECRET_KEY. Backups from before need them: keep them with those."
        )
    else:
        output.say(f"The new key is in {key_file}. Backups from before have the former key beside them.")


async def _rotate(database: Database, keys: Sequence[str], key_file: Path | None, *, quiet: bool) -> Progress:
    from app.config.master_key import Progress, rotate
    from app.store.opening import open_store

    store, end = await open_store(database), Progress(0, 0, 0)
    try:
        with progress("Encrypting", None, quiet=quiet) as bar:
            async for end in rotate(store, keys, key_file):
                bar.to(end.done, total=end.total)
    finally:
        await store.close()
    return end
