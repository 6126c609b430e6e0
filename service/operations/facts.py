"""What the mirror knows of a contract, aspect by aspect, on the wire: lists, single facts and their histories."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.addresses import Hash, checksum, hex0x
from service.db import ReadConnection
from service.mirror import facts
from service.mirror import queries as mirror
from service.mirror.queries import Contract, Label
from service.operations.labels import LabelledPage, label_view
from service.web.paging import decode_cursor, encode_cursor, page

Part = tuple[str, int, Literal["address", "hex", "number", "small"]]
"""A part of a key: its name, how many bytes it has, and how it is written; small numbers are JSON numbers."""

KEYS: Mapping[str, tuple[Part, ...]] = {
    "frozen": (("account", 20, "address"),),
    "frozen-deed": (("account", 20, "address"), ("deed_id", 32, "number")),
    "role": (("role", 8, "small"), ("account", 20, "address")),
    "scheduled": (("id", 32, "hex"),),
    "identity": (("investor", 32, "hex"),),
    "blocked": (("investor", 32, "hex"),),
    "wallet": (("wallet", 20, "address"),),
    "policy": (("token", 20, "address"),),
    "country-holders-max": (("token", 20, "address"), ("country", 4, "small")),
    "lots": (("token", 20, "address"), ("investor", 32, "hex")),
    "document": (("subject", 20, "address"), ("name", 32, "hex")),
    "deed": (("deed_id", 32, "number"),),
    "retired": (("deed_id", 32, "number"),),
    "royalty": (("deed_id", 32, "number"),),
    "delegate": (("account", 20, "address"),),
    "votes": (("account", 20, "address"),),
    "proposal": (("proposal_id", 32, "number"),),
    "ballot": (("proposal_id", 32, "number"), ("voter", 20, "address")),
    "reserve": (("token", 20, "address"),),
    "attester": (("token", 20, "address"),),
}
"""How the keys of each aspect that is served are made."""


class FactView(BaseModel):
    """Something that a contract says: whose it is, what it is, and since which block."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {"account": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "amount": "250", "since_block": 42}
        },
    )

    since_block: int = Field(description="It has been so from this block on.")


class FactHistoryView(BaseModel):
    """What a fact was from one block up to, not including, another."""

    from_block: int = Field(examples=[42])
    from_hash: Hash
    from_time: datetime
    to_block: int | None = Field(description="Null while it holds.", examples=[57])
    state: dict[str, Any] | None = Field(description="Null where there was nothing.", examples=[{"amount": "250"}])


_WRITTEN: Mapping[str, Callable[[bytes], str | int]] = {
    "address": checksum,
    "hex": hex0x,
    "number": lambda part: str(int.from_bytes(part)),
    "small": int.from_bytes,
}


def read_key(aspect: str, key: bytes) -> dict[str, Any]:
    """The parts of a key under their names; an empty key, as of a default royalty, has none."""
    named: dict[str, Any] = {}
    for name, length, kind in KEYS[aspect] if key else ():
        part, key = key[:length], key[length:]
        named[name] = _WRITTEN[kind](part)
    return named


async def contract_at(connection: ReadConnection, *, chain_id: int, address: bytes, label: Label) -> Contract | None:
    """The mirrored contract at an address, at the label's block."""
    return await mirror.contract(connection, chain_id=chain_id, address=address, block=label.block)


async def facts_page(
    connection: ReadConnection,
    contract: Contract | None,
    label: Label,
    *,
    aspect: str,
    prefix: bytes = b"",
    cursor: str | None,
    limit: int,
    of: Sequence[str] = (),
) -> LabelledPage[FactView]:
    """One page of an aspect's facts, in order of their keys. A contract that is not there yet says nothing."""
    name = ":".join((aspect, *of))
    after = decode_cursor(cursor, name, bytes)[0] if cursor else None
    rows = (
        []
        if contract is None
        else await facts.states_page(
            connection,
            contract_id=contract.id,
            aspect=aspect,
            block=label.block,
            prefix=prefix,
            after=after,
            count_max=limit + 1,
        )
    )
    shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(name, last.key))
    views = [
        FactView.model_validate({**read_key(aspect, row.key), **(row.state or {}), "since_block": row.from_block})
        for row in shown
    ]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label))
