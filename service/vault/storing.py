"""New records: drawing their vault tokens, sealing their values, and letting the constraints decide who was first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import LiteralString, Self
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.errors import NotNullViolation

from service.db import new_id
from service.keys.wrapping import KeyAltered
from service.keys.wrapping_local import opened_key, sealed_key
from service.vault.envelope import Opened, Row, Tampered, seal_many
from service.vault.formats import draw_token
from service.vault.indexes import export_key, token_index, value_fingerprint, value_token_key
from service.vault.keyring import LiveKey, Purpose
from service.vault.keys import Vault
from service.vault.policies import Mapping, Policy, PreservingFormat, random_format
from service.vault.subjects import Met, Subject
from service.vault.unfit import Unfit
from service.vault.values import DataClass
from service.web import idempotency

EXHAUSTED = "space-exhausted"

_DRAWS_MAX = 24
"""Where a hundredth of the space is used, so many draws in a row fail once in 10**48."""


@dataclass(frozen=True, slots=True)
class PolicyKeys:
    """What stores records of one policy."""

    index: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)
    record: bytes = field(repr=False)
    data: LiveKey

    @classmethod
    async def of(cls, vault: Vault, policy: Policy) -> Self:
        """Those of a policy of kind vault.

        Raises:
            VaultKeysUnavailable: the provider does not unwrap now.
        """
        issuer_id = policy.issuer_id
        return cls(
            (await vault.newest(issuer_id, Purpose.INDEX)).secret,
            (await vault.newest(issuer_id, Purpose.FINGERPRINT, policy.id)).secret,
            (await vault.newest(issuer_id, Purpose.RECORD, policy.id)).secret,
            await vault.newest(issuer_id, Purpose.DATA),
        )


@dataclass(slots=True)
class Draft:
    """A value on its way to a record, or to the record that has it already."""

    original: str = field(repr=False)
    canonical: str = field(repr=False)
    fingerprint: bytes
    reference: str | None = field(default=None, repr=False)
    ttl_s: int | None = None
    asset_token_id: UUID | None = None
    subject: Subject | None = None
    id: UUID = field(default_factory=new_id)
    token: str = field(default="", repr=False)
    index: bytes = b""
    refused: Unfit | None = None
    existing: bool = False
    existing_subject_id: UUID | None = None

    @classmethod
    def of(cls, policy: Policy, keys: PolicyKeys, original: str) -> Self:
        """A value that its policy takes.

        Raises:
            Unfit: it does not take it.
        """
        canonical = policy.canonical(original)
        return cls(original, canonical, value_fingerprint(keys.fingerprint, canonical))

    def forget(self) -> None:
        """Begin anew: the record that had the value may be gone."""
        if self.existing:
            self.id, self.token, self.index, self.existing, self.existing_subject_id = new_id(), "", b"", False, None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is to be stored, and how often vault tokens were drawn for it and another record had one."""

    drafts: list[Draft]
    drawn: int
    collided: int


@dataclass(frozen=True, slots=True)
class Spending:
    """The idempotency key that a batch spends, and the answer that it leaves for it."""

    caller_id: UUID
    key: str
    fingerprint: bytes
    resource: str
    sealed: bytes
    existing_subject_ids: frozenset[UUID]


async def draw(vault: Vault, policy: Policy, keys: PolicyKeys, drafts: Sequence[Draft], *, again: bool) -> Drawn:
    """Draw a vault token for each draft, but for those whose value has one under a deterministic policy.

    Args:
        drafts: under a deterministic policy, of different values.
        again: these drafts could not be stored a moment ago, so that someone else may have their tokens.

    Raises:
        Tampered: the sealed token of an existing record does not open.
    """
    # One order for all, so that two batches wait for one another in one direction only.
    waiting = sorted(drafts, key=lambda draft: draft.fingerprint)
    for draft in waiting:
        draft.forget()
    if policy.deterministic:
        waiting = await _without_existing(vault, policy, keys, waiting)
    waiting = [draft for draft in waiting if draft.index or _draw(policy, keys, draft)]
    drawn, collided = len(waiting), 0
    for _ in range(_DRAWS_MAX if again else 0):
        taken = await _taken(vault, waiting)
        if not taken:
            return Drawn(waiting, drawn, collided)
        drawn, collided = drawn + len(taken), collided + len(taken)
        for draft in taken:
            _draw(policy, keys, draft)
    exhausted = await _taken(vault, waiting) if again else []
    for draft in exhausted:
        draft.refused = Unfit(EXHAUSTED, "no free vault token was found: use a policy of a wider format")
    return Drawn([draft for draft in waiting if draft.refused is None], drawn, collided)


