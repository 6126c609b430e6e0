"""The sender: reserve nonces, sign, store, commit, broadcast; then watch until final.

One step is confirm, claim, broadcast. Nothing is broadcast that is not stored, and everything stored is broadcast until
it is mined, so a step may be cut between any two instructions. The lease makes one sender the only one that writes.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.node import NodeRefused
from service.chain.reader import Call, Chain, Receipt
from service.chain.reasons import Reason
from service.chain.reverts import Revert
from service.db import Database
from service.keys.signers import Keystore, SignedTransaction, UnsignedTransaction
from service.telemetry import logger
from service.transactions.fees import Offer, gas_limit, offer
from service.workers import Lease

IN_FLIGHT_MAX = 1_000
"""Signed and unmined transactions at a time, over all signers."""

REFUSALS = frozenset({Reason.REVERTED, Reason.HALTED})


@dataclass(frozen=True, slots=True)
class Queued:
    """A transaction that waits for a nonce."""

    id: UUID
    signer: bytes
    recipient: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class InFlight:
    """A transaction that has a nonce and is not final."""

    id: UUID
    status: str
    block_number: int | None
    block_hash: bytes | None
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A queued transaction with the nonce it is to have."""

    queued: Queued
    nonce: int
    gas_limit: int


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the node made of queued transactions before any nonce was spent."""

    sendable: Sequence[tuple[Queued, int]]  # with gas limits
    refused: Sequence[tuple[Queued, dict[str, Any]]]
    troubled: Sequence[tuple[Queued, str]]


@dataclass(frozen=True, slots=True)
class Sender:
    """What the sender's step needs."""

    db: Database
    chain: Chain
    keystore: Keystore
    transactions_max: int
    resend_after_s: float

    async def step(self, lease: Lease) -> int:
        """Do one bounded round; how many transactions moved."""
        moved = await self.confirm(lease)
        moved += await self.claim(lease)
        return moved + await self.broadcast(lease)

    async def confirm(self, lease: Lease) -> int:
        """Look for receipts of what is in flight, and for blocks that are gone."""
        async with self.db.transaction() as session:
            flying = await _in_flight(session, self.chain.chain_id)
        if not flying:
            return 0
        # The head first: a block that is final in it cannot leave while the receipts are read.
        head = await self.chain.head()
        found = await self._receipts(flying)
        mined, lost = _judge(flying, found)
        refusals = await self._revert_reasons(mined)
        final = _past_reversal(flying, lost, head.final_number)
        if not (mined or lost or final):
            return 0
        async with self.db.transaction() as session:
            await lease.hold(session)
            await _store_lost(session, lost)
            await _store_mined(session, mined, refusals)
            await _store_final(session, final)
        if lost:
            logger().warning("transactions_unmined", count=len(lost))
        return len(mined) + len(lost) + len(final)

    async def _receipts(self, flying: Sequence[InFlight]) -> dict[bytes, Receipt]:
        """Receipts of every unmined attempt, and one for each block that mined ones are in."""
        asked = [hash_ for each in flying if each.status != "mined" for hash_ in each.hashes]
        witnesses = {each.block_hash: each.hashes for each in flying if each.status == "mined"}
        asked += [hash_ for hashes in witnesses.values() for hash_ in hashes]
        receipts = await self.chain.receipts(asked)
        return {hash_: receipt for hash_, receipt in zip(asked, receipts, strict=True) if receipt is not None}

    async def _revert_reasons(self, mined: Mapping[UUID, Receipt]) -> dict[UUID, dict[str, Any]]:
        """The contract's own words for mined transactions that failed, as far as a replay on the block can tell."""
        failed = [id_ for id_, receipt in mined.items() if not receipt.succeeded]
        if not failed:
            return {}
        async with self.db.transaction() as session:
            calls = await _calls(session, failed)
        reasons = {}
        for id_, call in calls.items():
            answer = (await self.chain.calls([call], block=mined[id_].block_number))[0]
            revert = answer.revert if isinstance(answer, NodeRefused) else None
            reasons[id_] = _refusal(revert or Revert("unknown"))
        return reasons

    async def claim(self, lease: Lease) -> int:
        """Give queued transactions their nonces, sign them and store the bytes; a refused one costs no nonce."""
        async with self.db.transaction() as session:
            queued = await _queued(
                session, self.chain.chain_id, self.keystore.addresses, count_max=self.transactions_max
            )
        if not queued:
            return 0
        verdicts = await self._judge_queued(queued)
        fees = await self.chain.fees()
        price = offer(fees.base_fee_wei, fees.priority_fee_wei)
        signers = sorted({each.signer for each in queued})
        counts = dict(zip(signers, await self.chain.transaction_counts(signers), strict=True))
        async with self.db.transaction() as session:
            await lease.hold(session)
            next_nonces = await _next_nonces(session, self.chain.chain_id, counts)
            claims = _number(verdicts.sendable, next_nonces)
            signed = await asyncio.to_thread(self._sign, claims, price)
            await _store_claims(session, claims, signed, price)
            last = await _last_unmined_nonces(session, self.chain.chain_id, signers)
            await _store_refused(session, verdicts.refused, last)
            await _store_trouble(session, {each.id: words for each, words in verdicts.troubled})
        return len(claims) + len(verdicts.refused)

    async def _judge_queued(self, queued: Sequence[Queued]) -> Verdicts:
        estimates = await self.chain.estimate_gas([_call(each) for each in queued])
        recipients = sorted({each.recipient for each in queued})
        empty = {recipient for recipient in recipients if not await self.chain.code(recipient)}
        sendable, refused, troubled = [], [], []
        for each, estimate in zip(queued, estimates, strict=True):
            if isinstance(estimate, int) and each.recipient not in empty:
                sendable.append((each, gas_limit(estimate)))
            elif isinstance(estimate, int):
                # A call to an address without code succeeds and does nothing, which must never pass for an effect.
                refused.append((each, _refusal(Revert("NoContract"))))
            elif estimate.reason in REFUSALS:
                refused.append((each, _refusal(estimate.revert or Revert(estimate.reason))))
            else:
                troubled.append((each, str(estimate.reason)))
        return Verdicts(sendable, refused, troubled)

    def _sign(self, claims: Sequence[Claim], price: Offer) -> list[SignedTransaction]:
        return [
            self.keystore.sign(
                claim.queued.signer,
                UnsignedTransaction(
                    chain_id=self.chain.chain_id,
                    nonce=claim.nonce,
                    to=claim.queued.recipient,
                    data=claim.queued.data,
                    value=0,
                    gas_limit=claim.gas_limit,
                    max_fee_wei=price.max_fee_wei,
                    priority_fee_wei=price.priority_fee_wei,
                ),
            )
            for claim in claims
        ]

    async def broadcast(self, lease: Lease) -> int:
        """Send what is stored and not mined, again when it has been silent for long: same bytes, same effect."""
        async with self.db.transaction() as session:
            due = await _due(session, self.chain.chain_id, self.resend_after_s, count_max=self.transactions_max)
        if not due:
            return 0
        answers = await self.chain.broadcast([raw for _, raw in due])
        taken, troubled = [], {}
        for (id_, _), answer in zip(due, answers, strict=True):
            if answer is None or answer.reason is Reason.ALREADY_KNOWN:
                taken.append(id_)
            else:
                troubled[id_] = str(answer.reason)
        async with self.db.transaction() as session:
            await lease.hold(session)
            await _store_broadcast(session, taken)
            await _store_trouble(session, troubled)
        if troubled:
            logger().warning("broadcast_refused", count=len(troubled), reason=next(iter(troubled.values())))
        return len(taken)


