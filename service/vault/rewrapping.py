"""Rewrapping: what is sealed under older keys, under the newest ones, while the vault is in use.

Each stretch is one DB transaction, and the rows themselves tell which are done: killed anywhere, the next run goes on.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import LiteralString
from uuid import UUID

from service.db import ReadConnection
from service.keys.wrapping import KeyContext, WrappedKey
from service.telemetry import logger
from service.vault.envelope import Tampered
from service.vault.keys import Vault
from service.vault.rewrapping_shelves import SHELVES, STRETCH_BLOCKS, SealedRow, Shelf, keys_of, stretches

Progress = Callable[[str, int, int], None]
"""Told the table, and how many of how many of its blocks are done."""

_PASSES_MAX = 5


@dataclass(slots=True)
class Shelved:
    """What became of a table."""

    rewrapped: int = 0
    left: int = 0  # still under an older key: of a retired one, altered, or in use all the time
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of the rows of one stretch."""

    rewrapped: int
    damaged: int
    closed: int


@dataclass(slots=True)
class KeysRewrapped:
    """What became of the wrapped keys."""

    kek: str
    rewrapped: int = 0
    before: int = 0  # were under it already


@dataclass(frozen=True, slots=True)
class _Goals:
    """The newest version of each issuer's key."""

    of_issuer: dict[UUID, int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[list[UUID], list[int]]:
        return [*self.of_issuer], [*self.of_issuer.values()]


async def rewrap(
    vault: Vault, issuer_ids: Sequence[UUID], progress: Progress, *, stretch_blocks: int = STRETCH_BLOCKS
) -> dict[str, Shelved]:
    """Bring all rows of these issuers under the newest versions, by table. Several may be at it at once.

    Args:
        stretch_blocks: blocks of one DB transaction.

    Raises:
        ProviderDown, KeyRefused, KeyAltered: a key cannot be unwrapped now; what is done stays done.
        KeyMissing: an issuer has no active key.
        Tampered: Postgres gave back something else than it was given; that stretch is undone.
    """
    return {shelf.table: await _rewrap_shelf(vault, shelf, issuer_ids, progress, stretch_blocks) for shelf in SHELVES}


async def _rewrap_shelf(
    vault: Vault, shelf: Shelf, issuer_ids: Sequence[UUID], progress: Progress, stretch_blocks: int
) -> Shelved:
    goals = _Goals({each: (await vault.keyring.newest(each, shelf.purpose)).version for each in issuer_ids})
    total = Shelved()
    for _ in range(_PASSES_MAX):
        blocks = await shelf.blocks(vault.db)
        rewrapped, stuck, total.damaged = 0, 0, 0
        for first, end, done in stretches(blocks, stretch_blocks):
            async with vault.transaction() as (_session, connection):
                moved = await _rewrap_stretch(vault, connection, shelf, goals, first, end)
            rewrapped, stuck = rewrapped + moved.rewrapped, stuck + moved.damaged + moved.closed
            total.damaged += moved.damaged
            progress(shelf.table, done, blocks)
        total.rewrapped += rewrapped
        total.left = sum([await shelf.named(vault.db, each, below) for each, below in goals.of_issuer.items()])
        if total.left <= stuck:
            break  # else rows were locked, or stored meanwhile by whoever had not heard of the new version
        await asyncio.sleep(0.2)
    return total


async def _rewrap_stretch(
    vault: Vault, connection: ReadConnection, shelf: Shelf, goals: _Goals, first: str, end: str
) -> Moved:
    select: LiteralString = f"""SELECT {shelf.columns} FROM {shelf.table} s
        JOIN unnest(%s::uuid[], %s::bigint[]) AS goal (issuer_id, version) ON goal.issuer_id = s.issuer_id
        WHERE s.ctid >= %s::tid AND s.ctid < %s::tid AND s.{shelf.version} < goal.version
        AND s.{shelf.sealed} IS NOT NULL FOR UPDATE OF s SKIP LOCKED"""
    cursor = await connection.execute(select, (*goals.columns, first, end))
    of_issuer: dict[UUID, list[SealedRow]] = {}
    for found in await cursor.fetchall():
        of_issuer.setdefault(found[1], []).append(SealedRow(*found))
    counts = [
        await _rewrap_rows(vault, connection, shelf, issuer_id, rows, goals.of_issuer[issuer_id])
        for issuer_id, rows in of_issuer.items()
    ]
    return Moved(
        sum(each.rewrapped for each in counts),
        sum(each.damaged for each in counts),
        sum(each.closed for each in counts),
    )


async def _rewrap_rows(
    vault: Vault, connection: ReadConnection, shelf: Shelf, issuer_id: UUID, rows: list[SealedRow], goal: int
) -> Moved:
    versions = {row.version for row in rows}
    keys = await keys_of(vault, issuer_id, shelf.purpose, {*versions, goal})
    known = [row for row in rows if row.version in keys]
    renewed = shelf.renewed(known, keys, goal)
    damaged = [each for each in renewed if isinstance(each, Tampered)]
    for reason in {str(each) for each in damaged}:
        logger().error("vault_record_damaged", reason=reason, kind=shelf.table)
    pairs = [(row, each) for row, each in zip(known, renewed, strict=True) if not isinstance(each, Tampered)]
    if pairs:
        await _store(connection, shelf, keys, goal, pairs)
    return Moved(len(pairs), len(damaged), len(rows) - len(known))


async def _store(
    connection: ReadConnection, shelf: Shelf, keys: dict[int, bytes], goal: int, pairs: list[tuple[SealedRow, bytes]]
) -> None:
    """Store rows, and read them back: each opens under the new key, and has in it what it had.

    Raises:
        Tampered: one does not.
    """
    key_type: LiteralString = "bytea" if isinstance(pairs[0][0].key, bytes) else "uuid"
    update: LiteralString = f"""UPDATE {shelf.table} s SET {shelf.version} = %s, {shelf.sealed} = given.sealed
        FROM unnest(%b::{key_type}[], %b::bytea[]) AS given (key, sealed)
        WHERE s.{shelf.key} = given.key RETURNING {shelf.columns}"""
    cursor = await connection.execute(update, (goal, [row.key for row, _ in pairs], [sealed for _, sealed in pairs]))
    stored = {found[0]: SealedRow(*found) for found in await cursor.fetchall()}
    before = shelf.opened([row for row, _ in pairs], keys)
    after = shelf.opened([stored[row.key] for row, _ in pairs], {goal: keys[goal]})
    if before != after:
        raise Tampered(f"{shelf.table} gave back something else than it was given: nothing of this stretch is changed")


async def rewrap_keys(vault: Vault, progress: Progress) -> KeysRewrapped:
    """Every wrapped key under the newest key-encryption key; no data is touched.

    The rows tell which are done: killed anywhere, the next run goes on. Where the provider tells no version of its key
    (AWS KMS), all that is under that key counts as done: it opens what each of its versions wrapped, and none of them
    ends before the key does.

    Raises:
        ProviderDown, KeyRefused, KeyAltered: a provider does not wrap or unwrap now; what is done stays done.
    """
    # Only the provider knows which version of its key is the newest.
    probe = await vault.keyring.made(KeyContext(UUID(int=0), "probe", 1))
    rows = await vault.db.fetch(
        """SELECT id, issuer_id, purpose, version, policy_id, kek, kek_version, wrapped FROM vault.keys
        WHERE wrapped IS NOT NULL ORDER BY id""",
        (),
    )
    result = KeysRewrapped(probe.kek)
    for done, (id_, issuer_id, purpose, version, policy_id, *wrapped) in enumerate(rows, start=1):
        old = WrappedKey(*wrapped)
        if (old.kek, old.kek_version) == (probe.kek, probe.kek_version):
            result.before += 1
        else:
            new = await vault.keyring.rewrapped(old, KeyContext(issuer_id, purpose, version, policy_id))
            # Unless it was destroyed, or another one rewrapped it, meanwhile.
            stored = await vault.db.fetch(
                """UPDATE vault.keys SET kek = %s, kek_version = %s, wrapped = %b, changed_at = now()
                WHERE id = %s AND wrapped = %b RETURNING id""",
                (new.kek, new.kek_version, new.sealed, id_, old.sealed),
            )
            result.rewrapped += len(stored)
        progress("vault.keys", done, len(rows))
    return result
