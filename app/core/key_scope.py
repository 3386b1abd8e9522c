"""The public keys of one source: which are at hand, which are wanted, and what to fetch next.

A *scope* belongs to a source whose URL is fixed, or to one endpoint where the URL depends on the request, or the fetch
on the account's credentials. Times are seconds of a clock that only grows.

What a stranger can cause is bounded: requests cause `CREDIT` fetches at once and one every `CREDIT_S` after that, and a
bounded number of what they named in vain is remembered. Refreshing what is in use costs no credit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from app.contract import VerificationError
from app.contract.published_keys import KeyRef, KeySource, KeyUnavailable
from app.kit.signing.key_material import UnusableKey
from app.kit.signing.places import is_place
from app.kit.signing.public_key import KEY_ID

CREDIT, CREDIT_S = 3.0, 10.0
ABSENT_S = 60.0
RETRY_S, RETRY_MAX_S = 5.0, 300.0
"""After a failure; doubled with each."""
REFRESH_AT = 0.75
"""Share of its freshness after which a document is fetched again."""
DOCUMENTS_MAX = 32
"""Of one scope; the one that was not needed for longest is dropped."""
WANTED_MAX, ABSENT_MAX, RESTING_MAX = 64, 256, 64
UNNAMED_MAX = 8
"""Keys of a set that are tried where requests name none."""
_LONGEST_SHOWN = 80

Name = tuple[str, str]
"""(URL, key id): the id is "" where a document is one key."""


class Keys(Struct, frozen=True):
    """The keys of one document. A key may be the `UnusableKey` that says why it must not verify."""

    by_id: Mapping[str, Any]
    fresh_s: float
    life_s: float
    """It must not be believed for longer."""


class _Document(Struct):
    keys: Mapping[str, Any]
    refresh_at: float
    expires_at: float
    is_needed: bool = False
    """Whether a key of it was looked up since it was fetched."""


def is_shared(source: KeySource) -> bool:
    """Whether the keys are the same for all endpoints: by a URL that no request changes, and nobody's credentials."""
    return not source.authorized and KEY_ID not in source.location and not is_place(source.location)


