"""Interface ids as the standards state them, as their selectors give them, and as the contracts answer."""

from functools import reduce

import pytest
from eth_hash.auto import keccak
from web3 import Web3
from web3.contract import Contract

from tests.contracts.onchain import arguments, artifact, create

# What each standard's text names, and the id that it states.
ERC165 = ("01ffc9a7", ["supportsInterface(bytes4)"])
ERC20 = (
    "36372b07",
    [
        "totalSupply()",
        "balanceOf(address)",
        "transfer(address,uint256)",
        "transferFrom(address,address,uint256)",
        "approve(address,uint256)",
        "allowance(address,address)",
    ],
)
ERC20_METADATA = ("a219a025", ["name()", "symbol()", "decimals()"])
ERC2612 = (
    "9d8ff7da",
    ["permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", "nonces(address)", "DOMAIN_SEPARATOR()"],
)
ERC7943_UNITS = (
    "3edbb4c4",
    [
        "forcedTransfer(address,address,uint256)",
        "setFrozenTokens(address,uint256)",
        "canSend(address)",
        "canReceive(address)",
        "getFrozenTokens(address)",
        "canTransfer(address,address,uint256)",
    ],
)
ERC7943_DEEDS = (
    "bf1ef5fe",
    [
        "forcedTransfer(address,address,uint256)",
        "setFrozenTokens(address,uint256,bool)",
        "canSend(address)",
        "canReceive(address)",
        "getFrozenTokens(address,uint256)",
        "canTransfer(address,address,uint256)",
    ],
)
ERC1404 = (
    "ab84a5c8",
    ["detectTransferRestriction(address,address,uint256)", "messageForTransferRestriction(uint8)"],
)
ERC721 = (
    "80ac58cd",
    [
        "balanceOf(address)",
        "ownerOf(uint256)",
        "safeTransferFrom(address,address,uint256,bytes)",
        "safeTransferFrom(address,address,uint256)",
        "transferFrom(address,address,uint256)",
        "approve(address,uint256)",
        "setApprovalForAll(address,bool)",
        "getApproved(uint256)",
        "isApprovedForAll(address,address)",
    ],
)
ERC721_METADATA = ("5b5e139f", ["name()", "symbol()", "tokenURI(uint256)"])
ERC2981 = ("2a55205a", ["royaltyInfo(uint256,uint256)"])
ERC5192 = ("b45a3c0e", ["locked(uint256)"])
ERC5805 = (
    "e90fb3f6",
    [
        "getVotes(address)",
        "getPastVotes(address,uint256)",
        "getPastTotalSupply(uint256)",
        "delegates(address)",
        "delegate(address)",
        "delegateBySig(address,uint256,uint256,uint8,bytes32,bytes32)",
    ],
)
ERC6372 = ("da287a1d", ["clock()", "CLOCK_MODE()"])
# Only events, so there is nothing to compute it from.
ERC4906 = "49064906"

UNITS = [ERC165, ERC20, ERC20_METADATA, ERC2612]
RULED = [*UNITS, ERC7943_UNITS, ERC1404]
VOTES = [ERC5805, ERC6372]
DEEDS = [ERC165, ERC721, ERC721_METADATA, ERC2981, ERC7943_DEEDS]
EVERY = [*RULED, *VOTES, *DEEDS, ERC5192]


@pytest.mark.parametrize(("stated", "signatures"), EVERY)
def test_an_interface_id_is_the_sum_of_its_selectors(stated: str, signatures: list[str]) -> None:
    selectors = [int.from_bytes(keccak(signature.encode())[:4], "big") for signature in signatures]
    assert reduce(int.__xor__, selectors) == int(stated, 16)


@pytest.mark.parametrize(
    ("name", "soulbound", "interfaces"),
    [
        ("AssetToken", False, RULED),
        ("AssetTokenHistory", False, [*RULED, *VOTES]),
        ("DeedToken", False, DEEDS),
        ("DeedToken", True, [*DEEDS, ERC5192]),
        ("GovernanceToken", False, [*UNITS, *VOTES]),
        ("UtilityToken", False, UNITS),
    ],
)
def test_a_token_answers_for_what_it_has_and_for_nothing_else(
    chain: Web3, authority: Contract, name: str, soulbound: bool, interfaces: list[tuple[str, list[str]]]
) -> None:
    token = create(chain, name, *arguments(name, authority.address, soulbound=soulbound))
    has = {stated for stated, _ in interfaces} | ({ERC4906} if name == "DeedToken" else set())
    asked = {stated for stated, _ in EVERY} | {ERC4906, "ffffffff", "00000000", "41c4fbad"}
    assert {stated for stated in asked if token.functions.supportsInterface(bytes.fromhex(stated)).call()} == has
    there = artifact(name)["methodIdentifiers"].keys()
    assert [signature for _, signatures in interfaces for signature in signatures if signature not in there] == []
