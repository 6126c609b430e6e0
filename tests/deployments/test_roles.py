"""Who may do what: granted, revoked and listed through the authority, now and as of any block."""

from typing import Any

import pytest

from service.addresses import checksum
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ROLES = {"admin", "issuer", "minter", "compliance", "enforcer", "pauser", "attester", "anchor"}


async def members(world: World, **parameters: Any) -> dict[str, set[str]]:
    """Accounts by role."""
    answer = await world.get("/v1/roles", limit=200, **parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, set[str]] = {}
    for row in answer.json()["data"]:
        found.setdefault(row["role"], set()).add(row["account"])
    return found


async def test_the_signer_has_every_role_from_the_start(shared: World) -> None:
    signer = checksum(shared.signer)
    found = await members(shared)
    assert {role for role, accounts in found.items() if signer in accounts} == ROLES


async def test_a_role_is_granted_and_revoked_and_the_past_is_kept(shared: World) -> None:
    answer = await shared.post("/v1/roles/grant", {"role": "minter", "account": ALICE})
    assert answer.status_code == 202
    await shared.finish()
    assert (await shared.operation(answer.json()["id"]))["status"] == "succeeded"
    granted = (await shared.get("/v1/roles")).json()["at"]["block"]
    assert ALICE in (await members(shared, role="minter"))["minter"]
    await shared.post("/v1/roles/revoke", {"role": "minter", "account": ALICE})
    await shared.finish()
    assert ALICE not in (await members(shared))["minter"]
    assert ALICE in (await members(shared, at_block=granted))["minter"]


async def test_the_last_administrator_stays(shared: World) -> None:
    body = {"role": "admin", "account": checksum(shared.signer)}
    problem(await shared.post("/v1/roles/revoke", body), "last-admin")


async def test_an_unknown_role_is_refused(shared: World) -> None:
    problem(await shared.post("/v1/roles/grant", {"role": "owner", "account": ALICE}), "invalid-request")


async def test_an_issuer_has_one_authority(shared: World) -> None:
    problem(await shared.post("/v1/authority", {}), "contract-exists")


async def test_a_token_needs_an_authority(shared: World) -> None:
    key = await shared.new_issuer("Without authority")
    asset = (await shared.post("/v1/assets", {"name": "Mill", "category": "house"}, key=key)).json()
    body = {"asset_id": asset["id"], "name": "Mill", "symbol": "MILL"}
    told = problem(await shared.post("/v1/tokens", body, key=key), "contract-missing")
    assert told["kind"] == "authority"
    problem(await shared.get("/v1/roles", key=key), "contract-missing")


async def test_registries_are_deployed_once_each(shared: World) -> None:
    kinds = ["compliance", "documents", "reserve", "anchor", "distributor", "settlement"]
    for kind in kinds:
        answer = await shared.post("/v1/contracts", {"kind": kind})
        assert answer.status_code == 202, answer.text
        problem(await shared.post("/v1/contracts", {"kind": kind}), "contract-exists")
    await shared.finish()
    listed = (await shared.get("/v1/contracts")).json()
    assert {row["kind"] for row in listed} == {"authority", *kinds}
    for row in listed:
        assert (await shared.operation(row["operation_id"]))["status"] == "succeeded"
