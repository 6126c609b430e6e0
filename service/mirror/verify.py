"""Compare the mirror with the chain at one block. Whatever the mirror says, the chain is right."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from service.addresses import ZERO, hex0x
from service.chain import artifacts, contracts
from service.chain.node import NodeRefused
from service.chain.reader import Call, Chain
from service.chain.reasons import Reason
from service.db import Database
from service.mirror import queries
from service.mirror.queries import Contract, Holding, Label

CALLS_MAX = 500
"""Balances asked at once."""

CONTRACT_CHECKS = 4
"""Comparisons of a contract besides its holders: code, supply, sum of holdings, paused."""

TOKEN = "AssetToken"  # noqa: S105

ACCOUNTS = """
SELECT known.account, coalesce(held.amount, 0)
FROM mirror.holdings AS known LEFT JOIN LATERAL (
    SELECT amount FROM mirror.holdings AS past
    WHERE past.contract_id = known.contract_id AND past.account = known.account
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held ON true
WHERE known.contract_id = %(contract_id)s AND known.account > %(after)s AND known.to_block IS NULL AND known.canonical
ORDER BY known.account LIMIT %(count_max)s
"""

ACCOUNT_COUNT = """
SELECT count(*) FROM mirror.holdings JOIN mirror.deployments ON deployments.contract_id = holdings.contract_id
JOIN mirror.contracts ON contracts.id = deployments.contract_id
WHERE contracts.chain_id = %(chain_id)s AND deployments.canonical AND deployments.block_number <= %(block)s
    AND to_block IS NULL AND holdings.canonical
"""

Progress = Callable[[int, int], None]


class ReorganisedMeanwhile(Exception):
    """The block left the chain, or the mirror, while it was compared: run again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the mirror and the chain say differently, each in its own words."""

    kind: str  # block_hash, code, supply, sum_of_holdings, paused or holding
    contract: bytes | None
    account: bytes | None
    mirror: str
    chain: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared at one block, and every difference."""

    block: int
    block_hash: bytes
    compared: int
    differences: tuple[Difference, ...]


@dataclass(slots=True)
class _Tally:
    progress: Progress | None
    total: int
    compared: int = 0

    def add(self, count: int) -> None:
        self.compared += count
        if self.progress is not None:
            self.progress(min(self.compared, self.total), self.total)


async def verify(db: Database, chain: Chain, *, chain_id: int, block: int | None, progress: Progress | None) -> Report:
    """Compare block hash, and each contract's code, supply, pause and every account it ever knew, with the chain.

    Args:
        block: None means the mirror's newest block.
        progress: called with comparisons done and in all.

    Raises:
        ReorganisedMeanwhile: the block was replaced while it was compared; run again.
        MirrorEmpty, BlockInFuture, BlockNotMirrored: the mirror has no such block.
        NodeUnavailable, NodeRefused: the node cannot answer for this block, for instance because it prunes history.
    """
    await chain.check()
    async with db.read() as connection:
        label = await queries.label(connection, chain_id=chain_id, at_block=block)
        row = await (await connection.execute(ACCOUNT_COUNT, {"chain_id": chain_id, "block": label.block})).fetchone()
    chain_hash = await _hash_on_chain(chain, label.block)
    if chain_hash != label.hash:
        shown = "no such block" if chain_hash is None else hex0x(chain_hash)
        return Report(label.block, label.hash, 1, (Difference("block_hash", None, None, hex0x(label.hash), shown),))
    found = [each async for each in _contracts(db, label)]
    tally = _Tally(progress, total=1 + CONTRACT_CHECKS * len(found) + (row[0] if row else 0))
    tally.add(1)
    try:
        differences = [each for contract in found for each in await _compare(db, chain, label, contract, tally)]
    except NodeRefused as refused:
        if refused.reason is Reason.BLOCK_UNKNOWN:
            raise _reorganised(label) from refused
        raise
    await _check_still_there(db, chain, label)
    return Report(label.block, label.hash, tally.compared, tuple(differences))


async def _compare(db: Database, chain: Chain, label: Label, contract: Contract, tally: _Tally) -> list[Difference]:
    differences = await _compare_contract(db, chain, label, contract)
    tally.add(CONTRACT_CHECKS)
    if any(difference.kind == "code" for difference in differences):
        return differences
    async for accounts in _accounts(db, label, contract):
        asked = [_balance_call(contract.address, each.account) for each in accounts]
        answers = await chain.calls(asked, block=label.block)
        for each, answer in zip(accounts, answers, strict=True):
            balance = _number(answer)
            if balance != str(each.amount):
                differences.append(Difference("holding", contract.address, each.account, str(each.amount), balance))
        tally.add(len(accounts))
    return differences


async def _compare_contract(db: Database, chain: Chain, label: Label, contract: Contract) -> list[Difference]:
    artifact = artifacts.load(TOKEN)
    code = await chain.code(contract.address, block=label.block)
    code_hash = artifacts.masked_code_hash(code, artifact) if code else None
    if code_hash != artifact.runtime_code_hash:
        expected = f"{TOKEN} {hex0x(artifact.runtime_code_hash)}"
        return [Difference("code", contract.address, None, expected, hex0x(code_hash) if code_hash else "no code")]
    async with db.read() as connection:
        supply = await queries.supply(connection, contract_id=contract.id, block=label.block)
        paused = await queries.paused(connection, contract_id=contract.id, block=label.block)
    held = 0
    async for accounts in _accounts(db, label, contract):
        held += sum(each.amount for each in accounts)
    functions = ("totalSupply", "paused")
    calls = [Call(contract.address, contracts.encode_call(TOKEN, name), ZERO) for name in functions]
    supply_on_chain, paused_on_chain = map(_number, await chain.calls(calls, block=label.block))
    compared = (
        ("supply", str(supply), supply_on_chain),
        # Balances of accounts that the mirror never heard of would show here.
        ("sum_of_holdings", str(held), supply_on_chain),
        ("paused", str(int(paused)), paused_on_chain),
    )
    return [
        Difference(kind, contract.address, None, mirror, chain_says)
        for kind, mirror, chain_says in compared
        if mirror != chain_says
    ]


def _balance_call(contract: bytes, account: bytes) -> Call:
    return Call(contract, contracts.encode_call(TOKEN, "balanceOf", account), ZERO)


def _number(answer: bytes | NodeRefused) -> str:
    """A one-word answer as decimal text; a contract's refusal in its own words."""
    if isinstance(answer, NodeRefused):
        if answer.reason is not Reason.REVERTED:
            raise answer
        return f"refused: {answer.revert}"
    return str(int.from_bytes(answer)) if len(answer) == 32 else f"no number: {hex0x(answer)}"


async def _contracts(db: Database, label: Label) -> AsyncIterator[Contract]:
    after: bytes | None = None
    while True:
        async with db.read() as connection:
            page = await queries.contracts_page(
                connection, chain_id=label.chain, block=label.block, after=after, count_max=CALLS_MAX
            )
        for each in page:
            yield each
        if len(page) < CALLS_MAX:
            return
        after = page[-1].address


async def _accounts(db: Database, label: Label, contract: Contract) -> AsyncIterator[Sequence[Holding]]:
    """Every account that the mirror ever knew of a contract, with its amount at the block, 0 included."""
    after = b""
    while True:
        # A short read for each page: a long one would keep Postgres from cleaning up behind the indexer.
        async with db.read() as connection:
            given = {"contract_id": contract.id, "block": label.block, "after": after, "count_max": CALLS_MAX}
            rows = await (await connection.execute(ACCOUNTS, given)).fetchall()
        if rows:
            yield [Holding(*row) for row in rows]
        if len(rows) < CALLS_MAX:
            return
        after = rows[-1][0]


async def _hash_on_chain(chain: Chain, number: int) -> bytes | None:
    blocks = await chain.blocks(first=number, count_max=1)
    return blocks[0].hash if blocks else None


async def _check_still_there(db: Database, chain: Chain, label: Label) -> None:
    async with db.read() as connection:
        row = await (
            await connection.execute(
                "SELECT hash FROM mirror.blocks WHERE chain_id = %s AND number = %s AND canonical",
                (label.chain, label.block),
            )
        ).fetchone()
    if row is None or row[0] != label.hash or await _hash_on_chain(chain, label.block) != label.hash:
        raise _reorganised(label)


def _reorganised(label: Label) -> ReorganisedMeanwhile:
    return ReorganisedMeanwhile(f"block {label.block} was replaced while it was compared: run verify again")