def _call(transaction: Queued) -> Call:
    return Call(to=transaction.recipient, data=transaction.data, sender=transaction.signer)


def _refusal(revert: Revert) -> dict[str, Any]:
    return {"name": revert.name, "arguments": revert.arguments}


def _judge(flying: Iterable[InFlight], receipts: Mapping[bytes, Receipt]) -> tuple[dict[UUID, Receipt], set[UUID]]:
    """Which are newly mined, and which were in a block that is gone."""
    blocks = {receipt.block_hash for receipt in receipts.values()}
    mined: dict[UUID, Receipt] = {}
    lost: set[UUID] = set()
    for each in flying:
        if each.status == "mined":
            if each.block_hash not in blocks:
                lost.add(each.id)
            continue
        receipt = next((receipts[hash_] for hash_ in each.hashes if hash_ in receipts), None)
        if receipt is not None:
            mined[each.id] = receipt
    return mined, lost


def _past_reversal(flying: Iterable[InFlight], lost: set[UUID], final_number: int) -> list[UUID]:
    return [
        each.id
        for each in flying
        if each.block_number is not None and each.block_number <= final_number and each.id not in lost
    ]


def _number(sendable: Sequence[tuple[Queued, int]], next_nonces: Mapping[bytes, int]) -> list[Claim]:
    """Dense nonces, in the order of acceptance."""
    upcoming = dict(next_nonces)
    claims = []
    for queued, limit in sendable:
        claims.append(Claim(queued, upcoming[queued.signer], limit))
        upcoming[queued.signer] += 1
    return claims