async def commit(
    vault: Vault, policy: Policy, keys: PolicyKeys, drafts: Sequence[Draft], met: Met, spending: Spending
) -> bool | None:
    """Store drafts with their new subjects, the idempotency key and its answer: all of them in one statement.

    Returns whether they are stored; False when the key was spent before; None when somebody was faster with a value, a
    vault token or a subject, or a subject was erased: then nothing is stored, and it may be tried again.
    """
    # Those whose vault tokens the answer tells, too: it must not outlive their erasure.
    answered = {*spending.existing_subject_ids} | {*met.stored}
    given = {
        "caller": spending.caller_id,
        "key": spending.key,
        "print": spending.fingerprint,
        "resource": spending.resource,
        "answer": spending.sealed,
        "issuer": policy.issuer_id,
        "policy": policy.id,
        "deterministic": policy.deterministic,
        "data_version": keys.data.version,
        "wrapping_version": met.wrapping_version,
        "stored_subjects": [*answered],
        "answered": [*(answered | {each.id for each in met.newborn})],
        "subject_ids": [each.id for each in met.newborn],
        "subject_indexes": [each.index for each in met.newborn],
        "subject_keys": [each.wrapped for each in met.newborn],
        "indexes": [draft.index for draft in drafts],
        "ids": [draft.id for draft in drafts],
        "subjects": [draft.subject.id if draft.subject else None for draft in drafts],
        "assets": [draft.asset_token_id for draft in drafts],
        "sealed": sealed_value(policy, keys, drafts),
        "sealed_tokens": [_sealed_token(policy, keys, draft) for draft in drafts],
        "fingerprints": [draft.fingerprint for draft in drafts],
        "last_fours": [last_four(policy, draft.canonical) for draft in drafts],
        "ttls": [draft.ttl_s for draft in drafts],
    }
    try:
        return bool(await vault.db.fetch(COMMIT, given))
    except NotNullViolation:
        return None


COMMIT: LiteralString = f"""WITH given AS (
    SELECT %(caller)s::uuid AS caller_id, %(key)s::text AS key, %(print)b::bytea AS fingerprint,
        %(resource)s::text AS resource
), claimed AS ({idempotency.CLAIM}), held AS (
    SELECT id FROM vault.subjects WHERE id = ANY(%(stored_subjects)b::uuid[]) AND erased_at IS NULL FOR SHARE
), born AS (
    INSERT INTO vault.subjects (id, issuer_id, index, wrapped, wrapping_version)
    SELECT newborn.id, %(issuer)s, newborn.index, newborn.wrapped, %(wrapping_version)s
    FROM claimed, unnest(%(subject_ids)b::uuid[], %(subject_indexes)b::bytea[], %(subject_keys)b::bytea[])
        AS newborn (id, index, wrapped)
    ON CONFLICT (issuer_id, index) WHERE erased_at IS NULL DO NOTHING RETURNING id
), made AS (
    INSERT INTO vault.records (index, id, issuer_id, policy_id, subject_id, asset_token_id, deterministic,
        data_version, sealed, sealed_token, fingerprint, last_four, expires_at)
    SELECT draft.index, draft.id, %(issuer)s, %(policy)s, draft.subject_id, draft.asset_token_id, %(deterministic)s,
        %(data_version)s, draft.sealed, draft.sealed_token, draft.fingerprint, draft.last_four,
        now() + draft.ttl_s * interval '1 second'
    FROM claimed, unnest(%(indexes)b::bytea[], %(ids)b::uuid[], %(subjects)b::uuid[], %(assets)b::uuid[],
        %(sealed)b::bytea[], %(sealed_tokens)b::bytea[], %(fingerprints)b::bytea[], %(last_fours)b::text[],
        %(ttls)b::bigint[])
        AS draft (index, id, subject_id, asset_token_id, sealed, sealed_token, fingerprint, last_four, ttl_s)
    ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO vault.answers (caller_id, key, subject_ids, sealed)
SELECT given.caller_id, given.key, nullif(%(answered)b::uuid[], '{{}}'), CASE
    WHEN (SELECT count(*) FROM held) = cardinality(%(stored_subjects)b::uuid[])
    AND (SELECT count(*) FROM born) = cardinality(%(subject_ids)b::uuid[])
    AND (SELECT count(*) FROM made) = cardinality(%(ids)b::uuid[])
    AND EXISTS (SELECT FROM vault.keys WHERE issuer_id = %(issuer)s AND policy_id IS NULL AND purpose = 'data'
        AND version = %(data_version)s AND state = 'active') THEN %(answer)b::bytea END
FROM given, claimed RETURNING key"""
"""An answer that would not be true is NULL, and a column that takes none undoes all that the statement did."""


