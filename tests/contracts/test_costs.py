import re
from collections.abc import Iterator

import pytest
from web3 import Web3
from web3.contract import Contract
from web3.logs import DISCARD

from tests.contracts.conftest import undone
from tests.contracts.costs import Place, forced, measured
from tests.contracts.onchain import CONTRACTS, README, ask_node, fixed, send

NUMBER = re.compile(r"^\| (?P<what>[^|]+?) +\| +(?P<figure>[\d,]+) \|$", re.MULTILINE)
LIMIT = re.compile(r"^\| (?P<kind>\w+) +\| +(?P<ours>[\d,]+) +\| +(?P<any>[\d,]+) \|$", re.MULTILINE)
ENDLESS = "0x5b600056"
"""Code that uses up all gas that it is given."""
SIZE_MAX = 24_576
"""EIP-170."""
ROOMY_MAX = SIZE_MAX * 9 // 10
PLAIN_RATIO_MAX = 1.6
RULED_GAS_MAX = 90_000


@pytest.fixture(scope="module")
def found(node: Web3, created: dict[str, Contract]) -> Iterator[dict[str, int]]:
    """Every figure, measured now; what was mined for it is undone."""
    with undone(node) as chain:
        yield measured(Place(chain, created["AssetFactory"], created["IssuerAuthority"]))


def test_the_readme_states_the_measured_costs(found: dict[str, int]) -> None:
    costs = README.read_text().split("\n## Costs\n")[1]
    stated = {row["what"]: int(row["figure"].replace(",", "")) for row in NUMBER.finditer(costs)}
    table = "\n".join(f"| {what} | {figure:,} |" for what, figure in found.items())
    # One percent: a signature's zero bytes and the deployer's nonce change the price of calldata a little.
    assert stated == pytest.approx(found, rel=0.01), f"measured now:\n{table}"


def test_every_contract_leaves_room_in_the_size_limit(found: dict[str, int]) -> None:
    bytes_of = {name: found[f"{name}, bytes"] for name in CONTRACTS}
    assert bytes_of.pop("AssetGovernor") <= SIZE_MAX
    assert {name: size for name, size in bytes_of.items() if size > ROOMY_MAX} == {}


def test_a_transfer_costs_little_more_than_openzeppelins(found: dict[str, int]) -> None:
    plain = found["OpenZeppelin's ERC20: transfer to a holder, gas"]
    assert found["AssetToken: transfer to a holder, gas"] <= PLAIN_RATIO_MAX * plain
    assert found["AssetToken, every rule: transfer to a holder, gas"] <= RULED_GAS_MAX


@pytest.mark.parametrize("kind", ["AssetToken", "AssetTokenHistory", "DeedToken"])
def test_a_forced_transfer_fits_the_gas_limit_that_the_readme_states(
    chain: Web3, factory: Contract, authority: Contract, admin: str, holder: str, kind: str
) -> None:
    place = Place(chain, factory, authority)
    limits = {row["kind"]: (row["ours"], row["any"]) for row in LIMIT.finditer(README.read_text())}
    ours, of_any = (int(limit.replace(",", "")) for limit in limits[kind])
    registry = place.create("ComplianceRegistry")
    token = place.create(kind, registry=registry.address)
    call, to = token.functions, place.account(2)
    send(registry.functions.setPolicy(token.address, (0, 0, 9, 9, 10**9), [], fixed("policy")), sender=admin)
    if kind == "DeedToken":
        send(call.mintDeed(holder, 1000, "", bytes(32), fixed("mint")), sender=admin)
    else:
        send(call.mint(holder, 1000, fixed("mint")), sender=admin)
    if kind == "AssetTokenHistory":
        send(call.delegate(holder), sender=holder)
        send(call.delegate(to), sender=to)
    enforced = forced(call, holder, to)
    enforced.call({"from": admin, "gas": ours})
    ask_node(chain, "anvil_setCode", registry.address, ENDLESS)
    sent = enforced.transact({"from": admin, "gas": of_any})
    (skipped,) = token.events.RegistrySkipped().process_receipt(
        chain.eth.wait_for_transaction_receipt(sent), errors=DISCARD
    )
    assert skipped["args"]["registry"] == registry.address