async def _queued(session: AsyncSession, chain_id: int, signers: Iterable[bytes], *, count_max: int) -> list[Queued]:
    rows = await session.execute(
        text(
            """SELECT id, signer, recipient, data FROM transactions q
            WHERE chain_id = :chain_id AND status = 'queued' AND signer = ANY(:signers)
              AND (waits_for_nonce IS NULL OR NOT EXISTS (
                SELECT FROM transactions t WHERE t.chain_id = q.chain_id AND t.signer = q.signer
                  AND t.nonce <= q.waits_for_nonce AND t.status IN ('pending', 'submitted')))
            ORDER BY id
            LIMIT least(:count_max, greatest(0, :in_flight_max - (
                SELECT count(*) FROM transactions
                WHERE chain_id = :chain_id AND status IN ('pending', 'submitted'))))"""
        ),
        {
            "chain_id": chain_id,
            "signers": list(signers),
            "count_max": count_max,
            "in_flight_max": IN_FLIGHT_MAX,
        },
    )
    return [Queued(*row) for row in rows]


async def _in_flight(session: AsyncSession, chain_id: int) -> list[InFlight]:
    rows = await session.execute(
        text(
            """SELECT id, status, block_number, block_hash,
                CASE WHEN transaction_hash IS NOT NULL THEN ARRAY[transaction_hash]
                     ELSE ARRAY(SELECT hash FROM attempts a WHERE a.transaction_id = t.id) END AS hashes
            FROM transactions t
            WHERE chain_id = :chain_id AND status IN ('pending', 'submitted', 'mined')
            ORDER BY signer, nonce"""
        ),
        {"chain_id": chain_id},
    )
    return [InFlight(row.id, row.status, row.block_number, row.block_hash, tuple(row.hashes)) for row in rows]


async def _calls(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Call]:
    rows = await session.execute(
        text("SELECT id, recipient, data, signer FROM transactions WHERE id = ANY(:ids)"), {"ids": list(ids)}
    )
    return {id_: Call(to=recipient, data=data, sender=signer) for id_, recipient, data, signer in rows}


async def _next_nonces(session: AsyncSession, chain_id: int, counts: Mapping[bytes, int]) -> dict[bytes, int]:
    """After the highest nonce that we gave out, and never below what the chain has already seen."""
    rows = await session.execute(
        text(
            """SELECT signer, max(nonce) FROM transactions
            WHERE chain_id = :chain_id AND signer = ANY(:signers) AND nonce IS NOT NULL GROUP BY signer"""
        ),
        {"chain_id": chain_id, "signers": list(counts)},
    )
    ours = {signer: nonce + 1 for signer, nonce in rows}
    return {signer: max(count, ours.get(signer, 0)) for signer, count in counts.items()}


async def _last_unmined_nonces(session: AsyncSession, chain_id: int, signers: Sequence[bytes]) -> dict[bytes, int]:
    rows = await session.execute(
        text(
            """SELECT signer, max(nonce) AS nonce FROM transactions
            WHERE chain_id = :chain_id AND signer = ANY(:signers) AND status IN ('pending', 'submitted')
            GROUP BY signer"""
        ),
        {"chain_id": chain_id, "signers": list(signers)},
    )
    return {row.signer: row.nonce for row in rows}


async def _store_claims(
    session: AsyncSession, claims: Sequence[Claim], signed: Sequence[SignedTransaction], price: Offer
) -> None:
    if not claims:
        return
    await session.execute(
        text(
            """UPDATE transactions t SET status = 'pending', nonce = c.nonce, gas_limit = c.gas_limit, last_error = NULL
            FROM unnest(CAST(:ids AS uuid[]), CAST(:nonces AS bigint[]), CAST(:limits AS bigint[]))
                AS c(id, nonce, gas_limit)
            WHERE t.id = c.id AND t.status = 'queued'"""
        ),
        {
            "ids": [claim.queued.id for claim in claims],
            "nonces": [claim.nonce for claim in claims],
            "limits": [claim.gas_limit for claim in claims],
        },
    )
    await session.execute(
        text(
            """INSERT INTO attempts (hash, transaction_id, raw, max_fee_wei, priority_fee_wei)
            SELECT c.hash, c.id, c.raw, :max_fee, :priority_fee
            FROM unnest(CAST(:hashes AS bytea[]), CAST(:ids AS uuid[]), CAST(:raws AS bytea[])) AS c(hash, id, raw)"""
        ),
        {
            "hashes": [each.hash for each in signed],
            "ids": [claim.queued.id for claim in claims],
            "raws": [each.raw for each in signed],
            "max_fee": price.max_fee_wei,
            "priority_fee": price.priority_fee_wei,
        },
    )


