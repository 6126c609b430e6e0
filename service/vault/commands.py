"""Changing policies and records: each command is one DB transaction, with its entry in the journal."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert

from service import journal
from service.access.apikeys import Scope
from service.access.queries import Caller
from service.db import ReadConnection, new_id
from service.journal import Fact
from service.vault import opening, queries, subjects
from service.vault.budgets import count_refusal
from service.vault.envelope import Tampered
from service.vault.indexes import subject_index
from service.vault.keyring import KeyMissing, Purpose
from service.vault.keys import Vault, damaged, new_keys
from service.vault.orders import PointerOrder
from service.vault.policies import (
    Kind,
    Policy,
    PolicyChange,
    PolicyOrder,
    insist_on_rules,
    insist_on_sense,
    stored_format,
)
from service.vault.problems import (
    NotOfThisPolicy,
    PolicyExists,
    PolicyNeedsAnother,
    PolicyUnfit,
    ValueUnfit,
    VaultSubjectNotFound,
    VaultTokenNotFound,
)
from service.vault.queries import Record
from service.vault.reveal_rules import loosens
from service.vault.storing import Draft, PolicyKeys, last_four, sealed_value
from service.vault.subjects import Erased
from service.vault.tables import KeyRow, PolicyRow
from service.vault.unfit import Unfit
from service.web import idempotency


async def create_policy(vault: Vault, caller: Caller, key: str, order: PolicyOrder) -> Policy:
    """Make a policy, its keys, and at its issuer's first one those of the issuer.

    Raises:
        PolicyUnfit: what it asks for does not go together.
        PolicyExists: another one has the name.
        IdempotencyKeyReused: the key belongs to another request.
        VaultKeysUnavailable: the provider does not wrap now.
    """
    print_ = idempotency.fingerprint("POST /v1/vault/policies", None, order.asked())
    first = await idempotency.first_resource(vault.db, caller.id, key, print_)
    if first is None:
        await _make_policy(vault, caller, key, print_, order)
        first = await idempotency.first_resource(vault.db, caller.id, key, print_)
    assert first is not None, "the key was spent a moment ago"
    return await queries.policy(vault.db, issuer_id=caller.issuer_id, id=UUID(first.rpartition("/")[2]))


async def _make_policy(vault: Vault, caller: Caller, key: str, print_: bytes, order: PolicyOrder) -> None:
    try:
        insist_on_sense(order)
        # Keys of another environment than the deployment's open nothing here, so that the caller's is the deployment's.
        format_ = stored_format(order.format, caller.environment)
    except Unfit as error:
        raise PolicyUnfit(str(error), reason=error.reason) from None
    id_, told = new_id(), order.canonical()
    keys = await new_keys(vault, caller.issuer_id, id_, order.kind)
    stored = {name: told[name] for name in ("name", "kind", "data_class", "mapping", "pointer", "ttl_max_s", "reveal")}
    stored["shape"] = {"format": format_, "rule": told["rule"]}
    stored["deterministic"] = order.deterministic or order.kind is not Kind.VAULT
    async with vault.db.transaction() as session:
        if not await idempotency.claim(session, caller.id, key, print_, f"vault/policies/{id_}"):
            return
        made = await session.scalar(
            insert(PolicyRow)
            .values(id=id_, issuer_id=caller.issuer_id, **stored)
            .on_conflict_do_nothing(index_elements=["issuer_id", "name"])
            .returning(PolicyRow.id)
        )
        if made is None:
            raise PolicyExists("choose another name, or list the policies with GET /v1/vault/policies")
        await session.execute(insert(KeyRow).on_conflict_do_nothing(), keys)
        body = {"policy": str(id_), "caller": str(caller.id), **stored}
        await journal.append(session, [Fact("vault.policy-created", caller.issuer_id, body)])
    vault.keyring.forget(caller.issuer_id)


async def change_policy(vault: Vault, caller: Caller, id: UUID, change: PolicyChange) -> Policy:
    """Change a policy's reveal rules, its longest time to live, or both; records keep the times that they have.

    Raises:
        PolicyNotFound: none of the issuer's.
        PolicyUnfit: the rules do not go with the policy.
        PolicyNeedsAnother: they let more be seen, and a key of the caller's may reveal.
    """
    told = change.canonical()
    changed = {name: told[name] for name in sorted(change.model_fields_set) if name == "ttl_max_s" or told[name]}
    try:
        async with vault.transaction() as (session, connection):
            # Held, so that of two changes at once the second is judged by what the first one left.
            policy = await queries.policy_held(connection, issuer_id=caller.issuer_id, id=id)
            _insist_on_fit(policy, change)
            if not changed:
                return policy
            if change.reveal is not None and loosens(policy.rules, change.reveal):
                await _insist_on_no_revealer(connection, caller)
            await session.execute(
                update(PolicyRow).where(PolicyRow.id == policy.id).values(**changed, changed_at=func.now())
            )
            body = {"policy": str(id), "caller": str(caller.id), **changed}
            await journal.append(session, [Fact("vault.policy-changed", caller.issuer_id, body)])
    except PolicyNeedsAnother as refusal:
        await count_refusal(vault, caller, refusal.slug, id, "policy-change")
        raise
    return await queries.policy(vault.db, issuer_id=caller.issuer_id, id=id)


def _insist_on_fit(policy: Policy, change: PolicyChange) -> None:
    """Raises: PolicyUnfit."""
    try:
        if change.reveal is not None:
            insist_on_rules(change.reveal, policy.kind, policy.data_class)
        if change.ttl_max_s is not None and policy.kind is not Kind.VAULT:
            raise Unfit("nothing-stored", "ttl_max_s belongs to policies of kind vault")
    except Unfit as error:
        raise PolicyUnfit(str(error), reason=error.reason) from None


async def _insist_on_no_revealer(connection: ReadConnection, caller: Caller) -> None:
    """Raises: PolicyNeedsAnother: a key of the caller's may reveal."""
    cursor = await connection.execute(
        "SELECT 1 FROM credentials WHERE caller_id = %s AND revoked_at IS NULL AND %s = ANY(scopes) LIMIT 1",
        (caller.id, Scope.VAULT_REVEAL.value),
    )
    if await cursor.fetchone():
        raise PolicyNeedsAnother("have it changed with a key of a caller none of whose keys has the scope vault:reveal")


