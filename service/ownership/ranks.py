"""The order of holders by amount at a past block, kept while somebody pages through it.

At the newest block an index has the order. At a past one it takes every account to make it, so it is made once and
kept: 20 bytes a holder, under the block's hash, and under the count of how often the contract's rows were made anew.
"""

from collections import OrderedDict

from service.db import ReadConnection
from service.mirror import ownership
from service.mirror.queries import Contract, Holding

ADDRESS_BYTES = 20

KEPT_BYTES_MAX = 64 * 1024 * 1024
"""Of all orders that a process keeps; the one that was asked for longest ago goes first."""


class Ranks:
    """Orders of holders, largest first, equals by address downwards."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[tuple[bytes, int, bytes], bytes] = OrderedDict()

    async def page(
        self,
        connection: ReadConnection,
        *,
        contract: Contract,
        block: int,
        block_hash: bytes,
        rank: int,
        count_max: int,
    ) -> list[Holding]:
        """The holdings at the end of a block from `rank` on, which is 0 for the largest."""
        order = await self._order(connection, contract, block, block_hash)
        first, end = rank * ADDRESS_BYTES, (rank + count_max) * ADDRESS_BYTES
        chosen = order[first:end]
        accounts = [chosen[at : at + ADDRESS_BYTES] for at in range(0, len(chosen), ADDRESS_BYTES)]
        return await ownership.amounts_of(connection, contract_id=contract.id, block=block, accounts=accounts)

    async def _order(self, connection: ReadConnection, contract: Contract, block: int, block_hash: bytes) -> bytes:
        key = (contract.address, contract.rebuilt, block_hash)
        if key not in self._kept:
            self._kept[key] = await ownership.ranked_accounts(connection, contract_id=contract.id, block=block)
        self._kept.move_to_end(key)
        order = self._kept[key]
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._bytes_max:
            self._kept.popitem(last=False)
        return order
