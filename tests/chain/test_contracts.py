"""Calldata, events and hashes, each against another's computation."""

import time
from uuid import UUID

import pytest
from eth_abi.abi import encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3
from web3.contract import Contract

from service.chain import artifacts, contracts
from service.chain.reader import Call, Chain
from tests.chain.conftest import World

addresses = st.binary(min_size=20, max_size=20)
words = st.binary(min_size=32, max_size=32)
amounts = st.integers(0, 2**256 - 1)

# Source: EIP-1014, "Examples": deployer, salt, creation code, address.
EIP_1014 = [
    ("00" * 20, "00" * 32, "00", "4d1a2e2bb4f88f0250f26ffff098b0b30b26bf38"),
    ("deadbeef" + "00" * 16, "00" * 32, "00", "b928f69bb1d91cd65274e3c79d8986362984fda3"),
    (
        "deadbeef" + "00" * 16,
        "000000000000000000000000feed000000000000000000000000000000000000",
        "00",
        "d04116cdd17bebe565eb2422f2497e06cc1c9833",
    ),
    ("00" * 20, "00" * 32, "deadbeef", "70f2b2914a2a4b783faefb75f459a580616fcb5e"),
    (
        "00000000000000000000000000000000deadbeef",
        "00000000000000000000000000000000000000000000000000000000cafebabe",
        "deadbeef",
        "60f3f640a8508fc6a86d45df051962668e1e8ac7",
    ),
    (
        "00000000000000000000000000000000deadbeef",
        "00000000000000000000000000000000000000000000000000000000cafebabe",
        "deadbeef" * 11,
        "1d8bfdc5d46dc4f61d6b6115972536ebe6a8854c",
    ),
    ("00" * 20, "00" * 32, "", "e33c0c7f7df4809055c3eba6c09cfe4baf1bd9e0"),
]


@pytest.mark.parametrize(("factory", "salt", "code", "expected"), EIP_1014)
def test_create2_addresses_are_those_of_the_standard(factory: str, salt: str, code: str, expected: str) -> None:
    hashed = keccak(bytes.fromhex(code))
    assert contracts.create2_address(bytes.fromhex(factory), bytes.fromhex(salt), hashed).hex() == expected


def test_create2_of_wrong_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        contracts.create2_address(bytes(20), bytes(31), bytes(32))


def web3_of(name: str) -> type[Contract]:
    return Web3().eth.contract(abi=[dict(entry) for entry in artifacts.load(name).abi])


@pytest.mark.parametrize(
    ("name", "event", "topic"),
    [
        ("AssetToken", "Transfer", contracts.TRANSFER),
        ("AssetToken", "Paused", contracts.PAUSED),
        ("AssetToken", "Unpaused", contracts.UNPAUSED),
        ("AssetFactory", "Deployed", contracts.DEPLOYED),
    ],
    ids=["Transfer", "Paused", "Unpaused", "Deployed"],
)
def test_topics_are_those_of_the_abi(name: str, event: str, topic: bytes) -> None:
    assert web3_of(name).events[event]().topic == "0x" + topic.hex()


@given(addresses, amounts, words)
def test_calldata_is_what_web3_writes(to: bytes, amount: int, nonce: bytes) -> None:
    token = web3_of("AssetToken")
    expected = token.encode_abi("mint", args=[Web3.to_checksum_address(to), amount, nonce])
    assert "0x" + contracts.encode_call("AssetToken", "mint", to, amount, nonce).hex() == expected
    by_signature = contracts.encode_call("AssetToken", "mint(address,uint256,bytes32)", to, amount, nonce)
    assert "0x" + by_signature.hex() == expected


def test_what_does_not_fit_is_refused_before_it_reaches_the_chain() -> None:
    with pytest.raises(EncodingError):
        contracts.encode_call("AssetToken", "mint", bytes(20), 2**256, bytes(32))
    with pytest.raises(EncodingError):
        contracts.encode_call("AssetToken", "mint", bytes(20), -1, bytes(32))
    with pytest.raises(EncodingError):
        contracts.encode_call("AssetToken", "mint", bytes(19), 1, bytes(32))
    with pytest.raises(KeyError, match="no function"):
        contracts.encode_call("AssetToken", "rescue", 1)


def test_a_result_from_no_contract_is_refused() -> None:
    with pytest.raises(DecodingError):
        contracts.decode_result("AssetToken", "totalSupply", b"")


@given(st.integers(1, 2**63), addresses, st.uuids())
def test_an_operations_nonce_is_the_hash_of_its_domain(chain_id: int, contract: bytes, operation: UUID) -> None:
    expected = keccak(
        encode(["string", "uint256", "address", "bytes16"], ["muniment.operation", chain_id, contract, operation.bytes])
    )
    nonce = contracts.operation_nonce(chain_id, contract, operation)
    assert nonce == expected
    assert nonce != contracts.operation_nonce(chain_id + 1, contract, operation)


