"""What goes wrong: the server's problems (RFC 9457) as exceptions, a class for each type, and no connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec


class RescindError(Exception):
    """The base of every error of the client."""


class ConnectionFailed(RescindError):
    """The server could not be reached, or did not answer in time. Whether the request arrived is not known."""

    def __init__(self, method: str, path: str, cause: Exception) -> None:
        super().__init__(f"{method} {path}: {cause or type(cause).__name__}")


class Problem(RescindError):
    """An error response. `detail` says what is wrong, where, and what to do."""

    slug: ClassVar[str] = ""
    """The last part of the type's URN."""
    classes: ClassVar[dict[str, type[Problem]]] = {}
    """The classes by slug."""

    def __init__(self, status: int, title: str, detail: str, members: Mapping[str, Any], type: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.type = status, title, detail, type
        self.members = members
        """Further members, such as `verdict` or `errors`."""
        self.retry_after: str | None = None
        """The Retry-After header."""

    def __init_subclass__(cls) -> None:
        cls.classes[cls.slug] = cls

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"


def problem_of(status: int, content: bytes, headers: Mapping[str, str]) -> Problem:
    """The exception for an error response, whoever sent it: a proxy in front knows no problems."""
    try:
        members = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError:
        members = {}
    kind = str(members.pop("type", "about:blank"))
    title, detail = (
        str(members.pop("title", "Error")),
        str(members.pop("detail", content[:200].decode(errors="replace"))),
    )
    members.pop("status", None)
    problem = Problem.classes.get(kind.rpartition(":")[2], Problem)(status, title, detail, members, kind)
    problem.retry_after = headers.get("Retry-After")
    return problem
