"""The chapter about Superloop: verdicts that time alone changes, and a token that is fetched and replaced."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from app.dev.demo.cast import YOU, Cast, Json
from app.dev.demo.scene import Chapter, Scene
from app.dev.demo.stage import WINDOW_S
from handlers.superloop.cancel import CANCEL_PATH

CUTOFF_H, FAR_H, NEAR_H = 26, 30, 20
TOKEN_PATH = "/token"  # noqa: S105 - a path
KEY_BITS = 2048
INSTANT = timedelta(microseconds=1)
SUPERLOOP = Cast(
    "superloop", "Superloop", "acme-broadband", {"reason": "The customer moves."}, CANCEL_PATH, has_token=True
)


async def appointments(scene: Scene) -> None:
    """One order whose appointment is far, one whose is near; and then the token's life."""
    rescind, provider, voice = scene.rescind, scene.provider, scene.voice
    await _enlist(scene)
    far, near = await provider.place(), await provider.place()
    booked = await provider.act_aloud("book_appointment", order_id=far, in_h=FAR_H)
    await provider.act_aloud("book_appointment", order_id=near, in_h=NEAR_H)
    for order in (far, near):
        await rescind.heard(order, "appointment.scheduled")
    known = await rescind.shown(far)
    voice.seen(str(known["verdict"]["explanation"]))
    starts_at = datetime.fromisoformat(booked["appointments"][0]["starts_at"])
    closes_at = starts_at - timedelta(hours=CUTOFF_H)
    either_side = [await _verdict_at(scene, far, at) for at in (closes_at - INSTANT, closes_at)]
    rejected = await rescind.wish(near, aloud=True)
    evidence = await rescind.evidence(rejected)
    voice.seen(str(rejected.body.get("detail")))

    others = [await provider.place() for _ in range(2)]
    for order in others:
        await rescind.judged(order, "yes")
    ended = [await rescind.settled(await rescind.cancel(order, aloud=True)) for order in (far, *others)]
    first = provider.tell(await provider.calls())

    last = await provider.place()
    await rescind.judged(last, "yes")
    await provider.act_aloud("expire_tokens")
    renewed = await rescind.settled(await rescind.cancel(last, aloud=True))
    second = provider.tell((await provider.calls())[len(first) :])
    voice.seen(f"Its token was refused, so a new one was fetched and the cancel made once more: {renewed['state']}.")

    moment = known["verdict"]["changes_at"]
    seen = _hours(starts_at, datetime.fromisoformat(moment)) if moment else "never"
    scene.claim(f"appointment in {FAR_H} h: yes, until before it", f"{CUTOFF_H} h, exactly", seen)
    scene.claim("the verdict a microsecond before, and then", "yes, no", ", ".join(either_side))
    calls = sum(call["order"] == near for call in [*first, *second])
    scene.claim(f"appointment in {NEAR_H} h: a cancel", "409, 0 calls", f"{rejected.status}, {calls} calls")
    scene.claim("the evidence that the answer names", "appointment.scheduled", evidence)
    succeeded = sum(each["state"] == "succeeded" for each in ended)
    seen = f"{succeeded} succeeded, {_tokens(first)} token fetched"
    scene.claim("3 cancels, one after the other", "3 succeeded, 1 token fetched", seen)
    answers = ", ".join(str(call["status"]) for call in second if call["path"] == CANCEL_PATH)
    seen = f"{answers}; {_tokens(second)} token fetched"
    scene.claim("after the token expired: answers to a cancel", "401, 200; 1 token fetched", seen)


async def _enlist(scene: Scene) -> None:
    """Make a pair of keys: Superloop gets the public one, and checks with it who asks for a token."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    await scene.provider.act("set_public_key", public_key=public)
    token_url = f"{scene.provider.base_url}{TOKEN_PATH}"
    await scene.enlist(
        {"client_id": "acme", "key_id": "demo-1", "private_key": private, "token_url": token_url},
        verify={"secrets": [scene.stage.secrets.hook_token]},
        limits={"requests": 60, "per_s": WINDOW_S},
    )
    await scene.provider.send_webhooks()


async def _verdict_at(scene: Scene, order: str, at: datetime) -> str:
    path = f"/v1/accounts/{SUPERLOOP.account}/orders/{order}/verdict"
    found = await scene.rescind.get(f"{path}?at={quote(at.isoformat())}")
    scene.voice.call(YOU, f"GET {path}?at={at:%H:%M:%S.%f}", 200, f"{found['cancelable']} ({found['reason']})")
    return str(found["cancelable"])


def _hours(starts_at: datetime, changes_at: datetime) -> str:
    before = starts_at - changes_at
    return f"{CUTOFF_H} h, exactly" if before == timedelta(hours=CUTOFF_H) else str(before)


def _tokens(calls: list[Json]) -> int:
    return sum(call["path"] == TOKEN_PATH for call in calls)


APPOINTMENTS = Chapter(
    "Superloop: until 26 hours before the appointment",
    f"Superloop cancels no order with an appointment within {CUTOFF_H} hours. So a verdict that is yes now changes by "
    "time alone, and says when. What Superloop would answer is not documented: it had better not be asked. Calls need "
    "a token, which Superloop gives for a signed assertion (the sandbox checks the signature); it is kept, and "
    "replaced when it is refused.",
    appointments,
    SUPERLOOP,
)
