"""Trying a batch on the newest block before anything is stored, and finding the rows that are to blame."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.addresses import ZERO, checksum
from service.batches.calls import Plan, row_call
from service.batches.orders import MINT, TRANSFER
from service.batches.packing import PACK_GAS_MAX, Pack
from service.batches.problems import BatchRefused
from service.chain import contracts
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call
from service.chain.shapes import granted
from service.compliance.problems import PolicyMissing
from service.deployments.problems import NotScheduled, OperationAlreadyExecuted, SignerLacksRole
from service.errors import Problem
from service.operations.submit import Intent, Ledger, refused
from service.telemetry import logger
from service.tokens.problems import (
    AuthorizationAlreadyUsed,
    CapExceeded,
    InsufficientBalance,
    InsufficientUnfrozenBalance,
    TokenPaused,
)

ROWS_TOLD_MAX = 100
SIMULATION_MAX_S = 30.0
"""A caller waits no longer than this for a slow node; then the batch is accepted as far as it was tried."""

CHUNK_GAS_MAX = 4 * PACK_GAS_MAX
"""Gas that a node is asked to try within one request, which it must answer in time."""

CHUNK_CALLS_MAX = 100

WHOLE: tuple[type[Problem], ...] = (TokenPaused, SignerLacksRole, NotScheduled, PolicyMissing)
"""Refusals that concern no row more than another."""

DONE: tuple[type[Problem], ...] = (OperationAlreadyExecuted, AuthorizationAlreadyUsed)
"""Refusals of what has happened already: the database was restored from an older backup."""


async def check(ledger: Ledger, plan: Plan, intents: Mapping[int, Intent]) -> None:
    """Try every pack, and look whether they are too much together. A node that does not answer proves nothing.

    A pack that the chain has executed already passes: its operation will be found done.

    Args:
        intents: by the numbers of the packs.

    Raises:
        BatchRefused: with the rows that are to blame, as far as they can be told.
        Problem: the contract refuses whatever the rows are.
    """
    try:
        async with asyncio.timeout(SIMULATION_MAX_S):
            told = await _tried(ledger, plan, intents) or await _added_up(ledger, plan)
    except (NodeUnavailable, NodeRefused, TimeoutError) as error:
        logger().warning("simulation_skipped", error_kind=type(error).__name__)
        return
    if told:
        first = told[0]
        where = f"row {first['row']}" if "row" in first else f"rows {first['rows'][0]} to {first['rows'][1]}"
        more = f"; and {len(told) - 1} more" if len(told) > 1 else ""
        raise BatchRefused(f"{where}: {first['detail']}{more}; nothing was sent", rows=told)


async def _tried(ledger: Ledger, plan: Plan, intents: Mapping[int, Intent]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for packs in _chunks(plan.packs, plan.row_gas):
        wanted = [intents[pack.number] for pack in packs]
        calls = [Call(each.recipient, each.data, plan.signer) for each in wanted]
        for pack, intent, answer in zip(packs, wanted, await ledger.chain.calls(calls), strict=True):
            revert = answer.revert if isinstance(answer, NodeRefused) else None
            if revert is None:
                continue
            problem = refused(revert, ledger.problems)
            if isinstance(problem, WHOLE):
                raise problem
            if isinstance(problem, DONE):
                await _require_ours(ledger, intent, problem)
                continue
            told += await _blamed(ledger, plan, pack, problem, ROWS_TOLD_MAX - len(told))
            if len(told) >= ROWS_TOLD_MAX:
                return told
    return told


def _chunks(packs: Sequence[Pack], gas: int) -> Iterator[list[Pack]]:
    chunk: list[Pack] = []
    used = 0
    for pack in packs:
        cost = len(pack.rows) * gas
        if chunk and (used + cost > CHUNK_GAS_MAX or len(chunk) == CHUNK_CALLS_MAX):
            yield chunk
            chunk, used = [], 0
        chunk.append(pack)
        used += cost
    if chunk:
        yield chunk


async def _require_ours(ledger: Ledger, intent: Intent, problem: Problem) -> None:
    """What burned the id must have been this very call, and not another body under the same key."""
    assert intent.proof is not None, "a pack burns what proves it"
    to, data = intent.proof
    if int.from_bytes(await ledger.chain.call(Call(to, data, ZERO))) != 1:
        raise problem


async def _blamed(ledger: Ledger, plan: Plan, pack: Pack, problem: Problem, count_max: int) -> list[dict[str, Any]]:
    """The rows of a refused pack that are refused by themselves, or else all of them together."""
    told: list[dict[str, Any]] = []
    for start in range(0, len(pack.rows), CHUNK_CALLS_MAX):
        numbers = pack.rows[start : start + CHUNK_CALLS_MAX]
        answers = await ledger.chain.calls([row_call(plan, pack, number) for number in numbers])
        for number, answer in zip(numbers, answers, strict=True):
            if isinstance(answer, NodeRefused) and answer.revert is not None:
                told.append({"row": number, **_body(refused(answer.revert, ledger.problems))})
        if len(told) >= count_max:
            return told[:count_max]
    return told or [{"rows": [pack.rows[0], pack.rows[-1]], **_body(problem)}]


def _body(problem: Problem) -> dict[str, Any]:
    return {name: given for name, given in problem.body().items() if name != "status"}


async def _added_up(ledger: Ledger, plan: Plan) -> list[dict[str, Any]]:
    """What no pack can see: that they are too much together."""
    if plan.kind is TRANSFER:
        return await _overdrawn(ledger, plan)
    if plan.kind is MINT and len(plan.packs) > 1:
        return await _overissued(ledger, plan)
    return []


async def _overdrawn(ledger: Ledger, plan: Plan) -> list[dict[str, Any]]:
    """Of accounts whose rows need several packs: the first row that their units do not reach for."""
    rows: dict[bytes, list[int]] = {}
    for pack in plan.packs:
        assert pack.account is not None, "a pack of transfers is one account's"
        rows.setdefault(pack.account, []).extend(pack.rows)
    packs = Counter(pack.account for pack in plan.packs)
    told = []
    for account in (each for each in rows if packs[each] > 1):
        balance, frozen = await _units(ledger, plan, account)
        left = max(balance - frozen, 0)
        for number in rows[account]:
            left -= plan.orders[number].amount
            if left < 0:
                kind = InsufficientUnfrozenBalance if frozen else InsufficientBalance
                total = sum(plan.orders[each].amount for each in rows[account])
                detail = (
                    f"{checksum(account)} has {balance} base units, {frozen} of them frozen; its rows add up to {total}"
                )
                told.append({"row": number, **_body(kind(detail))})
                break
    return told[:ROWS_TOLD_MAX]


async def _units(ledger: Ledger, plan: Plan, account: bytes) -> tuple[int, int]:
    """Balance and frozen amount; only fungible tokens freeze."""
    artifact = plan.target.artifact
    functions = ["balanceOf", *(["getFrozenTokens"] if artifact.startswith("AssetToken") else [])]
    calls = [Call(plan.target.address, contracts.encode_call(artifact, each, account), ZERO) for each in functions]
    answers = [granted(each) for each in await ledger.chain.calls(calls)]
    amounts = [int.from_bytes(each) for each in answers]
    return amounts[0], amounts[1] if len(amounts) > 1 else 0


async def _overissued(ledger: Ledger, plan: Plan) -> list[dict[str, Any]]:
    """Whether the cap or the reserve stands against all mints together."""
    token, target = plan.token, plan.target
    assert token is not None, "mints are of a token"
    data = contracts.encode_call(target.artifact, "totalSupply")
    supply = int.from_bytes(await ledger.chain.call(Call(target.address, data, ZERO)))
    after = supply + sum(each.amount for each in plan.orders.values())
    everything = {"rows": [min(plan.orders), max(plan.orders)]}
    cap = token.terms.get("cap")
    if cap is not None and after > int(cap):
        return [{**everything, **_body(CapExceeded(f"there would be {after} base units, and {cap} are allowed"))}]
    if token.terms.get("reserve"):
        reserve = await ledger.chain.call(Call(target.address, contracts.encode_call(target.artifact, "reserve"), ZERO))
        asked = contracts.encode_call("ReserveAttestation", "requireBacked", after)
        (answer,) = await ledger.chain.calls([Call(reserve[-20:], asked, target.address)])
        if isinstance(answer, NodeRefused) and answer.revert is not None:
            problem = refused(answer.revert, ledger.problems)
            return [{**everything, **_body(problem)}]
    return []
