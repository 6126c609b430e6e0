"""The service names the contracts' rules and refusals, all of them and no others."""

import re
from pathlib import Path

import pytest

from service.chain import contracts
from service.chain.restrictions import RULES
from service.errors import Problem
from service.refusals import BY_REVERT
from tests.compliance.office import Office
from tests.rpc import rpc

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "contracts" / "parts" / "Restrictions.sol"
ARTIFACTS = ROOT / "service" / "chain" / "artifacts"

NUMBERED = {
    name.lower().replace("_", "-"): int(number)
    for name, number in re.findall(r"uint8 internal constant (\w+) = (\d+);", SOURCE.read_text())
}

TOLD = {
    "AttestationFromFuture": "attestation-from-future",
    "AttestationInvalid": "attestation-invalid",
    "AttestationStale": "attestation-stale",
    "AttesterMissing": "attester-missing",
    "DocumentHashMissing": "document-hash-missing",
    "DocumentMissing": "document-not-found",
    "DocumentVersionMissing": "document-not-found",
    "InvestorInvalid": "investor-invalid",
    "InvestorStillBlocked": "investor-still-blocked",
    "TokenNotHeld": "holdings-changed",
    "TokenNotRegistered": "policy-missing",
    "TokensIncomplete": "holdings-changed",
    "TokensUnsorted": "holdings-changed",
}
"""The registries' own errors."""


def test_each_rule_has_the_contracts_number_and_name() -> None:
    assert len(NUMBERED) == 22
    assert {name: code for code, (name, _) in RULES.items()} == NUMBERED


@pytest.mark.asyncio(loop_scope="module")
async def test_the_contract_has_words_for_each_rule(office: Office) -> None:
    token = (await office.world.get(f"/v1/tokens/{await office.world.token()}")).json()["address"]

    def message(code: int) -> str:
        data = contracts.encode_call("AssetToken", "messageForTransferRestriction", code)
        answer = rpc(office.world.chain_url, "eth_call", {"to": token, "data": "0x" + data.hex()}, "latest")
        (text,) = contracts.decode_result("AssetToken", "messageForTransferRestriction", bytes.fromhex(answer[2:]))
        return str(text)

    unknown = message(255)
    words = {code: message(code) for code in RULES}
    assert all(words.values())
    assert unknown not in words.values()
    assert len(set(words.values())) == len(RULES)


@pytest.mark.parametrize(("revert", "slug"), TOLD.items())
def test_a_registrys_error_is_told_as_one_problem(revert: str, slug: str) -> None:
    assert BY_REVERT[revert] is Problem.registry[slug]
    assert [kind.slug for kind in Problem.registry.values() if revert in kind.reverts] == [slug]
