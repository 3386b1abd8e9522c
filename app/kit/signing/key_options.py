"""What is checked of the options of `public_key` when an endpoint is saved: no webhook is the first to find a fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.contract import VerifyOptions
from app.contract.published_keys import KeySource
from app.kit.host_patterns import check_host_pattern
from app.kit.paths.path import check
from app.kit.signing.certificates import roots_of
from app.kit.signing.hmac_scheme import signs_time
from app.kit.signing.key_hosts import fault_in_fixed
from app.kit.signing.key_material import ALGORITHMS, UnusableKey, cached_key, kind_of
from app.kit.signing.places import is_place, place_of
from app.kit.signing.public_key import KEY_ID

KEY_OPTIONS = frozenset(
    {
        *("algorithm", "encoding", "header", "key_id", "keys", "prefix", "signature"),
        *("signed", "timestamp_format", "timestamp_header", "tolerance_s"),
    }
)
"""What of `VerifyOptions` the scheme heeds besides `secrets`."""


def fault_in_options(options: VerifyOptions) -> tuple[str, str] | None:
    """(option, what is wrong with it) of an endpoint that is saved; None if nothing is."""
    return next(_faults(options), None)


def _faults(options: VerifyOptions) -> Iterator[tuple[str, str]]:
    if options.algorithm not in ALGORITHMS:
        yield "algorithm", f"say which algorithm the source signs with: {', '.join(ALGORITHMS)}"
        return
    for name in ("signature", "key_id"):
        place = getattr(options, name)
        if place is not None and (name == "signature" or is_place(place)):
            try:
                place_of(place)
            except ValueError as error:
                yield name, str(error)
    if options.signature is not None and options.header is not None:
        yield "header", "signature says where the signature stands: leave one of them out"
    yield from _faults_in_time(options)
    if options.keys is None:
        yield from _faults_in_static(options)
    elif options.secrets:
        yield "secrets", "the key is fetched (keys): leave secrets out"
    else:
        yield from (("keys", text) for text in _faults_in_source(options.keys, options.key_id))


def _faults_in_time(options: VerifyOptions) -> Iterator[tuple[str, str]]:
    header, signed = options.timestamp_header, options.signed
    for name in ("tolerance_s", "timestamp_format"):
        if header is None and name in options.model_fields_set and getattr(options, name) is not None:
            yield name, "without timestamp_header there is no time to compare: name it, or leave this out"
    if header is not None and signed is not None and not signs_time(signed, header):
        yield (
            "timestamp_header",
            "signed has no {timestamp}, so that anybody can change the time: add it, or omit this",
        )


def _faults_in_static(options: VerifyOptions) -> Iterator[tuple[str, str]]:
    if options.key_id is not None:
        yield "key_id", "there is nothing to look up by it without keys: leave it out"
    for secret in options.secrets:
        try:
            kind = kind_of(cached_key(secret.get_secret_value()))
        except UnusableKey as error:
            yield "secrets", f"give the source's public key: {error}"
        else:
            if kind != ALGORITHMS[options.algorithm][0]:
                yield "secrets", f"the key is one for {kind}, which {options.algorithm} cannot use"


def _faults_in_source(source: KeySource, key_id: str | None) -> Iterator[str]:
    location = source.location
    from_request = source.certificate_url is not None and is_place(location)
    has_id = KEY_ID in location and source.url is not None
    faults: Mapping[str, bool] = {
        "hosts must list the hosts that a request may name: else anybody's key would do": (
            from_request and not source.hosts
        ),
        "hosts is for a URL that stands in the request: leave it out": bool(source.hosts) and not from_request,
        f"{KEY_ID} is for url: leave it out": KEY_ID in location and source.url is None,
        f"{KEY_ID} must stand behind the host": has_id and KEY_ID in "/".join(location.split("/")[:3]),
        f"the URL holds {KEY_ID}: say in key_id where it stands in the request": has_id and key_id is None,
        "names, roots and chain are for certificate_url: leave them out": source.certificate_url is None
        and (bool(source.names) or source.roots is not None or not source.chain),
        "without chain, no roots are looked at: leave one of them out": not source.chain and source.roots is not None,
        "authorized is for url and jwks_url: leave it out": source.certificate_url is not None and source.authorized,
        "read is for url: leave it out": source.url is None and source.read is not None,
    }
    yield from (text for text, applies in faults.items() if applies)
    if not from_request:
        yield from filter(None, [fault_in_fixed(location.replace(KEY_ID, "1") if has_id else location)])
    try:
        for host in (*source.hosts, *source.names):
            check_host_pattern(host)
        if from_request:
            place_of(location)
        if source.read is not None:
            check(source.read)
        if source.roots is not None:
            roots_of(source.roots)
    except ValueError as error:
        yield str(error)
