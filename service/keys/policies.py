"""Reading and setting what signers may sign, and the audit's own statements: each one set-based."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import new_id
from service.keys.policy import Policy, Recent, Refusal, SigningIntent
from service.keys.tables import SignerPolicyRow


class PolicyUnreadable(Exception):
    """The stored policy is none of this version: set it again."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An intent with its digest, who would sign it, and why it may not be signed, if so."""

    intent: SigningIntent
    digest: bytes
    provider: str | None
    reason: str | None


async def read_policy(session: AsyncSession, address: bytes) -> Policy | None:
    """A signer's policy, its freeze switch included; None where it may sign anything.

    Raises:
        PolicyUnreadable: the row holds something else.
    """
    stored = await stored_policies(session, [address])
    policy = stored.get(address)
    if isinstance(policy, Refusal):
        raise PolicyUnreadable(f"the policy of 0x{address.hex()} cannot be read: set it again")
    return policy


async def set_policy(session: AsyncSession, address: bytes, policy: Policy, *, by: str) -> None:
    """Replace a signer's policy, in the caller's DB transaction; its freeze switch stays as it is."""
    limits = policy.model_dump(mode="json", exclude_none=True)
    await _write(session, address, by, policy=limits)


async def freeze(session: AsyncSession, address: bytes, *, by: str) -> None:
    """From the commit on nothing more is signed with this key; what was signed before may still be mined."""
    await _write(session, address, by, frozen=True)


async def unfreeze(session: AsyncSession, address: bytes, *, by: str) -> None:
    """Let a key sign again, within its policy."""
    await _write(session, address, by, frozen=False)


async def _write(session: AsyncSession, address: bytes, by: str, **changes: Any) -> None:
    told = {**changes, "updated_by": by, "updated_at": func.now()}
    await session.execute(
        insert(SignerPolicyRow)
        .values(address=address, **told)
        .on_conflict_do_update(index_elements=[SignerPolicyRow.address], set_=told)
    )


async def stored_policies(session: AsyncSession, signers: Iterable[bytes]) -> dict[bytes, Policy | Refusal]:
    """The policies of those signers that have one; a row that cannot be read refuses everything."""
    rows = await session.execute(
        select(SignerPolicyRow.address, SignerPolicyRow.policy, SignerPolicyRow.frozen).where(
            SignerPolicyRow.address.in_(list(signers))
        )
    )
    found: dict[bytes, Policy | Refusal] = {}
    for address, limits, frozen in rows:
        try:
            found[address] = Policy.model_validate({**limits, "frozen": frozen})
        except (ValidationError, TypeError):
            found[address] = Refusal.UNREADABLE
    return found


async def lock(session: AsyncSession, signers: Iterable[bytes]) -> None:
    """One at a time for each signer until the commit: the same key on two chains has one window."""
    await session.execute(
        text(
            """SELECT pg_advisory_xact_lock(hashtextextended(encode(s.signer, 'hex'), 0))
            FROM (SELECT signer FROM unnest(CAST(:signers AS bytea[])) AS u(signer) ORDER BY signer) AS s"""
        ),
        {"signers": list(signers)},
    )


async def recent(
    session: AsyncSession, windows_s: Mapping[bytes, int], *, but: Sequence[SigningIntent]
) -> dict[bytes, Recent]:
    """What each signer was allowed within its window, each nonce once, at the most that any version of it may cost.

    Args:
        but: intents that are being judged: their nonces are left out, since a replacement, or the same again after a
            timeout, takes the place of what was signed before.
    """
    rows = await session.execute(
        text(
            """SELECT w.signer, r.count, r.fees_wei
            FROM unnest(CAST(:signers AS bytea[]), CAST(:windows AS bigint[])) AS w(signer, window_s),
            LATERAL (
                SELECT count(*) FILTER (WHERE n.acts) AS count, coalesce(sum(n.fee_wei), 0) AS fees_wei
                FROM (
                    SELECT bool_or(purpose = 'transaction') AS acts, max(fee_max_wei) AS fee_wei FROM signatures s
                    WHERE s.signer = w.signer AND s.verdict = 'allowed'
                      AND s.at > now() - make_interval(secs => w.window_s)
                      AND (s.signer, s.chain_id, s.nonce) NOT IN (
                        SELECT * FROM unnest(CAST(:own_signers AS bytea[]),
                            CAST(:own_chains AS bigint[]), CAST(:own_nonces AS bigint[])))
                    GROUP BY s.chain_id, s.nonce
                ) AS n
            ) AS r"""
        ),
        {
            "signers": list(windows_s),
            "windows": list(windows_s.values()),
            "own_signers": [each.signer for each in but],
            "own_chains": [each.transaction.chain_id for each in but],
            "own_nonces": [each.transaction.nonce for each in but],
        },
    )
    return {signer: Recent(count, int(fees_wei)) for signer, count, fees_wei in rows}


async def record(session: AsyncSession, judged: Sequence[Judged]) -> None:
    """One audit entry for each, in one statement; the caller commits before anything is signed."""
    transactions = [each.intent.transaction for each in judged]
    await session.execute(
        text(
            """INSERT INTO signatures (id, signer, provider, purpose, chain_id, nonce, recipient, selector, value_wei,
                fee_max_wei, digest, attempt_id, transaction_id, verdict, reason)
            SELECT c.id, c.signer, c.provider, c.purpose, c.chain_id, c.nonce, c.recipient, c.selector, c.value_wei,
                c.fee_max_wei, c.digest, c.attempt_id, c.transaction_id,
                CASE WHEN c.reason IS NULL THEN 'allowed' ELSE 'refused' END, c.reason
            FROM unnest(CAST(:ids AS uuid[]), CAST(:signers AS bytea[]), CAST(:providers AS text[]),
                CAST(:purposes AS text[]), CAST(:chains AS bigint[]), CAST(:nonces AS bigint[]),
                CAST(:recipients AS bytea[]), CAST(:selectors AS bytea[]), CAST(:values AS numeric[]),
                CAST(:fees AS numeric[]), CAST(:digests AS bytea[]), CAST(:attempts AS uuid[]),
                CAST(:transactions AS uuid[]), CAST(:reasons AS text[]))
            AS c(id, signer, provider, purpose, chain_id, nonce, recipient, selector, value_wei, fee_max_wei, digest,
                attempt_id, transaction_id, reason)"""
        ),
        {
            "ids": [new_id() for _ in judged],
            "signers": [each.intent.signer for each in judged],
            "providers": [each.provider for each in judged],
            "purposes": [each.intent.purpose for each in judged],
            "chains": [each.chain_id for each in transactions],
            "nonces": [each.nonce for each in transactions],
            "recipients": [each.to for each in transactions],
            "selectors": [each.intent.selector for each in judged],
            "values": [each.value for each in transactions],
            "fees": [each.intent.fee_max_wei for each in judged],
            "digests": [each.digest for each in judged],
            "attempts": [each.intent.attempt_id for each in judged],
            "transactions": [each.intent.transaction_id for each in judged],
            "reasons": [each.reason for each in judged],
        },
    )
