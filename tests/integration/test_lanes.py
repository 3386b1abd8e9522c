"""Lanes: what becomes of a cancellation, by what the provider answers or does not (I4, I5)."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from conftest import Start
from processes import lasting_port
from providers import CANCEL_PATH, HELD_S, RETRIEVE_PATH, Provider, until
from servers import ACCOUNT, Rescind, account_of, endpoint_of

from app.contract import HttpRequest, HttpResponse
from app.core import aggregate, results
from app.core.lane import unreachable

pytestmark = pytest.mark.usefixtures("quick")


async def placed(rescind: Rescind, provider: Provider, *orders: str) -> None:
    """Orders that both sides know of and that may be canceled."""
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)


async def attempts(rescind: Rescind, order: str, kind: str = "cancel") -> list[dict[str, Any]]:
    shown = [each["attempt"] for each in await rescind.timeline(order) if each["kind"] == "attempt"]
    return [each for each in shown if each["kind"] == kind]


async def one_at_a_time(rescind: Rescind, order: str) -> None:
    """No two calls about the order were out at once."""
    calls = [*await attempts(rescind, order), *await attempts(rescind, order, "probe")]
    spans = sorted((each["started_at"], each["ended_at"]) for each in calls)
    for (_, ended), (started, _) in pairwise(spans):
        assert ended <= started, spans


async def test_a_cancel_succeeds(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    id = await rescind.cancel("o-1")
    done = await rescind.settled(id)
    assert (done["state"], done["attempts"], done["waiting"]) == ("succeeded", 1, None)
    assert await rescind.states("o-1") == ["scheduled", "sending", "succeeded"]
    order = await rescind.order("o-1")
    assert (order["phase"], order["cancellation"], order["verdict"]["reason"]) == ("canceled", None, "already_canceled")
    (call,) = await provider.calls(None)
    assert (call["order"], await provider.effects("o-1")) == ("o-1", 1)


async def test_a_refusal_is_final_and_says_why(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.act("schedule_appointment", order_id="o-1", silent=True)
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert done["state"] == "refused"
    assert "not cancelable" in done["detail"]
    assert len(await provider.calls()) == 1


# -- Failures that are sent again ---------------------------------------------------------------


async def test_a_crash_without_effect_is_sent_again(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.act("crash", times=2)
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert (done["state"], done["attempts"]) == ("succeeded", 3)
    # After the second one it is probed: it may be an order that cannot be canceled.
    probed = ["sending", "indeterminate", "scheduled"]
    assert await rescind.states("o-1") == ["scheduled", "sending", "scheduled", *probed, "sending", "succeeded"]
    assert await provider.effects("o-1") == 1
    await one_at_a_time(rescind, "o-1")


async def test_a_crash_with_effect_ends_as_a_success(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.act("crash", takes_effect=True)
    done = await rescind.settled(await rescind.cancel("o-1"))
    # The second call is refused; but that may be for the first one's sake, so it is probed and not believed.
    assert await rescind.states("o-1") == ["scheduled", "sending", "scheduled", "sending", "indeterminate", "succeeded"]
    assert (done["state"], await provider.effects("o-1")) == ("succeeded", 1)


async def test_retries_go_on_until_the_deadline_and_end_there(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await provider.fault("status", status=503, times=1_000_000)
    account = account_of(provider.url, limits={"requests": 100_000, "per_s": 1})
    await rescind.put("accounts", ACCOUNT, account)
    id = await rescind.cancel("o-1")
    await provider.arrived(results.CANCEL_RETRIES.attempts + 5)
    assert not (await rescind.cancellation(id))["final"]
    await provider.mend()
    assert (await rescind.settled(id))["state"] == "succeeded"


async def test_a_refused_connection_is_tried_again(start: Start) -> None:
    rescind = await start()
    port = lasting_port()
    provider = await Provider.start(port=port)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, unknown_orders="send"))
    await provider.create("o-1")
    await provider.close()
    id = await rescind.cancel("o-1")

    async def failed_once() -> bool:
        return (await rescind.cancellation(id))["attempts"] >= 2

    await until(failed_once, "a second try")
    known = await rescind.cancellation(id)
    assert not known["final"]
    # It knows the order from its first moment on: the next try may come at once.
    again = await Provider.begin("planomatic", provider.simulator, port=port)
    done = await rescind.settled(id)
    assert (done["state"], await again.effects("o-1")) == ("succeeded", 1)
    assert "indeterminate" not in await rescind.states("o-1")
    await again.close()


async def test_a_private_address_is_not_called_and_the_account_is_paused(start: Start, provider: Provider) -> None:
    rescind = await start(allow_networks=())
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, unknown_orders="send"))
    id = await rescind.cancel("o-1")
    reason = await paused(rescind)
    assert "RESCIND_ALLOW_NETWORKS" in reason
    assert "resume the account" in reason
    known = await rescind.cancellation(id)
    assert (known["final"], known["attempts"]) == (False, 1)
    assert await provider.calls(None) == []
    (noted,) = (await rescind.get("/v1/events?type=sending.paused"))["data"]
    assert (noted["source"], noted["data"]["by"]) == ("provider", "rescind"), "no operator did"


async def paused(rescind: Rescind) -> str:
    """Why the account is paused, as soon as it is."""

    async def look() -> Any:
        lane = (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
        return lane["reason"] if lane["state"] == "paused" else None

    return str(await until(look, "the account to be paused"))


async def test_what_answers_in_the_provider_s_place_pauses_the_account_until_its_config_changes(
    start: Start, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreachable, "PATIENCE_S", 0.0)
    rescind = await start()
    wrong = provider.url.rpartition("/")[0] + "/nobody"
    await rescind.put("accounts", ACCOUNT, account_of(wrong, unknown_orders="send"))
    await provider.create("o-1", "o-2", "o-3")
    ids = [await rescind.cancel(order) for order in ("o-1", "o-2", "o-3")]
    assert "base_url" in await paused(rescind)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, unknown_orders="send"))
    assert [(await rescind.settled(id))["state"] for id in ids] == ["succeeded"] * 3


async def test_one_order_at_which_something_else_answers_pauses_nothing(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("status", status=301, times=8)
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"


# -- Throttled ---------------------------------------------------------------------------------


async def test_429_with_retry_after_holds_the_whole_account(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1", "o-2", "o-3", "o-4")
    await provider.fault("status", status=429, headers={"Retry-After": "1"}, body={"code": 429, "status": "x"})
    first = await rescind.cancel("o-1")
    await provider.arrived(1)
    second = await rescind.cancel("o-2")
    assert [(await rescind.settled(id))["state"] for id in (first, second)] == ["succeeded"] * 2
    denied, *later = [each["at"] for each in await provider.calls()]
    assert len(later) == 2
    assert min(later) - denied >= 1.0
    assert [await provider.effects(order) for order in ("o-1", "o-2")] == [1, 1]
    # What is shown meanwhile: a wait that is not over before anybody has looked.
    await provider.fault("status", status=429, headers={"Retry-After": "3600"}, body={"code": 429, "status": "x"})
    await rescind.cancel("o-3")

    async def held() -> bool:
        return (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] == "throttled"

    await until(held, "the lane to be throttled")
    waiting = (await rescind.cancellation(await rescind.cancel("o-4")))["waiting"]
    assert (waiting["for"], bool(waiting["until"])) == ("throttled", True)
    assert len(await provider.calls()) == 4


async def test_429_without_retry_after_backs_off(rescind: Rescind, provider: Provider) -> None:
    limits = {"requests": 100, "per_s": 0.1}
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits=limits))
    await placed(rescind, provider, "o-1")
    await provider.fault("status", status=429, body={"code": 429, "status": "rate-limit-exceeded"}, times=3)
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert (done["state"], len(await provider.calls())) == ("succeeded", 4)
    assert await provider.effects("o-1") == 1


# -- Answers that were lost ----------------------------------------------------------------------

LOST = {
    "reset after processing": {"fault": "reset_after"},
    "reset before processing": {"fault": "reset_before"},
    "a broken answer": {"fault": "wrong_json"},
    "half an answer": {"fault": "slow_body", "seconds": HELD_S},
    "late, processed at once": {"fault": "delay", "seconds": HELD_S, "processed": "before"},
    "late, never processed": {"fault": "status", "status": 504, "body": "<html>Gateway Time-out</html>"},
    "a proxy's success": {"fault": "status", "status": 200, "body": "<html>Welcome</html>"},
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
async def test_a_lost_answer_is_probed_and_the_cancel_has_one_effect(
    rescind: Rescind, provider: Provider, fault: dict[str, Any]
) -> None:
    if "seconds" in fault:
        # As long as it takes: this is what the test waits for.
        await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"timeout_s": 1.0}))
    await placed(rescind, provider, "o-1")
    await provider.fault(**fault)
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert (done["state"], await provider.effects("o-1")) == ("succeeded", 1)
    states = await rescind.states("o-1")
    assert states[:3] == ["scheduled", "sending", "indeterminate"]
    # Between two cancel calls there is always a probe.
    paths = [each["path"] for each in await provider.calls(None)]
    assert (CANCEL_PATH, CANCEL_PATH) not in set(pairwise(paths))
    assert RETRIEVE_PATH in paths
    assert states.count("sending") == paths.count(CANCEL_PATH)
    await one_at_a_time(rescind, "o-1")


async def test_a_cancel_that_takes_effect_after_its_probe_is_no_refusal(rescind: Rescind, provider: Provider) -> None:
    """The probe finds the order open, then the lost call takes effect, and then the second call is refused."""
    await placed(rescind, provider, "o-1")
    handle, lost = provider.simulator.handle, list[HttpRequest]()

    def late(request: HttpRequest, now: float) -> HttpResponse:
        if request.url.endswith(CANCEL_PATH) and not lost:
            lost.append(request)
            return HttpResponse(504)
        answer: HttpResponse = handle(request, now)
        if request.url.endswith(RETRIEVE_PATH) and len(lost) == 1:
            lost.append(request)
            assert handle(lost[0], now).status == 200
        return answer

    provider.simulator.handle = late
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert [each["status"] for each in await provider.calls()] == [504, 400]
    assert (done["state"], await provider.effects("o-1")) == ("succeeded", 1)
    await one_at_a_time(rescind, "o-1")


async def test_probes_that_fail_are_repeated(rescind: Rescind, provider: Provider) -> None:
    account = account_of(provider.url, limits={"requests": 100_000, "per_s": 1})
    await rescind.put("accounts", ACCOUNT, account)
    await placed(rescind, provider, "o-1")
    await provider.fault("reset_after")
    await provider.fault("status", path=RETRIEVE_PATH, status=500, times=1_000_000)
    id = await rescind.cancel("o-1")
    await provider.arrived(aggregate.PROBE_RETRIES.attempts + 5, RETRIEVE_PATH)
    assert (await rescind.cancellation(id))["state"] == "indeterminate"
    await provider.mend()
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert len(await provider.calls()) == 1


async def test_a_webhook_settles_what_a_probe_could_not(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("reset_after")
    await provider.fault("status", path=RETRIEVE_PATH, status=500)
    await provider.hold(path=RETRIEVE_PATH)
    id = await rescind.cancel("o-1")
    await provider.arrived(2, RETRIEVE_PATH)
    assert (await rescind.cancellation(id))["state"] == "indeterminate"
    await rescind.tell("order.canceled", "o-1")
    done = await rescind.settled(id)
    assert (done["state"], done["evidence"]) == ("succeeded", (await rescind.order("o-1"))["verdict"]["evidence"])
    assert len(await provider.calls()) == 1


# -- Who may not, and who must act -------------------------------------------------------------


async def test_refused_credentials_pause_the_account_until_they_change(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await provider.act("set_api_keys", api_keys=["another-key-123456"])
    first = await rescind.cancel("o-1")

    async def paused() -> bool:
        return (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] == "paused"

    await until(paused, "the pause")
    lane = (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
    assert "api_key" in lane["reason"]
    second = await rescind.cancel("o-2")
    for id in (first, second):
        known = await rescind.cancellation(id)
        assert (known["state"], known["waiting"]["for"]) == ("scheduled", "paused")
        assert known["waiting"]["reason"] == lane["reason"]
        assert known["waiting"]["until"] == known["deadline"]
    assert len(await provider.calls()) == 1
    await rescind.tell("order.processed", "o-3")
    # What is not about the credentials changes nothing of the kind.
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, deadline_h=10))
    assert await paused()
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"api_key": "another-key-123456"}))
    await provider.act("set_api_keys", api_keys=["another-key-123456", "planomatic-key-0123456789"])
    lane = (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
    assert lane["state"] != "paused"
    for id in (first, second):
        # The orders were placed with the former key, so this one may not touch them: but it was asked.
        assert (await rescind.settled(id))["state"] in ("refused", "succeeded")


async def test_an_answer_to_the_former_credentials_does_not_pause_the_new_ones(
    rescind: Rescind, provider: Provider
) -> None:
    await placed(rescind, provider, "o-1")
    await provider.hold(processed="after")
    id = await rescind.cancel("o-1")
    await provider.arrived(1)
    # While the call is out, the key is changed: at the provider, and here.
    await provider.act("set_api_keys", api_keys=["another-key-123456"])
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"api_key": "another-key-123456"}))
    provider.release()
    await provider.arrived(2)
    # The order was placed with the former key, so the provider does not know it by the new one: but it was asked.
    assert (await rescind.settled(id))["state"] == "refused"
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] != "paused"


async def test_a_hanging_account_holds_up_no_other(rescind: Rescind, provider: Provider) -> None:
    other = await Provider.start()
    await rescind.put("accounts", "other", account_of(other.url))
    await rescind.put("endpoints", "other-in", endpoint_of("other"))
    await placed(rescind, provider, *(f"h-{n}" for n in range(8)))
    names = [f"o-{n}" for n in range(20)]
    await other.create(*names)
    for name in names:
        await rescind.tell("order.processed", name, "other-in")
    await provider.hold(times=100)
    hanging = [await rescind.cancel(f"h-{n}") for n in range(8)]
    await provider.arrived(4)
    done = [await rescind.cancel(name, "other") for name in names]
    for id in done:
        assert (await rescind.settled(id))["state"] == "succeeded"
    states = [(await rescind.cancellation(id))["state"] for id in hanging]
    assert sorted(states) == ["scheduled"] * 4 + ["sending"] * 4
    await other.close()


async def test_an_order_of_uncertain_phase_is_probed_without_a_request(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("status", path=RETRIEVE_PATH, status=500, times=2)
    await rescind.tell("appointment.awaiting_reschedule", "o-1")

    async def settled() -> bool:
        return (await rescind.order("o-1"))["verdict"]["cancelable"] == "yes"

    await until(settled, "the probe")
    types = [each["event"]["type"] for each in await rescind.timeline("o-1") if each["kind"] == "event"]
    assert types == [
        "order.processed",
        "appointment.awaiting_reschedule",
        "probe.failed",
        "probe.failed",
        "order.probed",
    ]
    assert len(await provider.calls(RETRIEVE_PATH)) == 3


async def test_a_probe_finds_what_no_webhook_told(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    await provider.act("deliver", order_id="o-1", silent=True)
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert (done["state"], done["cause"]) == ("rejected", "not_cancelable")
    assert await provider.calls() == []
    for id in done["evidence"]:
        assert (await rescind.get(f"/v1/events/{id}"))["type"] == "order.probed"


async def test_concurrent_cancel_requests_for_one_order_make_one_call(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.hold()
    replies = await asyncio.gather(*(rescind.request_cancel("o-1") for _ in range(12)))
    await provider.arrived(1)
    provider.release()
    assert sorted(reply.status for reply in replies) == [202] + [409] * 11
    for reply in replies:
        if reply.status == 409:
            assert reply.problem(409, "cancellation-exists")["cancellation"]["order"] == "o-1"
    (id,) = [reply.json["id"] for reply in replies if reply.status == 202]
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert len(await provider.calls()) == 1
