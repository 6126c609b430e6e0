"""The thin, honest line: request, operation, transaction, chain, mirror, query."""

from web3 import Web3

from service.chain import artifacts
from tests.world import World


async def test_a_minted_amount_is_in_the_mirror_and_on_the_chain(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    answer = await world.mint(token_id, holder, 1_050)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/operations/{answer.json()['id']}"
    await world.finish()
    operation = await world.operation(answer.json()["id"])
    assert operation["status"] == "succeeded"
    assert await world.holding(token_id, holder) == 1_050
    contract = Web3(Web3.HTTPProvider(world.chain_url)).eth.contract(
        Web3.to_checksum_address(operation["contract"]), abi=list(artifacts.load("AssetToken").abi)
    )
    assert contract.functions.balanceOf(holder).call() == 1_050
