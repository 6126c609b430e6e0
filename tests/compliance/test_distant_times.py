"""Anybody who may write a time may write one beyond the year 9999: every list is still told."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from service.chain import contracts
from service.compliance.views import told
from service.governance.queries import Proposal
from service.governance.views import ProposalView
from tests.compliance.office import Office
from tests.rpc import rpc
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"  # anvil's third account, which it signs for
LAST = "9999-12-31T23:59:59Z"
FAR = 2**64 - 1


async def act(world: World, to: str, kind: str, function: str, *arguments: Any) -> None:
    """Call a contract, past the API."""
    data = contracts.encode_call(kind, function, *arguments)
    sent = {"from": STRANGER, "to": to, "data": "0x" + data.hex(), "gas": hex(1_000_000)}
    hashed = rpc(world.chain_url, "eth_sendTransaction", sent)
    world.mine()
    assert rpc(world.chain_url, "eth_getTransactionReceipt", hashed)["status"] == "0x1"
    await world.index()


async def test_registries_tell_of_distant_times(office: Office) -> None:
    world, investor = office.world, office.investor()
    await world.post("/v1/roles/grant", {"role": "attester", "account": STRANGER})
    await world.finish()
    id_ = bytes.fromhex(investor[2:])
    await act(world, office.registry, "ComplianceRegistry", "setIdentity", id_, 756, 2, FAR, [], bytes(31) + b"\x07")
    assert (await world.get(f"/v1/identities/{investor}")).json()["identity"]["expires_at"] == LAST
    listed = (await world.get("/v1/identities")).json()["data"]
    assert [each["expires_at"] for each in listed if each["investor"] == investor] == [LAST]
    history = (await world.get(f"/v1/identities/{investor}/history")).json()["data"]
    assert [each["state"]["expires_at"] for each in history] == [LAST]


async def test_a_distant_schedule_is_told(office: Office) -> None:
    world = office.world
    token_id = await world.token()
    await world.post("/v1/roles/grant", {"role": "minter", "account": STRANGER, "delay_s": 1})
    await world.finish()
    token = (await world.get("/v1/operations", token_id=token_id)).json()["data"][-1]["contract"]
    (authority,) = [each for each in (await world.get("/v1/contracts")).json() if each["kind"] == "authority"]
    mint = contracts.encode_call("AssetToken", "mint", STRANGER, 1, bytes(31) + b"\x08")
    await act(world, authority["address"], "IssuerAuthority", "schedule", token, mint, 2**48 - 10**6)
    (row,) = (await world.get("/v1/scheduled")).json()["data"]
    assert row["ready_at"] == LAST


async def test_each_time_of_a_registry_may_be_distant() -> None:
    shown = told({"expires_at": FAR, "issued_at": FAR, "effective_from": FAR, "lots": [{"unlocks_at": FAR}]})
    assert shown == {"expires_at": LAST, "issued_at": LAST, "effective_from": LAST, "lots": [{"unlocks_at": LAST}]}


async def test_a_proposal_may_be_ready_in_a_distant_time() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    votes = dict.fromkeys(("against", "for", "abstain"), 0)
    proposal = Proposal(1, UUID(int=1), STRANGER, "x", [], "queued", 1, 2, votes, 1, 2**256 - 1, 1, now)  # type: ignore[arg-type]
    assert ProposalView.of(proposal).model_dump(mode="json")["eta"] == LAST
    assert ProposalView.of(replace(proposal, eta=None)).eta is None
