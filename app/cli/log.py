"""`rescind log`: whether anything in the event log was changed, and what an auditor keeps to tell later."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text

from app.cli import client, output
from app.cli.database import open_reader, require_existing
from app.cli.failure import FAILED, Failure
from app.cli.local import expected_errors, local_settings
from app.cli.options import Json, check_range
from app.cli.progress import progress
from app.cli.times import ago, shown

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.core.checkpoint import Checkpoint
    from app.core.log_proof import Proof
    from app.engine.log_verify import Fault
    from app.store import Reader

app = typer.Typer(help="Verify that nothing in the event log was changed or removed.", no_args_is_help=True)

FAULTS_MAX = 1000
"""How many faults are listed; all are counted."""
_ROOT_DIGITS = 64
WAIT = timedelta(seconds=20)
"""A block may hold events that were received so long before others in the block before it."""

PublicKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="The key of the log's checkpoints, in base64, if it is known from elsewhere. Default: the log's.",
    ),
]


@app.command("verify")
def verify_log(
    since: Annotated[
        datetime | None, typer.Option("--from", parser=ago, metavar="TIME", help="Only events received since then.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", parser=ago, metavar="TIME", help="Only events received before then.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="ROOT|FILE", help="A root or a checkpoint that was kept elsewhere: the log must have it."),
    ] = None,
    public_key: PublicKey = None,
    json: Json = False,
) -> None:
    """Compare every event with the log's hash chain, also while a server runs; the exit code is 1 if one differs."""
    check_range(since, until, "--from and --to")
    settings = _settings()
    with expected_errors(settings):
        summary = asyncio.run(_verify(settings, since, until, against, _given_key(settings, public_key)))
    faults = summary.pop("faults")
    if json:
        output.print_json({**summary, "faults": [asdict(fault) for fault in faults[:FAULTS_MAX]]})
    else:
        for fault in faults[:FAULTS_MAX]:
            output.show(Text.assemble(output.word(fault.problem), f" {output.clean(fault.detail)}"))
        _show_summary(summary)
    if faults:
        raise typer.Exit(FAILED)


@app.command("checkpoint")
def show_checkpoint(json: Json = False) -> None:
    """Print the latest signed checkpoint of a server's log: keep it where nobody who has the database can change it."""
    client.get("/v1/log/checkpoints/latest", _show_checkpoint, as_json=json)


@app.command("prove")
def prove_event(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The event's id (evt_…).")],
    json: Json = False,
) -> None:
    """Prove that an event is in the log, without showing any other event; with --json print the proof itself."""
    settings = _settings()
    with expected_errors(settings):
        proof = asyncio.run(_prove(settings, event))
    if json:
        output.print_json(proof)
    else:
        _show_proven(proof)
        output.say("The proof itself: `rescind log prove EVENT --json`, kept in a file for `rescind log check-proof`.")


@app.command("check-proof")
def check_proof(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `rescind log prove --json` printed.")],
    public_key: PublicKey = None,
    json: Json = False,
) -> None:
    """Check a proof, without the database; the exit code is 1 if it proves nothing."""
    from app.core.log_proof import Proof, fault_of

    try:
        proof = msgspec.json.decode(file.read_bytes(), type=Proof)
    except (OSError, msgspec.DecodeError) as error:
        raise Failure(f"{file} holds no proof: {error}.") from error
    fault = fault_of(proof, None if public_key is None else _key(public_key))
    if fault:
        raise Failure(f"{file} proves nothing: {fault}.")
    if json:
        output.print_json({"event": proof.event, "position": proof.position, "checkpoint": proof.checkpoint})
    else:
        _show_proven(proof)


def _show_proven(proof: Proof) -> None:
    checkpoint = proof.checkpoint
    state = "as it is shown" if proof.columns is not None else "and was erased since, as recorded"
    output.show(Text(f"{output.clean(proof.event)} is in the log at position {proof.position}, {state}."))
    sealed = shown(checkpoint.sealed_at.isoformat())
    output.say(f"Block {checkpoint.block}, sealed {sealed}, is signed with the key {checkpoint.public_key}.")


def _settings() -> Settings:
    settings = local_settings()
    require_existing(settings)
    return settings


def _key(text: str) -> bytes:
    try:
        key = b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:  # noqa: PLR2004 - what an ed25519 key has
        raise typer.BadParameter("--public-key: give the base64 of 32 bytes, as `rescind log checkpoint` shows it")
    return key


def _given_key(settings: Settings, text: str | None) -> bytes:
    """The public key that was given, or that of the log. Raises `Failure` if the log has none yet."""
    if text is not None:
        return _key(text)
    from app.config.log_key import stored_public_key
    from app.config.secrets import open_vault

    key_file = Path(f"{settings.database_path}.key")
    given = settings.secret_key.get_secret_value()
    if not given and not key_file.is_file():
        raise Failure(f"{key_file} is missing: give the key of the checkpoints with --public-key.")
    vault = open_vault(given, key_file)

    async def read() -> bytes | None:
        async with open_reader(settings) as reader:
            return await stored_public_key(reader, vault)

    key = asyncio.run(read())
    if key is None:
        raise Failure("This log is not sealed yet: start the server of this release, and try again.")
    return key


