"""The vault's keys in memory: unwrapped once, forgotten in time, gone when they are destroyed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import pytest

from service.keys.signing import ProviderDown
from service.keys.wrapping import KeyAltered, KeyContext, KeyEncryptionKeys, KeyRefused, WrappedKey
from service.keys.wrapping_local import LocalKey, create_file, from_file
from service.vault.keyring import KeyClosed, KeyMissing, Keyring, KeyRow, KeyState, Purpose

ISSUER, OTHER, POLICY = UUID(int=1), UUID(int=2), UUID(int=3)


class Counting(LocalKey):
    """A file's key that counts what it unwraps, and can be made slow or be switched off."""

    unwraps = 0
    is_down = False

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """As the key itself, a moment later."""
        self.unwraps += 1
        await asyncio.sleep(0.01)
        if self.is_down:
            raise ProviderDown("switched off")
        return await super().unwrap(wrapped, context)


@dataclass
class Store:
    """Where the rows are, and how often they were read."""

    rows: dict[tuple[UUID, Purpose, UUID | None], list[KeyRow]] = field(default_factory=dict)
    reads: int = 0

    async def __call__(self, issuer: UUID, purpose: Purpose, policy: UUID | None) -> Sequence[KeyRow]:
        """The rows of one key."""
        self.reads += 1
        await asyncio.sleep(0)
        return list(self.rows.get((issuer, purpose, policy), ()))


@dataclass
class World:
    """A keyring with all that it uses."""

    kek: Counting
    store: Store
    now_s: float = 1_000.0

    def __post_init__(self) -> None:
        self.keks = KeyEncryptionKeys([self.kek])
        self.ring = Keyring(self.store, self.keks, clock_s=lambda: self.now_s)

    async def add(self, version: int, purpose: Purpose = Purpose.DATA, policy: UUID | None = None) -> None:
        """A new version in the store."""
        wrapped = await self.ring.made(KeyContext(ISSUER, purpose, version, policy))
        self.store.rows.setdefault((ISSUER, purpose, policy), []).append(KeyRow(version, KeyState.ACTIVE, wrapped))
        self.kek.unwraps = 0

    def put(self, version: int, state: KeyState) -> None:
        """Another state for a version."""
        rows = self.store.rows[ISSUER, Purpose.DATA, None]
        rows[:] = [replace(row, state=state) if row.version == version else row for row in rows]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    create_file(tmp_path / "kek")
    world = World(Counting("file", (tmp_path / "kek").read_bytes()), Store())
    assert world.kek.name == from_file(tmp_path / "kek").name
    await world.add(1)
    return world


async def test_the_highest_active_version_seals(world: World) -> None:
    await world.add(2)
    await world.add(3)
    world.put(3, KeyState.RETIRED)
    assert (await world.ring.newest(ISSUER, Purpose.DATA)).version == 2


async def test_a_hundred_at_once_unwrap_a_key_once(world: World) -> None:
    found = await asyncio.gather(*(world.ring.newest(ISSUER, Purpose.DATA) for _ in range(100)))
    assert len({key.secret for key in found}) == 1
    assert (world.kek.unwraps, world.store.reads) == (1, 1)


async def test_whoever_stops_waiting_takes_nothing_from_the_others(world: World) -> None:
    first = asyncio.create_task(world.ring.newest(ISSUER, Purpose.DATA))
    second = asyncio.create_task(world.ring.newest(ISSUER, Purpose.DATA))
    await asyncio.sleep(0.005)
    first.cancel()
    assert (await second).version == 1
    assert world.kek.unwraps == 1


async def test_a_key_is_forgotten_after_five_minutes(world: World) -> None:
    await world.ring.newest(ISSUER, Purpose.DATA)
    world.now_s += 299
    await world.ring.newest(ISSUER, Purpose.DATA)
    assert world.kek.unwraps == 1
    world.now_s += 2
    await world.ring.newest(ISSUER, Purpose.DATA)
    assert world.kek.unwraps == 2


async def test_a_key_that_nobody_asks_for_leaves_the_memory(world: World) -> None:
    ring = Keyring(world.store, world.keks, keys_age_max_s=0.02)
    await ring.newest(ISSUER, Purpose.DATA)
    assert repr(ring) == "Keyring(1 keys)"
    await asyncio.sleep(0.05)
    assert repr(ring) == "Keyring(0 keys)"


