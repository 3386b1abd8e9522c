"""What a provider's responses mean: status or pattern → kind → outcome and sentence, as one table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from app.contract import CancelOutcome, CancelResult, Facts, HttpResponse, MalformedPayload, ProbeUnavailable
from app.kit.excerpts import excerpt
from app.kit.payload import Payload, decode_any

WAIT_MAX_S = 24 * 3600.0
"""No wait that is asked for counts for more than a day."""


class ResponseKind(Enum):
    """The kinds of responses that call for different behavior."""

    DONE = auto()
    TAKEN = auto()
    """Accepted, and not done yet."""
    UNREADABLE = auto()
    """A success that does not look like the provider's: a proxy may have given it."""
    REJECTED = auto()
    NOT_FOUND = auto()
    """The provider knows no such order, in its own words."""
    NOT_ALLOWED = auto()
    CLOSED = auto()
    """The account itself is closed or suspended."""
    THROTTLED = auto()
    NOT_OFFERED = auto()
    """The service answered that it does not do this, so it did nothing."""
    CRASHED = auto()
    """It failed at the provider, perhaps after it did what was asked; perhaps because of what was asked."""
    CRASHED_NOT_FOUND = auto()
    """As CRASHED, because something was not found: behind a cancel that may be a part of the service."""
    CRASHED_NOT_ALLOWED = auto()
    """As CRASHED, because something was not authenticated."""
    UNAVAILABLE = auto()
    """The provider as a whole is out of service, perhaps after it did what was asked."""
    LOST = auto()
    """Something between us and the provider answered in its place."""
    MISDIRECTED = auto()
    """The server that responded is not the provider's API, and did nothing."""


class ProviderResponse(Struct, frozen=True):
    """A response, read."""

    kind: ResponseKind
    detail: str
    """One sentence for people, without secrets."""
    body: Any = None
    """Its JSON; None where there is none."""
    after_s: float | None = None
    words: str = ""
    """The provider's own words, fit for the log."""
    status: int = 0
    """The HTTP status, or the one in the body where that outranks it."""

    @property
    def said(self) -> str:
        """The status and the provider's words, for the middle of a sentence."""
        return f"{self.status}, {self.words}" if self.words else str(self.status)


class Row(Struct, frozen=True):
    """What a kind of response comes to; what is None is taken from `STANDARD`."""

    sentence: str | None = None
    """For people, with `{provider}`, `{status}`, `{said}` (the status and the provider's words), and what a handler
    gives besides."""
    cancel: CancelOutcome | None = None
    """The outcome of a cancel with this response."""
    probe: CancelOutcome | None = None
    """The outcome of a probe with this response; see `ProbeUnavailable`."""


_Kind, _Outcome = ResponseKind, CancelOutcome

STANDARD: Mapping[ResponseKind, Row] = {
    _Kind.DONE: Row("{provider} accepted it.", _Outcome.SUCCEEDED),
    _Kind.TAKEN: Row("{provider} has accepted it ({status}), and not finished.", _Outcome.ACCEPTED),
    # A proxy's page instead of an answer: whether the cancel arrived, only a probe can tell.
    _Kind.UNREADABLE: Row("The answer was {status}, but its body is not {provider}'s JSON.", _Outcome.INDETERMINATE),
    _Kind.REJECTED: Row(cancel=_Outcome.REFUSED),
    _Kind.NOT_FOUND: Row(cancel=_Outcome.REFUSED, probe=_Outcome.REFUSED),
    _Kind.NOT_ALLOWED: Row(
        "{provider} does not accept the account's credentials ({said}): set the right ones.",
        _Outcome.UNAUTHORIZED,
        _Outcome.UNAUTHORIZED,
    ),
    # Every call is in vain until a person acts, as with wrong credentials.
    _Kind.CLOSED: Row("{provider} does not serve the account ({said}).", _Outcome.UNAUTHORIZED, _Outcome.UNAUTHORIZED),
    _Kind.THROTTLED: Row(cancel=_Outcome.THROTTLED, probe=_Outcome.THROTTLED),
    _Kind.NOT_OFFERED: Row(cancel=_Outcome.RETRY),
    _Kind.CRASHED: Row(cancel=_Outcome.RETRY),
    # The probe that follows takes these two at their word, as it asks for nothing but the order.
    _Kind.CRASHED_NOT_FOUND: Row(cancel=_Outcome.INDETERMINATE, probe=_Outcome.REFUSED),
    _Kind.CRASHED_NOT_ALLOWED: Row(cancel=_Outcome.INDETERMINATE, probe=_Outcome.UNAUTHORIZED),
    _Kind.UNAVAILABLE: Row(cancel=_Outcome.RETRY),
    _Kind.LOST: Row(
        "What answered ({status}) is not {provider}, or it gave up waiting: what happened is unknown.",
        _Outcome.INDETERMINATE,
    ),
    _Kind.MISDIRECTED: Row("What answered ({status}) is not {provider}'s API: check base_url.", _Outcome.RETRY),
}
"""What holds where a provider's table has no row. A probe without an outcome is asked again later (RETRY)."""
_SENTENCE = "{provider} answered {said}."