async def _store_refused(
    session: AsyncSession,
    refused: Sequence[tuple[Queued, dict[str, Any]]],
    last_unmined: Mapping[bytes, int],
) -> None:
    """Believe a refusal only when nothing of the same signer is on its way, which might change the answer."""
    for queued, refusal in refused:
        waits_for = last_unmined.get(queued.signer)
        if waits_for is not None:
            await session.execute(
                text("UPDATE transactions SET waits_for_nonce = :nonce WHERE id = :id AND status = 'queued'"),
                {"nonce": waits_for, "id": queued.id},
            )
            continue
        statement = text(
            "UPDATE transactions SET status = 'refused', refusal = :refusal WHERE id = :id AND status = 'queued'"
        ).bindparams(bindparam("refusal", type_=JSONB))
        await session.execute(statement, {"refusal": refusal, "id": queued.id})


async def _store_trouble(session: AsyncSession, troubled: Mapping[UUID, str]) -> None:
    if not troubled:
        return
    await session.execute(
        text(
            """UPDATE transactions t SET last_error = c.words,
                broadcast_at = CASE WHEN nonce IS NULL THEN NULL ELSE now() END
            FROM unnest(CAST(:ids AS uuid[]), CAST(:words AS text[])) AS c(id, words)
            WHERE t.id = c.id AND t.status IN ('queued', 'pending', 'submitted')"""
        ),
        {"ids": list(troubled), "words": list(troubled.values())},
    )


async def _due(
    session: AsyncSession, chain_id: int, resend_after_s: float, *, count_max: int
) -> list[tuple[UUID, bytes]]:
    rows = await session.execute(
        text(
            """SELECT t.id, a.raw FROM transactions t JOIN attempts a ON a.transaction_id = t.id
            WHERE t.chain_id = :chain_id AND t.status IN ('pending', 'submitted')
              AND (t.broadcast_at IS NULL OR t.broadcast_at < now() - make_interval(secs => :resend_after_s))
            ORDER BY t.signer, t.nonce, a.created_at LIMIT :count_max"""
        ),
        {"chain_id": chain_id, "resend_after_s": resend_after_s, "count_max": count_max},
    )
    return [(id_, raw) for id_, raw in rows]


async def _store_broadcast(session: AsyncSession, ids: Sequence[UUID]) -> None:
    await session.execute(
        text(
            """UPDATE transactions SET status = 'submitted', broadcast_at = now(), last_error = NULL
            WHERE id = ANY(:ids) AND status IN ('pending', 'submitted')"""
        ),
        {"ids": list(ids)},
    )


async def _store_mined(
    session: AsyncSession,
    mined: Mapping[UUID, Receipt],
    refusals: Mapping[UUID, dict[str, Any]],
) -> None:
    if not mined:
        return
    receipts = list(mined.values())
    statement = text(
        """UPDATE transactions t SET status = 'mined', block_number = c.block_number, block_hash = c.block_hash,
            transaction_hash = c.hash, succeeded = c.succeeded, gas_used = c.gas_used, last_error = NULL,
            refusal = CAST(:refusals AS jsonb) -> CAST(t.id AS text)
        FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS bigint[]), CAST(:blocks AS bytea[]),
                    CAST(:hashes AS bytea[]), CAST(:succeeded AS boolean[]), CAST(:gas AS bigint[]))
            AS c(id, block_number, block_hash, hash, succeeded, gas_used)
        WHERE t.id = c.id AND t.status IN ('pending', 'submitted')"""
    ).bindparams(bindparam("refusals", type_=JSONB))
    await session.execute(
        statement,
        {
            "refusals": {str(id_): refusal for id_, refusal in refusals.items()},
            "ids": list(mined),
            "numbers": [receipt.block_number for receipt in receipts],
            "blocks": [receipt.block_hash for receipt in receipts],
            "hashes": [receipt.transaction_hash for receipt in receipts],
            "succeeded": [receipt.succeeded for receipt in receipts],
            "gas": [receipt.gas_used for receipt in receipts],
        },
    )


async def _store_lost(session: AsyncSession, lost: Iterable[UUID]) -> None:
    """Back to submitted, and due for broadcast at once: the reorganised chain may have dropped it."""
    await session.execute(
        text(
            """UPDATE transactions SET status = 'submitted', broadcast_at = NULL, block_number = NULL,
                block_hash = NULL, transaction_hash = NULL, succeeded = NULL, gas_used = NULL, refusal = NULL
            WHERE id = ANY(:ids) AND status = 'mined'"""
        ),
        {"ids": list(lost)},
    )


async def _store_final(session: AsyncSession, ids: Sequence[UUID]) -> None:
    await session.execute(
        text(
            """UPDATE transactions SET status = CASE WHEN succeeded THEN 'confirmed' ELSE 'reverted' END
            WHERE id = ANY(:ids) AND status = 'mined'"""
        ),
        {"ids": list(ids)},
    )
