"""Whether a request proves who sent it, and if not, what was expected where."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from app.config.resolve import Endpoint
from app.contract import HttpRequest, InboundRequest, KeyRef, KeyUnavailable, VerificationError
from app.dev.trial.hints import hints
from app.dev.trial.mask import Mask
from app.dev.trial.report import Proof
from app.kit.sample import signed
from app.kit.sign import CannotSign
from app.web.verification import verify


class _NoKeys:
    """No published key is at hand, as nothing is fetched."""

    def find(self, ref: KeyRef) -> tuple[Any, ...]:
        """See `PublishedKeys.find`."""
        raise KeyUnavailable(ref)


def proof_of(endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> Proof:
    """Verify a request as the endpoint does; never raises."""
    scheme = endpoint.verify.scheme
    try:
        retired_until = verify(endpoint, replace(inbound, keys=_NoKeys()), now)
    except KeyUnavailable as missing:
        detail = f"the source publishes its public key at {missing.ref.url}, and a trial fetches nothing"
        cure = "a server fetches it; --unsigned takes the webhook for authentic"
        return Proof(ok=False, scheme=scheme, detail=detail, cause="key_unavailable", hints=[cure])
    except VerificationError as error:
        proof = Proof(ok=False, scheme=scheme, detail=str(error), cause=error.cause)
    except Exception as error:  # noqa: BLE001 - a handler may fail in any way
        detail = f"the handler failed: {type(error).__name__}: {error}"
        proof = Proof(ok=False, scheme=scheme, detail=endpoint.redactor.clean(detail), cause="handler_failed")
    else:
        return Proof(ok=True, scheme=scheme, retired_until=retired_until)
    proof.expected, proof.hints = _expected(endpoint, inbound, now), hints(endpoint, inbound, now, proof.cause)
    return proof


def trusted(endpoint: Endpoint, why: str) -> Proof:
    """The proof of a request that is taken for authentic."""
    return Proof(ok=True, scheme=endpoint.verify.scheme, checked=False, detail=why)


def _expected(endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> list[str]:
    """What the proof adds to a request that is signed with the endpoint's secret, and what this one has instead."""
    bare = HttpRequest(inbound.method, inbound.url, {}, inbound.body)
    try:
        proven = signed(endpoint.account.handler, bare, endpoint.verify, now, inbound.url)
    except CannotSign:
        return []
    mask = Mask(endpoint)
    shown = mask.headers(proven.headers)
    lines = []
    for name, value in shown.items():
        own = inbound.headers.get(name)
        has = "it is not there" if own is None else f"there is {mask.text(own)}"
        lines.append(f"header {name}: {value}; {has}")
    if proven.url != bare.url:
        lines.append(f"in the URL: {mask.text(proven.url.removeprefix(bare.url))}")
    if proven.body != bare.body:
        lines.append("in the body: another signature")
    return lines
