import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3
from web3.contract import Contract
from web3.logs import DISCARD

from scripts import compile as compiling
from tests.contracts.onchain import ARTIFACTS, CONTRACTS, ROOT, arguments, artifact, create, deploy, operation, send


def masked_hash(code: bytes, name: str) -> str:
    cleared = bytearray(code)
    for place in artifact(name)["immutableReferences"]:
        start, length = place["start"], place["length"]
        cleared[start : start + length] = bytes(length)
    return Web3.keccak(bytes(cleared)).to_0x_hex()


def stored(chain: Web3, contract: Contract, name: str, label: str, kind: str, key: Any) -> int:
    """An entry of a mapping, read where the storage layout says that it is."""
    layout = artifact(name)["storageLayout"]["storage"]
    slot = next(int(variable["slot"]) for variable in layout if variable["label"] == label)
    place = Web3.keccak(chain.codec.encode([kind, "uint256"], [key, slot]))
    return int.from_bytes(chain.eth.get_storage_at(contract.address, int.from_bytes(place, "big")), "big")


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_deployed_contract_is_what_the_sources_say(
    chain: Web3, factory: Contract, authority: Contract, admin: str, name: str
) -> None:
    votes = create(chain, "GovernanceToken", *arguments("GovernanceToken", authority.address))
    given = arguments(name, authority.address, admin=admin, votes=votes.address)
    made, mined = deploy(factory, name, *given, salt=operation())
    deployed = bytes(chain.eth.get_code(made.address))
    assert masked_hash(deployed, name) == artifact(name)["runtimeCodeHash"]
    assert deployed != b""
    (told,) = factory.events.Deployed().process_receipt(mined, errors=DISCARD)
    assert (told["args"]["token"], told["args"]["kind"].rstrip(b"\0").decode()) == (made.address, name)


@pytest.mark.parametrize("decimals", [0, 18])
def test_terms_of_any_length_change_no_code(chain: Web3, factory: Contract, authority: Contract, decimals: int) -> None:
    called = "Harbour House, 12 Quay Street, Series A preferred units"
    for name in ("AssetToken", "AssetTokenHistory", "DeedToken", "GovernanceToken", "UtilityToken"):
        given = arguments(name, authority.address, called=called, decimals=decimals, soulbound=True)
        made, _ = deploy(factory, name, *given, salt=operation())
        assert masked_hash(bytes(chain.eth.get_code(made.address)), name) == artifact(name)["runtimeCodeHash"]
        assert made.functions.name().call() == called


def test_an_altered_byte_changes_the_code_hash(chain: Web3, token: Contract) -> None:
    deployed = bytearray(chain.eth.get_code(token.address))
    deployed[0] ^= 1
    assert masked_hash(bytes(deployed), "AssetToken") != artifact("AssetToken")["runtimeCodeHash"]


@pytest.mark.parametrize("name", ["AssetToken", "AssetTokenHistory", "UtilityToken", "GovernanceToken"])
def test_the_storage_layout_finds_a_balance(
    chain: Web3, authority: Contract, admin: str, holder: str, name: str
) -> None:
    token = create(chain, name, *arguments(name, authority.address))
    send(token.functions.mint(holder, 77, operation()), sender=admin)
    assert stored(chain, token, name, "_balances", "address", holder) == 77


def test_the_storage_layout_finds_a_deeds_holder(chain: Web3, authority: Contract, admin: str, holder: str) -> None:
    deeds = create(chain, "DeedToken", *arguments("DeedToken", authority.address))
    send(deeds.functions.mintDeed(holder, 7, "", bytes(32), operation()), sender=admin)
    assert stored(chain, deeds, "DeedToken", "_owners", "uint256", 7) == int(holder, 16)


def test_the_artifacts_are_those_of_the_sources() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "scripts.compile", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_artifacts_name_no_machine() -> None:
    for file in ARTIFACTS.glob("*.json"):
        text = file.read_text()
        assert str(ROOT) not in text
        assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_an_artifact_that_differs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {file.name: file.read_text() for file in ARTIFACTS.glob("*.json")}
    monkeypatch.setattr(compiling, "ARTIFACTS", shutil.copytree(ARTIFACTS, tmp_path / "artifacts"))
    (compiling.ARTIFACTS / "AssetToken.json").write_text(texts["AssetToken.json"].replace("a", "b", 1))
    (compiling.ARTIFACTS / "Gone.json").write_text("{}")
    assert compiling.differing(texts) == ["AssetToken.json", "Gone.json"]


def test_a_missing_library_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "CONTRACTS", tmp_path)
    with pytest.raises(compiling.CompileError, match="run `npm install` in contracts/"):
        compiling.compile_contracts()


def test_a_compiler_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "node_modules" / "solc"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"version": "0.8.20"}')
    monkeypatch.setattr(compiling, "CONTRACTS", tmp_path)
    with pytest.raises(compiling.CompileError, match=r"solc 0\.8\.20, not 0\.8\.37"):
        compiling.npm_compiler()


def test_a_missing_node_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(compiling.CompileError, match=r"Node\.js is missing"):
        compiling.npm_compiler()


def test_a_wrong_source_is_named(tmp_path: Path) -> None:
    source = tmp_path / "Broken.sol"
    source.write_text(
        "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.27;\ncontract Broken { uint256 x = y; }\n"
    )
    with pytest.raises(compiling.CompileError, match=r"(?s)Broken\.sol does not compile:.*Undeclared identifier"):
        compiling.artifacts([source], compiling.compiler())
