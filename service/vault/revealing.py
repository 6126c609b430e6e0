"""Revealing values: what is asked is found, judged and journalled, and only then opened and shown.

Whoever asks for a vault token that is unknown, another issuer's, expired, revoked or erased gets one and the same
answer for it; which of them it is the issuer reads with POST /v1/vault/lookup.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from service import journal
from service.access.queries import Caller
from service.db import acting_for_every_issuer
from service.journal import Fact
from service.vault import approvals, indexes, opening, queries
from service.vault.approvals import Approval, Plea
from service.vault.budgets import count_refusal
from service.vault.envelope import Tampered
from service.vault.keyring import Purpose
from service.vault.keys import Vault, damaged
from service.vault.masks import View, shown
from service.vault.opening import Loaded, Plain
from service.vault.policies import Kind, Policy
from service.vault.problems import NotOfThisPolicy, RecordDamaged, VaultTokenNotFound
from service.vault.reveal_granting import Wanted, Wish, granted, judged
from service.vault.reveal_orders import ApprovalOrder, RevealAsk, RevealOrder
from service.vault.unfit import Unfit
from service.web import idempotency

ROUTE = "POST /v1/vault/reveal"


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of one value, or the problem of its vault token."""

    value: str | None = field(default=None, repr=False)
    problem: dict[str, Any] | None = None

    @classmethod
    def missing(cls) -> Self:
        """For a vault token that reveals nothing, whatever the cause."""
        return cls(problem=not_found().body())


@dataclass(frozen=True, slots=True)
class Found:
    """What stands behind the vault tokens of a request, in their order; nothing of it is opened."""

    policy: Policy | None  # of a vaultless request
    context: str
    tokens: Sequence[str] = field(repr=False)
    records: Sequence[Loaded | None]  # empty for a vaultless request
    wanted: Sequence[Wanted]

    @property
    def live(self) -> list[Loaded]:
        """The records that may be opened."""
        return [each for each in self.records if each is not None and each.open]

    @property
    def pointed_at(self) -> list[datetime | None]:
        """When each vault token was given another value; None for one that has its first."""
        return [None if each is None else each.stored.record.updated_at for each in self.records]

    def left(self, live: Collection[bytes]) -> Self:
        """It without the records that ended since: those whose indexes are not among these."""
        kept = [each if each is not None and each.stored.record.index in live else None for each in self.records]
        return replace(self, records=kept)


def not_found() -> VaultTokenNotFound:
    """For a vault token that reveals nothing, whatever the cause."""
    return VaultTokenNotFound("see how it stands with POST /v1/vault/lookup, or tokenize the value anew")


async def reveal(vault: Vault, caller: Caller, order: RevealOrder, what: dict[str, Any] | None = None) -> list[Shown]:
    """What the wanted view shows of each value, in the order of the tokens.

    Args:
        what: what the entry in the journal says besides; nothing of a value.

    Raises:
        PolicyNotFound, NotOfThisPolicy: of the vaultless policy that the order names.
        RevealRefused: a policy's rules say no.
        RevealSuspended: the API key is, or just came to be.
        ApprovalMissing: others must agree first.
        RevealUnrecorded: the journal's entry could not be written.
        RecordDamaged: a record was altered; then none of the request is shown.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    found = await find(vault, caller, order.tokens, order.policy, order.context)
    if not found.wanted:
        return await _nothing(vault, caller, order)
    print_ = await _print(vault, caller, order, found) if order.approval else b""
    wish = Wish(order.purpose, order.reason, order.view, found.wanted, order.approval, print_, what=what or {})
    found = found.left(await granted(vault, caller, wish))
    if found.policy is None and not found.live:
        return await _nothing(vault, caller, order)
    values = await opened(vault, caller, found)
    hash_keys = {}
    if order.view is View.HASH:
        for policy_id in wish.of_policies:
            hash_keys[policy_id] = (await vault.newest(caller.issuer_id, Purpose.FINGERPRINT, policy_id)).secret
    answers = []
    for value, policy in values:
        if value is None or policy is None:
            answers.append(Shown.missing())
            continue
        key = hash_keys.get(policy.id, b"")
        answers.append(Shown(shown(order.view, policy.data_class, value.original, value.canonical, hash_key=key)))
    return answers


async def _nothing(vault: Vault, caller: Caller, order: RevealOrder) -> list[Shown]:
    await count_refusal(vault, caller, VaultTokenNotFound.slug, None, order.purpose)
    return [Shown.missing() for _ in order.tokens]


async def ask_approval(vault: Vault, caller: Caller, key: str, order: ApprovalOrder) -> Approval:
    """Ask others to agree to a reveal, exactly as it is told here.

    Raises:
        VaultTokenNotFound: nothing of it could be seen.
        PolicyNotFound, NotOfThisPolicy: of the vaultless policy that the order names.
        RevealRefused: a policy's rules say no, whoever agrees.
        IdempotencyKeyReused: the key belongs to another request.
        RecordDamaged: a record was altered.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    found = await find(vault, caller, order.tokens, order.policy, order.context)
    if not found.wanted:
        raise not_found()
    wish = Wish(order.purpose, order.reason, order.view, found.wanted)
    plea = Plea(
        await _print(vault, caller, order, found),
        [*wish.of_policies],
        [each.stored.record.id for each in found.live],
        len(found.wanted),
        order.purpose,
        order.reason,
        order.view,
        judged(caller, wish),
    )
    return await approvals.ask(vault, caller, key, plea)


