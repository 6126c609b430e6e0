"""The second opinion: what the chain itself says, by web3.py straight from the node and none of the service's code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from web3 import Web3
from web3.exceptions import ContractCustomError

ARTIFACTS = Path(__file__).resolve().parent.parent / "service" / "chain" / "artifacts"
NOBODY = "0x" + "0" * 40


class Row(NamedTuple):
    """One thing that was shown, and what the chain says of it."""

    what: str
    block: int
    shown: str
    chain: str

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.shown == self.chain


class Moved(NamedTuple):
    """One Transfer event; nobody mints and burns."""

    block: int
    log_index: int
    transaction: str
    sender: str | None
    recipient: str | None
    amount: int


@dataclass(slots=True)
class Opinion:
    """Asks the node, and keeps what it said beside what was shown."""

    web3: Web3
    rows: list[Row] = field(default_factory=list)
    _contracts: dict[tuple[str, str], Any] = field(default_factory=dict)

    def check(self, what: str, block: int, shown: object, chain: object) -> bool:
        """Keep a comparison; whether both say the same."""
        row = Row(what, block, str(shown), str(chain))
        self.rows.append(row)
        return row.agrees

    def says(self, place: tuple[str, str], function: str, *arguments: Any, block: int) -> Any:
        """What a view answers at a block. `place` is a contract: its artifact and its address."""
        answer = self._contract(*place).functions[function](*arguments).call(block_identifier=block)
        return plain(answer)

    def refuses(self, place: tuple[str, str], function: str, *arguments: Any, sender: str, block: int) -> Any:
        """The error that a call ends with at a block, and its arguments by name; None where it passes."""
        contract = self._contract(*place)
        try:
            contract.functions[function](*arguments).call({"from": sender}, block_identifier=block)
        except ContractCustomError as refused:
            given = bytes.fromhex(str(refused.data)[2:])
            for error in (each for each in contract.abi if each["type"] == "error"):
                types = [each["type"] for each in error["inputs"]]
                if given[:4] == Web3.keccak(text=f"{error['name']}({','.join(types)})")[:4]:
                    values = [
                        Web3.to_checksum_address(value) if kind == "address" else plain(value)
                        for kind, value in zip(types, self.web3.codec.decode(types, given[4:]), strict=True)
                    ]
                    return error["name"], dict(zip((each["name"] for each in error["inputs"]), values, strict=True))
            raise
        return None

    def announced(self, place: tuple[str, str], event: str, *, last: int) -> list[Mapping[str, Any]]:
        """The arguments of all events of a name up to a block, oldest first."""
        found = self._contract(*place).events[event]().get_logs(from_block=0, to_block=last)
        return [{name: plain(value) for name, value in each["args"].items()} for each in found]

    def ether(self, account: str, block: int) -> int:
        """What an account could pay for gas, in wei."""
        return self.web3.eth.get_balance(Web3.to_checksum_address(account), block)

    def check_balance(self, token: str, name: str, account: str, block: int, shown: int) -> bool:
        """Compare a holding with `balanceOf` at a block."""
        said = self.says(("AssetToken", token), "balanceOf", account, block=block)
        return self.check(f"balanceOf {name}", block, shown, said)

    def check_token(self, token: str, block: int, supply: int, paused: bool) -> bool:
        """Compare supply and pause with `totalSupply` and `paused` at a block."""
        place = ("AssetToken", token)
        agrees = self.check("totalSupply", block, supply, self.says(place, "totalSupply", block=block))
        return self.check("paused", block, paused, self.says(place, "paused", block=block)) and agrees

    def check_label(self, label: dict[str, Any]) -> bool:
        """Compare the block hash that an answer names with the node's."""
        return self.check("block hash", label["block"], label["hash"], self.block_hash(label["block"]))

    def check_moves(self, token: str, last: int, shown: Sequence[Moved]) -> bool:
        """Compare all movements up to a block with the events that the node holds."""
        said = self._moves(token, last)
        agrees = self.check("number of Transfer events", last, len(shown), len(said))
        for number, (ours, theirs) in enumerate(zip(shown, said, strict=False), start=1):
            agrees = self.check(f"Transfer event {number}", ours.block, tuple(ours), tuple(theirs)) and agrees
        return agrees

    def check_transaction(self, kind: str, transaction_hash: str, block: int, block_hash: str) -> bool:
        """Compare where a transaction is with its receipt."""
        receipt = self.web3.eth.get_transaction_receipt(Web3.to_bytes(hexstr=transaction_hash))  # type: ignore[arg-type]
        said = (receipt["blockNumber"], Web3.to_hex(receipt["blockHash"]), receipt["status"])
        return self.check(f"receipt of {kind}", block, (block, block_hash, 1), said)

    def transaction_count(self, account: str) -> int:
        """How many transactions of an account the chain has."""
        return self.web3.eth.get_transaction_count(Web3.to_checksum_address(account))

    def block_number(self) -> int:
        """The newest block."""
        return self.web3.eth.block_number

    def block_hash(self, block: int) -> str:
        """The hash of a block."""
        return Web3.to_hex(self.web3.eth.get_block(block)["hash"])

    def _contract(self, artifact: str, address: str) -> Any:
        found = self._contracts.get((artifact, address))
        if found is None:
            abi = json.loads((ARTIFACTS / f"{artifact}.json").read_text())["abi"]
            found = self.web3.eth.contract(Web3.to_checksum_address(address), abi=abi)
            self._contracts[artifact, address] = found
        return found

    def _moves(self, token: str, last: int) -> list[Moved]:
        return [
            Moved(
                event["blockNumber"],
                event["logIndex"],
                Web3.to_hex(event["transactionHash"]),
                None if event["args"]["from"] == NOBODY else event["args"]["from"],
                None if event["args"]["to"] == NOBODY else event["args"]["to"],
                event["args"]["value"],
            )
            for event in self._contract("AssetToken", token).events.Transfer().get_logs(from_block=0, to_block=last)
        ]


def plain(value: Any) -> Any:
    """A value as our API writes it: bytes as 0x text, structs and lists as lists."""
    if isinstance(value, bytes):
        return Web3.to_hex(value)
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def ask(rpc_url: str) -> Opinion:
    """A second opinion on a chain."""
    return Opinion(Web3(Web3.HTTPProvider(rpc_url)))
