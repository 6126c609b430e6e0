"""Would this transfer pass? The very transfer, executed by the node on the state of a block, and not sent.

Since the answer is the contracts' own, a preview and what is sent in the same state cannot disagree.
"""

from dataclasses import dataclass
from typing import Any

from service.addresses import ZERO
from service.chain import contracts
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call
from service.chain.reasons import Reason
from service.chain.restrictions import rule_of
from service.chain.reverts import Revert
from service.compliance.orders import PreviewOrder
from service.compliance.problems import StateNotKept
from service.errors import Problem
from service.mirror.queries import Label, MirrorBehind
from service.operations.submit import Ledger, refused
from service.tokens.controls import REGULATED
from service.tokens.problems import NodeAway, WrongTokenKind
from service.tokens.queries import Token

ALLOWED = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a transfer would be refused, and the rule that forbids it; None where nothing speaks against it."""

    problem: Problem | None
    rule: dict[str, Any] | None


async def preview(ledger: Ledger, token: Token, label: Label, order: PreviewOrder) -> Verdict:
    """Execute a transfer on the state of the label's block, without sending it.

    Raises:
        WrongTokenKind: an amount of deeds, or a deed of units.
        NodeAway: the node does not answer, or does not have the block.
        StateNotKept: the node has the block, but no longer its state.
        MirrorBehind: the chain has replaced the label's block.

    Source: ERC-7943 and ERC-1404 have such views; `explainTransfer` of our tokens also knows the spender and the data.
    """
    answer, explained = await _ask(ledger, label.block, _calls(token, order))
    await _same_block(ledger, label)
    rule = None if explained is None else _explanation(token, explained)
    if not isinstance(answer, NodeRefused):
        return Verdict(None, None)
    assert answer.revert is not None, "a refusal that is no revert was told as a problem"
    return Verdict(refused(answer.revert, ledger.problems), _told(answer.revert) or rule)


def _calls(token: Token, order: PreviewOrder) -> list[Call]:
    """The transfer, and the question which rule forbids it where the contract can say."""
    titled = token.kind in ("deed", "erc721")
    what = order.deed_id if titled else order.amount
    if what is None:
        wanted = "a deed_id" if titled else "an amount"
        raise WrongTokenKind(f"this is a {token.kind} token: give {wanted}", kind=token.kind)
    # A transfer is written alike for every contract. Source: ERC-20, ERC-721.
    artifact = token.artifact or ("DeedToken" if titled else "AssetToken")
    if titled or order.spender:
        data = contracts.encode_call(artifact, "transferFrom", order.holder, order.to, what)
    else:
        data = contracts.encode_call(artifact, "transfer", order.to, what)
    calls = [Call(to=token.address, data=data, sender=order.spender or order.holder)]
    if token.kind in REGULATED:
        asked = (order.spender or ZERO, order.holder, order.to, what)
        data = contracts.encode_call(token.artifact, "explainTransfer", *asked)
        calls.append(Call(to=token.address, data=data, sender=order.holder))
    return calls


async def _ask(ledger: Ledger, block: int, calls: list[Call]) -> tuple[bytes | NodeRefused, bytes | None]:
    try:
        answers = await ledger.chain.calls(calls, block=block)
    except NodeUnavailable:
        raise NodeAway("the node executes the transfer for a preview, and does not answer: try again") from None
    for answer in answers:
        if isinstance(answer, NodeRefused) and answer.revert is None:
            # Some nodes say of a state that they no longer have that they don't know the block.
            if answer.reason is Reason.HISTORY_GONE or (
                answer.reason is Reason.BLOCK_UNKNOWN and await _headers(ledger, block)
            ):
                raise StateNotKept(f"the node has block {block}, and no longer its state", block=block)
            raise NodeAway(f"the node can't execute this at block {block} ({answer.reason}): try again")
    explained = answers[1] if len(answers) > 1 else None
    return answers[0], None if isinstance(explained, NodeRefused) else explained


async def _same_block(ledger: Ledger, label: Label) -> None:
    """The calls went by number: were they answered of the block that the label names?"""
    if await _headers(ledger, label.block) != [label.hash]:
        raise MirrorBehind("the chain replaced this block a moment ago: ask again", tip=label.block)


async def _headers(ledger: Ledger, block: int) -> list[bytes]:
    """The hash of the node's block of this number, where it has one."""
    try:
        return [found.hash for found in await ledger.chain.blocks(first=block, count_max=1)]
    except (NodeUnavailable, NodeRefused):
        raise NodeAway("the node does not say which block it answered of: try again") from None


def _explanation(token: Token, answer: bytes) -> dict[str, Any] | None:
    ((code, account, limit, actual),) = contracts.decode_result(token.artifact, "explainTransfer", answer)
    if code == ALLOWED:
        return None
    return rule_of({"code": str(code), "account": account, "limit": str(limit), "actual": str(actual)})


def _told(revert: Revert) -> dict[str, Any] | None:
    """The rule that a refusal names itself."""
    return rule_of(revert.arguments) if revert.name == "TransferRestricted" else None
