"""A voter with its own key votes by a signed ballot or by its own transaction."""

from typing import Any

import pytest
import pytest_asyncio
from eth_account import Account
from eth_account.signers.local import LocalAccount

from scripts.stack import DEV_KEYS
from tests.governance.assembly import Assembly, assemble
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

VOTER: LocalAccount = Account.from_key(DEV_KEYS[1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def assembly(shared: World) -> Assembly:
    """The external voter votes with the units of a managed holder."""
    made = await assemble(shared, 70)
    body = {"from": made.voters[0], "to": VOTER.address}
    assert (await shared.post(f"/v1/tokens/{made.token_id}/delegate", body)).status_code == 202
    await shared.finish()
    return made


async def active(assembly: Assembly, description: str) -> str:
    id_ = await assembly.propose(description, assembly.mint(VOTER.address, 1))
    await assembly.until((await assembly.proposal(id_))["snapshot"] + 1)
    return id_


async def prepare(assembly: Assembly, proposal_id: str, **more: str) -> dict[str, Any]:
    body = {"from": VOTER.address, "support": "for", **more}
    answer = await assembly.post(f"/proposals/{proposal_id}/vote/prepare", body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/prepared/{answer.json()['id']}"
    prepared: dict[str, Any] = answer.json()
    return prepared


def sign(prepared: dict[str, Any]) -> str:
    if prepared["road"] == "signature":
        return "0x" + VOTER.sign_typed_data(full_message=prepared["typed_data"]).signature.hex().removeprefix("0x")
    given = dict(prepared["transaction"])
    return "0x" + VOTER.sign_transaction(given).raw_transaction.hex().removeprefix("0x")


@pytest.mark.parametrize("road", ["signature", "transaction"])
@pytest.mark.parametrize("reason", ["", "It is fair"])
async def test_a_vote_by_ones_own_key(shared: World, assembly: Assembly, road: str, reason: str) -> None:
    id_ = await active(assembly, f"{road} {reason}")
    prepared = await prepare(assembly, id_, road=road, reason=reason)
    answer = await shared.post(f"/v1/prepared/{prepared['id']}/submit", {"signed": sign(prepared)})
    assert answer.status_code == 202, answer.text
    await shared.finish()
    assert (await shared.operation(answer.json()["id"]))["status"] == "succeeded"
    assert (await assembly.proposal(id_))["tallies"] == {"for": "70", "against": "0", "abstain": "0"}
    (ballot,) = (await assembly.get(f"/proposals/{id_}/ballots"))["data"]
    assert ballot == {"voter": VOTER.address, "support": "for", "weight": "70", "reason": reason}


async def test_a_ballot_that_another_vote_overtook(shared: World, assembly: Assembly) -> None:
    one, two = await active(assembly, "One"), await assembly.propose("Two", assembly.mint(VOTER.address, 1))
    await assembly.until((await assembly.proposal(two))["snapshot"] + 1)
    first, second = await prepare(assembly, one), await prepare(assembly, two)
    assert (await shared.post(f"/v1/prepared/{first['id']}/submit", {"signed": sign(first)})).status_code == 202
    await shared.finish()
    answer = await shared.post(f"/v1/prepared/{second['id']}/submit", {"signed": sign(second)})
    assert problem(answer, "ballot-outdated")["revert"]["name"] == "GovernorInvalidSignature"
