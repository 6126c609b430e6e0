"""`muniment vault verify`: all that opens without a vault token is opened, and what hangs together is compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

from service.keys.wrapping import KeyAltered, KeyRefused
from service.vault.document_chunks import CHUNK_BYTES, OVERHEAD_BYTES
from service.vault.envelope import Sealed, Tampered, open_many
from service.vault.keyring import KeyClosed, KeyMissing, Purpose
from service.vault.keys import POLICY_PURPOSES, Vault
from service.vault.policies import Kind
from service.vault.rewrapping import Progress
from service.vault.rewrapping_shelves import (
    RECORDS,
    SHELVES,
    STRETCH_BLOCKS,
    SUBJECTS,
    Keys,
    SealedRow,
    Shelf,
    keys_of,
    stretches,
)

FINDINGS_MAX = 1_000
"""More of them are counted and not told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be."""

    what: str
    table: str
    row: str  # the id, or the hexadecimal index, of the row
    detail: str


@dataclass(slots=True)
class Checked:
    """What was looked at, and what was found."""

    rows: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    findings_count: int = 0

    def find(self, what: str, table: str, key: Any, detail: str = "") -> None:
        """One more finding."""
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(what, table, key.hex() if isinstance(key, bytes) else str(key), detail))


async def check(vault: Vault, progress: Progress) -> Checked:
    """Look at everything, of all issuers. What is written meanwhile may be missed, and is never found fault with.

    Raises:
        ProviderDown: a key cannot be unwrapped now.
    """
    checked = Checked()
    await _check_keys(vault, checked, progress)
    for shelf in SHELVES:
        checked.rows[shelf.table] = await _check_shelf(vault, shelf, checked, progress)
    for what, table, query in _QUESTIONS:
        async with vault.db.read() as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            # An index that is broken would answer for itself.
            await connection.execute("SET LOCAL enable_indexscan = off")
            await connection.execute("SET LOCAL enable_indexonlyscan = off")
            await connection.execute("SET LOCAL enable_bitmapscan = off")
            rows = await (await connection.execute(query)).fetchall()
        for key, detail in rows:
            checked.find(what, table, key, str(detail))
    return checked


async def _check_keys(vault: Vault, checked: Checked, progress: Progress) -> None:
    """Each key that is in use unwraps, and each policy has those of its kind."""
    rows = await vault.db.fetch("SELECT id, issuer_id, purpose, version, policy_id, state FROM vault.keys", ())
    for done, (id_, issuer_id, purpose, version, policy_id, state) in enumerate(rows, start=1):
        progress("vault.keys", done, len(rows))
        if state != "active":
            continue
        try:
            await vault.keyring.version(issuer_id, Purpose(purpose), version, policy_id)
        except KeyClosed:
            continue  # a moment ago
        except (KeyRefused, KeyAltered) as error:
            checked.find("key-does-not-unwrap", "vault.keys", id_, str(error))
    checked.rows["vault.keys"] = len(rows)
    present = {(policy_id, purpose) for _, _, purpose, _, policy_id, _ in rows}
    policies = await vault.db.fetch("SELECT id, kind FROM vault.policies", ())
    checked.rows["vault.policies"] = len(policies)
    for policy_id, kind in policies:
        for purpose in POLICY_PURPOSES[Kind(kind)]:
            if (policy_id, purpose.value) not in present:
                checked.find("key-missing", "vault.policies", policy_id, f"there is no {purpose} key")


async def _check_shelf(vault: Vault, shelf: Shelf, checked: Checked, progress: Progress) -> int:
    """Each row opens under the version that its table tells; how many rows there are."""
    select: LiteralString = f"""SELECT {shelf.columns} FROM {shelf.table} s
        WHERE s.ctid >= %s::tid AND s.ctid < %s::tid AND s.{shelf.sealed} IS NOT NULL"""
    blocks, count = await shelf.blocks(vault.db), 0
    for first, end, done in stretches(blocks, STRETCH_BLOCKS):
        of_issuer: dict[UUID, list[SealedRow]] = {}
        for found in await vault.db.fetch(select, (first, end)):
            of_issuer.setdefault(found[1], []).append(SealedRow(*found))
            count += 1
        for issuer_id, rows in of_issuer.items():
            await _check_rows(vault, shelf, issuer_id, rows, checked)
        progress(shelf.table, done, blocks)
    return count


async def _check_rows(vault: Vault, shelf: Shelf, issuer_id: UUID, rows: Sequence[SealedRow], checked: Checked) -> None:
    try:
        keys = await keys_of(vault, issuer_id, shelf.purpose, {row.version for row in rows})
    except (KeyRefused, KeyAltered):
        keys = {}  # told of the key itself
    known = [row for row in rows if row.version in keys]
    for row in rows:
        if row.version not in keys:
            checked.find("key-closed", shelf.table, row.key, f"version {row.version} is not to be had")
    whole = []
    for row, opened in zip(known, shelf.opened(known, keys), strict=True):
        if isinstance(opened, Tampered):
            checked.find("does-not-open", shelf.table, row.key, str(opened))
            continue
        whole.append(row)
        if shelf.told(row) != row.version:
            checked.find("version-differs", shelf.table, row.key, f"it is sealed under version {shelf.told(row)}")
    try:
        await _check_within(vault, shelf, issuer_id, whole, keys, checked)
    except (KeyRefused, KeyAltered, KeyMissing):
        return  # told of the key itself


async def _check_within(
    vault: Vault, shelf: Shelf, issuer_id: UUID, rows: Sequence[SealedRow], keys: Keys, checked: Checked
) -> None:
    """The inner layer, of what needs no vault token for it: documents, commitments, records of exportable policies."""
    if shelf.bound is None or not rows:
        return
    query = "SELECT id FROM vault.policies WHERE issuer_id = %s AND (%s OR mapping = 'exportable')"
    tokenless = {id_ for (id_,) in await vault.db.fetch(query, (issuer_id, shelf is not RECORDS))}
    rows = [row for row in rows if row.policy_id in tokenless]
    subject_keys = await _subject_keys(vault, issuer_id, {row.subject_id for row in rows if row.subject_id is not None})
    within: list[tuple[SealedRow, Sealed]] = []
    for row in rows:
        if row.subject_id is None:
            key = (await vault.keyring.newest(issuer_id, Purpose.RECORD, row.policy_id)).secret
        elif row.subject_id in subject_keys:
            key = subject_keys[row.subject_id]
        else:
            continue  # told of the subject itself, if it is not erased
        bound, sealed = shelf.bound(row)
        within.append((row, Sealed(bound, None, key, sealed)))
    for (row, _), opened in zip(within, open_many([each for _, each in within], keys), strict=True):
        if isinstance(opened, Tampered):
            checked.find("does-not-open", shelf.table, row.key, str(opened))


async def _subject_keys(vault: Vault, issuer_id: UUID, subject_ids: set[UUID]) -> dict[UUID, bytes]:
    """Those of them that open."""
    query: LiteralString = f"""SELECT {SUBJECTS.columns} FROM vault.subjects s
        WHERE s.id = ANY(%s) AND s.issuer_id = %s AND s.wrapped IS NOT NULL"""
    rows = [SealedRow(*found) for found in await vault.db.fetch(query, (list(subject_ids), issuer_id))]
    keys = await keys_of(vault, issuer_id, SUBJECTS.purpose, {row.version for row in rows})
    opened = zip(rows, SUBJECTS.opened(rows, keys), strict=True)
    return {row.key: key for row, key in opened if not isinstance(key, Tampered)}


_QUESTIONS: Sequence[tuple[str, str, LiteralString]] = (
    (
        "index-twice",
        "vault.records",
        "SELECT index, count(*) FROM vault.records GROUP BY index HAVING count(*) > 1",
    ),
    (
        "value-twice",
        "vault.records",
        """SELECT min(index::text), count(*) FROM vault.records WHERE deterministic AND revoked_at IS NULL
        AND fingerprint IS NOT NULL GROUP BY policy_id, fingerprint HAVING count(*) > 1""",
    ),
    (
        "subject-twice",
        "vault.subjects",
        """SELECT min(id::text), count(*) FROM vault.subjects WHERE erased_at IS NULL
        GROUP BY issuer_id, index HAVING count(*) > 1""",
    ),
    (
        "another-issuers",
        "vault.records",
        """SELECT r.index, 'its policy or subject is another issuer''s' FROM vault.records r
        JOIN vault.policies p ON p.id = r.policy_id LEFT JOIN vault.subjects s ON s.id = r.subject_id
        WHERE p.issuer_id <> r.issuer_id OR s.issuer_id <> r.issuer_id""",
    ),
    (
        "openable-after-erasure",
        "vault.records",
        """SELECT r.index, 'its subject was erased' FROM vault.records r JOIN vault.subjects s ON s.id = r.subject_id
        WHERE s.erased_at IS NOT NULL AND (COALESCE(r.sealed, r.sealed_token, r.fingerprint) IS NOT NULL
        OR r.last_four IS NOT NULL)""",
    ),
    (
        "openable-after-erasure",
        "vault.subjects",
        "SELECT id, 'its key is still there' FROM vault.subjects WHERE erased_at IS NOT NULL AND wrapped IS NOT NULL",
    ),
    (
        "openable-after-erasure",
        "vault.documents",
        """SELECT d.id, 'its subject was erased, and it does not expire' FROM vault.documents d
        JOIN vault.subjects s ON s.id = d.subject_id WHERE s.erased_at IS NOT NULL AND d.expires_at IS NULL""",
    ),
    (
        "openable-after-erasure",
        "vault.commitments",
        """SELECT c.id, 'its subject was erased' FROM vault.commitments c
        JOIN vault.subjects s ON s.id = c.subject_id WHERE s.erased_at IS NOT NULL AND c.sealed IS NOT NULL""",
    ),
    (
        "openable-after-erasure",
        "vault.persons",
        """SELECT p.id, 'its subject was erased' FROM vault.persons p JOIN vault.subjects s ON s.id = p.subject_id
        WHERE s.erased_at IS NOT NULL""",
    ),
    (
        "openable-after-erasure",
        "vault.accounts",
        """SELECT a.index, 'its person was erased' FROM vault.accounts a JOIN vault.persons p ON p.id = a.person_id
        WHERE p.erased_at IS NOT NULL AND a.sealed IS NOT NULL""",
    ),
    (
        "document-not-whole",
        "vault.documents",
        f"""SELECT d.id, d.received_bytes || ' bytes, and ' || COALESCE(c.count, 0) || ' chunks'
        FROM vault.documents d LEFT JOIN (
            SELECT document_id, count(*), sum(octet_length(sealed)) AS size, max(number) + 1 AS next
            FROM vault.document_chunks GROUP BY document_id
        ) c ON c.document_id = d.id
        WHERE COALESCE(c.count, 0) <> (d.received_bytes + {CHUNK_BYTES - 1}) / {CHUNK_BYTES} OR c.next <> c.count
        OR c.size <> d.received_bytes + {OVERHEAD_BYTES} * c.count""",
    ),
)
"""What is asked of the tables as they stand: what an answer means, its table, and the query for (row, detail)."""
