"""Whether a request proves who sent it, and if not, what was expected where."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from app.config.resolve import Endpoint
from app.contract import HttpRequest, InboundRequest, KeyUnavailable, VerificationError
from app.dev.trial.hints import hints
from app.dev.trial.keys import GivenKeys, KeyAnswer
from app.dev.trial.mask import Mask
from app.dev.trial.report import Proof
from app.kit.sample import signed
from app.kit.sign import CannotSign
from app.web.verification import verify


def proof_of(
    endpoint: Endpoint, inbound: InboundRequest, now: datetime, key_answers: Sequence[KeyAnswer] = ()
) -> Proof:
    """Verify a request as the endpoint does, with the keys that `key_answers` publish; never raises."""
    scheme, keys = endpoint.verify.scheme, GivenKeys(key_answers, now)
    inbound = replace(inbound, keys=keys)
    try:
        retired_until = verify(endpoint, inbound, now)
    except KeyUnavailable as missing:
        return _keyless(endpoint, missing.ref.url, keys)
    except VerificationError as error:
        proof = Proof(ok=False, scheme=scheme, detail=str(error), cause=error.cause)
    except Exception as error:  # noqa: BLE001 - a handler may fail in any way
        detail = f"the handler failed: {type(error).__name__}: {error}"
        proof = Proof(ok=False, scheme=scheme, detail=endpoint.redactor.clean(detail), cause="handler_failed")
    else:
        used = f"by {', '.join(keys.used)}, taken for the answer of {_shown(endpoint, keys.url)}" if keys.used else ""
        return Proof(ok=True, scheme=scheme, detail=used, retired_until=retired_until)
    proof.expected, proof.hints = _expected(endpoint, inbound, now), hints(endpoint, inbound, now, proof.cause)
    return proof


def _keyless(endpoint: Endpoint, url: str, keys: GivenKeys) -> Proof:
    """The proof of a request whose public key is not at hand."""
    detail = f"its public key is what the source answers at {_shown(endpoint, url)}, and a trial fetches nothing"
    source = endpoint.verify.keys
    asks = ", which it gives only to its clients" if source is not None and source.authorized else ""
    cures = [
        f"fetch that URL{asks}, and give the answer with --keys FILE; a server fetches it itself",
        "--unsigned takes the webhook for authentic",
    ]
    if keys.faults:
        detail = f"what --keys gives is no answer of {_shown(endpoint, url)} with its public key"
        cures = list(keys.faults)
    return Proof(ok=False, scheme=endpoint.verify.scheme, detail=detail, cause="key_unavailable", hints=cures)


def _shown(endpoint: Endpoint, url: str) -> str:
    return Mask(endpoint).text(url)


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
