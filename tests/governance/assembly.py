"""A governance token, its holders and its governor, as the tests of this package need them."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from service.chain import contracts
from service.governance.problems import STATES
from tests.rpc import rpc
from tests.world import World

PERIOD = 24
TIMELOCK_DELAY_S = 60


@dataclass(slots=True)
class Assembly:
    """Who votes on what. `voters` are managed accounts that vote with their own units."""

    world: World
    token_id: str
    token: str
    voters: list[str]
    governor_id: str
    governor: str
    timelock: str
    settings: dict[str, Any] = field(default_factory=dict)

    async def post(self, path: str, body: Any = None, **given: Any) -> httpx.Response:
        """Write below the governor."""
        return await self.world.post(f"/v1/governors/{self.governor_id}{path}", body, **given)

    async def get(self, path: str, **parameters: Any) -> Any:
        """Read below the governor."""
        answer = await self.world.get(f"/v1/governors/{self.governor_id}{path}", **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def mint(self, to: str, amount: int) -> dict[str, Any]:
        """An action: units for somebody, its operation id left out."""
        return {"call": {"contract": self.token, "function": "mint", "arguments": [to, str(amount)]}}

    async def propose(self, description: str, *actions: dict[str, Any]) -> str:
        """A proposal that is on the chain, and its id."""
        answer = await self.post("/proposals", {"description": description, "actions": list(actions)})
        assert answer.status_code == 202, answer.text
        await self.world.level()
        return str(answer.json()["parameters"]["proposal_id"])

    async def proposal(self, proposal_id: str, **parameters: Any) -> Any:
        """A proposal by the API."""
        return await self.get(f"/proposals/{proposal_id}", **parameters)

    async def vote(self, proposal_id: str, voter: int, support: str, **more: Any) -> httpx.Response:
        """Ask for a vote."""
        body = {"from": self.voters[voter], "support": support, **more}
        return await self.post(f"/proposals/{proposal_id}/vote", body)

    async def carry(self, proposal_id: str, verb: str) -> httpx.Response:
        """Queue, execute or cancel."""
        answer = await self.post(f"/proposals/{proposal_id}/{verb}")
        await self.world.level()
        return answer

    def pass_time(self, seconds: int = TIMELOCK_DELAY_S + 1) -> None:
        """Let the chain's clock run on, and mine."""
        rpc(self.world.chain_url, "evm_increaseTime", seconds)
        self.world.mine()

    async def until(self, block: int) -> None:
        """Mine so that this block is there."""
        now = int(rpc(self.world.chain_url, "eth_blockNumber"), 16)
        if block > now:
            self.world.mine(block - now)
        await self.world.level()

    def ask(self, function: str, *arguments: Any, block: int) -> tuple[Any, ...]:
        """What the governor itself says at the end of a block."""
        data = contracts.encode_call("AssetGovernor", function, *arguments)
        sent = {"to": self.governor, "data": "0x" + data.hex()}
        answer = rpc(self.world.chain_url, "eth_call", sent, hex(block))
        return contracts.decode_result("AssetGovernor", function, bytes.fromhex(answer[2:]))

    def state(self, proposal_id: str, *, block: int) -> str:
        """A proposal's state as the governor has it."""
        return STATES[self.ask("state", int(proposal_id), block=block)[0]]


async def assemble(world: World, *shares: int, **changed: Any) -> Assembly:
    """Holders with these shares, who vote with them, and a governor."""
    token_id = await world.token(kind="governance", cap="1000000", decimals=0)
    voters = [await world.account() for _ in shares]
    for voter, share in zip(voters, shares, strict=True):
        assert (await world.mint(token_id, voter, share)).status_code == 202
    await world.finish()
    for voter in voters:
        answer = await world.post(f"/v1/tokens/{token_id}/delegate", {"from": voter, "to": voter})
        assert answer.status_code == 202, answer.text
    settings = {
        "token_id": token_id,
        "name": "Harbour Assembly",
        "voting_delay_blocks": 2,
        "voting_period_blocks": PERIOD,
        "quorum_percent": 40,
        "vote_extension_blocks": 10,
        "timelock_delay_s": TIMELOCK_DELAY_S,
        **changed,
    }
    answer = await world.post("/v1/governors", settings)
    assert answer.status_code == 202, answer.text
    await world.finish()
    listed = (await world.get("/v1/governors", token_id=token_id)).json()["data"]
    assert len(listed) == 1
    told = listed[0]
    token = (await world.get("/v1/operations", token_id=token_id)).json()["data"][-1]["contract"]
    return Assembly(world, token_id, token, voters, told["id"], told["address"], told["timelock"], told)
