"""What our own Solidity sources declare, by the compiler's syntax trees."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from scripts import compile as compiling

KINDS = ("FunctionDefinition", "EventDefinition", "ErrorDefinition", "VariableDeclaration")


@dataclass(frozen=True, slots=True)
class Declared:
    """Something of ours that others see: a function, an event, an error or a public variable."""

    where: str
    name: str
    kind: str
    selector: str
    modifiers: frozenset[str]
    parameters: tuple[str, ...]
    results: tuple[str, ...]
    overrides: bool
    text: str

    def missing(self) -> list[str]:
        """What its NatSpec does not say. An inherited text counts where there is one to inherit."""
        if re.search(r"@inheritdoc \w", self.text):
            return [] if self.overrides else ["a base of its own name to inherit from"]
        tags = re.findall(r"@(notice|param|return)\b *(\w*)( *\S)?", self.text)
        lacking = [] if ("notice" in {tag for tag, _, _ in tags}) else ["@notice"]
        described = {name for tag, name, rest in tags if tag == "param" and rest.strip()}
        lacking += [f"@param {name}" for name in self.parameters if name not in described]
        returned = [name for tag, name, _ in tags if tag == "return"]
        lacking += ["@return"] * (len(self.results) - len(returned))
        named = [name for name in self.results if name]
        return lacking + [f"@return {name}" for name in named if name not in returned]


@cache
def declarations() -> tuple[Declared, ...]:
    """All that the sources of contracts/ and contracts/parts/ declare for others."""
    sources = sorted(compiling.CONTRACTS.glob("*.sol"))
    [answer] = compiling.ask([compiling.task(sources, {"*": {"": ["ast"]}})], compiling.compiler())
    trees = {name: said["ast"] for name, said in answer["sources"].items()}
    ours = {name: tree for name, tree in trees.items() if not name.startswith(compiling.DEPENDENCIES)}
    there = {f"parts/{file.name}" for file in (compiling.CONTRACTS / "parts").glob("*.sol")}
    assert ours.keys() == {source.name for source in sources} | there
    return tuple(each for name, tree in ours.items() for each in declared(name, tree["nodes"]))


def declared(where: str, nodes: list[dict[str, Any]]) -> Iterator[Declared]:
    """What these nodes declare, those of contracts included."""
    for node in nodes:
        if node["nodeType"] == "ContractDefinition":
            yield from declared(where, node["nodes"])
        elif node["nodeType"] in KINDS and seen(node):
            yield Declared(
                where=where,
                name=node["name"] or node["kind"],
                kind=node["nodeType"],
                selector=node.get("functionSelector", ""),
                modifiers=frozenset(each["modifierName"]["name"] for each in node.get("modifiers", [])),
                parameters=names(node.get("parameters")),
                results=names(node.get("returnParameters")),
                overrides=bool(node.get("baseFunctions")),
                text=text_of(node),
            )


def seen(node: dict[str, Any]) -> bool:
    """Whether others see it; a constructor counts, because whoever deploys has to know what it takes."""
    if node["nodeType"] in {"EventDefinition", "ErrorDefinition"} or node.get("kind") == "constructor":
        return True
    return node["visibility"] in {"external", "public"}


def names(parameters: dict[str, Any] | None) -> tuple[str, ...]:
    """The names in a list of parameters; empty for one without a name."""
    return tuple(each["name"] for each in parameters["parameters"]) if parameters else ()


def text_of(node: dict[str, Any]) -> str:
    """What stands above it in ///."""
    text: str = (node.get("documentation") or {}).get("text", "")
    return text
