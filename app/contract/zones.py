"""Time zones by their names."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The time zone of that name. UTC needs no time zone database, which small images lack."""
    return UTC if name == "UTC" else ZoneInfo(name)


def check_zone(name: str) -> str:
    """`name`, if it is a time zone's; raises ValueError. For pydantic's validators."""
    try:
        zone_of(name)
    except (OSError, ValueError) as error:
        # ZoneInfoNotFoundError is a KeyError, but unreadable and malformed names raise these.
        raise ValueError(f"{name!r} is not an IANA time zone, such as America/Denver") from error
    except KeyError as error:
        raise ValueError(f"no IANA time zone {name!r} is installed here; try America/Denver or UTC") from error
    return name