_BY_STATUS: Mapping[int, ResponseKind] = {
    HTTPStatus.UNAUTHORIZED: _Kind.NOT_ALLOWED,
    HTTPStatus.FORBIDDEN: _Kind.NOT_ALLOWED,
    HTTPStatus.REQUEST_TIMEOUT: _Kind.LOST,
    HTTPStatus.TOO_MANY_REQUESTS: _Kind.THROTTLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: _Kind.CRASHED,
    HTTPStatus.SERVICE_UNAVAILABLE: _Kind.UNAVAILABLE,
}
_BY_CLASS: Mapping[int, ResponseKind] = {2: _Kind.DONE, 3: _Kind.MISDIRECTED, 4: _Kind.REJECTED}

_WORD_KEYS = ("error", "message", "error_description", "detail", "title", "code")

Pattern = re.Pattern[str]


@dataclass(frozen=True, slots=True)
class ResponseTable:
    """What a provider's responses mean, by its documents; where they are silent, what HTTP says."""

    provider: str
    kinds: Mapping[int | Pattern | tuple[int, Pattern], ResponseKind] = field(default_factory=dict)
    """HTTP status, pattern, or both → kind; the first that fits counts.

    A pattern is searched for in each error of a response. A pattern without a status counts where the status says no
    more than that the call was rejected, or done in spite of an error.
    """
    rows: Mapping[ResponseKind, Row] = field(default_factory=dict)
    """Kind → what it comes to, where it is not as in `STANDARD`."""

    def kind_of(
        self, status: int, errors: Sequence[str] = (), *, readable: bool = True, genuine: bool = True
    ) -> ResponseKind:
        """The kind of a response.

        Args:
            status: of HTTP, or in the body where that outranks it.
            errors: what the body says is wrong.
            readable: False for a success whose body is not the provider's: UNREADABLE.
            genuine: False for a refusal that is not in the provider's words: MISDIRECTED, as a proxy, or another
                host, refuses like that, and it must not be the end of a cancel.
        """
        kind = self._listed(status, errors) or _kind_of_http(status)
        if kind in (_Kind.DONE, _Kind.TAKEN) and not readable:
            return _Kind.UNREADABLE
        if kind in (_Kind.REJECTED, _Kind.NOT_FOUND) and not genuine:
            return _Kind.MISDIRECTED
        return kind

    def read(
        self,
        response: HttpResponse,
        kind: ResponseKind,
        body: Any,
        words: str = "",
        *,
        status: int | None = None,
        secrets: Iterable[str] = (),
        **values: object,
    ) -> ProviderResponse:
        """The response with its sentence.

        Args:
            response: as it came.
            kind: by `kind_of`.
            body: its JSON.
            words: the provider's; of `secrets`, which it may repeat, nothing is left in them.
            status: as in `kind_of`, where the body's outranks the one of HTTP.
            secrets: of the account.
            values: what the sentences of this table's rows name besides.
        """
        # Its last full stop would end our sentence in the middle. Only now: it may be a part of a secret.
        safe = excerpt(words, *secrets).rstrip(". ")
        code = response.status if status is None else status
        read = ProviderResponse(kind, "", body, retry_after_s(response), safe, code)
        sentence = self._row(kind).sentence or _SENTENCE
        named = {**values, "provider": self.provider, "status": code, "said": read.said}
        return replace(read, detail=sentence.format_map(named))

    def cancel_result(self, response: ProviderResponse, facts: Facts | None = None) -> CancelResult:
        """What a response means for its cancel; `facts` is what it says of the order."""
        kind, outcome = response.kind, self._row(response.kind).cancel
        is_retried = outcome is _Outcome.RETRY
        return CancelResult(
            outcome or _Outcome.INDETERMINATE,
            response.detail,
            told_wait(outcome, response.after_s),
            facts,
            # A failure inside of the provider may come after the cancel took effect.
            may_have_applied=is_retried and kind in (_Kind.CRASHED, _Kind.UNAVAILABLE),
            ambiguous=is_retried and kind is _Kind.CRASHED,
            misdirected=kind is _Kind.MISDIRECTED,
        )

    def probe_unavailable(self, response: ProviderResponse) -> ProbeUnavailable:
        """What a response without news of the order means for its probe."""
        return ProbeUnavailable(
            response.detail,
            outcome=self._row(response.kind).probe or _Outcome.RETRY,
            after_s=response.after_s,
            misdirected=response.kind is _Kind.MISDIRECTED,
        )

    def _listed(self, status: int, errors: Sequence[str]) -> ResponseKind | None:
        is_open = _kind_of_http(status) in (_Kind.REJECTED, _Kind.DONE)
        for key, kind in self.kinds.items():
            own, pattern = key if isinstance(key, tuple) else (key, None) if isinstance(key, int) else (None, key)
            fits = is_open if own is None else own == status
            if fits and (pattern is None or any(pattern.search(error) for error in errors)):
                return kind
        return None

    def _row(self, kind: ResponseKind) -> Row:
        own, standard = self.rows.get(kind, Row()), STANDARD[kind]
        return Row(own.sentence or standard.sentence, own.cancel or standard.cancel, own.probe or standard.probe)


