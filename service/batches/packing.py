"""How rows become packs. Pure: the same rows always form the same packs, so that a retry burns the same ids."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from service.batches.orders import FREEZE, IDENTITY, TRANSFER, Kind

PACK_GAS_MAX = 12_000_000
"""With a margin of a quarter below what one transaction may use. Source: EIP-7825, 2**24."""

PACK_GAS_BASE = 250_000
"""What a pack costs besides its rows: the transaction, the role, the burned id, a signature, sixteen lots."""

ROW_GAS = {
    "AssetToken": 33_000,
    "AssetTokenHistory": 140_000,
    "GovernanceToken": 95_000,
    "UtilityToken": 33_000,
}
"""A mint or transfer to a new holder whose votes another account has. Source: contracts/README.md, Costs."""

REGULATED_GAS = 90_000
"""What every rule of a compliance registry adds to a row. Source: contracts/README.md, Costs."""

FREEZE_GAS = 30_000
IDENTITY_GAS = 100_000
"""An identity, and a change of country with five tokens held; those of first investors cost a third."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows that one transaction carries. In a batch of transfers they are of one account."""

    number: int  # from 1
    rows: Sequence[int] = field(repr=False)  # their numbers, from 1, ascending
    account: bytes | None = None

    def effect_id(self, batch: UUID) -> UUID:
        """What the contract's burned id is made of, from that of the batch."""
        digest = hashlib.sha256(b"muniment.pack" + batch.bytes + self.number.to_bytes(4)).digest()
        return UUID(bytes=digest[:16])


def row_gas(kind: Kind, artifact: str, *, regulated: bool) -> int:
    """Gas that a row costs at most.

    Args:
        artifact: the contract that is asked.
        regulated: whether it was deployed with a compliance registry.
    """
    if kind is FREEZE:
        return FREEZE_GAS
    if kind is IDENTITY:
        return IDENTITY_GAS
    return ROW_GAS[artifact] + (REGULATED_GAS if regulated else 0)


def form_packs(kind: Kind, orders: Mapping[int, Any], gas: int) -> list[Pack]:
    """Packs of rows that cost `gas` each, in the order of their first rows. `orders` are by row number, ascending."""
    by_account: dict[bytes | None, list[int]] = {}
    for number, order in orders.items():
        by_account.setdefault(order.holder if kind is TRANSFER else None, []).append(number)
    size = (PACK_GAS_MAX - PACK_GAS_BASE) // gas
    cut = [
        (account, rows[start : start + size])
        for account, rows in by_account.items()
        for start in range(0, len(rows), size)
    ]
    return [Pack(number, rows, account) for number, (account, rows) in enumerate(cut, start=1)]
