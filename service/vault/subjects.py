"""Subjects: a person's key, under which all records of that person are, and which an erasure shreds."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from service.access.queries import Caller
from service.db import ReadConnection, new_id
from service.vault.envelope import Tampered, unwrap_subject_key, wrap_subject_key
from service.vault.indexes import subject_index
from service.vault.keyring import LiveKey, Purpose
from service.vault.keys import Vault, damaged
from service.vault.problems import RequestErased, VaultKeysUnavailable

_TRIES = 4

# Locked in one order, so that two erasures wait for one another in one direction only.
_FORGET_REQUESTS: LiteralString = """WITH held AS MATERIALIZED (
    SELECT caller_id, key FROM vault.answers WHERE subject_ids @> ARRAY[%(subject)s::uuid] AND erased_at IS NULL
    ORDER BY caller_id, key FOR UPDATE
), emptied AS (
    UPDATE vault.answers a SET sealed = '', erased_at = now() FROM held
    WHERE a.caller_id = held.caller_id AND a.key = held.key
) UPDATE requests r SET fingerprint = %(print)b FROM held WHERE r.caller_id = held.caller_id AND r.key = held.key"""
"""A request that held a person's values would confirm a guess of them to whoever sends it again."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A live subject and its key."""

    id: UUID
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure came to."""

    subject_id: UUID
    records_count: int
    erased_at: datetime
    before: bool  # it was done already


@dataclass(frozen=True, slots=True)
class Newborn:
    """A subject that is not stored yet."""

    id: UUID
    index: bytes
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Met:
    """The subjects of some references: those that are stored, and those that their first records bring along."""

    subjects: dict[str, Subject]
    stored: list[UUID]
    newborn: list[Newborn]
    wrapping_version: int


async def met(vault: Vault, issuer_id: UUID, references: Collection[str], index_key: bytes) -> Met:
    """The subjects of these references as they stand now; whoever stores a record looks again that they still do.

    Raises:
        VaultKeysUnavailable: a subject's key cannot be unwrapped now.
        Tampered: it was altered.
    """
    wrapping = await vault.newest(issuer_id, Purpose.SUBJECT_WRAPPING)
    reference_of = {subject_index(index_key, each): each for each in references}
    rows = await vault.db.fetch(
        """SELECT id, index, wrapped, wrapping_version FROM vault.subjects
        WHERE issuer_id = %s AND index = ANY(%b) AND erased_at IS NULL""",
        (issuer_id, list(reference_of)),
    )
    found = {index: await _opened(vault, issuer_id, id_, *sealed) for id_, index, *sealed in rows}
    stored, newborn = [each.id for each in found.values()], []
    # Sorted, so that two batches wait for one another in one direction only.
    for index in sorted(set(reference_of) - set(found)):
        subject = found[index] = Subject(new_id(), os.urandom(32))
        wrapped = wrap_subject_key(subject.key, wrapping.secret, wrapping.version, issuer=issuer_id, subject=subject.id)
        newborn.append(Newborn(subject.id, index, wrapped))
    return Met({reference_of[index]: each for index, each in found.items()}, stored, newborn, wrapping.version)


async def locked(
    connection: ReadConnection, vault: Vault, issuer_id: UUID, references: Collection[str], index_key: bytes
) -> dict[str, Subject]:
    """The subjects of these references, new ones stored; none is erased before the DB transaction ends.

    Raises:
        VaultKeysUnavailable: a subject's key cannot be unwrapped now.
        Tampered: it was altered.
    """
    reference_of = {subject_index(index_key, each): each for each in references}
    wrapping = await vault.newest(issuer_id, Purpose.SUBJECT_WRAPPING)
    for _ in range(_TRIES):
        # Sorted, so that two batches wait for one another in one direction only.
        cursor = await connection.execute(
            """SELECT id, index, wrapped, wrapping_version FROM vault.subjects
            WHERE issuer_id = %s AND index = ANY(%b) AND erased_at IS NULL ORDER BY index FOR SHARE""",
            (issuer_id, list(reference_of)),
        )
        rows = await cursor.fetchall()
        missing = set(reference_of) - {row[1] for row in rows}
        if not missing:
            return {reference_of[index]: await _opened(vault, issuer_id, id_, *sealed) for id_, index, *sealed in rows}
        await _make(connection, issuer_id, sorted(missing), wrapping)
    raise VaultKeysUnavailable("a subject is erased again and again: send the same request again")


async def named(
    connection: ReadConnection, vault: Vault, caller: Caller, key: str, reference: str, index_key: bytes
) -> Subject:
    """The subject that a request names, held as by `locked`; its erasure will have the request forgotten, too.

    Args:
        key: the request's idempotency key, which is spent in the same DB transaction.

    Raises:
        VaultKeysUnavailable: the subject's key cannot be unwrapped now.
        RecordDamaged: it was altered.
    """
    try:
        subject = (await locked(connection, vault, caller.issuer_id, [reference], index_key))[reference]
    except Tampered as error:
        raise damaged(error) from None
    await connection.execute(
        "INSERT INTO vault.answers (caller_id, key, subject_ids, sealed) VALUES (%s, %s, %s, '')",
        (caller.id, key, [subject.id]),
    )
    return subject


async def _opened(vault: Vault, issuer_id: UUID, id_: UUID, wrapped: bytes, version: int) -> Subject:
    keys = await vault.versions(issuer_id, Purpose.SUBJECT_WRAPPING, [version])
    if version not in keys:
        raise VaultKeysUnavailable("a subject's key is not to be had now: send the same request again")
    return Subject(id_, unwrap_subject_key(wrapped, keys[version], version, issuer=issuer_id, subject=id_))


async def held(connection: ReadConnection, vault: Vault, issuer_id: UUID, id: UUID) -> Subject | None:
    """One subject, which is not erased before the DB transaction ends; None when it is erased already.

    Raises:
        VaultKeysUnavailable: its key cannot be unwrapped now.
        Tampered: it was altered.
    """
    cursor = await connection.execute(
        """SELECT wrapped, wrapping_version FROM vault.subjects
        WHERE id = %s AND issuer_id = %s AND erased_at IS NULL FOR SHARE""",
        (id, issuer_id),
    )
    row = await cursor.fetchone()
    return None if row is None else await _opened(vault, issuer_id, id, *row)


async def _make(connection: ReadConnection, issuer_id: UUID, indexes: list[bytes], wrapping: LiveKey) -> None:
    ids = [new_id() for _ in indexes]
    wrapped = [
        wrap_subject_key(os.urandom(32), wrapping.secret, wrapping.version, issuer=issuer_id, subject=id_)
        for id_ in ids
    ]
    await connection.execute(
        """INSERT INTO vault.subjects (id, issuer_id, index, wrapped, wrapping_version)
        SELECT given.id, %s, given.index, given.wrapped, %s
        FROM unnest(%b::uuid[], %b::bytea[], %b::bytea[]) AS given (id, index, wrapped)
        ON CONFLICT (issuer_id, index) WHERE erased_at IS NULL DO NOTHING""",
        (issuer_id, wrapping.version, ids, indexes, wrapped),
    )


async def insist_on_unerased(connection: ReadConnection, caller_id: UUID, key: str) -> None:
    """Make sure that an idempotency key is not one of a request whose person was erased since.

    Raises:
        RequestErased: it is.
    """
    cursor = await connection.execute(
        "SELECT 1 FROM vault.answers WHERE caller_id = %s AND key = %s AND erased_at IS NOT NULL", (caller_id, key)
    )
    if await cursor.fetchone():
        raise RequestErased("a person it named was erased: send what is new with a new idempotency key")


async def erase(connection: ReadConnection, issuer_id: UUID, index: bytes) -> Erased | None:
    """Shred a subject's key and all that its records hold; None for no such subject.

    Ids and times of the records stay, so that what was tokenized when remains known.
    """
    cursor = await connection.execute(
        """UPDATE vault.subjects SET wrapped = NULL, erased_at = now()
        WHERE issuer_id = %s AND index = %s AND erased_at IS NULL RETURNING id, erased_at""",
        (issuer_id, index),
    )
    if row := await cursor.fetchone():
        # A statement of its own: it also sees the records of a batch for which the first one waited.
        await connection.execute(
            "SELECT 1 FROM vault.records WHERE subject_id = %s ORDER BY index FOR UPDATE", (row[0],)
        )
        emptied = await connection.execute(
            """UPDATE vault.records SET sealed = NULL, data_version = NULL, sealed_token = NULL, fingerprint = NULL,
                last_four = NULL, erased_at = %s WHERE subject_id = %s""",
            (row[1], row[0]),
        )
        await connection.execute(_FORGET_REQUESTS, {"subject": row[0], "print": os.urandom(32)})
        await connection.execute("UPDATE vault.documents SET expires_at = now() WHERE subject_id = %s", (row[0],))
        await connection.execute(
            """UPDATE vault.commitments SET sealed = NULL, data_version = NULL, erased_at = %s WHERE subject_id = %s""",
            (row[1], row[0]),
        )
        # What the chain knows of the person stays there for ever, so that nothing here may lead from it to the subject.
        await connection.execute(
            """WITH erased AS (
                UPDATE vault.persons SET subject_id = NULL, sealed_name = NULL, erased_at = %s WHERE subject_id = %s
                RETURNING id
            ) UPDATE vault.accounts a SET sealed = NULL FROM erased WHERE a.person_id = erased.id""",
            (row[1], row[0]),
        )
        return Erased(row[0], emptied.rowcount, row[1], before=False)
    cursor = await connection.execute(
        """SELECT id, (SELECT count(*) FROM vault.records WHERE subject_id = subjects.id), erased_at
        FROM vault.subjects WHERE issuer_id = %s AND index = %s ORDER BY erased_at DESC LIMIT 1""",
        (issuer_id, index),
    )
    row = await cursor.fetchone()
    return None if row is None else Erased(row[0], row[1], row[2], before=True)