async def _verify(
    settings: Settings, since: datetime | None, until: datetime | None, against: str | None, public_key: bytes
) -> dict[str, Any]:
    from app.engine import log_verify

    kept = None if against is None else _kept(against)
    async with open_reader(settings) as reader:
        first, last = await _range(reader, since, until)
        newest, unsealed = await reader.last_block(), await _unsealed(reader)
        summary = {"blocks": 0, "events": 0, "erased": 0}
        faults: list[Fault] = []
        with progress("Verifying", last - first + 1 if last else 0, quiet=True) as bar:
            async for step in log_verify.verify(reader, public_key, first, last):
                for name in summary:
                    summary[name] += getattr(step, name)
                faults += step.faults
                bar.to(summary["blocks"], f"blocks, {summary['events']} events, {len(faults)} faults")
        faults += [fault async for fault in log_verify.verify_erasures(reader)]
        if until is None:
            faults += await log_verify.verify_end(reader)
        if isinstance(kept, bytes):
            faults += await log_verify.verify_root(reader, kept)
        elif kept is not None:
            faults += await log_verify.verify_checkpoint(reader, kept, public_key)
        return {
            **summary,
            "unsealed": unsealed,
            "root": None if newest is None else newest.root.hex(),
            "public_key": b64encode(public_key).decode(),
            "found": len(faults),
            "faults": faults,
        }


async def _unsealed(reader: Reader) -> int:
    newest, (end, _) = await reader.last_block(), await reader.log_bounds()
    return max(0, end - (0 if newest is None else newest.last))


async def examine_newest(settings: Settings, blocks: int) -> tuple[list[Fault], str]:
    """(what differs in the newest blocks and at the end of the log, what was examined in words)."""
    from app.engine import log_verify

    public_key = await asyncio.to_thread(_given_key, settings, None)
    async with open_reader(settings) as reader:
        _, last = await reader.block_numbers()
        steps = [step async for step in log_verify.verify(reader, public_key, max(1, last - blocks + 1), last)]
        faults = [*(fault for step in steps for fault in step.faults), *await log_verify.verify_end(reader)]
        events = sum(step.events for step in steps)
        return (
            faults,
            f"the newest {events} sealed events are as they were; {await _unsealed(reader)} are not sealed yet",
        )


async def _range(reader: Reader, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """The numbers of the first and the last block that hold what was received in this time; more where unsure."""
    from app.store.codec import micros

    _, last = await reader.block_numbers()
    first = 1 if since is None else max(1, await reader.first_block_since(micros(since)))
    if until is not None:
        last = min(last, await reader.first_block_since(micros(until + WAIT)))
    return first, last


def _kept(text: str) -> bytes | Checkpoint:
    """A root, or the checkpoint in a file."""
    from app.core.checkpoint import Checkpoint

    if len(text) == _ROOT_DIGITS and not Path(text).exists():
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise typer.BadParameter(f"--against: {text} is neither a root in hex nor a file") from error
    try:
        return msgspec.json.decode(Path(text).read_bytes(), type=Checkpoint)
    except (OSError, msgspec.DecodeError) as error:
        sentence = f"--against: {text} is not a checkpoint that `rescind log checkpoint --json` printed: {error}"
        raise typer.BadParameter(sentence) from error


def _show_summary(summary: Mapping[str, Any]) -> None:
    counts = f"{summary['events']} events in {summary['blocks']} block{'' if summary['blocks'] == 1 else 's'}"
    if summary["erased"]:
        counts += f", {summary['erased']} of them erased as recorded" if not summary["found"] else ""
    state = f"{summary['found']} faults" if summary["found"] else "as they were sealed"
    output.show(Text(f"{counts}: {state}."))
    if summary["unsealed"]:
        output.say(f"{summary['unsealed']} newer events are not sealed yet; a running server does so within seconds.")
    if summary["root"]:
        output.show(Text(f"The last root is {summary['root']}."))


def _show_checkpoint(_: client.Api, checkpoint: Mapping[str, Any]) -> None:
    pairs = [(name.replace("_", " "), str(value)) for name, value in checkpoint.items()]
    output.show(output.fields(pairs))
    output.say(
        "Keep it elsewhere as a file: `rescind log checkpoint --json > FILE`; `log verify --against FILE` uses it."
    )


async def _prove(settings: Settings, id: str) -> Proof:
    from app.engine.log_proof import NotProvableError, prove

    public_key = await asyncio.to_thread(_given_key, settings, None)
    async with open_reader(settings) as reader:
        try:
            return await prove(reader, id, public_key)
        except NotProvableError as error:
            raise Failure(f"{error}.") from error
