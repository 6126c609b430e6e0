"""The shipped artifacts, and what they say of deployed code."""

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from service.chain import artifacts
from service.chain.reader import Chain
from tests.chain.conftest import World


def test_every_shipped_artifact_loads_whole() -> None:
    assert {"AssetFactory", "AssetToken"} <= set(artifacts.names())
    for name in artifacts.names():
        artifact = artifacts.load(name)
        assert artifact.name == name
        assert artifact.creation_code
        assert artifact.compiler["version"]
        assert "storage" in artifact.storage_layout


def test_an_artifact_is_read_once() -> None:
    assert artifacts.load("AssetToken") is artifacts.load("AssetToken")


@pytest.mark.parametrize("name", ["Nothing", "../artifacts/AssetToken", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(KeyError, match="no artifact"):
        artifacts.load(name)


def test_bytecode_stays_out_of_the_repr() -> None:
    assert len(repr(artifacts.load("AssetToken"))) < 300


async def test_deployed_code_is_the_artifacts_whatever_its_immutables(chain: Chain, world: World) -> None:
    token = artifacts.load("AssetToken")
    assert token.immutable_references
    code = await chain.code(world.token())
    assert keccak(code) != token.runtime_code_hash
    assert artifacts.masked_code_hash(code, token) == token.runtime_code_hash
    altered = bytearray(code)
    altered[10] ^= 1
    assert artifacts.masked_code_hash(bytes(altered), token) != token.runtime_code_hash


@given(st.binary(max_size=6_000))
def test_no_other_code_hashes_to_the_artifacts(code: bytes) -> None:
    token = artifacts.load("AssetToken")
    assert artifacts.masked_code_hash(code, token) != token.runtime_code_hash
