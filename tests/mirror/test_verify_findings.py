"""A token of others that does more than its transfers say is found, and named for what it does."""

from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from sqlalchemy import text

from scripts import compile as compiling
from service.db import Database
from service.mirror.differences import Finding
from service.mirror.judge import judge
from service.mirror.verify import Scope, verify
from tests.mirror.world import CHAIN_ID, Ledger, Mirror

ODD = Path(__file__).parent.parent / "contracts" / "OddToken.sol"

HONEST = (1, 0, False)  # what a balance is multiplied by, what a transfer loses, whether it answers nothing


@pytest.fixture(scope="module")
def creation() -> bytes:
    """The code that creates a token which is honest until it is told to be otherwise."""
    made = compiling.artifacts([ODD], compiling.compiler())["OddToken"]
    return bytes.fromhex(made["creationCode"][2:])


@pytest.fixture
async def odd(mirror: Mirror, ledger: Ledger, creation: bytes, db: Database) -> bytes:
    """Such a token, followed from its first block on, and two holders."""
    token = ledger._create(creation, ledger.accounts[0])
    await mirror.converge()
    async with db.transaction() as session:
        await session.execute(
            text("INSERT INTO mirror.contracts (chain_id, address) VALUES (:chain_id, :token)"),
            {"chain_id": CHAIN_ID, "token": token},
        )
        await session.execute(
            text(
                """INSERT INTO mirror.deployments
                    (contract_id, block_hash, block_number, salt, operator, kind, canonical)
                SELECT contracts.id, hash, number, hash, :token, 'erc20', true FROM mirror.blocks, mirror.contracts
                WHERE number = :number AND address = :token"""
            ),
            {"token": token, "number": ledger.height()},
        )
    one, two = ledger.accounts[1:3]
    do(ledger, token, "mint(address,uint256)", ["address", "uint256"], [one, 1_000])
    do(ledger, token, "mint(address,uint256)", ["address", "uint256"], [two, 500])
    return token


def do(ledger: Ledger, token: bytes, signature: str, kinds: list[str], given: list[Any], by: int = 0) -> None:
    ledger._do(token, keccak(signature.encode())[:4] + encode(kinds, given), ledger.accounts[by])


def become(ledger: Ledger, token: bytes, *ways: int) -> None:
    do(ledger, token, "be(uint256,uint256,bool)", ["uint256", "uint256", "bool"], list(ways))


def pay(ledger: Ledger, token: bytes, sender: int, recipient: int, amount: int) -> None:
    given = [ledger.accounts[recipient], amount]
    do(ledger, token, "transfer(address,uint256)", ["address", "uint256"], given, by=sender)


async def judged(mirror: Mirror, token: bytes) -> Finding | None:
    await mirror.converge()
    contract = await mirror.contract(token, mirror.ledger.height())
    assert contract is not None
    return await judge(mirror.db, mirror.chain, contract=contract, block=mirror.ledger.height())


async def test_an_honest_token_has_no_finding(mirror: Mirror, ledger: Ledger, odd: bytes) -> None:
    pay(ledger, odd, 1, 3, 40)
    assert await judged(mirror, odd) is None


async def test_a_token_that_keeps_a_part_of_each_transfer_is_found(mirror: Mirror, ledger: Ledger, odd: bytes) -> None:
    pay(ledger, odd, 1, 3, 40)
    become(ledger, odd, 1, 2, False)
    pay(ledger, odd, 1, 2, 40)
    become(ledger, odd, *HONEST)
    pay(ledger, odd, 1, 2, 3)
    found = await judged(mirror, odd)
    assert found is not None
    assert (found.name, found.cause) == ("balances-do-not-follow", "fee-on-transfer")
    assert (found.account, found.mirror, found.chain) == (ledger.accounts[2], "543", "541")


async def test_a_token_whose_balances_change_by_themselves_is_found(mirror: Mirror, ledger: Ledger, odd: bytes) -> None:
    pay(ledger, odd, 1, 3, 40)
    become(ledger, odd, 2, 0, False)
    ledger.mine()
    found = await judged(mirror, odd)
    assert found is not None
    assert (found.name, found.cause) == ("balances-do-not-follow", "rebasing")
    assert int(found.chain) == 2 * int(found.mirror)


async def test_a_token_that_answers_nothing_is_found_and_its_balances_follow(
    mirror: Mirror, ledger: Ledger, odd: bytes
) -> None:
    become(ledger, odd, 1, 0, True)
    pay(ledger, odd, 1, 3, 40)
    found = await judged(mirror, odd)
    assert found is not None
    assert (found.name, found.cause, found.chain) == ("no-return-value", None, "no answer")


async def test_a_contract_that_answers_no_balance_at_all_is_found(mirror: Mirror, ledger: Ledger, odd: bytes) -> None:
    ledger.rpc("anvil_setCode", "0x" + odd.hex(), "0x00")
    ledger.mine()
    found = await judged(mirror, odd)
    assert found is not None
    assert (found.cause, found.chain) == ("unknown", "no number")


async def test_deeds_are_judged_by_who_holds_them(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    deeds = ledger.deploy_deeds()
    ledger.issue(deeds, ledger.accounts[1])
    assert await judged(mirror, deeds) is None
    async with db.transaction() as session:
        await session.execute(text("UPDATE mirror.titles SET holder = :two"), {"two": ledger.accounts[2]})
    found = await judged(mirror, deeds)
    assert found is not None
    assert found.name == "balances-do-not-follow"
    assert found.account == ledger.accounts[2]


async def test_verify_tells_what_it_found_of_an_adopted_token(
    mirror: Mirror, ledger: Ledger, odd: bytes, db: Database
) -> None:
    become(ledger, odd, 3, 0, False)
    await mirror.converge()
    report = await verify(
        mirror.db, mirror.chain, chain_id=CHAIN_ID, factory=ledger.factory, scope=Scope(history_from=0), progress=None
    )
    assert [(each.contract, each.cause) for each in report.findings] == [(odd, "rebasing")]
    assert report.differences == (), "its events are all there, and it was adopted"
    async with db.transaction() as session:
        await session.execute(text("UPDATE mirror.deployments SET kind = 'AssetToken'"))
    report = await verify(
        mirror.db, mirror.chain, chain_id=CHAIN_ID, factory=ledger.factory, scope=Scope(), progress=None
    )
    assert {(each.kind, each.contract) for each in report.differences} == {("deployment", odd), ("code", odd)}