async def find(vault: Vault, caller: Caller, tokens: Sequence[str], policy_id: UUID | None, context: str) -> Found:
    """What stands behind vault tokens.

    Raises:
        PolicyNotFound: none of the issuer's.
        NotOfThisPolicy: the policy is not vaultless, or a context is told without one.
        RecordDamaged: a record is another issuer's by now, or of another issuer's policy.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    if policy_id is not None:
        policy = await queries.policy(vault.db, issuer_id=caller.issuer_id, id=policy_id)
        if policy.kind is not Kind.VAULTLESS:
            raise NotOfThisPolicy("only a vaultless policy is named: leave `policy` and `context` out")
        hashed = await opening.indexes_of(vault, caller.issuer_id, tokens)
        return Found(policy, context, tokens, [], [Wanted(policy, None, index) for index in hashed])
    if context:
        raise NotOfThisPolicy("only a vaultless policy has a context: name it, or leave the context out")
    try:
        records = await opening.load(vault, caller.issuer_id, tokens)
        if missing := [token for token, each in zip(tokens, records, strict=True) if each is None]:
            await _insist_on_nobodys(vault, caller, missing)
    except Tampered as error:
        raise await alarmed(vault, caller, [], error) from None
    found = Found(None, "", tokens, records, [])
    wanted = [Wanted(each.policy, each.stored.record.subject_id, each.stored.record.index, True) for each in found.live]
    return Found(None, "", tokens, records, wanted)


async def opened(vault: Vault, caller: Caller, found: Found) -> list[tuple[Plain | None, Policy | None]]:
    """The value of each vault token, with its policy; None for one that reveals nothing. Journal it before.

    Raises:
        RecordDamaged: a record was altered; that is an alarm, and in the journal.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    if found.policy is not None:
        decrypted = await opening.opened_vaultless(vault, found.policy, found.tokens, found.context)
        return [(None, None) if isinstance(each, Unfit) else (each, found.policy) for each in decrypted]
    live = found.live
    values = await opening.opened(vault, caller.issuer_id, live)
    broken = [(each, value) for each, value in zip(live, values, strict=True) if isinstance(value, Tampered)]
    if broken:
        raise await alarmed(vault, caller, [each.stored.record.id for each, _ in broken], broken[0][1])
    following = iter(values)
    answers: list[tuple[Plain | None, Policy | None]] = []
    for each in found.records:
        value = next(following) if each is not None and each.open else None
        answers.append((value, each.policy) if isinstance(value, Plain) and each is not None else (None, None))
    return answers


async def alarmed(vault: Vault, caller: Caller, record_ids: Sequence[UUID], error: Tampered) -> RecordDamaged:
    """Write down that records were altered, and tell the operator; what to tell the caller."""
    problem = damaged(error)
    body = {"caller": str(caller.id), "records": [str(each) for each in record_ids], "reason": str(error)}
    async with vault.db.transaction() as session:
        await journal.append(session, [Fact("vault.record-damaged", caller.issuer_id, body)])
    return problem


async def _insist_on_nobodys(vault: Vault, caller: Caller, tokens: Sequence[str]) -> None:
    """Each issuer has an index key of its own, so that no other one's record is found by these, unless one was moved.

    Raises:
        Tampered: one was.
    """
    hashed = await opening.indexes_of(vault, caller.issuer_id, tokens)
    with acting_for_every_issuer():
        moved = await vault.db.fetch(
            "SELECT 1 FROM vault.records WHERE index = ANY(%b) AND issuer_id <> %s LIMIT 1", (hashed, caller.issuer_id)
        )
    if moved:
        raise Tampered("a record was given to another issuer")


async def _print(vault: Vault, caller: Caller, order: RevealAsk, found: Found) -> bytes:
    """A keyed hash of the whole request, and of when each value that stands behind it was put there."""
    key = await vault.newest(caller.issuer_id, Purpose.INDEX)
    asked = {name: told for name, told in order.asked().items() if name != "approval"}
    asked["pointed_at"] = [None if at is None else at.isoformat() for at in found.pointed_at]
    return indexes.request_print(key.secret, idempotency.fingerprint(ROUTE, None, asked))
