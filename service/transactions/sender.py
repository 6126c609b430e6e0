"""The sender: reserve nonces, sign, store, commit, broadcast; then watch until final.

One step is confirm, claim, broadcast. Nothing is broadcast that is not stored, and everything stored is broadcast until
it is mined, so a step may be cut between any two instructions. The lease makes one sender the only one that writes.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from service.addresses import ZERO
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call, Chain, Receipt
from service.chain.reasons import Reason
from service.chain.reverts import Revert
from service.db import Database
from service.keys.signers import Keystore, SignedTransaction, UnsignedTransaction
from service.telemetry import logger
from service.transactions import moves
from service.transactions.fees import Offer, gas_limit, offer
from service.transactions.moves import EXECUTED_ELSEWHERE, Claim, Proof, Queued
from service.workers import Lease

REFUSALS = frozenset({Reason.REVERTED, Reason.HALTED})


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the node made of queued transactions before any nonce was spent."""

    sendable: Sequence[tuple[Queued, int]]  # with gas limits
    refused: Sequence[tuple[Queued, dict[str, Any]]]
    troubled: Sequence[tuple[Queued, str]]
    executed: Sequence[Queued]  # by someone else, past reversal


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
        """Look for receipts of what is in flight, for blocks that are gone, and for what is past reversal."""
        async with self.db.transaction() as session:
            unmined = await moves.unmined(session, self.chain.chain_id)
            blocks = await moves.mined_blocks(session, self.chain.chain_id)
        if not (unmined or blocks):
            return 0
        # The head first: a block that is final in it cannot leave while the receipts are read.
        head = await self.chain.head()
        receipts = await self._receipts([*unmined, *(block.witness for block in blocks)])
        mined = {unmined[hash_]: receipt for hash_, receipt in receipts.items() if hash_ in unmined}
        standing = {receipt.block_hash for receipt in receipts.values()}
        lost = [block.hash for block in blocks if block.hash not in standing]
        final = [block.hash for block in blocks if block.hash in standing and block.number <= head.final_number]
        if not (mined or lost or final):
            return 0
        refusals = await self._revert_reasons(mined)
        executed, undecided = await self._judge_failed(final, head.final_number)
        async with self.db.transaction() as session:
            await lease.hold(session)
            moved = await moves.store_lost(session, lost)
            if moved:
                logger().warning("transactions_unmined", count=moved)
            moved += await moves.store_mined(session, mined, refusals)
            moved += await moves.store_final(session, final, executed, undecided)
        return moved

    async def _receipts(self, hashes: Sequence[bytes]) -> dict[bytes, Receipt]:
        receipts = await self.chain.receipts(hashes)
        return {hash_: receipt for hash_, receipt in zip(hashes, receipts, strict=True) if receipt is not None}

    async def _judge_failed(self, final: Sequence[bytes], final_number: int) -> tuple[list[UUID], list[UUID]]:
        """Of what failed in final blocks: what has its effect all the same, and what may still come to it.

        Whoever saw a holder's authorization may have relayed it before us, or may do so until it runs out: telling a
        failure then would have the caller ask, and the holder pay, a second time.
        """
        async with self.db.transaction() as session:
            failed = await moves.failed(session, final)
        if not failed:
            return [], []
        executed = await self._executed([each.proof for each in failed], block=final_number)
        blocks = await self.chain.blocks(first=final_number, count_max=1)
        if not blocks:
            raise NodeUnavailable("the node no longer has the block that it called final")
        now = datetime.fromtimestamp(blocks[0].timestamp, UTC)
        open_ = [each.effect_until is not None and now < each.effect_until for each in failed]
        done = [each.id for each, is_done in zip(failed, executed, strict=True) if is_done]
        undecided = [
            each.id for each, is_done, is_open in zip(failed, executed, open_, strict=True) if is_open and not is_done
        ]
        return done, undecided

    async def _executed(self, proofs: Sequence[Proof], *, block: int | None) -> list[bool]:
        """Which effects are on the chain, at a block or at the newest one.

        Raises:
            NodeRefused: the node can't tell, for instance because it prunes history; that is no answer of the contract.
        """
        calls = [Call(to=to, data=data or b"", sender=ZERO) for to, data in proofs]
        asked = [call for call in calls if call.to is not None]
        answers = iter(await self.chain.calls(asked, block=block) if asked else [])
        return [call.to is not None and _is_true(next(answers)) for call in calls]

    async def _revert_reasons(self, mined: Mapping[UUID, Receipt]) -> dict[UUID, dict[str, Any]]:
        """The contract's own words for mined transactions that failed, as far as a replay on the block can tell."""
        failed = [id_ for id_, receipt in mined.items() if not receipt.succeeded]
        if not failed:
            return {}
        async with self.db.transaction() as session:
            calls = await moves.calls(session, failed)
        reasons = {}
        for id_, call in calls.items():
            answer = (await self.chain.calls([call], block=mined[id_].block_number))[0]
            revert = answer.revert if isinstance(answer, NodeRefused) else None
            reasons[id_] = _refusal(revert or Revert("unknown"))
        return reasons

    async def claim(self, lease: Lease) -> int:
        """Give queued transactions their nonces, sign them and store the bytes; a refused one costs no nonce."""
        async with self.db.transaction() as session:
            queued = await moves.queued(
                session, self.chain.chain_id, self.keystore.addresses, count_max=self.transactions_max
            )
        if not queued:
            return 0
        # The head after the verdicts: it also tells when another chain's node has answered.
        verdicts = await self._believe(await self._judge_queued(queued), (await self.chain.head()).final_number)
        fees = await self.chain.fees()
        price = offer(fees.base_fee_wei, fees.priority_fee_wei)
        signers = sorted({each.signer for each in queued})
        counts = dict(zip(signers, await self.chain.transaction_counts(signers), strict=True))
        async with self.db.transaction() as session:
            await lease.hold(session)
            next_nonces = await moves.next_nonces(session, self.chain.chain_id, counts)
            claims = _number(verdicts.sendable, next_nonces)
            signed = await asyncio.to_thread(self._sign, claims, price)
            await moves.store_claims(session, claims, signed, price)
            last = await moves.last_unmined_nonces(session, self.chain.chain_id, signers)
            await moves.store_refused(session, verdicts.refused, last)
            await moves.store_executed(session, [each.id for each in verdicts.executed])
            await moves.store_trouble(
                session, {each.id: words for each, words in verdicts.troubled}, self.resend_after_s
            )
        return len(claims) + len(verdicts.refused) + len(verdicts.executed)

    async def _judge_queued(self, queued: Sequence[Queued]) -> Verdicts:
        estimates = await self.chain.estimate_gas([_call(each) for each in queued])
        empty = await self._empty({each.recipient for each in queued})
        sendable: list[tuple[Queued, int]] = []
        refused: list[tuple[Queued, dict[str, Any]]] = []
        troubled: list[tuple[Queued, str]] = []
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
        return Verdicts(sendable, refused, troubled, executed=[])

    async def _believe(self, verdicts: Verdicts, final_number: int) -> Verdicts:
        """Take what has its effect already out of the refused: as executed where that is final, else as undecided."""
        proofs = [each.proof for each, _ in verdicts.refused]
        done = await self._executed(proofs, block=None)
        if not any(done):
            return verdicts
        finally_done = await self._executed(proofs, block=max(final_number, 0))
        refused = [pair for pair, is_done in zip(verdicts.refused, done, strict=True) if not is_done]
        executed = [each for (each, _), is_final in zip(verdicts.refused, finally_done, strict=True) if is_final]
        waiting = [
            (each, EXECUTED_ELSEWHERE)
            for (each, _), is_done, is_final in zip(verdicts.refused, done, finally_done, strict=True)
            if is_done and not is_final
        ]
        return Verdicts(verdicts.sendable, refused, [*verdicts.troubled, *waiting], executed)

    async def _empty(self, addresses: Iterable[bytes]) -> set[bytes]:
        asked = sorted(addresses)
        codes = await self.chain.codes(asked)
        return {address for address, code in zip(asked, codes, strict=True) if not code}

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
            due = await moves.due(session, self.chain.chain_id, self.resend_after_s, count_max=self.transactions_max)
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
            await moves.store_broadcast(session, taken)
            await moves.store_trouble(session, troubled, self.resend_after_s)
        if troubled:
            logger().warning("broadcast_refused", count=len(troubled), reason=next(iter(troubled.values())))
        return len(taken)


def _call(transaction: Queued) -> Call:
    return Call(to=transaction.recipient, data=transaction.data, sender=transaction.signer)


def _refusal(revert: Revert) -> dict[str, Any]:
    return {"name": revert.name, "arguments": revert.arguments}


def _is_true(answer: bytes | NodeRefused) -> bool:
    """A contract's `true`; a revert is not, and nothing, as from an address without code, is not."""
    if isinstance(answer, NodeRefused) and answer.reason not in REFUSALS:
        raise answer
    return isinstance(answer, bytes) and len(answer) == 32 and int.from_bytes(answer) == 1


def _number(sendable: Sequence[tuple[Queued, int]], next_nonces: Mapping[bytes, int]) -> list[Claim]:
    """Dense nonces, in the order of acceptance."""
    upcoming = dict(next_nonces)
    claims = []
    for queued, limit in sendable:
        claims.append(Claim(queued, upcoming[queued.signer], limit))
        upcoming[queued.signer] += 1
    return claims
