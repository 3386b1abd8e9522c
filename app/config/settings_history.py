"""What became of settings: which were removed or renamed, and which do something although nobody set them.

A setting that is removed from `settings.py` gets a line here, and keeps it: anyone who skips releases still finds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from app.config.settings import ClientSettings, Settings

PREFIX = "RESCIND_"
BEFORE_SETTINGS = frozenset({"RESCIND_SECRETS_DIR"})
"""What is read before there are settings, so that they are not among them."""


@dataclass(frozen=True, slots=True)
class Former:
    """A setting that is no more."""

    name: str
    """With its prefix."""
    instead: str
    """What to do: a sentence."""


@dataclass(frozen=True, slots=True)
class Default:
    """A setting whose default does something that the release before did not."""

    name: str
    schema: int
    """Databases of an older schema come from a release without it."""
    means: str


FORMER: Sequence[Former] = ()
"""None so far."""

DEFAULTS: Sequence[Default] = (
    Default(
        "RESCIND_DELIVERIES_KEPT_DAYS",
        10,
        "messages to subscribers are deleted 30 days after they were delivered",
    ),
    Default(
        "RESCIND_RETENTION_DAYS",
        19,
        "personal data older than 90 days is expunged for ever, beginning with the first start; 0 keeps it",
    ),
    Default(
        "RESCIND_CONSOLE_HOSTS",
        23,
        "a server on loopback shows the console only under addresses, localhost and the host of RESCIND_PUBLIC_URL",
    ),
)


def unknown_settings(environment: Mapping[str, str], former: Sequence[Former] = FORMER) -> dict[str, str]:
    """Variables named as settings are, which are none: name → what to do."""
    names = {f"{PREFIX}{name}".upper() for kind in (Settings, ClientSettings) for name in kind.model_fields}
    names |= BEFORE_SETTINGS
    gone = {setting.name: setting.instead for setting in former}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in names)
    return {name: gone.get(name) or _advice(name, names) for name in unknown}


def new_defaults(environment: Mapping[str, str], schema: int, defaults: Sequence[Default] = DEFAULTS) -> Iterator[str]:
    """What takes effect although nobody set it, after an upgrade of a database of this schema; a sentence each."""
    for default in defaults:
        if schema < default.schema and default.name not in environment:
            yield f"{default.name} is not set: {default.means}."


def _advice(name: str, names: set[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f"Is {name} meant to be {near[0]}?" if near else f"Remove {name}: it is not a setting."