class KeyScope:
    """The documents of a source, for one endpoint or for all."""

    def __init__(self, source: KeySource, *, is_kept: bool = False) -> None:
        self.source = source
        self.is_kept = is_kept
        """Whether it has a fixed URL that is configured: fetched before any request, and refreshed without one."""
        self.documents: OrderedDict[str, _Document] = OrderedDict()
        self._is_set = source.jwks_url is not None
        self._wanted: OrderedDict[Name, None] = OrderedDict()
        self._asked: set[Name] = set()
        """What was wanted when the fetch under way began."""
        self._absent: OrderedDict[Name, tuple[float, str]] = OrderedDict()
        """→ (until when, why) it is refused."""
        self._resting: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """URL whose fetch failed → (until when it is left alone, how often it has failed)."""
        self._credit, self._credited_at = CREDIT, float("-inf")

    def find(self, ref: KeyRef, now: float) -> tuple[Any, ...]:
        """See `PublishedKeys.find`."""
        document = self.documents.get(ref.url)
        if document is not None and now < document.expires_at:
            document.is_needed = True
            if not self._is_set:
                self.documents.move_to_end(ref.url)
                return tuple(document.keys.values())
            found = _of_set(document.keys, ref)
            if found:
                return found
        until, why = self._absent.get(self._name(ref), (now, ""))
        if now < until:
            raise VerificationError(why)
        raise KeyUnavailable(ref)

    def want(self, ref: KeyRef, now: float) -> bool:
        """Have a key fetched that is not here. Returns whether the next fetch may have changed."""
        name = self._name(ref)
        if name in self._wanted or now < self._resting.get(ref.url, (now, 0))[0]:
            return False
        is_first = not self._wanted
        _put(self._wanted, name, None, WANTED_MAX)
        return is_first

    def next_fetch(self, now: float) -> tuple[float, str] | None:
        """(when, which URL) is to be fetched next; None: nothing, until something is wanted."""
        for url in [url for url, document in self.documents.items() if now >= document.expires_at]:
            del self.documents[url]
        due = [
            (document.refresh_at, url)
            for url, document in self.documents.items()
            if self.is_kept or (document.is_needed and document.refresh_at < document.expires_at)
        ]
        if self._wanted:
            due.append((now + max(0.0, 1.0 - self._earned(now)) * CREDIT_S, next(iter(self._wanted))[0]))
        if self.is_kept and self.source.location not in self.documents:
            due.append((self._resting.get(self.source.location, (now, 0))[0], self.source.location))
        return min(due, default=None)

    def begin(self, url: str, now: float) -> None:
        """A fetch begins."""
        document = self.documents.get(url)
        self._asked = {name for name in self._wanted if name[0] == url}
        if self._asked and (document is None or now < document.refresh_at):
            self._credit, self._credited_at = max(0.0, self._earned(now) - 1.0), now

    def fetched(self, url: str, keys: Keys, now: float) -> None:
        """A fetch brought a document."""
        self._resting.pop(url, None)
        self.documents.pop(url, None)
        refresh_s = max(RETRY_S, min(keys.fresh_s, keys.life_s) * REFRESH_AT)
        document = _Document(keys.by_id, now + refresh_s, now + keys.life_s)
        _put(self.documents, url, document, DOCUMENTS_MAX)
        if self._is_set:
            why = f"no key of this id is published at {host_of(url)}"
            self._note_absent((name for name in self._asked if name[1] and name[1] not in keys.by_id), now, why)
        for name in [name for name in self._wanted if name[0] == url]:
            if name in self._asked or not self._is_set or name[1] in keys.by_id:
                del self._wanted[name]

    def refused(self, url: str, why: str, now: float) -> None:
        """A fetch showed that there is no key at `url` that may verify: one that was here does no more."""
        self._resting.pop(url, None)
        self.documents.pop(url, None)
        self._note_absent([(url, "")], now, why)
        self._wanted.pop((url, ""), None)

    def failed(self, url: str, now: float) -> None:
        """A fetch brought nothing, and is not repeated at once. What is here stays until it expires."""
        count = self._resting.get(url, (0.0, 0))[1]
        until = now + min(RETRY_S * 2**count, RETRY_MAX_S)
        _put(self._resting, url, (until, min(count + 1, 10)), RESTING_MAX)
        document = self.documents.get(url)
        if document is not None:
            document.refresh_at = until
        for name in [name for name in self._wanted if name[0] == url]:
            del self._wanted[name]

    def retry(self) -> None:
        """Leave nothing alone for having failed: what it failed by may have changed."""
        self._resting.clear()

    def _earned(self, now: float) -> float:
        earned: float = self._credit + (now - self._credited_at) / CREDIT_S
        return min(CREDIT, earned)

    def _note_absent(self, names: Iterable[Name], now: float, why: str) -> None:
        for name in names:
            _put(self._absent, name, (now + ABSENT_S, why), ABSENT_MAX)

    def _name(self, ref: KeyRef) -> Name:
        return ref.url, ref.key_id if self._is_set else ""


def _of_set(keys: Mapping[str, Any], ref: KeyRef) -> tuple[Any, ...]:
    """The keys of a set that a request names; none if it is not there."""
    if ref.key_id:
        key = keys.get(ref.key_id)
        if isinstance(key, UnusableKey):
            raise VerificationError(f"the key of this id at {host_of(ref.url)} is not accepted: {key}")
        return () if key is None else (key,)
    usable = tuple(key for key in keys.values() if not isinstance(key, UnusableKey))
    if len(usable) > UNNAMED_MAX:
        raise VerificationError(f"{len(usable)} keys are published: say in verify.key_id where a request names its own")
    if not usable:
        raise VerificationError(f"no key that can be accepted is published at {host_of(ref.url)}")
    return usable


def host_of(url: str) -> str:
    """The host of a URL, for people."""
    return (urlsplit(url).hostname or "")[:_LONGEST_SHOWN]


def _put(rows: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    rows.pop(key, None)
    rows[key] = value
    while len(rows) > most:
        rows.popitem(last=False)
