"""An attester's signed word limits what is issued; anybody brings it, and it counts once."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.compliance.office import Office
from tests.rpc import rpc
from tests.web.answers import pointers, problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTESTER: LocalAccount = Account.from_key("0x" + "a7" * 32)
STRANGER: LocalAccount = Account.from_key("0x" + "a8" * 32)
HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@dataclass(slots=True)
class Vault:
    """A token that is minted against a reserve."""

    office: Office
    token_id: str

    @property
    def path(self) -> str:
        return f"/v1/tokens/{self.token_id}/reserve"

    def figures(self, amount: int, *, age_s: int = 0, life_s: int = 86_400) -> dict[str, Any]:
        """What may be signed now, by the chain's clock, which moves on so that each word is newer than the last."""
        rpc(self.office.world.chain_url, "anvil_mine", "0x1", "0xa")
        block = rpc(self.office.world.chain_url, "eth_getBlockByNumber", "latest", False)
        issued = datetime.fromtimestamp(int(block["timestamp"], 16), UTC) - timedelta(seconds=age_s)
        return {
            "amount": str(amount),
            "issued_at": issued.isoformat(),
            "expires_at": (issued + timedelta(seconds=life_s)).isoformat(),
        }

    async def signed(self, figures: dict[str, Any], signer: LocalAccount = ATTESTER) -> dict[str, Any]:
        """The figures with a wallet's signature of what the API gave it."""
        answer = await self.office.world.post(f"{self.path}/prepare", figures)
        assert answer.status_code == 200, answer.text
        signature = signer.sign_typed_data(full_message=answer.json()["typed_data"]).signature
        return {**figures, "signature": "0x" + signature.hex()}

    async def attest(self, body: dict[str, Any], **given: Any) -> httpx.Response:
        return await self.office.world.post(f"{self.path}/attest", body, **given)

    async def read(self, **parameters: Any) -> dict[str, Any]:
        found: dict[str, Any] = (await self.office.world.get(self.path, **parameters)).json()
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vault(shared: World) -> Vault:
    office = Office(shared, await shared.contract("reserve"))
    token_id = await shared.token(reserve=True)
    await office.write(f"/v1/tokens/{token_id}/reserve/attester", {"attester": ATTESTER.address})
    return Vault(office, token_id)


async def test_nothing_is_minted_beyond_what_is_attested(vault: Vault) -> None:
    world = vault.office.world
    problem(await world.mint(vault.token_id, HOLDER, 1), "not-backed")
    await vault.office.write(f"{vault.path}/attest", await vault.signed(vault.figures(100)))
    shown = await vault.read()
    assert shown["attester"] == shown["attestation"]["attester"] == ATTESTER.address
    assert shown["attestation"]["amount"] == "100"
    assert shown["attestation"]["expires_at"].endswith("Z")
    await vault.office.mint(vault.token_id, HOLDER, 100)
    told = problem(await world.mint(vault.token_id, HOLDER, 1), "not-backed")
    assert told["revert"]["arguments"] == {"supply": "101", "attested": "100"}
    await vault.office.write(f"{vault.path}/attest", await vault.signed(vault.figures(200)))
    assert (await vault.read(at_block=shown["at"]["block"]))["attestation"] == shown["attestation"]
    await vault.office.mint(vault.token_id, HOLDER, 100)


async def test_an_attestation_counts_once(vault: Vault) -> None:
    body = await vault.signed(vault.figures(300))
    first = await vault.attest(body, idempotency_key="attest-once")
    again = await vault.attest(body, idempotency_key="attest-once")
    assert first.json()["id"] == again.json()["id"]
    await vault.office.world.finish()
    problem(await vault.attest(body), "attestation-stale")


async def test_what_the_attester_did_not_sign(vault: Vault) -> None:
    figures = vault.figures(400)
    problem(await vault.attest(await vault.signed(figures, STRANGER)), "attestation-invalid")
    body = await vault.signed(figures)
    problem(await vault.attest({**body, "amount": "401"}), "attestation-invalid")


async def test_a_word_from_the_future_and_one_that_is_over(shared: World, vault: Vault) -> None:
    problem(await vault.attest(await vault.signed(vault.figures(1, age_s=-3_600))), "attestation-from-future")
    token_id = await shared.token(reserve=True)
    fresh = Vault(vault.office, token_id)
    await vault.office.write(f"{fresh.path}/attester", {"attester": ATTESTER.address})
    rpc(shared.chain_url, "evm_increaseTime", 120)
    shared.mine()
    told = problem(await fresh.attest(await fresh.signed(fresh.figures(1, age_s=60, life_s=30))), "not-backed")
    assert told["revert"]["name"] == "ReserveExpired"


async def test_a_token_that_nobody_vouches_for(vault: Vault) -> None:
    token_id = await vault.office.world.token(reserve=True)
    other = Vault(vault.office, token_id)
    assert (await other.read())["attester"] is None
    problem(await other.attest(await other.signed(other.figures(1))), "attester-missing")
    await vault.office.write(f"{other.path}/attester", {"attester": ATTESTER.address})
    await vault.office.write(f"{other.path}/attest", await other.signed(other.figures(7)))
    await vault.office.write(f"{other.path}/attester", {"attester": None})
    shown = await other.read()
    assert (shown["attester"], shown["attestation"]) == (None, None)


async def test_only_units_have_a_reserve(vault: Vault) -> None:
    token_id = await vault.office.world.token(kind="utility", cap="10")
    answer = await vault.office.world.post(f"/v1/tokens/{token_id}/reserve/attester", {"attester": HOLDER})
    problem(answer, "wrong-token-kind")


async def test_figures_that_can_not_be(vault: Vault) -> None:
    figures = vault.figures(1, life_s=0)
    assert pointers(await vault.office.world.post(f"{vault.path}/prepare", figures)) == ["#"]
    body = {**vault.figures(1), "signature": "0x" + "5a" * 64}
    assert pointers(await vault.attest(body)) == ["#/signature"]
