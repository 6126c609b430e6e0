"""Tokenizing a batch: all that it stores, its idempotency key and its answer are one statement.

Whatever is killed in the middle, a batch is there as a whole or not at all. Who was faster, constraints decide.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import OperationalError

from service.access.queries import Caller
from service.errors import Problem
from service.keys.wrapping import KeyAltered
from service.keys.wrapping_local import opened_key, sealed_key
from service.vault import indexes, queries, vaultless
from service.vault.envelope import Tampered
from service.vault.keyring import Purpose
from service.vault.keys import Vault, damaged
from service.vault.orders import TokenizeItem, TokenizeOrder
from service.vault.policies import Kind, Policy
from service.vault.problems import NotOfThisPolicy, SpaceExhausted, ValueOfAnotherSubject, ValueUnfit
from service.vault.storing import EXHAUSTED, Draft, PolicyKeys, Spending, commit, draw
from service.vault.subjects import Met, insist_on_unerased, met
from service.vault.unfit import Unfit
from service.web import idempotency

ROUTE = "POST /v1/vault/tokenize"
_ATTEMPTS_MAX = 32
_TURN_ITEMS = 20
_TURN_CHARACTERS = 20_000
"""FF1 is three times as fast over a hundred short values as over twenty, and takes long for long ones alone."""
_NOBODY = Met({}, [], [], 1)
_T = TypeVar("_T")


class Status(StrEnum):
    """What an item came to."""

    CREATED = "created"
    EXISTING = "existing"  # its value had this vault token before
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one item came to; `problem` says why it was refused."""

    status: Status
    token: str | None = field(default=None, repr=False)
    record_id: str | None = None
    problem: dict[str, Any] | None = None

    @classmethod
    def refused(cls, problem: Problem) -> Self:
        """An item that has no vault token."""
        return cls(Status.REFUSED, problem=problem.body())

    def told(self) -> dict[str, Any]:
        """It as JSON."""
        return {"status": self.status, "token": self.token, "record_id": self.record_id, "problem": self.problem}


async def tokenize(vault: Vault, caller: Caller, key: str, order: TokenizeOrder) -> list[Outcome]:
    """Vault tokens for values of one policy, an outcome for each in their order.

    The same key and order have the same outcomes again. A policy that stores nothing needs no key for that.

    Raises:
        PolicyNotFound: none of the issuer's.
        NotOfThisPolicy: the policy has no place for something that is asked.
        IdempotencyKeyReused: the key belongs to another request.
        RequestErased: a person whom the request of this key named was erased since.
        VaultKeysUnavailable: the provider does not answer.
        RecordDamaged: a stored vault token, subject's key or answer was altered.
    """
    try:
        return await _tokenized(vault, caller, key, order)
    except Tampered as error:
        raise damaged(error) from None


async def _tokenized(vault: Vault, caller: Caller, key: str, order: TokenizeOrder) -> list[Outcome]:
    policy = await queries.policy(vault.db, issuer_id=caller.issuer_id, id=order.policy)
    if policy.kind is not Kind.VAULT:
        return await _transformed(vault, policy, order)
    if order.context:
        raise NotOfThisPolicy("only a vaultless policy has a context: leave it out")
    return await _batch(vault, caller, key, policy, order)


async def _batch(vault: Vault, caller: Caller, key: str, policy: Policy, order: TokenizeOrder) -> list[Outcome]:
    keys = await PolicyKeys.of(vault, policy)
    bare_print = idempotency.fingerprint(ROUTE, None, order.asked())
    cipher = AESGCM(indexes.answer_key(keys.index, caller.id, bare_print))
    print_ = indexes.request_print(keys.index, bare_print)
    drafts = [_draft(policy, keys, item) async for turn in _turns(order.items) for item in turn]
    fits = [draft for draft in drafts if isinstance(draft, Draft)]
    # Of equal values in one batch the first one's draft becomes the record, and the others' are its repetitions.
    leaders: dict[bytes | UUID, Draft] = {}
    for draft in fits:
        leaders.setdefault(_name(policy, draft), draft)
    # Also those of values that were refused: their erasure must have the request forgotten, too.
    references = {item.subject for item in order.items if item.subject}
    for attempt in range(_ATTEMPTS_MAX):
        company = await met(vault, policy.issuer_id, references, keys.index) if references else _NOBODY
        for draft in fits:
            draft.subject = company.subjects[draft.reference] if draft.reference else None
        drawn = await draw(vault, policy, keys, [*leaders.values()], again=attempt > 0)
        outcomes = [
            _outcome(each, leaders[_name(policy, each)]) if isinstance(each, Draft) else Outcome.refused(each)
            for each in drafts
        ]
        told = sealed_key(cipher, json.dumps([each.told() for each in outcomes]).encode(), key.encode())
        existing = frozenset(each.existing_subject_id for each in leaders.values() if each.existing_subject_id)
        spending = Spending(caller.id, key, print_, "vault/tokenize", told, existing)
        stored = await commit(vault, policy, keys, drawn.drafts, company, spending)
        if stored is not None:
            break
    else:
        raise OperationalError("others store the same values now: send the same request again, with the same key")
    if not stored:
        return await _answered_before(vault, caller.id, key, print_, cipher)
    await vault.crowding.count(policy.id, drawn=drawn.drawn, collided=drawn.collided)
    return outcomes


