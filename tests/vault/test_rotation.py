"""The versions of keys: new ones seal at once, old ones close, and end for good when nothing is under them."""

import json
from dataclasses import replace

import pytest

from service.keys.wrapping import KeyContext, KeyEncryptionKeys, KeyRefused, WrappedKey
from service.keys.wrapping_local import LocalKey, from_environment
from service.vault import rewrapping, rotation
from service.vault.keyring import KeyState
from service.vault.keys import open_vault
from service.vault.rotation import RotationRefused
from tests.vault.desk import Desk
from tests.vault.keeping import keeper
from tests.vault.reveals import reveal
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def states(desk: Desk, issuer_id: object) -> list[tuple[int, str, bool]]:
    return [
        (number, state, there)
        for number, state, there in await desk.rows(
            """SELECT version, state, wrapped IS NOT NULL FROM vault.keys
            WHERE issuer_id = %s AND purpose IN ('data', 'subject-wrapping') ORDER BY version, purpose""",
            issuer_id,
        )
    ]


async def test_what_is_new_is_sealed_under_the_new_version_and_what_is_old_still_opens(desk: Desk) -> None:
    kept = await keeper(desk, "Rotating Estates")
    assert await kept.rotate() == 2
    await kept.more(2, subject="Grace")
    assert await kept.versions("vault.records") == {1, 2}
    assert await kept.versions("vault.subjects", "wrapping_version") == {1, 2}
    assert await kept.revealed() == kept.values


async def test_a_minimum_version_is_refused_while_rows_are_below_it(desk: Desk) -> None:
    kept = await keeper(desk, "Early Estates")
    await kept.rotate()
    with pytest.raises(RotationRefused, match=r"1 rows of vault.subjects, 4 rows of vault.records.*rewrap"):
        await kept.minimum(2)
    with pytest.raises(RotationRefused, match="newest version is 2"):
        await kept.minimum(3)
    assert await kept.revealed() == kept.values


async def test_a_row_of_a_closed_version_does_not_open_until_the_version_is_open_again(desk: Desk) -> None:
    kept = await keeper(desk, "Restored Estates", count=1)
    (token,) = kept.values
    await desk.alter("CREATE TABLE backup AS TABLE vault.records")
    await kept.rotate()
    await kept.rewrap()
    await kept.minimum(2)
    assert await kept.revealed() == kept.values
    await desk.alter(
        """UPDATE vault.records r SET data_version = b.data_version, sealed = b.sealed
        FROM backup b WHERE b.index = r.index"""
    )
    problem(await reveal(desk, token, key=kept.key), "record-damaged")
    with pytest.raises(RotationRefused, match="rewrap"):
        await rotation.destroy(kept.vault, kept.issuer_id, 1)
    found = await kept.minimum(1)
    assert [each.state for each in found] == [KeyState.ACTIVE, KeyState.ACTIVE]
    assert await kept.revealed() == kept.values
    await desk.alter("DROP TABLE backup")


async def test_a_version_is_destroyed_once_it_is_retired_for_long_and_nothing_is_under_it(desk: Desk) -> None:
    kept = await keeper(desk, "Ended Estates")
    for number in (1, 7):
        with pytest.raises(RotationRefused, match=r"in use|no version 7"):
            await rotation.destroy(kept.vault, kept.issuer_id, number)
    await kept.rotate()
    await kept.rewrap()
    await kept.minimum(2)
    with pytest.raises(RotationRefused, match="60 minutes"):
        await rotation.destroy(kept.vault, kept.issuer_id, 1)
    await kept.age()
    assert await rotation.destroy(kept.vault, kept.issuer_id, 1)
    assert not await rotation.destroy(kept.vault, kept.issuer_id, 1)
    assert await states(desk, kept.issuer_id) == [
        *[(1, "destroyed", False)] * 2,
        *[(2, "active", True)] * 2,
    ]
    await kept.minimum(1)
    assert (await states(desk, kept.issuer_id))[0] == (1, "destroyed", False)
    rows = await desk.rows(
        """SELECT body FROM journal_entries WHERE issuer_id = %s
        AND kind IN ('vault.keys-rotated', 'vault.keys-destroyed') ORDER BY position""",
        kept.issuer_id,
    )
    assert [json.loads(body)["version"] for (body,) in rows] == [2, 1]
    assert await kept.revealed() == kept.values


