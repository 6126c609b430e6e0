"""Persons: the id by which the chain knows a subject, its name for the cap table, and its accounts.

Which account is whose is in the vault and nowhere else.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from service import journal
from service.access.queries import Caller
from service.db import Database, ReadConnection, new_id
from service.journal import Fact
from service.vault import commands, opening, subjects
from service.vault.budgets import spend
from service.vault.envelope import Tampered
from service.vault.keyring import Purpose
from service.vault.keys import Vault, damaged
from service.vault.person_problems import AccountOfAnotherPerson, NameOfAnotherSubject, PersonNotFound
from service.vault.person_seals import PersonSeals, account_index
from service.vault.problems import VaultSubjectNotFound, VaultTokenNotFound
from service.vault.reveal_granting import recorded

ACCOUNTS_MAX = 100
"""Accounts of one person."""

_PERSON: LiteralString = "id, investor_id, sealed_name IS NOT NULL, created_at, erased_at"


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of a person without opening anything."""

    id: UUID
    investor_id: bytes
    named: bool
    created_at: datetime
    erased_at: datetime | None


async def make(vault: Vault, caller: Caller, reference: str, name: str | None) -> Person:
    """The person of a subject, made at the first call; the same one at every other, with this name if one is told.

    Raises:
        VaultSubjectNotFound: no record was tokenized for this reference, or the subject is erased.
        VaultTokenNotFound: the name has no live record of the issuer's.
        NameOfAnotherSubject: its record is not this subject's.
        RecordDamaged: the subject's key was altered.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    missing = VaultSubjectNotFound("tokenize a value for this reference first, such as the person's name")
    index = await commands.subject_index_of(vault, caller.issuer_id, reference)
    rows = await vault.db.fetch(
        "SELECT id FROM vault.subjects WHERE issuer_id = %s AND index = %s AND erased_at IS NULL",
        (caller.issuer_id, index),
    )
    if not rows:
        raise missing
    ((subject_id,),) = rows
    if name is not None:
        await _insist_on_own(vault, caller, name, subject_id)
    async with vault.transaction() as (session, connection):
        seals = await _seals(connection, vault, caller.issuer_id, subject_id)
        if seals is None:
            raise missing
        cursor = await connection.execute(
            f"""INSERT INTO vault.persons (id, issuer_id, subject_id, investor_id, sealed_name)
            VALUES (%s, %s, %s, %s, %s) ON CONFLICT (subject_id)
            DO UPDATE SET sealed_name = COALESCE(excluded.sealed_name, persons.sealed_name) RETURNING {_PERSON}""",
            (
                new_id(),
                caller.issuer_id,
                subject_id,
                seals.investor_id(),
                None if name is None else seals.sealed_name(name),
            ),
        )
        row = await cursor.fetchone()
        assert row is not None, "an insert that updates on conflict returns its row"
        body = {"person": str(row[0]), "named": row[2], "caller": str(caller.id)}
        await journal.append(session, [Fact("vault.person-told", caller.issuer_id, body)])
    return Person(*row)


async def person(db: Database, *, issuer_id: UUID, id: UUID) -> Person:
    """One person, also after the erasure.

    Raises:
        PersonNotFound: none of the issuer's.
    """
    rows = await db.fetch(f"SELECT {_PERSON} FROM vault.persons WHERE id = %s AND issuer_id = %s", (id, issuer_id))
    if not rows:
        raise not_found()
    return Person(*rows[0])


async def investor_id(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> bytes:
    """The id by which the chain knows a person: 32 bytes, also after the erasure.

    Raises:
        PersonNotFound: none of the issuer's.
    """
    cursor = await connection.execute(
        "SELECT investor_id FROM vault.persons WHERE id = %s AND issuer_id = %s", (id, issuer_id)
    )
    row = await cursor.fetchone()
    if row is None:
        raise not_found()
    return bytes(row[0])


async def set_accounts(vault: Vault, caller: Caller, id: UUID, accounts: Sequence[bytes]) -> None:
    """Say which accounts are a person's, all of them; those of an erased person are free again.

    Raises:
        PersonNotFound: none of the issuer's, or erased.
        AccountOfAnotherPerson: one of them is; then nothing changes.
        RecordDamaged: the subject's key was altered.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    subject_id = await _subject_of(vault, caller.issuer_id, id)
    key = await vault.newest(caller.issuer_id, Purpose.INDEX)
    # In one order for all, so that two requests wait for one another in one direction only.
    found = sorted((account_index(key.secret, account), account) for account in accounts)
    indexes = [index for index, _ in found]
    async with vault.transaction() as (session, connection):
        # The subject before the person, as an erasure takes them.
        seals = await _seals(connection, vault, caller.issuer_id, subject_id)
        if seals is None:
            raise not_found()
        await connection.execute("SELECT id FROM vault.persons WHERE id = %s FOR NO KEY UPDATE", (id,))
        await connection.execute(
            """SELECT FROM vault.accounts WHERE issuer_id = %s AND (index = ANY(%b::bytea[]) OR person_id = %s)
            ORDER BY index FOR UPDATE""",
            (caller.issuer_id, indexes, id),
        )
        await connection.execute(
            "DELETE FROM vault.accounts WHERE person_id = %s AND index <> ALL(%b::bytea[])", (id, indexes)
        )
        cursor = await connection.execute(
            """INSERT INTO vault.accounts AS held (issuer_id, index, person_id, sealed)
            SELECT %s, given.index, %s, given.sealed FROM unnest(%b::bytea[], %b::bytea[]) AS given (index, sealed)
            ON CONFLICT (issuer_id, index) DO UPDATE
                SET person_id = excluded.person_id, sealed = excluded.sealed, linked_at = now()
                WHERE held.sealed IS NULL OR held.person_id = excluded.person_id""",
            (caller.issuer_id, id, indexes, [seals.sealed_account(index, account) for index, account in found]),
        )
        if cursor.rowcount != len(found):
            raise AccountOfAnotherPerson("take it off that person first; nothing was changed")
        body = {"person": str(id), "accounts": [index.hex() for index in indexes], "caller": str(caller.id)}
        await journal.append(session, [Fact("vault.accounts-told", caller.issuer_id, body)])