async def test_the_factory_deploys_where_we_computed(chain: Chain, world: World) -> None:
    admin = world.accounts[0]
    factory = world.create("AssetFactory", admin)
    code, salt = contracts.creation_code("IssuerAuthority", admin, 0, admin), keccak(b"salt")
    kind = contracts.name32("IssuerAuthority")
    mined = world.send(factory, contracts.encode_call("AssetFactory", "deploy", salt, code, kind), sender=admin)
    log = next(log for log in mined["logs"] if log["topics"][0] == "0x" + contracts.DEPLOYED.hex())
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    expected = contracts.create2_address(factory, salt, keccak(code))
    assert [topics[1][12:], topics[2], topics[3][12:]] == [expected, salt, admin]
    assert bytes.fromhex(log["data"][2:]) == keccak(code) + kind
    for function, arguments, answer in (("predict", (salt, keccak(code)), expected), ("deployed", (expected,), True)):
        told = await chain.call(Call(factory, contracts.encode_call("AssetFactory", function, *arguments), admin))
        assert contracts.decode_result("AssetFactory", function, told) == (answer,)


def test_the_operation_that_ends_calldata_is_found() -> None:
    burned = keccak(b"operation")
    policy = (1, 1, 10, 5, 10**30)
    for name, function, arguments in (
        ("AssetToken", "mint", (bytes(20), 7)),
        ("AssetToken", "forcedTransferRef", (bytes(20), bytes(20), 7, "Court order", bytes(32))),
        ("ComplianceRegistry", "setPolicy", (bytes(20), policy, [756, 40])),
    ):
        data = contracts.encode_call(name, function, *arguments, burned)
        found = contracts.operation_of(data)
        assert found is not None
        assert found[1] == burned
        assert contracts.operation_of(data[:-200]) is None
    for data in (contracts.encode_call("AssetToken", "transfer", bytes(20), 7), b"", b"1234"):
        assert contracts.operation_of(data) is None


def test_a_call_is_told_in_words() -> None:
    token, burned = bytes(19) + b"\x07", bytes(31) + b"\x09"
    data = contracts.encode_call("ComplianceRegistry", "setPolicy", token, (1, 2, 10, 5, 10**30), [756], burned)
    assert contracts.describe_call(data) == {
        "contract": "ComplianceRegistry",
        "function": "setPolicy",
        "arguments": {
            "token": "0x0000000000000000000000000000000000000007",
            "policy": {
                "levelMin": 1,
                "countryRule": 2,
                "holdersMax": 10,
                "countryHoldersMax": 5,
                "holdingMax": str(10**30),
            },
            "countries": [756],
            "operationId": "0x" + burned.hex(),
        },
    }


CLAIM = "claimFor(bytes32,uint256[],address[],uint256[],bytes32[][])"


def written(*numbers: int) -> bytes:
    """Numbers as the chain writes them."""
    return b"".join(number.to_bytes(32) for number in numbers)


def test_offsets_to_one_list_are_no_call() -> None:
    head = written(0, 0xA0, 0xC0, 0xE0, 0x100, 0, 0, 0)
    data = keccak(CLAIM.encode())[:4] + head + written(400, *[32 * 400] * 400) + written(500, *[0] * 500)
    began = time.perf_counter()
    assert contracts.describe_call(data) is None
    assert contracts.describe_call_to("Distributor", data) is None
    assert time.perf_counter() - began < 0.5


def test_only_what_a_compiler_writes_is_told() -> None:
    data = contracts.encode_call("ComplianceRegistry", "setPolicy", bytes(20), (1, 2, 10, 5, 7), [756], bytes(32))
    assert contracts.describe_call(data) is not None
    for other in (data + bytes(32), data[:-1], data[:4] + b"\x01" + data[5:]):
        assert contracts.describe_call(other) is None
        assert contracts.describe_call_to("ComplianceRegistry", other) is None


def test_long_calldata_is_not_told() -> None:
    countries = list(range(1, 1_024))
    data = contracts.encode_call("ComplianceRegistry", "setPolicy", bytes(20), (1, 2, 0, 0, 0), countries, bytes(32))
    told = contracts.describe_call(data)
    assert told is not None
    assert told["arguments"]["countries"] == countries
    longer = contracts.encode_call(
        "ComplianceRegistry", "setPolicy", bytes(20), (1, 2, 0, 0, 0), countries * 3, bytes(32)
    )
    assert contracts.describe_call(longer) is None
    assert contracts.describe_call_to("ComplianceRegistry", longer) is None


@given(st.binary(max_size=200))
def test_any_other_bytes_are_told_as_nothing_or_as_a_call(data: bytes) -> None:
    told = contracts.describe_call(data)
    assert told is None or set(told) == {"contract", "function", "arguments"}


async def test_the_deterministic_deployer_is_where_anvil_has_it(chain: Chain) -> None:
    assert await chain.code(contracts.DETERMINISTIC_DEPLOYER)