def sealed_value(policy: Policy, keys: PolicyKeys, drafts: Sequence[Draft]) -> list[bytes]:
    """The values under both layers of the envelope."""
    records = [
        Opened(
            Row(policy.issuer_id, policy.id, draft.subject.id if draft.subject else None, draft.index),
            None if policy.mapping is Mapping.EXPORTABLE else draft.token.encode(),
            draft.subject.key if draft.subject else keys.record,
            draft.original.encode(),
        )
        for draft in drafts
    ]
    return seal_many(records, keys.data.version, keys.data.secret)


def last_four(policy: Policy, canonical: str) -> str | None:
    """What metadata shows of a value: the last four digits of a card, and nothing of any other."""
    return canonical[-4:] if policy.data_class is DataClass.CARD else None


def _draw(policy: Policy, keys: PolicyKeys, draft: Draft) -> bool:
    original = draft.original if isinstance(policy.format, PreservingFormat) else draft.canonical
    try:
        draft.token = draw_token(random_format(policy.format), original)
    except Unfit as error:
        draft.refused = error
        return False
    draft.index = token_index(keys.index, draft.token)
    return True


def _token_cipher(policy: Policy, keys: PolicyKeys, canonical: str) -> AESGCM | None:
    """What seals a vault token that must be told again, if it must."""
    if policy.mapping is Mapping.EXPORTABLE:
        return AESGCM(export_key(keys.record))
    return AESGCM(value_token_key(keys.fingerprint, canonical)) if policy.deterministic else None


def _sealed_token(policy: Policy, keys: PolicyKeys, draft: Draft) -> bytes | None:
    cipher = _token_cipher(policy, keys, draft.canonical)
    return None if cipher is None else sealed_key(cipher, draft.token.encode(), policy.id.bytes + draft.index)


async def _taken(vault: Vault, drafts: Sequence[Draft]) -> list[Draft]:
    """Those whose vault tokens are another record's."""
    rows = await vault.db.fetch(
        "SELECT index FROM vault.records WHERE index = ANY(%b::bytea[])", ([draft.index for draft in drafts],)
    )
    found = {index for (index,) in rows}
    return [draft for draft in drafts if draft.index in found]


async def _without_existing(vault: Vault, policy: Policy, keys: PolicyKeys, drafts: Sequence[Draft]) -> list[Draft]:
    """Those whose values have no vault token yet; the others get theirs. What has expired makes room."""
    rows = await vault.db.fetch(
        """SELECT fingerprint, id, index, subject_id, sealed_token, expires_at <= now() FROM vault.records
        WHERE policy_id = %s AND fingerprint = ANY(%b::bytea[]) AND deterministic AND revoked_at IS NULL""",
        (policy.id, [draft.fingerprint for draft in drafts]),
    )
    found = {row[0]: row[1:] for row in rows}
    left, expired = [], []
    for draft in drafts:
        if draft.fingerprint not in found:
            left.append(draft)
            continue
        id_, index, subject_id, sealed_token, is_expired = found[draft.fingerprint]
        if is_expired:
            left.append(draft)
            expired.append(index)
            continue
        draft.id, draft.index, draft.existing, draft.existing_subject_id = id_, index, True, subject_id
        draft.token = _opened_token(policy, keys, draft, sealed_token)
    if expired:
        await vault.db.fetch(
            """WITH held AS (
                SELECT index FROM vault.records WHERE index = ANY(%b) AND revoked_at IS NULL ORDER BY index FOR UPDATE
            ) UPDATE vault.records r SET revoked_at = expires_at, sealed = NULL, data_version = NULL,
                sealed_token = NULL, fingerprint = NULL FROM held WHERE r.index = held.index RETURNING r.id""",
            (expired,),
        )
    return left


def _opened_token(policy: Policy, keys: PolicyKeys, draft: Draft, sealed: bytes | None) -> str:
    cipher = _token_cipher(policy, keys, draft.canonical)
    assert cipher is not None, "a deterministic policy seals its tokens"
    try:
        return opened_key(cipher, sealed or b"", policy.id.bytes + draft.index).decode()
    except KeyAltered:
        raise Tampered("the vault token of a record does not open: altered, cut short, or another row's") from None
