"""What a holder was given to sign runs out, by the chain's clock and by ours."""

from eth_account import Account
from eth_account.messages import encode_typed_data
from sqlalchemy import text

from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
DAY_S = 86_400


async def test_a_message_runs_out(world: World) -> None:
    token_id, key = await world.token(), Account.create()
    await world.mint(token_id, key.address, 10)
    await world.finish()
    body = {"from": key.address, "to": ALICE, "amount": "5"}
    given = (await world.post(f"/v1/tokens/{token_id}/transfer/prepare", body)).json()
    signed = "0x" + key.sign_message(encode_typed_data(full_message=given["typed_data"])).signature.hex()
    path = f"/v1/prepared/{given['id']}/submit"
    rpc(world.chain_url, "evm_increaseTime", DAY_S + 60)
    world.mine()
    told = problem(await world.post(path, {"signed": signed}), "prepared-expired")
    assert told["revert"]["name"] == "ERC3009InvalidAuthorizationTime"
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE prepared SET valid_until = now() - interval '1 second'"))
    assert "revert" not in problem(await world.post(path, {"signed": signed}), "prepared-expired")
