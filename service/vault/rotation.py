"""The versions of an issuer's keys over the years: a new one, a minimum version, and the end of an old one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service import journal
from service.db import Database, new_id
from service.journal import Fact
from service.keys.wrapping import KeyContext
from service.vault.keyring import KeyState, Purpose
from service.vault.keys import Vault
from service.vault.rewrapping_shelves import SHELVES

ROTATING = (Purpose.DATA, Purpose.SUBJECT_WRAPPING)
"""The keys that rotate, always together, so that one number tells the version of both."""

RETIRED_MIN_S = 3_600
"""A version is destroyed no sooner: by then nothing is under way that was sealed under it, and is missed by nobody."""


class RotationRefused(Exception):
    """It cannot be done to the keys now; the message says what to do first."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an issuer's rotating keys."""

    number: int
    state: KeyState
    created_at: datetime
    changed_at: datetime | None


async def issuers(db: Database) -> dict[UUID, str]:
    """The names of all issuers that have a vault, by id."""
    rows = await db.fetch(
        """SELECT id, name FROM issuers WHERE id IN (SELECT issuer_id FROM vault.keys WHERE policy_id IS NULL)
        ORDER BY name""",
        (),
    )
    return dict(rows)


async def versions(db: Database, issuer_id: UUID) -> list[Version]:
    """Those of an issuer's rotating keys, oldest first; none for one without a vault."""
    rows = await db.fetch(
        """SELECT version, state, created_at, changed_at FROM vault.keys
        WHERE issuer_id = %s AND policy_id IS NULL AND purpose = %s ORDER BY version""",
        (issuer_id, Purpose.DATA.value),
    )
    return [Version(number, KeyState(state), *times) for number, state, *times in rows]


async def rotate(vault: Vault, issuer_id: UUID) -> int:
    """Make a new version of an issuer's rotating keys, for all that is sealed from now on; its number.

    Other processes notice within two seconds, and what they open meanwhile they open all the same.

    Raises:
        RotationRefused: the issuer has no vault, or is being rotated by another one.
        ProviderDown, KeyRefused, KeyAltered: the provider does not wrap now.
    """
    known = await versions(vault.db, issuer_id)
    if not known:
        raise RotationRefused("this issuer has no vault: its first policy makes the keys")
    number = known[-1].number + 1
    wrapped = {each: await vault.keyring.made(KeyContext(issuer_id, each, number)) for each in ROTATING}
    async with vault.transaction() as (session, connection):
        for purpose, key in wrapped.items():
            cursor = await connection.execute(
                """INSERT INTO vault.keys (id, issuer_id, purpose, version, kek, kek_version, wrapped)
                VALUES (%s, %s, %s, %s, %s, %s, %b) ON CONFLICT DO NOTHING""",
                (new_id(), issuer_id, purpose.value, number, key.kek, key.kek_version, key.sealed),
            )
            if cursor.rowcount == 0:
                raise RotationRefused(f"another one made version {number} a moment ago")
        await journal.append(session, [Fact("vault.keys-rotated", issuer_id, {"version": number})])
    vault.keyring.forget(issuer_id)
    return number


async def set_minimum(vault: Vault, issuer_id: UUID, minimum: int) -> list[Version]:
    """Close every version below this one for opening, and open the others again; how the versions stand then.

    Raises:
        RotationRefused: the newest version would be closed, or rows are still under one of those to close.
    """
    known = await versions(vault.db, issuer_id)
    if not known or minimum > known[-1].number:
        newest = known[-1].number if known else 0
        raise RotationRefused(f"the newest version is {newest}: make one with `muniment vault rotate` first")
    await _insist_on_none(vault.db, issuer_id, below=minimum)
    async with vault.transaction() as (session, connection):
        cursor = await connection.execute(
            """UPDATE vault.keys SET state = CASE WHEN version < %s THEN 'retired' ELSE 'active' END, changed_at = now()
            WHERE issuer_id = %s AND policy_id IS NULL AND purpose = ANY(%s) AND state <> 'destroyed'
            AND (state = 'active') = (version < %s)""",
            (minimum, issuer_id, [each.value for each in ROTATING], minimum),
        )
        if cursor.rowcount:
            await journal.append(session, [Fact("vault.minimum-version", issuer_id, {"version": minimum})])
    vault.keyring.forget(issuer_id)
    return await versions(vault.db, issuer_id)


async def destroy(vault: Vault, issuer_id: UUID, number: int) -> bool:
    """Destroy the wrapped keys of a retired version, for good; False when that was done before.

    Raises:
        RotationRefused: no such version, not retired, or not for long enough, or a row still names it.
    """
    found = {each.number: each for each in await versions(vault.db, issuer_id)}.get(number)
    if found is None:
        raise RotationRefused(f"there is no version {number}")
    if found.state is KeyState.DESTROYED:
        return False
    if found.state is not KeyState.RETIRED:
        raise RotationRefused(f"version {number} is in use: `muniment vault minimum-version {number + 1}` retires it")
    await _insist_on_none(vault.db, issuer_id, below=number + 1)
    async with vault.transaction() as (session, connection):
        cursor = await connection.execute(
            """UPDATE vault.keys SET state = 'destroyed', wrapped = NULL, changed_at = now()
            WHERE issuer_id = %s AND policy_id IS NULL AND purpose = ANY(%s) AND version = %s AND state = 'retired'
            AND changed_at <= now() - make_interval(secs => %s)""",
            (issuer_id, [each.value for each in ROTATING], number, RETIRED_MIN_S),
        )
        if cursor.rowcount != len(ROTATING):
            raise RotationRefused(
                f"version {number} is not retired for {RETIRED_MIN_S // 60} minutes yet: repeat this when it is"
            )
        await journal.append(session, [Fact("vault.keys-destroyed", issuer_id, {"version": number})])
    vault.keyring.forget(issuer_id)
    return True


async def _insist_on_none(db: Database, issuer_id: UUID, *, below: int) -> None:
    counts = {shelf.table: await shelf.named(db, issuer_id, below) for shelf in SHELVES}
    told = _sentence(counts)
    if told:
        raise RotationRefused(f"{told} still under a version below {below}: run `muniment vault rewrap` first")


def _sentence(counts: dict[str, int]) -> str:
    named: Sequence[str] = [f"{count:,} rows of {table}" for table, count in counts.items() if count]
    return f"{', '.join(named)} are" if named else ""