async def test_of_two_rotations_at_once_one_makes_the_version(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = await keeper(desk, "Twice Estates", count=1)
    known = await rotation.versions(desk.db, kept.issuer_id)
    await kept.rotate()

    async def as_before(*_: object) -> object:
        return known

    monkeypatch.setattr(rotation, "versions", as_before)
    with pytest.raises(RotationRefused, match="a moment ago"):
        await kept.rotate()


async def test_keys_move_to_another_key_encryption_key_and_no_data_is_touched(desk: Desk) -> None:
    kept = await keeper(desk, "Moved Estates")
    ((before,),) = await desk.rows("SELECT md5(string_agg(sealed::text, '' ORDER BY index)) FROM vault.records")
    settings = desk.app.state.settings
    old, new = from_environment(settings.key_encryption_key), LocalKey("file", bytes(range(32)))
    both = open_vault(desk.db, KeyEncryptionKeys([new, old]))
    found = await rewrapping.rewrap_keys(both, lambda *_: None)
    assert (found.kek, found.before) == (new.name, 0)
    again = await rewrapping.rewrap_keys(both, lambda *_: None)
    assert (again.rewrapped, again.before) == (0, found.rewrapped)
    assert await desk.rows("SELECT DISTINCT kek FROM vault.keys WHERE wrapped IS NOT NULL") == [(new.name,)]
    ((after,),) = await desk.rows("SELECT md5(string_agg(sealed::text, '' ORDER BY index)) FROM vault.records")
    assert after == before
    with pytest.raises(KeyRefused, match="MUNIMENT_VAULT_KEK"):
        await rewrapping.rewrap_keys(open_vault(desk.db, KeyEncryptionKeys([old])), lambda *_: None)
    await rewrapping.rewrap_keys(open_vault(desk.db, KeyEncryptionKeys([old, new])), lambda *_: None)
    desk.vault.keyring.forget(kept.issuer_id)
    assert await kept.revealed() == kept.values


async def test_where_the_provider_tells_no_version_keys_are_moved_once(desk: Desk) -> None:
    await keeper(desk, "Unversioned Estates", count=1)

    class Untold(LocalKey):
        async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
            return replace(await super().wrap(key, context), kek_version="")

    old, new = from_environment(desk.app.state.settings.key_encryption_key), Untold("file", bytes(range(1, 33)))
    both = open_vault(desk.db, KeyEncryptionKeys([new, old]))
    found = await rewrapping.rewrap_keys(both, lambda *_: None)
    again = await rewrapping.rewrap_keys(both, lambda *_: None)
    assert (again.rewrapped, again.before) == (0, found.rewrapped)
    await rewrapping.rewrap_keys(open_vault(desk.db, KeyEncryptionKeys([old, new])), lambda *_: None)


async def test_nothing_is_stored_under_a_version_that_was_closed_a_moment_ago(desk: Desk) -> None:
    kept = await keeper(desk, "Late Estates", count=1)
    state = f"UPDATE vault.keys SET state = '%s' WHERE purpose = 'data' AND issuer_id = '{kept.issuer_id}'"
    order = {"policy": kept.policy, "items": [{"value": "late@example.org"}]}
    sent = {"key": kept.key, "idempotency_key": "late"}
    await desk.alter(state % "retired")
    problem(await desk.post("/tokenize", order, **sent), "database-unavailable")
    assert await desk.rows("SELECT count(*) FROM vault.records WHERE issuer_id = %s", kept.issuer_id) == [(1,)]
    await desk.alter(state % "active")
    assert (await desk.post("/tokenize", order, **sent)).status_code == 200
