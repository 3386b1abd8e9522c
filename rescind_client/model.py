"""What the classes of requests and responses have in common."""

from __future__ import annotations

from msgspec import Struct

_SECRET = frozenset({"key", "secret", "value"})
"""Fields that hold an API key, a signing secret, or what to paste into a provider's form, which may be one."""


class Model(Struct):
    """A request or a response. Its `repr` shows no secret: it ends up in logs."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={'**********' if name in _SECRET and value is not None else repr(value)}"
            for name in self.__struct_fields__
            for value in (getattr(self, name),)
        )
        return f"{type(self).__name__}({', '.join(shown)})"
