"""All that lies under a key that rotates: a shelf for each table, read a stretch of blocks at a time.

By blocks and not by keys: each is read once, in the order of the disk, however much is done already, and by no index.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

from service.db import Database
from service.vault.document_seals import Place
from service.vault.envelope import (
    Row,
    Tampered,
    inner_layers,
    key_version,
    rewrap_many,
    unwrap_subject_key,
    wrap_subject_key,
)
from service.vault.keyring import KeyClosed, KeyMissing, Purpose
from service.vault.keys import Vault

STRETCH_BLOCKS = 32
"""256 KiB of a table: some 700 records."""

Keys = Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class SealedRow:
    """What a row has under a key that rotates."""

    key: Any  # of its table: 32 bytes or a UUID
    issuer_id: UUID
    policy_id: UUID | None  # None of a subject
    subject_id: UUID | None
    version: int  # as its table tells
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One table.

    Args:
        purpose: of the keys that it lies under.
        columns: those of a `SealedRow`, of the alias `s`.
        key, version, sealed: the names of three of them.
        told: the version that a sealed row tells itself; raises Tampered.
        opened: what is under the layer of each row; of a record still sealed by its inner layer.
        renewed: each row under the key of another version.
        bound: what the envelope binds a row to, and what is sealed; None where there is one layer alone.
    """

    table: LiteralString
    purpose: Purpose
    columns: LiteralString
    key: LiteralString
    version: LiteralString
    sealed: LiteralString
    told: Callable[[SealedRow], int]
    opened: Callable[[Iterable[SealedRow], Keys], list[bytes | Tampered]]
    renewed: Callable[[Iterable[SealedRow], Keys, int], list[bytes | Tampered]]
    bound: Callable[[SealedRow], tuple[Row, bytes]] | None = None

    async def blocks(self, db: Database) -> int:
        """How many blocks of 8 KiB the table has now."""
        ((blocks,),) = await db.fetch(
            "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint", (self.table,)
        )
        return int(blocks)

    async def named(self, db: Database, issuer_id: UUID, below: int) -> int:
        """How many rows of an issuer name a version below this one."""
        async with db.read() as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            cursor = await connection.execute(
                f"""SELECT count(*) FROM {self.table}
                WHERE issuer_id = %s AND {self.version} < %s AND {self.sealed} IS NOT NULL""",
                (issuer_id, below),
            )
            row = await cursor.fetchone()
        return 0 if row is None else int(row[0])


def stretches(blocks: int, stretch: int) -> Iterator[tuple[str, str, int]]:
    """Where each stretch of so many blocks begins and ends, as row ids, and how far through the table its end is."""
    for first in range(0, blocks, stretch):
        last = min(first + stretch, blocks)
        yield f"({first},0)", f"({last},0)", last


async def keys_of(vault: Vault, issuer_id: UUID, purpose: Purpose, versions: Iterable[int]) -> dict[int, bytes]:
    """The issuer's keys of these versions, without those that are retired, destroyed or unknown.

    Raises:
        ProviderDown, KeyRefused, KeyAltered: one cannot be unwrapped now.
    """
    found = {}
    for version in set(versions):
        try:
            found[version] = (await vault.keyring.version(issuer_id, purpose, version)).secret
        except (KeyMissing, KeyClosed):
            continue
    return found


def _bound(row: SealedRow) -> tuple[Row, bytes]:
    assert row.policy_id is not None, "the column takes no NULL"
    return Row(row.issuer_id, row.policy_id, row.subject_id, row.key), row.sealed


def _object_bound(row: SealedRow) -> tuple[Row, bytes]:
    assert row.policy_id is not None, "the column takes no NULL"
    return Place(row.issuer_id, row.policy_id, row.subject_id, row.key).row, row.sealed


def _enveloped(
    table: LiteralString, key: LiteralString, subject: LiteralString, bound: Callable[[SealedRow], tuple[Row, bytes]]
) -> Shelf:
    return Shelf(
        table,
        Purpose.DATA,
        f"s.{key}, s.issuer_id, s.policy_id, {subject}, s.data_version, s.sealed",
        key,
        "data_version",
        "sealed",
        lambda row: key_version(row.sealed),
        lambda rows, keys: inner_layers(map(bound, rows), keys),
        lambda rows, keys, version: rewrap_many(map(bound, rows), keys, version=version),
        bound,
    )


def _subject_keys(rows: Iterable[SealedRow], keys: Keys) -> list[bytes | Tampered]:
    found: list[bytes | Tampered] = []
    for row in rows:
        try:
            if row.version not in keys:
                raise Tampered(f"a subject tells key {row.version}, which its issuer does not have")
            found.append(
                unwrap_subject_key(row.sealed, keys[row.version], row.version, issuer=row.issuer_id, subject=row.key)
            )
        except Tampered as error:
            found.append(error)
    return found


def _renewed_subject_keys(rows: Iterable[SealedRow], keys: Keys, version: int) -> list[bytes | Tampered]:
    rows = list(rows)
    return [
        opened
        if isinstance(opened, Tampered)
        else wrap_subject_key(opened, keys[version], version, issuer=row.issuer_id, subject=row.key)
        for row, opened in zip(rows, _subject_keys(rows, keys), strict=True)
    ]


RECORDS = _enveloped("vault.records", "index", "s.subject_id", _bound)
DOCUMENTS = _enveloped("vault.documents", "id", "s.subject_id", _object_bound)
COMMITMENTS = _enveloped("vault.commitments", "id", "s.subject_id", _object_bound)
SUBJECTS = Shelf(
    "vault.subjects",
    Purpose.SUBJECT_WRAPPING,
    "s.id, s.issuer_id, NULL::uuid, s.id, s.wrapping_version, s.wrapped",
    "id",
    "wrapping_version",
    "wrapped",
    lambda row: row.version,
    _subject_keys,
    _renewed_subject_keys,
)

SHELVES: Sequence[Shelf] = (SUBJECTS, RECORDS, DOCUMENTS, COMMITMENTS)
"""Whatever is sealed under a data key, or wrapped under a subject-wrapping one, has its table here."""