async def _answered_before(vault: Vault, caller_id: UUID, key: str, print_: bytes, cipher: AESGCM) -> list[Outcome]:
    async with vault.transaction() as (_, connection):
        await insist_on_unerased(connection, caller_id, key)
    await idempotency.first_resource(vault.db, caller_id, key, print_)
    rows = await vault.db.fetch("SELECT sealed FROM vault.answers WHERE caller_id = %s AND key = %s", (caller_id, key))
    assert rows, "a key is spent in the statement that stores its answer"
    try:
        told = json.loads(opened_key(cipher, rows[0][0], key.encode()))
    except KeyAltered:
        raise Tampered("the answer of a batch does not open") from None
    return [Outcome(**{**each, "status": Status(each["status"])}) for each in told]


async def _turns(items: Sequence[_T], count: int = _TURN_ITEMS) -> AsyncIterator[Sequence[_T]]:
    """A few items at a time; others have the event loop in between, since a custom pattern may read each for long."""
    for at in range(0, len(items), count):
        if at:
            await asyncio.sleep(0)
        yield items[at : at + count]


def _name(policy: Policy, draft: Draft) -> bytes | UUID:
    return draft.fingerprint if policy.deterministic else draft.id


def _draft(policy: Policy, keys: PolicyKeys, item: TokenizeItem) -> Draft | Problem:
    try:
        draft = Draft.of(policy, keys, item.value)
    except Unfit as error:
        return ValueUnfit(str(error), reason=error.reason)
    if policy.ttl_max_s is not None and (item.ttl_s or 0) > policy.ttl_max_s:
        return NotOfThisPolicy(f"the policy's records live {policy.ttl_max_s} seconds at most: send a smaller ttl_s")
    draft.ttl_s, draft.asset_token_id = item.ttl_s or policy.ttl_max_s, item.asset_token_id
    draft.reference = item.subject
    return draft


def _outcome(draft: Draft, leader: Draft) -> Outcome:
    if leader.refused is not None:
        exhausted = leader.refused.reason == EXHAUSTED
        return Outcome.refused(
            SpaceExhausted(str(leader.refused))
            if exhausted
            else ValueUnfit(str(leader.refused), reason=leader.refused.reason)
        )
    leading = leader.existing_subject_id if leader.existing else (leader.subject.id if leader.subject else None)
    if draft.subject is not None and draft.subject.id != leading:
        return Outcome.refused(
            ValueOfAnotherSubject("this value's record is under another subject or none: use a policy of random tokens")
        )
    status = Status.EXISTING if leader.existing or draft is not leader else Status.CREATED
    return Outcome(status, leader.token, str(leader.id))


async def _transformed(vault: Vault, policy: Policy, order: TokenizeOrder) -> list[Outcome]:
    if any(item.subject or item.asset_token_id or item.ttl_s for item in order.items):
        raise NotOfThisPolicy("the policy stores nothing: leave out subject, asset_token_id and ttl_s")
    if order.context and policy.kind is Kind.ONE_WAY:
        raise NotOfThisPolicy("only a vaultless policy has a context: leave it out")
    outcomes: list[Outcome] = []
    fits: dict[int, str] = {}
    async for turn in _turns(order.items):
        for item in turn:
            outcomes.append(Outcome(Status.CREATED))
            try:
                fits[len(outcomes) - 1] = policy.canonical(item.value)
            except Unfit as error:
                outcomes[-1] = Outcome.refused(ValueUnfit(str(error), reason=error.reason))
    made: list[str | Unfit]
    if policy.kind is Kind.ONE_WAY:
        key = await vault.newest(policy.issuer_id, Purpose.FINGERPRINT, policy.id)
        made = [vaultless.hashed(policy, key.secret, each) async for turn in _turns([*fits.values()]) for each in turn]
    else:
        key = await vault.newest(policy.issuer_id, Purpose.FF1, policy.id)
        longest = max(map(len, fits.values()), default=1)
        turns = _turns([*fits.values()], max(_TURN_ITEMS, _TURN_CHARACTERS // longest))
        made = [each async for turn in turns for each in vaultless.encrypted(policy, key.secret, turn, order.context)]
    for at, token in zip(fits, made, strict=True):
        outcomes[at] = (
            Outcome.refused(ValueUnfit(str(token), reason=token.reason))
            if isinstance(token, Unfit)
            else Outcome(Status.CREATED, token)
        )
    return outcomes
