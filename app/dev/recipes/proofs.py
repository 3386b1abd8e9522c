"""Whether a recipe's endpoint accepts what the source signs, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace
from multidict import CIMultiDict
from pydantic import SecretStr

from app.contract import HttpRequest, InboundRequest, MalformedPayload, VerificationError, VerifyOptions
from app.contract.published_keys import KeyRef, KeyUnavailable
from app.dev.recipes.model import FixtureSpec, Missing, Proof, Request
from app.dev.recipes.trials import Trial
from app.dev.suite.cases import NOW
from app.dev.trial.keys import published_keys
from app.kit.sample import signed
from app.kit.sign import CannotSign
from app.kit.signing import PROOF_IN_HEADERS
from app.kit.signing.key_material import UnusableKey

FLIPS = 32
"""Bytes of a body that are changed in turn."""
WRONG = "d3Jvbmctc2VjcmV0LXdyb25nLXNlY3JldA=="
"""No source's secret."""


def faults_in_proofs(trial: Trial) -> Iterator[str]:
    """The faults of fixtures and vectors as proofs: what is not accepted and should be, or the other way round."""
    recipe = trial.recipe
    if trial.endpoint is None:
        return
    proved = False
    for name, fixture in recipe.fixtures.items():
        if fixture.response is not None and fixture.verify is None:
            continue  # a challenge that proves nothing
        signed_request = _signed(trial, fixture)
        if signed_request is not None:
            proved = True
            for fault in _faults_in_proof(trial, *signed_request):
                yield f"fixtures/{name}.json: verify: {fault}"
    for number, vector in enumerate(recipe.vectors):
        proved = True
        for fault in _faults_in_proof(trial, trial.request(vector.request), vector.verify):
            yield f"vector.json[{number}]: {fault}"
    if not proved and not isinstance(recipe.spec.cells.signature, Missing):
        yield f"{recipe.place('endpoints')}: nothing proves a sender: give vector.json, or `verify` in a fixture"


def _signed(trial: Trial, fixture: FixtureSpec) -> tuple[InboundRequest, Proof] | None:
    """A fixture's request with its proof, or with one that is made here; None if the source alone can sign it."""
    if fixture.verify is not None:
        return trial.request(fixture.request), fixture.verify
    proof = Proof(at=fixture.moment(NOW))
    try:
        sent = signed(trial.account.handler, trial.outgoing(fixture.request), trial.options(proof), proof.at)
    except CannotSign:
        return None
    return _received(sent, fixture.request), proof


def _received(sent: HttpRequest, given: Request) -> InboundRequest:
    query = {**dict(parse_qsl(urlsplit(sent.url).query)), **given.query}
    return InboundRequest(CIMultiDict(sent.headers), query, sent.body, method=sent.method, url=sent.url)


def _faults_in_proof(trial: Trial, request: InboundRequest, proof: Proof) -> Iterator[str]:
    options = trial.options(proof)
    request = replace(request, keys=_Published(proof))
    cause = _refused(trial, request, options, proof.at)
    if cause is not None:
        yield f"its proof is not accepted: {cause}"
        return
    other = options.model_copy(update={"secrets": (SecretStr(WRONG),)})
    if options.secrets and _refused(trial, request, other, proof.at) is None:
        yield "it is accepted with another secret"
    bare = replace(request, headers=CIMultiDict(), query={})
    if not _stands_in_body(options) and _refused(trial, bare, options, proof.at) is None:
        yield "it is accepted without its headers"
    handler_s_own = options.scheme == "handler" and trial.account.handler.proof_in_headers
    if handler_s_own or options.scheme in PROOF_IN_HEADERS:
        return
    accepted = [
        position for position in _positions(request.body) if _flipped(trial, request, position, options, proof.at)
    ]
    # Where only some fields are signed, a byte of another one proves nothing.
    if len(accepted) > (0 if "{body}" in (options.signed or "{body}") else len(_positions(request.body)) - 1):
        yield f"it is accepted with another byte at {accepted[0]} of its body"


class _Published:
    """The keys that a proof lists."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof

    def find(self, ref: KeyRef) -> tuple[Any, ...]:
        """See `PublishedKeys.find`."""
        document = self._proof.keys.get(ref.url)
        if document is None:
            raise KeyUnavailable(ref)
        body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        return published_keys(ref, body, self._proof.at)


def _stands_in_body(options: VerifyOptions) -> bool:
    """Whether the signature is a part of the body."""
    return options.items is not None or (options.signature is not None and "{header:" not in options.signature)


def _positions(body: bytes) -> Sequence[int]:
    return range(0, len(body), max(1, len(body) // FLIPS))


def _flipped(trial: Trial, request: InboundRequest, position: int, options: VerifyOptions, at: datetime) -> bool:
    body = bytearray(request.body)
    body[position] ^= 1
    return _refused(trial, replace(request, body=bytes(body)), options, at) is None


def _refused(trial: Trial, request: InboundRequest, options: VerifyOptions, at: datetime) -> Any:
    """Why a request is not accepted; None if it is."""
    try:
        trial.verify(request, options, at)
    except (VerificationError, MalformedPayload, KeyUnavailable, UnusableKey) as error:
        return str(error)
    return None
