"""What the chain makes of transactions: what it refuses, what has its effect already, and what may yet come to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from service.addresses import ZERO
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call, Chain, Receipt
from service.chain.reasons import Reason
from service.chain.reverts import Revert
from service.transactions.fees import gas_limit
from service.transactions.known_gas import KnownGas
from service.transactions.moves import EXECUTED_ELSEWHERE, Doubtful, Proof, Queued

TRANSACTION_GAS_MAX = 2**24
"""Source: EIP-7825. A chain without it may allow more, to which only the estimate leads."""

IMPOSSIBLE = frozenset({"CheckpointUnorderedInsertion"})
"""What no contract of ours can answer in a real block: the node has mixed one block's number with another's state."""

FORGOTTEN = frozenset({Reason.HISTORY_GONE, Reason.BLOCK_UNKNOWN})

REFUSALS = frozenset({Reason.REVERTED, Reason.HALTED})


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the node made of queued transactions before any nonce was spent."""

    sendable: Sequence[tuple[Queued, int]]  # with gas limits
    refused: Mapping[UUID, dict[str, Any]]
    troubled: Mapping[UUID, str]
    executed: Sequence[UUID]  # by someone else, past reversal


async def _estimates(chain: Chain, known: KnownGas, queued: Sequence[Queued]) -> list[int | NodeRefused]:
    """Gas that suffices for each call now, or why it can't be executed."""
    enough = [known.of(each.recipient, each.data) for each in queued]
    tried = [
        (place, replace(_call(each), gas=gas))
        for place, (each, gas) in enumerate(zip(queued, enough, strict=True))
        if gas is not None
    ]
    found: dict[int, int | NodeRefused] = {}
    for (place, call), answer in zip(tried, await chain.calls([call for _, call in tried]), strict=True):
        if isinstance(answer, bytes) and call.gas is not None:
            found[place] = call.gas
    rest = [place for place in range(len(queued)) if place not in found]
    for place, estimate in zip(rest, await chain.estimate_gas([_call(queued[each]) for each in rest]), strict=True):
        found[place] = estimate
        if isinstance(estimate, int):
            known.learn(queued[place].recipient, queued[place].data, estimate)
    return [found[place] for place in range(len(queued))]


async def judge_queued(chain: Chain, known: KnownGas, queued: Sequence[Queued], *, final_number: int) -> Verdicts:
    """Try queued transactions on the newest block."""
    estimates = await _estimates(chain, known, queued)
    empty = await _empty(chain, {each.recipient for each in queued})
    sendable: list[tuple[Queued, int]] = []
    refused: list[tuple[Queued, dict[str, Any]]] = []
    troubled: dict[UUID, str] = {}
    for each, estimate in zip(queued, estimates, strict=True):
        if isinstance(estimate, int) and each.recipient not in empty:
            sendable.append((each, _limit(estimate, each.gas_limit_min)))
        elif isinstance(estimate, int):
            # A call to an address without code succeeds and does nothing, which must never pass for an effect.
            refused.append((each, _told(Revert("NoContract"))))
        elif estimate.revert is not None and estimate.revert.name in IMPOSSIBLE:
            troubled[each.id] = str(Reason.UNKNOWN)
        elif estimate.reason in REFUSALS:
            refused.append((each, _told(estimate.revert or Revert(estimate.reason))))
        else:
            troubled[each.id] = str(estimate.reason)
    return await _believed(chain, Verdicts(sendable, {}, troubled, []), refused, final_number)


def _limit(estimate: int, at_least: int) -> int:
    """What an estimate is given, or twice what did not suffice; no more than one transaction may have, if that does."""
    limit = max(gas_limit(estimate), at_least)
    return min(limit, TRANSACTION_GAS_MAX) if estimate <= TRANSACTION_GAS_MAX else limit


