"""The sender against a real chain: dense nonces, one effect each, and every trouble visible."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CursorResult, text

from scripts import local
from service.addresses import checksum
from service.chain.node import Node
from service.chain.reader import Chain, WrongChain
from service.transactions import moves, tables
from service.transactions.sender import Sender
from service.workers import Lease, LeaseLost
from tests.rpc import rpc
from tests.world import World


async def rows(world: World, query: str, **given: Any) -> list[Any]:
    async with world.db.transaction() as session:
        result = await session.execute(text(query), given)
        return list(result) if isinstance(result, CursorResult) and result.returns_rows else []


async def nonces(world: World) -> list[int]:
    found = await rows(world, "SELECT nonce FROM transactions WHERE nonce IS NOT NULL ORDER BY nonce")
    return [row.nonce for row in found]


def chain_count(world: World) -> int:
    return int(rpc(world.chain_url, "eth_getTransactionCount", checksum(world.signer), "latest"), 16)


@pytest.fixture
async def minting(world: World) -> tuple[str, str]:
    """A token and a holder."""
    return await world.token(), await world.account()


async def test_nonces_are_dense_and_in_order_of_acceptance(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    for amount in range(1, 8):
        await world.mint(token_id, holder, amount)
    await world.finish()
    given = await nonces(world)
    assert given == list(range(given[0], given[0] + 10))  # the factory, the authority, the token and seven mints
    assert chain_count(world) == given[-1] + 1
    assert await world.holding(token_id, holder) == sum(range(1, 8))


async def test_stored_bytes_are_what_the_chain_mined(world: World, minting: tuple[str, str]) -> None:
    await world.mint(*minting, 5)
    await world.finish()
    stored = await rows(world, "SELECT hash, raw FROM attempts")
    for attempt in stored:
        mined = rpc(world.chain_url, "eth_getRawTransactionByHash", "0x" + attempt.hash.hex())
        assert mined == "0x" + attempt.raw.hex()


async def test_a_reorganisation_sends_it_back_to_submitted_and_it_mines_once_more(
    world: World, minting: tuple[str, str]
) -> None:
    token_id, holder = minting
    accepted = (await world.mint(token_id, holder, 700)).json()["id"]
    await world.level()
    assert (await world.operation(accepted))["transaction"]["status"] == "mined"
    rpc(world.chain_url, "evm_setAutomine", False)
    rpc(world.chain_url, "anvil_reorg", 1, [])
    await world.step()
    assert (await world.operation(accepted))["transaction"]["status"] == "submitted"
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    world.mine(3)
    await world.level()
    done = await world.operation(accepted)
    assert done["status"] == "succeeded"
    assert await world.holding(token_id, holder) == 700
    assert len(await rows(world, "SELECT 1 FROM attempts")) == len(await nonces(world))


async def test_what_the_mempool_drops_is_sent_again(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    rpc(world.chain_url, "evm_setAutomine", False)
    accepted = (await world.mint(token_id, holder, 9)).json()["id"]
    await world.send()
    sent = (await world.operation(accepted))["transaction"]
    assert sent["status"] == "submitted"
    rpc(world.chain_url, "anvil_dropTransaction", sent["hash"])
    assert rpc(world.chain_url, "eth_getTransactionByHash", sent["hash"]) is None
    await rows(world, "UPDATE transactions SET broadcast_at = now() - interval '1 hour' WHERE broadcast_at IS NOT NULL")
    await world.send()
    world.mine()
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    assert await world.holding(token_id, holder) == 9
    assert (await world.operation(accepted))["transaction"]["hash"] == sent["hash"]


async def test_a_refusal_known_only_to_the_sender_costs_no_nonce(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    await world.mint(token_id, holder, 100)
    await world.finish()
    first = (await world.post(f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "100"})).json()["id"]
    second = (await world.post(f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "100"})).json()["id"]
    pausing = (await world.post(f"/v1/tokens/{token_id}/pause")).json()["id"]
    # One at a time, as a busy queue would come: the second burn meets a state in which it can't succeed.
    world.limit(transactions_max=1)
    await world.finish()
    before = chain_count(world)
    assert (await world.operation(first))["status"] == "succeeded"
    refused = await world.operation(second)
    assert refused["status"] == "failed"
    assert refused["problem"]["type"] in ("/problems/insufficient-balance", "/problems/token-paused")
    assert refused["transaction"]["nonce"] is None
    assert (await world.operation(pausing))["status"] == "succeeded"
    assert before == (await nonces(world))[-1] + 1


async def test_a_revert_in_a_block_fails_the_operation_with_the_contracts_own_error(
    world: World, minting: tuple[str, str]
) -> None:
    token_id, holder = minting
    await world.mint(token_id, holder, 100)
    await world.finish()
    rpc(world.chain_url, "evm_setAutomine", False)
    asked = [
        (await world.post(f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "100"})).json()["id"]
        for _ in range(2)
    ]
    await world.send()  # both are judged on a state in which each alone would succeed
    world.mine()
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    statuses = [await world.operation(each) for each in asked]
    assert [each["status"] for each in statuses] == ["succeeded", "failed"]
    assert statuses[1]["problem"]["revert"]["name"] == "ERC20InsufficientBalance"
    assert statuses[1]["transaction"]["status"] == "reverted"
    assert await world.holding(token_id, holder) == 0


async def test_a_refusal_waits_for_what_is_on_its_way(world: World, minting: tuple[str, str]) -> None:
    """Accepted while the node was away: a mint, and a burn of what it mints."""
    token_id, holder = minting
    burned = await world.post(f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "50"})
    assert burned.status_code == 409
    accepted = (await world.mint(token_id, holder, 50)).json()["id"]
    async with world.node_away():
        late = await world.post(f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "50"})
    assert late.status_code == 202
    url = world.chain_url
    rpc(url, "evm_setAutomine", False)
    await world.step()
    waiting = await rows(world, "SELECT status, waits_for_nonce FROM transactions ORDER BY id DESC LIMIT 1")
    assert waiting[0].status == "queued"
    assert waiting[0].waits_for_nonce is not None
    rpc(url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert (await world.operation(late.json()["id"]))["status"] == "succeeded"
    assert await world.holding(token_id, holder) == 0


async def test_a_call_to_an_address_without_code_is_refused(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    accepted = (await world.mint(token_id, holder, 1)).json()["id"]
    await rows(world, "UPDATE transactions SET recipient = :nowhere WHERE status = 'queued'", nowhere=b"\x11" * 20)
    before = chain_count(world)
    await world.finish()
    failed = await world.operation(accepted)
    assert failed["problem"]["type"] == "/problems/token-not-deployed"
    assert chain_count(world) == before


async def test_a_nonce_that_someone_else_spent_is_not_given_out_again(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    rpc(world.chain_url, "anvil_setNonce", checksum(world.signer), hex(chain_count(world) + 3))
    accepted = (await world.mint(token_id, holder, 4)).json()["id"]
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert await world.holding(token_id, holder) == 4


async def test_without_ether_it_stays_pending_visibly_and_goes_on_when_there_is_some(
    world: World, minting: tuple[str, str]
) -> None:
    token_id, holder = minting
    url, signer = world.chain_url, checksum(world.signer)
    balance = rpc(url, "eth_getBalance", signer, "latest")
    accepted = (await world.mint(token_id, holder, 4)).json()["id"]
    rpc(url, "anvil_setBalance", signer, "0x0")
    await world.send()
    stuck = (await world.operation(accepted))["transaction"]
    assert stuck["status"] in ("queued", "pending")
    assert stuck["last_error"] == "no-funds"
    rpc(url, "anvil_setBalance", signer, balance)
    await rows(world, "UPDATE transactions SET broadcast_at = NULL, retry_at = NULL")
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert await world.holding(token_id, holder) == 4


async def test_a_sender_that_lost_its_lease_writes_nothing(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    await world.mint(token_id, holder, 4)
    paused = world.leases.pop(world.lane.lease_name)
    await rows(world, "UPDATE leases SET expires_at = now() WHERE name LIKE 'sender:%'")
    other = Lease(paused.name, ttl_s=60)
    assert await other.take(world.db)
    with pytest.raises(LeaseLost):
        await world.sender.step(world.lane, paused)
    assert [row.status for row in await rows(world, "SELECT status FROM transactions ORDER BY id DESC LIMIT 1")] == [
        "queued"
    ]


async def test_transactions_of_unknown_signers_stay_queued(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    await world.mint(token_id, holder, 4)
    await rows(world, "UPDATE transactions SET signer = :other WHERE status = 'queued'", other=b"\x22" * 20)
    await world.send()
    assert len(await rows(world, "SELECT 1 FROM transactions WHERE status = 'queued'")) == 1


async def test_what_cannot_go_on_lets_the_others_pass(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    for amount in range(1, 4):
        await world.mint(token_id, holder, amount)
    await rows(
        world,
        """UPDATE transactions SET last_error = 'out-of-gas', retry_at = now() + interval '1 hour'
        WHERE status = 'queued' AND id <> (SELECT max(id::text)::uuid FROM transactions)""",
    )
    world.limit(transactions_max=2)
    await world.finish()
    assert await world.holding(token_id, holder) == 3


async def test_a_signer_has_only_so_many_on_their_way(
    world: World, minting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "IN_FLIGHT_MAX", 2)
    token_id, holder = minting
    rpc(world.chain_url, "evm_setAutomine", False)
    for amount in range(1, 6):
        await world.mint(token_id, holder, amount)
    await world.send()
    count = "SELECT status, count(*) AS count FROM transactions GROUP BY 1"
    standing = {row.status: row.count for row in await rows(world, count)}
    assert (standing["submitted"], standing["queued"]) == (2, 3)
    rpc(world.chain_url, "evm_setAutomine", True)
    for _ in range(3):
        world.mine()
        await world.send()
    await world.finish()
    assert await world.holding(token_id, holder) == 15


async def test_a_node_of_another_chain_is_believed_in_nothing(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    accepted = (await world.mint(token_id, holder, 4)).json()["id"]
    other = local.start_anvil(Path(tempfile.mkdtemp(prefix="muniment-other-")) / "log", "--chain-id", "999")
    with local.stopping(other):
        chain = Chain(Node(other.url), chain_id=world.chain.chain_id, finality=world.chain.finality)
        with pytest.raises(WrongChain):
            await Sender(replace(world.sender.means, chain=chain)).step(world.lane, world.leases[world.lane.lease_name])
        await chain.close()
    assert (await world.operation(accepted))["transaction"]["status"] == "queued"
    await world.finish()
    assert await world.holding(token_id, holder) == 4


def test_every_status_is_reachable_and_final_ones_lead_back_at_most_to_submitted() -> None:
    reached = {target for targets in tables.NEXT.values() for target in targets}
    assert reached | {tables.Status.QUEUED} == set(tables.Status)
    assert set(tables.FINAL) == {
        tables.Status.CONFIRMED,
        tables.Status.REVERTED,
        tables.Status.REFUSED,
        tables.Status.EXECUTED,
        tables.Status.CANCELLED,
        tables.Status.DISPLACED,
    }
    back = {target for status in tables.FINAL for target in tables.NEXT[status]}
    assert back == {tables.Status.SUBMITTED}