async def looked_up(vault: Vault, caller: Caller, tokens: Sequence[str]) -> list[Record | None]:
    """What is known of the record of each vault token; None where the issuer has none.

    Raises:
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    indexes = await opening.indexes_of(vault, caller.issuer_id, tokens)
    if not indexes:
        return [None] * len(tokens)
    found = await queries.records(vault.db, issuer_id=caller.issuer_id, indexes=indexes)
    return [found.get(index) for index in indexes]


async def revoke(vault: Vault, caller: Caller, tokens: Sequence[str]) -> list[Record | None]:
    """End vault tokens for good; what was revoked or erased before stays as it is.

    Their values go at once, since nothing opens them again. The index stays, so that no vault token is drawn anew, and
    what metadata shows.

    Raises:
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    indexes = await opening.indexes_of(vault, caller.issuer_id, tokens)
    async with vault.transaction() as (session, connection):
        # Locked in one order, so that two such statements wait for one another in one direction only.
        cursor = await connection.execute(
            """WITH held AS (
                SELECT index FROM vault.records WHERE index = ANY(%b) AND issuer_id = %s
                AND revoked_at IS NULL AND erased_at IS NULL ORDER BY index FOR UPDATE
            ) UPDATE vault.records r SET revoked_at = now(), sealed = NULL, data_version = NULL, sealed_token = NULL,
                fingerprint = NULL FROM held WHERE r.index = held.index RETURNING r.id""",
            (indexes, caller.issuer_id),
        )
        if ids := sorted(str(row[0]) for row in await cursor.fetchall()):
            body = {"records": ids, "caller": str(caller.id)}
            await journal.append(session, [Fact("vault.records-revoked", caller.issuer_id, body)])
    return await looked_up(vault, caller, tokens)


async def point(vault: Vault, caller: Caller, order: PointerOrder) -> Record:
    """Put a new value behind a vault token.

    Raises:
        VaultTokenNotFound: no live record of the issuer's.
        NotOfThisPolicy: the policy's tokens are no pointers.
        ValueUnfit: the policy does not take the value.
        RecordDamaged: the subject's key was altered.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    missing = VaultTokenNotFound("look at it with POST /v1/vault/lookup, or tokenize the value anew")
    try:
        (loaded,) = await opening.load(vault, caller.issuer_id, [order.token])
    except Tampered as error:
        raise damaged(error) from None
    if loaded is None or not loaded.open:
        raise missing
    policy, record = loaded.policy, loaded.stored.record
    if not policy.pointer:
        raise NotOfThisPolicy("its tokens are no pointers: tokenize the new value instead")
    keys = await PolicyKeys.of(vault, policy)
    try:
        draft = Draft.of(policy, keys, order.value)
    except Unfit as error:
        raise ValueUnfit(str(error), reason=error.reason) from None
    draft.token, draft.index = order.token, record.index
    async with vault.transaction() as (session, connection):
        if record.subject_id is not None:
            try:
                draft.subject = await subjects.held(connection, vault, caller.issuer_id, record.subject_id)
            except Tampered as error:
                raise damaged(error) from None
            if draft.subject is None:
                raise missing
        cursor = await connection.execute(
            """UPDATE vault.records SET sealed = %b, data_version = %s, fingerprint = %b, last_four = %s,
                updated_at = now()
            WHERE index = %b AND revoked_at IS NULL AND erased_at IS NULL AND (expires_at IS NULL OR expires_at > now())
            RETURNING id""",
            (
                sealed_value(policy, keys, [draft])[0],
                keys.data.version,
                draft.fingerprint,
                last_four(policy, draft.canonical),
                record.index,
            ),
        )
        if await cursor.fetchone() is None:
            raise missing
        body = {"record": str(record.id), "policy": str(policy.id), "caller": str(caller.id)}
        await journal.append(session, [Fact("vault.record-pointed", caller.issuer_id, body)])
    return (await queries.records(vault.db, issuer_id=caller.issuer_id, indexes=[record.index]))[record.index]


async def subject_index_of(vault: Vault, issuer_id: UUID, reference: str) -> bytes | None:
    """What finds a subject by its issuer's reference; None for an issuer without a vault.

    Raises:
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    try:
        key = await vault.newest(issuer_id, Purpose.INDEX)
    except KeyMissing:
        vault.keyring.forget(issuer_id)
        return None
    return subject_index(key.secret, reference)


async def erase(vault: Vault, caller: Caller, reference: str) -> Erased:
    """Shred a subject's key for good: none of the person's records opens again, wherever copies of them are.

    Raises:
        VaultSubjectNotFound: none of the issuer's.
        VaultKeysUnavailable: the provider does not unwrap the index key now.
    """
    index = await subject_index_of(vault, caller.issuer_id, reference)
    async with vault.transaction() as (session, connection):
        erased = await subjects.erase(connection, caller.issuer_id, index) if index else None
        if erased is None:
            raise VaultSubjectNotFound("no record was tokenized for this reference: compare it with your own")
        if not erased.before:
            body = {"subject": str(erased.subject_id), "records": erased.records_count, "caller": str(caller.id)}
            await journal.append(session, [Fact("vault.subject-erased", caller.issuer_id, body)])
    return erased