async def accounts(vault: Vault, caller: Caller, id: UUID) -> list[bytes]:
    """The accounts of a person, 20 bytes each; that they were asked for is in the journal before.

    Raises:
        PersonNotFound: none of the issuer's, or erased.
        RevealSuspended: the API key is.
        RevealUnrecorded: Postgres refused the entry.
        RecordDamaged: one was altered.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    subject_id = await _subject_of(vault, caller.issuer_id, id)
    async with telling(vault, caller, {"person": str(id)}) as connection:
        seals = await _seals(connection, vault, caller.issuer_id, subject_id)
        if seals is None:
            raise not_found()
        cursor = await connection.execute(
            "SELECT index, sealed FROM vault.accounts WHERE person_id = %s AND issuer_id = %s ORDER BY index",
            (id, caller.issuer_id),
        )
        rows = await cursor.fetchall()
    try:
        return [seals.opened_account(index, sealed or b"") for index, sealed in rows]
    except Tampered as error:
        raise damaged(error) from None


@asynccontextmanager
async def telling(vault: Vault, caller: Caller, what: dict[str, Any]) -> AsyncIterator[ReadConnection]:
    """One DB transaction that writes down whose accounts are told; once it ends well they may be.

    Args:
        what: what the entry in the journal says besides who asks; no account.

    Raises:
        RevealSuspended: the API key is.
        RevealUnrecorded: Postgres refused the entry.
    """
    with recorded():
        async with vault.transaction() as (session, connection):
            await spend(connection, caller.key_id, [])
            yield connection
            body = {"caller": str(caller.id), "key": caller.key_id, **what}
            await journal.append(session, [Fact("vault.accounts-revealed", caller.issuer_id, body)])


def not_found() -> PersonNotFound:
    """For a person that is not there, another issuer's, or erased."""
    return PersonNotFound("make it with POST /v1/vault/persons; after an erasure the same reference is a new person")


async def _insist_on_own(vault: Vault, caller: Caller, name: str, subject_id: UUID) -> None:
    try:
        (loaded,) = await opening.load(vault, caller.issuer_id, [name])
    except Tampered as error:
        raise damaged(error) from None
    if loaded is None or not loaded.open:
        raise VaultTokenNotFound("look at it with POST /v1/vault/lookup, or tokenize the name anew")
    if loaded.stored.record.subject_id != subject_id:
        raise NameOfAnotherSubject("tokenize the name with this reference as its `subject`")


async def _subject_of(vault: Vault, issuer_id: UUID, id: UUID) -> UUID:
    rows = await vault.db.fetch(
        "SELECT subject_id FROM vault.persons WHERE id = %s AND issuer_id = %s AND erased_at IS NULL", (id, issuer_id)
    )
    if not rows:
        raise not_found()
    subject_id: UUID = rows[0][0]
    return subject_id


async def _seals(connection: ReadConnection, vault: Vault, issuer_id: UUID, subject_id: UUID) -> PersonSeals | None:
    """What seals for a subject, which is not erased before the DB transaction ends; None when it is erased already."""
    try:
        subject = await subjects.held(connection, vault, issuer_id, subject_id)
    except Tampered as error:
        raise damaged(error) from None
    return None if subject is None else PersonSeals(issuer_id, subject_id, subject.key)
