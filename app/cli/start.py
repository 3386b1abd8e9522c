"""The entry point of the command: `rescind healthcheck` by itself, everything else by `app.cli.main`."""

from __future__ import annotations

# ruff: noqa: PLC0415 - a health check loads as little as it can: it is run every few seconds
import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["healthcheck"]:
        from app.cli.environment import load_env_file
        from app.cli.failure import Failure
        from app.cli.healthcheck import check, read_arguments

        if (options := read_arguments(sys.argv[2:])) is not None:
            ready, timeout_s, as_json = options
            try:
                load_env_file()
            except Failure as failure:
                sys.stderr.write(f"error: {failure}\n")
                sys.exit(failure.code)
            sys.exit(check(ready=ready, timeout_s=timeout_s, as_json=as_json))
    from app.cli.main import main as run

    run()
