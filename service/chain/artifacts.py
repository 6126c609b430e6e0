"""What the compiler made of our contracts, as shipped with the package."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from eth_hash.auto import keccak

from service.chain.wire import parse_data

_FOLDER = resources.files("service.chain") / "artifacts"


@dataclass(frozen=True, slots=True)
class ImmutableReference:
    """Bytes of the runtime code that the constructor fills in: `length` of them from `start` on."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: Sequence[Mapping[str, Any]] = field(repr=False)
    creation_code: bytes = field(repr=False)
    runtime_code_hash: bytes  # Keccak-256 with every immutable as zeros
    immutable_references: tuple[ImmutableReference, ...] = field(repr=False)
    storage_layout: Mapping[str, Any] = field(repr=False)
    compiler: Mapping[str, Any] = field(repr=False)


@cache
def names() -> tuple[str, ...]:
    """The contracts there are, in alphabetical order."""
    return tuple(sorted(entry.name[:-5] for entry in _FOLDER.iterdir() if entry.name.endswith(".json")))


@cache
def load(name: str) -> Artifact:
    """Read one contract's artifact, once for each process.

    Raises:
        KeyError: no contract of that name is shipped.
    """
    if name not in names():
        raise KeyError(f"no artifact is called {name!r}")
    read = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    return Artifact(
        name=read["name"],
        abi=tuple(MappingProxyType(entry) for entry in read["abi"]),
        creation_code=parse_data(read["creationCode"]),
        runtime_code_hash=parse_data(read["runtimeCodeHash"], size=32),
        immutable_references=tuple(
            ImmutableReference(entry["start"], entry["length"]) for entry in read["immutableReferences"]
        ),
        storage_layout=MappingProxyType(read["storageLayout"]),
        compiler=MappingProxyType(read["compiler"]),
    )


def is_code_of_ours(code: bytes) -> bool:
    """Whether deployed code is what one of our contracts compiles to, whatever its immutables are."""
    each_of_ours = map(load, names())
    return any(masked_code_hash(code, artifact) == artifact.runtime_code_hash for artifact in each_of_ours)


def masked_code_hash(code: bytes, artifact: Artifact) -> bytes:
    """Hash deployed code with its immutables as zeros: equal to `runtime_code_hash` when it is the artifact's.

    Code too short to hold the immutables is hashed as it is, and so equals nothing.
    """
    masked = bytearray(code)
    for reference in artifact.immutable_references:
        end = reference.start + reference.length
        if end > len(code):
            return keccak(code)
        masked[reference.start : end] = bytes(reference.length)
    return keccak(bytes(masked))
