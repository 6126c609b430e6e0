"""Laws 1, 2 and 5: whatever the chain does, and wherever the indexer stops, the mirror says what the chain says."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from pydantic import SecretStr

from service.db import Database
from tests.mirror.world import Ledger, Mirror, database, empty, way_to

T = TypeVar("T")

FLOWS = settings(
    max_examples=20,
    stateful_step_count=16,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a chain keeps what an example did to it, so a failure does not shrink
    suppress_health_check=list(HealthCheck),
)

HOLDERS = st.integers(1, 5)
DEPTHS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8])
AMOUNTS = st.integers(1, 2**250)


class MirrorAgrees(RuleBasedStateMachine):
    """A ledger that moves, and an indexer that is a few steps behind, or dead, or level."""

    def __init__(self, url: SecretStr, chain_url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.url = url
        self.chain_url = chain_url
        self.ledger = Ledger(chain_url)
        self.token = self.ledger.deploy()
        self.deeds = self.ledger.deploy_deeds()
        self.endow()
        self.run(self.forget())
        self.run(self.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def forget(self) -> None:
        owner = Database(self.url, role=None)
        await owner.open()
        await empty(owner)
        await owner.close()

    async def start(self) -> None:
        db = database(self.url)
        await db.open()
        self.node, chain = way_to(self.chain_url)
        self.mirror = await Mirror.begin(db, chain, self.ledger, blocks_max=3)

    async def stop(self) -> None:
        await self.mirror.lease.release(self.mirror.db)
        await self.mirror.db.close()
        await self.node.close()

    def teardown(self) -> None:
        try:
            self.converge(0)
        finally:
            self.run(self.stop())
            self.runner.close()

    def endow(self) -> None:
        for holder in range(1, 6):
            self.ledger.mint(self.token, self.ledger.accounts[holder], 10**6 * holder)

    def balance(self, holder: int) -> int:
        """What a holder has now, of a token deployed anew when a reorganisation took it away."""
        state = self.ledger.state(self.token, self.ledger.height())
        if state is not None:
            return state.balances[self.ledger.accounts[holder]]
        self.token = self.ledger.deploy()
        return 0

    def above_the_factory(self, depth: int) -> None:
        missing = self.ledger.first + depth - self.ledger.height()
        if missing > 0:
            self.ledger.mine(missing)

    @rule()
    def deploy(self) -> None:
        self.token = self.ledger.deploy()
        self.endow()

    @rule(holder=HOLDERS, amount=AMOUNTS)
    def mint(self, holder: int, amount: int) -> None:
        self.balance(holder)
        self.ledger.mint(self.token, self.ledger.accounts[holder], amount)

    @rule(holder=HOLDERS, share=st.integers(1, 4))
    def burn(self, holder: int, share: int) -> None:
        amount = self.balance(holder) // share
        self.ledger.burn(self.token, self.ledger.accounts[holder], amount)

    @rule(sender=HOLDERS, recipient=HOLDERS, share=st.integers(1, 4))
    def transfer(self, sender: int, recipient: int, share: int) -> None:
        accounts, amount = self.ledger.accounts, self.balance(sender) // share
        self.ledger.transfer(self.token, accounts[sender], accounts[recipient], amount)

    @rule(sender=HOLDERS, recipient=HOLDERS, amount=AMOUNTS)
    def crowded_block(self, sender: int, recipient: int, amount: int) -> None:
        accounts = self.ledger.accounts
        self.balance(sender)
        with self.ledger.one_block():
            self.ledger.mint(self.token, accounts[sender], amount)
            self.ledger.burn(self.token, accounts[sender], amount // 2)
            self.ledger.mint(self.token, accounts[recipient], amount)

    @rule(holder=HOLDERS, amount=st.sampled_from([0, 1, 5, 2**256 - 1]))
    def freeze(self, holder: int, amount: int) -> None:
        self.balance(holder)
        self.ledger.act("AssetToken", self.token, "setFrozenTokens", self.ledger.accounts[holder], amount)
        self.ledger.act("AssetToken", self.token, "setFrozenTokens", self.ledger.accounts[holder], 0)
        self.ledger.act("AssetToken", self.token, "setFrozenTokens", self.ledger.accounts[holder], amount // 2)

    @rule(holder=HOLDERS)
    def issue_a_deed(self, holder: int) -> None:
        if self.ledger.rpc("eth_getCode", "0x" + self.deeds.hex(), "latest") == "0x":
            self.deeds = self.ledger.deploy_deeds()
        self.ledger.issue(self.deeds, self.ledger.accounts[holder])

    @rule(holder=HOLDERS, newest=st.integers(0, 3))
    def move_or_retire_a_deed(self, holder: int, newest: int) -> None:
        for deeds, deed_id in self.ledger.deeds[-1 - newest :][:1]:
            owner, to = self.ledger.owner(deeds, deed_id, self.ledger.height()), self.ledger.accounts[holder]
            if owner == to:
                self.ledger.act_once("DeedToken", deeds, "retire", deed_id, "")
            elif owner is not None:
                self.ledger.act("DeedToken", deeds, "forcedTransfer", owner, to, deed_id)

    @rule(depth=DEPTHS)
    def reorg(self, depth: int) -> None:
        self.above_the_factory(depth)
        self.ledger.reorg(depth)

    @rule(depth=DEPTHS)
    def come_back_shorter(self, depth: int) -> None:
        self.above_the_factory(depth)
        self.ledger.rollback(depth)

    @rule(steps=st.integers(1, 3))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.run(self.mirror.step())

    @rule(steps=st.integers(0, 2))
    def restart(self, steps: int) -> None:
        for _ in range(steps):
            self.run(self.mirror.step())
        self.run(self.stop())
        self.run(self.start())

    @rule(age=st.integers(0, 30))
    def converge(self, age: int) -> None:
        self.run(self.mirror.converge())
        tip = self.run(self.mirror.label()).block
        if tip > self.ledger.height():
            # A shorter chain is waited out: whatever is shown meanwhile was on the chain.
            self.ledger.mine(tip + 1 - self.ledger.height())
            self.run(self.mirror.converge())
        head = self.ledger.height()
        assert self.run(self.mirror.label()).hash == self.ledger.hash_of(head)
        self.run(self.mirror.agrees(head))
        self.run(self.mirror.agrees(max(head - age, self.ledger.first)))

    @invariant()
    def supply_is_the_sum_of_holdings(self) -> None:
        query = """SELECT (SELECT coalesce(sum(amount), 0) FROM mirror.holdings WHERE canonical AND to_block IS NULL),
        (SELECT coalesce(sum(amount), 0) FROM mirror.supplies WHERE canonical AND to_block IS NULL)"""
        ((held, supply),) = self.run(self.mirror.rows(query))
        assert held == supply

    @invariant()
    def a_deed_has_one_holder_or_none(self) -> None:
        query = """SELECT deed_id FROM mirror.titles WHERE canonical AND to_block IS NULL
        GROUP BY contract_id, deed_id HAVING count(*) > 1"""
        assert self.run(self.mirror.rows(query)) == []

    @invariant()
    def what_is_shown_of_a_living_block_is_true(self) -> None:
        tips = self.run(self.mirror.rows("SELECT number, hash FROM mirror.blocks WHERE canonical ORDER BY 1"))
        alive = [number for number, shown in tips if number <= self.ledger.height()]
        for number in alive[-1:]:
            if self.ledger.hash_of(number) == dict(tips)[number]:
                self.run(self.mirror.agrees(number))


def test_the_mirror_agrees_with_the_chain(database_url: SecretStr, own_chain_url: str) -> None:
    class Here(MirrorAgrees):
        def __init__(self) -> None:
            super().__init__(database_url, own_chain_url)

    run_state_machine_as_test(Here, settings=FLOWS)
