"""Compare the mirror with the chain. Whatever the mirror says, the chain is right."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.addresses import hex0x
from service.chain import artifacts
from service.chain.node import NodeRefused
from service.chain.reader import Chain
from service.chain.reasons import Reason
from service.db import Database, ReadConnection
from service.mirror import adoptions, queries, verify_history, verify_rows, verify_state
from service.mirror.differences import NOTHING, Difference, Finding, Progress, ReorganisedMeanwhile, Report, Tally
from service.mirror.judge import judge
from service.mirror.projections import Deployment
from service.mirror.queries import Contract, Label
from service.mirror.sampling import Sample
from service.mirror.verify_deployments import adopted, compare_deployments, deployed, expelled
from service.mirror.verify_history import History

__all__ = ["Difference", "Finding", "ReorganisedMeanwhile", "Report", "Sample", "Scope", "verify"]

CONTRACTS_MAX = 500
"""Contracts listed at once."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared.

    Args:
        block: None means the mirror's newest block.
        history_from: compare all blocks from this one on with the chain's headers and logs; None for none of them.
        sample: compare some contracts, some keys of each, and some blocks' history; None for everything at `block`.
    """

    block: int | None = None
    history_from: int | None = None
    sample: Sample | None = None


async def verify(
    db: Database, chain: Chain, *, chain_id: int, factory: bytes, scope: Scope, progress: Progress | None
) -> Report:
    """Compare the mirror with the chain at one block, and with itself up to it.

    The block's hash; the list of contracts; each contract's code, supply and pause, every account and deed that the
    mirror ever knew, and of each aspect that has a view, every key; that digests, holdings, supplies and titles follow
    from the rows beneath them. On demand, all rows of past blocks against the chain's headers and logs.

    Args:
        factory: the AssetFactory, whose `Deployed` events say which contracts there are.

    Raises:
        ReorganisedMeanwhile: the block was replaced while it was compared; run again.
        MirrorEmpty, BlockInFuture, BlockNotMirrored: the mirror has no such block.
        NodeUnavailable, NodeRefused: the node cannot answer for this block, for instance because it prunes history.
    """
    await chain.check()
    async with db.read() as connection:
        label = await queries.label(connection, chain_id=chain_id, at_block=scope.block)
        oldest = await _oldest(connection, chain_id)
    chain_hash = await _hash_on_chain(chain, label.block)
    if chain_hash != label.hash:
        shown = "no such block" if chain_hash is None else hex0x(chain_hash)
        return Report(label.block, label.hash, 1, (Difference("block_hash", None, None, hex0x(label.hash), shown),))
    found = [each async for each in _contracts(db, label)]
    comparison = _Comparison(db, chain, label, oldest, factory, found, scope, Tally(progress))
    try:
        report = await comparison.report()
    except NodeRefused as refused:
        if refused.reason is Reason.BLOCK_UNKNOWN:
            raise _reorganised(label) from refused
        raise
    await _check_still_there(db, chain, label)
    return report


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One block of the mirror, and all that comparing it needs."""

    db: Database
    chain: Chain
    label: Label
    oldest: int  # the mirror's first block
    factory: bytes
    found: list[Contract]  # all contracts of the mirror at the block
    scope: Scope
    tally: Tally

    async def report(self) -> Report:
        """Everything in the scope, compared."""
        chosen = self.found if self.scope.sample is None else self.scope.sample.of(self.found)
        runs = self._runs()
        self.tally.expect(2 + sum(last - first + 1 for first, last in runs))
        self.tally.expect(await verify_state.count(self.db, chosen, self.scope.sample))
        rows = await verify_rows.sizes(self.db, self.label, chosen)
        self.tally.expect(sum(rows.values()))
        self.tally.add(1)
        on_chain = await deployed(self.chain, factory=self.factory, first=self.oldest, last=self.label.block)
        left = await expelled(self.db, self.chain, self.label, on_chain)
        on_chain = [each for each in on_chain if each not in left]
        differences = await compare_deployments(self.db, self.label, on_chain)
        self.tally.add(1)
        findings = [_expelled(each) for each in left]
        for contract in chosen:
            differences += await verify_state.compare_state(self._comparing(contract))
            findings += await self._judged(contract)
        differences += [each async for each in verify_rows.compare_rows(self.db, self.label, chosen, rows, self.tally)]
        history = self._history(on_chain, await adopted(self.db, self.label))
        for first, last in runs:
            differences += [each async for each in verify_history.compare_run(history, first, last)]
        return Report(self.label.block, self.label.hash, self.tally.compared, tuple(differences), tuple(findings))

    def _runs(self) -> list[tuple[int, int]]:
        """First and last of each run of blocks whose history is compared."""
        if self.scope.sample is not None:
            first = self.oldest if self.scope.history_from is None else max(self.scope.history_from, self.oldest)
            return [(number, number) for number in self.scope.sample.of(range(first, self.label.block + 1))]
        if self.scope.history_from is None or self.scope.history_from > self.label.block:
            return []
        return [(max(self.scope.history_from, self.oldest), self.label.block)]

    def _comparing(self, contract: Contract) -> verify_state.Comparing:
        return verify_state.Comparing(self.db, self.chain, self.label, contract, self.tally, self.scope.sample)

    async def _judged(self, contract: Contract) -> list[Finding]:
        """What a contract that is none of ours does besides its transfers."""
        if contract.kind in artifacts.names():
            return []
        finding = await judge(self.db, self.chain, contract=contract, block=self.label.block)
        return [] if finding is None else [finding]

    def _history(self, on_chain: list[Deployment], others: dict[bytes, int]) -> History:
        ids = {contract.address: contract.id for contract in self.found}
        since = verify_history.followed(on_chain, self.found, last=self.label.block)
        return History(self.db, self.chain, self.label.chain, since, ids, self.tally)


def _expelled(left: Deployment) -> Finding:
    told = f"deployed in block {left.block_number}"
    return Finding("expelled", left.contract, adoptions.IMPOSSIBLE, None, left.block_number, NOTHING, told)


async def _contracts(db: Database, label: Label) -> AsyncIterator[Contract]:
    after: bytes | None = None
    while True:
        async with db.read() as connection:
            page = await queries.contracts_page(
                connection, chain_id=label.chain, block=label.block, after=after, count_max=CONTRACTS_MAX
            )
        for each in page:
            yield each
        if len(page) < CONTRACTS_MAX:
            return
        after = page[-1].address


async def _oldest(connection: ReadConnection, chain_id: int) -> int:
    query = "SELECT min(number) FROM mirror.blocks WHERE chain_id = %s AND canonical"
    row = await (await connection.execute(query, (chain_id,))).fetchone()
    assert row is not None
    return int(row[0])


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