async def test_a_new_version_of_another_process_is_found_when_a_record_tells_it(world: World) -> None:
    await world.ring.newest(ISSUER, Purpose.DATA)
    await world.add(2)
    assert (await world.ring.newest(ISSUER, Purpose.DATA)).version == 1
    assert (await world.ring.version(ISSUER, Purpose.DATA, 2)).version == 2
    assert (await world.ring.newest(ISSUER, Purpose.DATA)).version == 2


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.DESTROYED])
async def test_a_closed_version_is_dropped_within_two_seconds(world: World, state: KeyState) -> None:
    await world.add(2)
    await world.ring.version(ISSUER, Purpose.DATA, 1)
    world.put(1, state)
    world.now_s += 2.1
    with pytest.raises(KeyClosed, match=state.value):
        await world.ring.version(ISSUER, Purpose.DATA, 1)
    assert repr(world.ring) == "Keyring(0 keys)"


async def test_forgetting_an_issuer_drops_its_keys_at_once(world: World) -> None:
    await world.ring.newest(ISSUER, Purpose.DATA)
    world.put(1, KeyState.DESTROYED)
    world.ring.forget(OTHER)
    assert (await world.ring.newest(ISSUER, Purpose.DATA)).version == 1
    world.ring.forget(ISSUER)
    with pytest.raises(KeyMissing):
        await world.ring.newest(ISSUER, Purpose.DATA)


async def test_a_key_that_is_forgotten_while_it_is_unwrapped_is_not_kept(world: World) -> None:
    waiting = asyncio.create_task(world.ring.newest(ISSUER, Purpose.DATA))
    await asyncio.sleep(0.005)
    world.ring.forget(ISSUER)
    await waiting
    assert repr(world.ring) == "Keyring(0 keys)"


async def test_a_provider_that_is_down_is_asked_once_a_second_and_cached_keys_live_on(world: World) -> None:
    await world.ring.newest(ISSUER, Purpose.DATA)
    await world.add(2)
    world.kek.is_down = True
    for _ in range(50):
        with pytest.raises(ProviderDown):
            await world.ring.version(ISSUER, Purpose.DATA, 2)
    assert world.kek.unwraps == 1
    assert (await world.ring.version(ISSUER, Purpose.DATA, 1)).version == 1
    world.kek.is_down = False
    world.now_s += 1.1
    assert (await world.ring.version(ISSUER, Purpose.DATA, 2)).version == 2


async def test_swapped_rows_of_two_keys_do_not_unwrap(world: World) -> None:
    await world.add(1, Purpose.FINGERPRINT, POLICY)
    rows = world.store.rows
    data, fingerprint = (ISSUER, Purpose.DATA, None), (ISSUER, Purpose.FINGERPRINT, POLICY)
    rows[data], rows[fingerprint] = rows[fingerprint], rows[data]
    with pytest.raises(KeyAltered):
        await world.ring.newest(ISSUER, Purpose.DATA)
    with pytest.raises(KeyAltered):
        await world.ring.newest(ISSUER, Purpose.FINGERPRINT, POLICY)


async def test_what_is_not_there_is_told(world: World) -> None:
    with pytest.raises(KeyMissing):
        await world.ring.newest(OTHER, Purpose.DATA)
    with pytest.raises(KeyMissing):
        await world.ring.version(ISSUER, Purpose.DATA, 9)


async def test_a_migration_moves_keys_to_the_newest_key_encryption_key(world: World, tmp_path: Path) -> None:
    create_file(tmp_path / "new")
    new = from_file(tmp_path / "new")
    ring = Keyring(world.store, KeyEncryptionKeys([new, world.kek]))
    before = await ring.newest(ISSUER, Purpose.DATA)
    (row,) = world.store.rows[ISSUER, Purpose.DATA, None]
    assert row.wrapped is not None
    moved = await ring.rewrapped(row.wrapped, KeyContext(ISSUER, Purpose.DATA, 1))
    assert moved.kek == new.name
    world.store.rows[ISSUER, Purpose.DATA, None] = [replace(row, wrapped=moved)]
    after = Keyring(world.store, KeyEncryptionKeys([new]))
    assert await after.newest(ISSUER, Purpose.DATA) == before
    with pytest.raises(KeyRefused, match="MUNIMENT_VAULT_KEK"):
        await KeyEncryptionKeys([new]).unwrap(row.wrapped, KeyContext(ISSUER, Purpose.DATA, 1))


async def test_no_repr_tells_a_key(world: World) -> None:
    key = await world.ring.newest(ISSUER, Purpose.DATA)
    assert repr(key.secret)[2:-1] not in repr(key) + repr(world.ring)
