"""What the provider's answers mean, whatever was asked."""

from __future__ import annotations

from msgspec import Struct

from app.contract import CancelOutcome, HttpResponse
from app.dev.skeleton.config import Config
from app.dev.skeleton.words import TITLE
from app.kit.excerpts import excerpt
from app.kit.payload import Payload
from app.kit.responses import object_or_none, retry_after_s

# Replace: what each documented status means. RETRY is for those after which the same call may be sent again; for any
# that is not listed the outcome is INDETERMINATE, and the order is probed before anything is sent again.
_OUTCOMES = {
    200: CancelOutcome.SUCCEEDED,
    400: CancelOutcome.REFUSED,
    401: CancelOutcome.UNAUTHORIZED,
    403: CancelOutcome.UNAUTHORIZED,
    404: CancelOutcome.REFUSED,
    409: CancelOutcome.REFUSED,
    422: CancelOutcome.REFUSED,
    429: CancelOutcome.THROTTLED,
    500: CancelOutcome.RETRY,
    503: CancelOutcome.RETRY,
}


class Answer(Struct, frozen=True):
    """A response, read."""

    outcome: CancelOutcome
    detail: str
    """One sentence for people, without secrets."""
    body: Payload
    """Empty if it is no JSON object."""
    after_s: float | None


def read(response: HttpResponse, config: Config) -> Answer:
    """What a response means."""
    body = object_or_none(response, TITLE) or {}
    outcome = _OUTCOMES.get(response.status, CancelOutcome.INDETERMINATE)
    # Replace: how to tell the provider's own success and refusal from a proxy's page or a wrong base_url.
    proven = {CancelOutcome.SUCCEEDED: "status" in body, CancelOutcome.REFUSED: "error" in body}
    if not proven.get(outcome, True):
        outcome = CancelOutcome.INDETERMINATE
    return Answer(outcome, _detail(response, body, config), body, retry_after_s(response))


def _detail(response: HttpResponse, body: Payload, config: Config) -> str:
    if not body:
        return f"The answer ({response.status}) is not {TITLE}'s JSON: check base_url, and what stands in between."
    # A provider that repeats what it was sent must not bring the key into our log.
    said = excerpt(str(body.get("error") or body.get("status") or ""), config.api_key.get_secret_value())
    return f"{TITLE} answered {response.status}: {said.rstrip('.') or 'nothing more'}."
