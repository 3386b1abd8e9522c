"""What every store must do for the sessions of the console."""

from __future__ import annotations

from contract.store_cases import at

from app.store import ApiKey, ConsoleSession, Store


async def test_sessions_of_the_console(store: Store) -> None:
    def session(n: int, key: str = "key_1") -> ConsoleSession:
        return ConsoleSession(bytes([n]), key, at(n), at(n + 10))

    async def there(*numbers: int) -> list[bool]:
        return [await store.session_exists(bytes([n])) for n in numbers]

    for n in (1, 2, 3):
        await store.start_session(session(n), 2)
    await store.start_session(session(4, "key_2"), 2)
    assert await there(1, 2, 3, 4, 5) == [False, True, True, True, False], "the oldest beyond the maximum has ended"
    assert await store.count_sessions(at(12)) == {"key_1": 1, "key_2": 1}
    await store.end_session(bytes([3]))
    assert await store.end_sessions("key_1") == 1
    assert await there(2, 3, 4) == [False, False, True]
    await store.start_session(session(14), 2)
    assert await there(4, 14) == [False, True], "expired ones are forgotten"
    key = ApiKey("key_1", "ann", "read", b"h" * 32, at(0), "me")
    await store.save_key(key, None)
    await store.revoke_key("key_1", at(15))
    assert await there(14) == [False]
    await store.start_session(session(16), 2)
    assert (await store.end_sessions(), await there(16)) == (1, [False])