async def _believed(
    chain: Chain, verdicts: Verdicts, refused: Sequence[tuple[Queued, dict[str, Any]]], final_number: int
) -> Verdicts:
    """Take what has its effect already out of the refused: as executed where that is final, else as undecided."""
    proofs = [each.proof for each, _ in refused]
    done = await _executed(chain, proofs, block=None)
    finally_done = await _executed(chain, proofs, block=max(final_number, 0)) if any(done) else done
    told = {each.id: words for (each, words), is_done in zip(refused, done, strict=True) if is_done is False}
    executed = [each.id for (each, _), is_final in zip(refused, finally_done, strict=True) if is_final]
    waiting = {
        each.id: EXECUTED_ELSEWHERE
        for (each, _), is_done, is_final in zip(refused, done, finally_done, strict=True)
        if is_done is not False and not is_final
    }
    return Verdicts(verdicts.sendable, told, {**verdicts.troubled, **waiting}, executed)


async def judge_doubtful(
    chain: Chain, doubtful: Sequence[Doubtful], *, final_number: int
) -> tuple[list[UUID], list[UUID]]:
    """Of what did not take effect itself: what has its effect all the same, and what may still come to it.

    Whoever saw a holder's authorization may have relayed it before us, or may do so until it runs out: telling a
    failure then would have the caller ask, and the holder pay, a second time.
    """
    if not doubtful:
        return [], []
    executed = await _executed(chain, [each.proof for each in doubtful], block=max(final_number, 0))
    blocks = await chain.blocks(first=max(final_number, 0), count_max=1)
    if not blocks:
        raise NodeUnavailable("the node no longer has the block that it called final")
    now = datetime.fromtimestamp(blocks[0].timestamp, UTC)
    done = [each.id for each, is_done in zip(doubtful, executed, strict=True) if is_done]
    undecided = [
        each.id
        for each, is_done in zip(doubtful, executed, strict=True)
        if is_done is None or (not is_done and each.effect_until is not None and now < each.effect_until)
    ]
    return done, undecided


async def revert_reasons(
    chain: Chain, calls: Mapping[UUID, Call], receipts: Mapping[UUID, Receipt]
) -> dict[UUID, dict[str, Any]]:
    """The contract's own words for mined transactions that failed, as far as a replay on the block can tell."""
    reasons = {}
    for id_, call in calls.items():
        answer = (await chain.calls([call], block=receipts[id_].block_number))[0]
        revert = answer.revert if isinstance(answer, NodeRefused) else None
        reasons[id_] = _told(revert or Revert("unknown"))
    return reasons


async def _executed(chain: Chain, proofs: Sequence[Proof], *, block: int | None) -> list[bool | None]:
    """Which effects are on the chain, at a block or at the newest one; None where the node no longer knows that block.

    Raises:
        NodeRefused: the node does not tell for another reason, and that is no answer of the contract.
    """
    calls = [Call(to=to, data=data or b"", sender=ZERO) for to, data in proofs]
    asked = [call for call in calls if call.to is not None]
    answers = iter(await chain.calls(asked, block=block) if asked else [])
    return [_is_true(next(answers)) if call.to is not None else False for call in calls]


async def _empty(chain: Chain, addresses: Iterable[bytes]) -> set[bytes]:
    asked = sorted(addresses)
    codes = await chain.codes(asked)
    return {address for address, code in zip(asked, codes, strict=True) if not code}


def _call(queued: Queued) -> Call:
    return Call(to=queued.recipient, data=queued.data, sender=queued.signer)


def _told(revert: Revert) -> dict[str, Any]:
    return {"name": revert.name, "arguments": revert.arguments}


def _is_true(answer: bytes | NodeRefused) -> bool | None:
    """A contract's `true`; a revert is not, and nothing, as from an address without code, is not."""
    if isinstance(answer, NodeRefused) and answer.reason in FORGOTTEN:
        return None
    if isinstance(answer, NodeRefused) and answer.reason not in REFUSALS:
        raise answer
    return isinstance(answer, bytes) and len(answer) == 32 and int.from_bytes(answer) == 1
