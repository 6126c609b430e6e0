"""Searching for a value. Whoever may ask without end may guess every short value, so that it is held to limits, too."""

from uuid import UUID

from service import journal
from service.access.queries import Caller
from service.journal import Fact
from service.vault import queries
from service.vault.budgets import Overspent, Spending, count_refusal, spend, suspend
from service.vault.keys import Vault
from service.vault.policies import Kind, Policy
from service.vault.problems import NotOfThisPolicy, ValueUnfit
from service.vault.queries import Record
from service.vault.reveal_granting import recorded
from service.vault.reveal_problems import RevealRefused, RevealSuspended
from service.vault.reveal_rules import Refusal
from service.vault.storing import Draft, PolicyKeys
from service.vault.unfit import Unfit

_PURPOSE = "search"


async def search(vault: Vault, caller: Caller, policy_id: UUID, value: str, *, count_max: int) -> list[Record]:
    """The records of a policy that hold exactly this value. Each search is one value of the policy's daily budget.

    Raises:
        PolicyNotFound: none of the issuer's.
        NotOfThisPolicy: it stores nothing.
        ValueUnfit: the policy does not take the value, so no record has it.
        RevealRefused: the policy's rules do not name the caller.
        RevealSuspended: a key of the caller passed a limit, or just does.
        RevealUnrecorded: Postgres refused the entry.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    policy = await queries.policy(vault.db, issuer_id=caller.issuer_id, id=policy_id)
    if policy.kind is not Kind.VAULT:
        raise NotOfThisPolicy("the policy stores nothing: tokenize the value and compare")
    try:
        draft = Draft.of(policy, await PolicyKeys.of(vault, policy), value)
    except Unfit as error:
        raise ValueUnfit(str(error), reason=error.reason) from None
    try:
        await _granted(vault, caller, policy)
    except Overspent as over:
        raise await suspend(vault, caller, over) from None
    except (RevealRefused, RevealSuspended) as refusal:
        reason = refusal.extensions.get("reason", refusal.slug)
        await count_refusal(vault, caller, reason, policy.id, _PURPOSE)
        raise
    return await queries.records_of_value(vault.db, policy, draft.fingerprint, count_max=count_max)


async def _granted(vault: Vault, caller: Caller, policy: Policy) -> None:
    """Spend one value, and write the search down: the first of a day, and then each time that the number doubles."""
    rules = policy.rules
    if rules.callers is not None and caller.name not in rules.callers:
        raise RevealRefused(
            f"have the caller named in the reveal rules of policy {policy.id} with PATCH",
            reason=Refusal.CALLER.value,
            policy=str(policy.id),
        )
    with recorded():
        async with vault.transaction() as (session, connection):
            await spend(connection, caller.key_id, [Spending(policy.id, 1, rules.daily_max, frozenset(), None)])
            cursor = await connection.execute(
                """INSERT INTO vault.searches AS searched (key_id, policy_id, day, count)
                VALUES (%s, %s, (now() AT TIME ZONE 'utc')::date, 1)
                ON CONFLICT (key_id, policy_id, day) DO UPDATE SET count = searched.count + 1 RETURNING count""",
                (caller.key_id, policy.id),
            )
            row = await cursor.fetchone()
            count: int = row[0] if row else 0
            if count & (count - 1) == 0:
                body = {"caller": str(caller.id), "key": caller.key_id, "policy": str(policy.id), "count": count}
                await journal.append(session, [Fact("vault.searched", caller.issuer_id, body)])