def _kind_of_http(status: int) -> ResponseKind:
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, _Kind.LOST)


def json_or_none(response: HttpResponse, provider: str) -> Any:
    """The JSON of the response's body; None where it is none."""
    try:
        return decode_any(response.body, provider)
    except MalformedPayload:
        return None


def object_or_none(response: HttpResponse, provider: str) -> Payload | None:
    """The JSON object of the response's body; None where it is none."""
    body = json_or_none(response, provider)
    return body if type(body) is dict else None


def error_words(body: Any) -> str:
    """What the JSON of an error says, in the words under the usual keys; "" where it says nothing."""
    if type(body) is not dict:
        return ""
    listed = body.get("errors")
    words = [body.get(key) for key in _WORD_KEYS]
    for error in listed if type(listed) is list else [listed]:
        words += [error.get(key) for key in ("field", *_WORD_KEYS)] if type(error) is dict else [error]
    return ": ".join(dict.fromkeys(word for word in words if type(word) is str and word))


def told_wait(outcome: CancelOutcome | None, after_s: float | None) -> float | None:
    """`after_s`, where a wait means something for that outcome of a cancel."""
    return after_s if outcome in (_Outcome.RETRY, _Outcome.THROTTLED) else None


def retry_after_s(response: HttpResponse) -> float | None:
    """The wait that `Retry-After` asks for, in seconds; a date is counted from the response's own `Date`."""
    asked = response.headers.get("retry-after")
    if asked is None:
        return None
    try:
        wait_s = float(asked)
    except ValueError:
        try:
            until, base = parsedate_to_datetime(asked), parsedate_to_datetime(response.headers["date"])
            wait_s = (until - base).total_seconds()
        except (KeyError, ValueError, TypeError, OverflowError):
            # No Date, or one of them has no offset, or is no date: then nothing was asked that can be read.
            return None
    return wait(wait_s)


def wait(wait_s: float) -> float | None:
    """`wait_s`, if it is a wait at all; at most `WAIT_MAX_S`."""
    return min(wait_s, WAIT_MAX_S) if math.isfinite(wait_s) and wait_s > 0 else None
