"""What the key ring keeps, wants and fetches, at times that the test states."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from app.contract import KeyRef, KeySource, KeyUnavailable, VerificationError
from app.core.key_scope import (
    ABSENT_MAX,
    ABSENT_S,
    DOCUMENTS_MAX,
    REFRESH_AT,
    RESTING_MAX,
    RETRY_MAX_S,
    RETRY_S,
    WANTED_MAX,
    Keys,
    KeyScope,
    is_shared,
)
from app.kit.signing.key_material import UnusableKey

JWKS = "https://keys.example/jwks"
SET = KeySource(jwks_url=JWKS)
BY_ID = KeySource(url="https://keys.example/{key_id}")
FRESH_S, LIFE_S = 1000.0, 4000.0


def kid(id: str) -> KeyRef:
    return KeyRef(SET, JWKS, id)


def by_id(id: str) -> KeyRef:
    return KeyRef(BY_ID, f"https://keys.example/{id}", id)


def keys(*ids: str, **more: Any) -> Keys:
    return Keys({**{id: f"key {id}" for id in ids}, **more}, FRESH_S, LIFE_S)


def one(key: str = "key") -> Keys:
    return Keys({"": key}, FRESH_S, LIFE_S)


def is_missing(scope: KeyScope, ref: KeyRef, now: float) -> bool:
    """Whether a request is told to come again; it wants the key then, as ingest has it."""
    try:
        scope.find(ref, now)
    except KeyUnavailable:
        scope.want(ref, now)
        return True
    return False


def refusal(scope: KeyScope, ref: KeyRef, now: float) -> str:
    with pytest.raises(VerificationError) as caught:
        scope.find(ref, now)
    return str(caught.value)


def serve(scope: KeyScope, until: float, fetch: Any) -> list[tuple[float, str]]:
    """Carry out all fetches that are due before `until`; returns when and which."""
    made = []
    now = 0.0
    while (due := scope.next_fetch(now)) is not None and due[0] <= until:
        now = max(now, due[0])
        scope.begin(due[1], now)
        made.append((now, due[1]))
        fetch(due[1], now)
    return made


def test_a_kept_set_is_fetched_before_any_request_and_refreshed_before_it_expires() -> None:
    scope = KeyScope(SET, is_kept=True)
    made = serve(scope, 3000.0, lambda url, now: scope.fetched(url, keys("a"), now))
    assert made == [(at, JWKS) for at in (0.0, 750.0, 1500.0, 2250.0, 3000.0)]
    assert REFRESH_AT * FRESH_S == 750.0
    assert scope.find(kid("a"), 3000.0) == ("key a",)


def test_a_new_key_is_fetched_at_once_and_the_request_comes_again() -> None:
    scope = KeyScope(SET, is_kept=True)
    scope.fetched(JWKS, keys("a"), 0.0)
    assert is_missing(scope, kid("b"), 5.0)
    assert scope.next_fetch(5.0) == (5.0, JWKS)
    scope.begin(JWKS, 5.0)
    scope.fetched(JWKS, keys("a", "b"), 5.1)
    assert scope.find(kid("b"), 5.2) == ("key b",)
    assert scope.find(kid("a"), 5.2) == ("key a",)


def test_a_key_that_a_refresh_did_not_bring_is_refused_for_a_while_and_then_asked_for_again() -> None:
    scope = KeyScope(SET, is_kept=True)
    scope.fetched(JWKS, keys("a"), 0.0)
    assert is_missing(scope, kid("b"), 5.0)
    scope.begin(JWKS, 5.0)
    # Named while the fetch is under way: it may have been published after that began.
    assert is_missing(scope, kid("c"), 5.05)
    scope.fetched(JWKS, keys("a"), 5.1)
    assert refusal(scope, kid("b"), 5.2) == "no key of this id is published at keys.example"
    assert is_missing(scope, kid("c"), 5.2)
    assert scope.next_fetch(5.2) == (5.2, JWKS)
    assert is_missing(scope, kid("b"), 5.2 + ABSENT_S)


def test_a_key_that_is_no_longer_published_stops_to_verify_with_the_next_refresh() -> None:
    scope = KeyScope(SET, is_kept=True)
    scope.fetched(JWKS, keys("a", "b"), 0.0)
    scope.fetched(JWKS, keys("b"), 750.0)
    assert is_missing(scope, kid("a"), 751.0)
    scope = KeyScope(BY_ID)
    scope.fetched(by_id("a").url, one(), 0.0)
    assert scope.find(by_id("a"), 1.0) == ("key",)
    assert scope.next_fetch(1.0) == (750.0, by_id("a").url)
    scope.refused(by_id("a").url, "it is gone", 750.0)
    assert refusal(scope, by_id("a"), 751.0) == "it is gone"


def test_keys_outlive_failing_refreshes_but_not_their_life_and_then_requests_come_again() -> None:
    scope = KeyScope(SET, is_kept=True)
    scope.fetched(JWKS, keys("a"), 0.0)
    waits = []

    def fail(url: str, now: float) -> None:
        scope.failed(url, now)
        waits.append(now)
        assert now >= LIFE_S or scope.find(kid("a"), now) == ("key a",)

    serve(scope, LIFE_S + 1000.0, fail)
    gaps = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert gaps[0] == RETRY_S
    assert max(gaps) == RETRY_MAX_S
    assert len(waits) < 25
    assert is_missing(scope, kid("a"), LIFE_S)
    scope.fetched(JWKS, keys("a"), 0.0)
    assert is_missing(scope, kid("a"), LIFE_S), "nothing has looked what to fetch next in the meantime"


def test_a_source_that_fails_gets_no_request_a_401() -> None:
    for source, ref in ((SET, kid("a")), (BY_ID, by_id("a"))):
        scope = KeyScope(source, is_kept=source is SET)
        for now in range(0, 2000, 7):
            assert is_missing(scope, ref, float(now))
            due = scope.next_fetch(float(now))
            if due is not None and due[0] <= now:
                scope.begin(due[1], float(now))
                scope.failed(due[1], float(now))


def test_a_failure_is_left_alone_unless_what_it_failed_by_changed() -> None:
    scope = KeyScope(BY_ID)
    assert scope.want(by_id("a"), 0.0)
    scope.begin(by_id("a").url, 0.0)
    scope.failed(by_id("a").url, 0.0)
    assert not scope.want(by_id("a"), RETRY_S - 1)
    scope.retry()
    assert scope.want(by_id("a"), RETRY_S - 1)


def flood(scope: KeyScope, name: Any, seconds: int = 100) -> int:
    """1,000 unknown keys in each second; how many fetches they cause."""
    fetches = 0
    for now in range(seconds):
        for number in range(1000):
            assert is_missing(scope, name(f"{now}-{number}"), float(now)) or scope.source is SET
        while (due := scope.next_fetch(float(now))) is not None and due[0] <= now:
            fetches += 1
            scope.begin(due[1], float(now))
            if scope.source is SET:
                scope.fetched(due[1], keys("a"), float(now))
            else:
                scope.refused(due[1], "no such key", float(now))
    return fetches


def test_a_flood_of_unknown_keys_makes_no_flood_of_fetches_and_is_not_remembered() -> None:
    for source, name in ((SET, kid), (BY_ID, by_id)):
        scope = KeyScope(source)
        known = name("a")
        scope.fetched(known.url, keys("a") if source is SET else one(), 0.0)
        assert flood(scope, name) <= 14, "3 at once, and one every 10 s for 100 s"
        assert len(scope._wanted) <= WANTED_MAX
        assert len(scope._absent) <= ABSENT_MAX
        assert len(scope._resting) <= RESTING_MAX
        assert scope.find(known, 100.0), "the flood has pushed out a key that is in use"


def test_a_flood_delays_the_refresh_of_keys_in_use_by_nothing() -> None:
    scope = KeyScope(BY_ID)
    scope.fetched(by_id("a").url, one(), 0.0)
    scope.find(by_id("a"), 1.0)
    for number in range(1000):
        is_missing(scope, by_id(str(number)), 700.0)
    while (due := scope.next_fetch(740.0)) is not None and due[0] <= 740.0:
        scope.begin(due[1], 740.0)
        scope.failed(due[1], 740.0)
    assert scope.next_fetch(800.0) == (750.0, by_id("a").url)


def test_documents_of_a_stranger_push_out_none_that_is_in_use() -> None:
    scope = KeyScope(BY_ID)
    scope.fetched(by_id("a").url, one(), 0.0)
    for number in range(200):
        assert scope.find(by_id("a"), 1.0 + number)
        scope.fetched(by_id(str(number)).url, one(), 1.0 + number)
    assert len(scope.documents) == DOCUMENTS_MAX
    assert scope.find(by_id("a"), 300.0)


def test_what_nobody_needs_is_not_refreshed() -> None:
    scope = KeyScope(BY_ID)
    scope.fetched(by_id("a").url, one(), 0.0)
    assert scope.next_fetch(1.0) is None
    assert scope.next_fetch(LIFE_S) is None
    assert not scope.documents


def test_requests_without_a_key_id_may_be_signed_by_any_of_a_few_keys() -> None:
    scope = KeyScope(SET)
    weak = UnusableKey("its RSA key has 512 bits")
    scope.fetched(JWKS, keys("a", "b", weak=weak), 0.0)
    assert scope.find(KeyRef(SET, JWKS), 1.0) == ("key a", "key b")
    assert "is not accepted: its RSA key has 512 bits" in refusal(scope, kid("weak"), 1.0)
    scope.fetched(JWKS, keys(*map(str, range(9))), 2.0)
    assert "say in verify.key_id" in refusal(scope, KeyRef(SET, JWKS), 3.0)
    scope.fetched(JWKS, keys(weak=weak), 4.0)
    assert "no key that can be accepted" in refusal(scope, KeyRef(SET, JWKS), 5.0)


def test_only_a_url_without_places_and_credentials_is_shared() -> None:
    assert is_shared(SET)
    assert is_shared(KeySource(url="https://keys.example/k"))
    assert not is_shared(BY_ID)
    assert not is_shared(KeySource(jwks_url=JWKS, authorized=True))
    assert not is_shared(KeySource(certificate_url="{header:X-Cert-Url}", hosts=("keys.example",)))
