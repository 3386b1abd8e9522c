"""Keys that a source publishes, from files: each is read as the key ring reads what it fetches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.contract import KeyRef, KeyUnavailable, MalformedPayload, VerificationError
from app.core.key_scope import KeyScope
from app.kit.signing.key_material import UnusableKey
from app.workers.key_documents import DOCUMENT_BYTES_MAX, read_keys


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """What a source answers at the URL of its keys: a key set, a certificate with its intermediates, a key, or JSON."""

    name: str
    """Of its file."""
    body: bytes


@dataclass(slots=True)
class GivenKeys:
    """The answers, each taken for that of any URL of keys: what is published stands in any of them."""

    answers: Sequence[KeyAnswer]
    now: datetime
    url: str = ""
    """The URL whose answer was last wanted; empty: none was."""
    used: list[str] = field(default_factory=list)
    """The answers that then gave a key, by name."""
    faults: list[str] = field(default_factory=list)
    """What was then wrong with the others: `NAME: why`."""

    def find(self, ref: KeyRef) -> tuple[Any, ...]:
        """See `PublishedKeys.find`."""
        self.url, self.used, self.faults = ref.url, [], []
        found: list[Any] = []
        for answer in self.answers:
            try:
                found += published_keys(ref, answer.body, self.now)
            except KeyUnavailable:
                self.faults.append(f"{answer.name}: it has no key {ref.key_id!r}")
            except (UnusableKey, MalformedPayload, VerificationError) as error:
                self.faults.append(f"{answer.name}: {error}")
            else:
                self.used.append(answer.name)
        if not found:
            raise KeyUnavailable(ref)
        return tuple(found)


def published_keys(ref: KeyRef, body: bytes, now: datetime) -> tuple[Any, ...]:
    """The keys that `ref` names, where its URL is answered by `body`.

    Raises:
        UnusableKey: it must not be believed.
        MalformedPayload: it is not what the source publishes.
        VerificationError: it has no key that can be accepted.
        KeyUnavailable: it has no key of that id.
    """
    if len(body) > DOCUMENT_BYTES_MAX:
        raise MalformedPayload(f"it has more than {DOCUMENT_BYTES_MAX // 1024} KiB")
    scope, seconds = KeyScope(ref.source), now.timestamp()
    scope.fetched(ref.url, read_keys(ref.source, body, {}, now), seconds)
    return scope.find(ref, seconds)
