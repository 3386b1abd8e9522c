"""What every store must do with the traffic of endpoints, of which any number of nodes tell it."""

from __future__ import annotations

from contract.store_cases import A, at

from app.store import Store
from app.store.traffic import REFUSALS_KEPT, EndpointCount, EndpointRefusal, EndpointRun

IN = "acme-in"


def count(number: int, minutes: float, cause: str = "too_old", endpoint: str = IN, account: str = A) -> EndpointCount:
    return EndpointCount(account, endpoint, "refused", cause, number, at(minutes))


def run(refused: int, since: float | None = None, authentic: float | None = None, endpoint: str = IN) -> EndpointRun:
    moments = [None if minutes is None else at(minutes) for minutes in (authentic, since)]
    return EndpointRun(A, endpoint, moments[0], refused, moments[1])


def refusal(id: int, endpoint: str = IN) -> EndpointRefusal:
    return EndpointRefusal(id, A, endpoint, at(id), "too_old", f"It is {id}.", ("Host", "X-\u00e9"), "2001:db8::1")


async def test_counts_are_added_whichever_node_is_late(store: Store) -> None:
    await store.add_traffic([count(2, 9), count(1, 1, "bad_signature")], [], [])
    await store.add_traffic([count(3, 7), count(4, 1, endpoint="other"), count(5, 1, account="else")], [], [])
    assert set(await store.endpoint_counts(IN)) == {
        count(5, 9),
        count(1, 1, "bad_signature"),
        count(5, 1, account="else"),
    }
    assert len(await store.endpoint_counts()) == 4


async def test_a_run_of_refusals_lasts_until_something_authentic_comes(store: Store) -> None:
    await store.add_traffic([], [run(2, 8)], [])
    [state] = await store.add_traffic([], [run(3, 6)], [])
    assert (state.refused_run, state.authentic_at) == (5, None)
    await store.mark_failing(A, IN, at(10))
    await store.mark_silent(A, IN, at(10))
    [state, other] = await store.add_traffic([], [run(1, 11), run(7, 1, endpoint="other")], [])
    assert (state.refused_run, state.failing_at, state.silent_at) == (6, at(10), at(10))
    assert (other.endpoint, other.refused_run, other.failing_at) == ("other", 7, None)
    [state] = await store.add_traffic([], [run(1, 12, authentic=11)], [])
    assert (state.refused_run, state.refused_since, state.authentic_at) == (1, at(12), at(11))
    assert (state.failing_at, state.silent_at) == (None, None), "an authentic request ends both episodes"
    [state] = await store.add_traffic([], [run(0, authentic=3)], [])
    assert state.authentic_at == at(11), "the later one stays"
    assert await store.endpoint_states(IN) == [state]
    assert len(await store.endpoint_states()) == 2


async def test_a_notice_of_an_endpoint_that_never_got_a_request_is_remembered(store: Store) -> None:
    await store.mark_silent(A, IN, at(1))
    [state] = await store.endpoint_states(IN)
    assert (state.silent_at, state.authentic_at, state.refused_run) == (at(1), None, 0)


async def test_the_last_refusals_of_each_endpoint_are_kept(store: Store) -> None:
    await store.add_traffic([], [], [refusal(id) for id in range(REFUSALS_KEPT)])
    await store.add_traffic([], [], [refusal(REFUSALS_KEPT + 1), refusal(0, "other"), refusal(3)])
    kept = await store.endpoint_refusals(A, IN)
    assert kept == [refusal(REFUSALS_KEPT + 1), *(refusal(id) for id in range(REFUSALS_KEPT - 1, 0, -1))]
    assert await store.endpoint_refusals(A, "other") == [refusal(0, "other")]
    assert await store.endpoint_refusals("else", IN) == []


async def test_an_endpoint_that_is_removed_is_forgotten(store: Store) -> None:
    for endpoint in (IN, "other"):
        await store.add_traffic(
            [count(1, 1, endpoint=endpoint)], [run(1, 1, endpoint=endpoint)], [refusal(1, endpoint)]
        )
    await store.save_resources([], [("endpoints", IN), ("accounts", "other")], [])
    assert [row.endpoint for row in await store.endpoint_counts()] == ["other"]
    assert [state.endpoint for state in await store.endpoint_states()] == ["other"]
    assert await store.endpoint_refusals(A, IN) == []
    assert len(await store.endpoint_refusals(A, "other")) == 1
