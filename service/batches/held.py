"""What many investors hold, in a number of questions that does not depend on how many they are."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection

from service.compliance.queries import counted_tokens
from service.db import ReadConnection
from service.deployments.queries import Target
from service.mirror import facts
from service.mirror import queries as mirror
from service.mirror.queries import Contract

ROWS_MAX = 1_000
"""Rows of one question of a walk."""


async def held_by_investors(
    connection: ReadConnection, target: Target, investors: Collection[bytes]
) -> dict[bytes, list[bytes]]:
    """The registered tokens that each investor holds over all wallets, ascending, as `setIdentity` asks for them.

    Investors who hold nothing are left out. It reads every linked wallet of the registry, and every holder of its
    tokens where one of these investors has a wallet.
    """
    label = await mirror.label(connection, chain_id=target.chain_id, at_block=None)
    registry = await mirror.contract(connection, chain_id=target.chain_id, address=target.address, block=label.block)
    assert registry is not None, "a required contract is mirrored"
    counted = await counted_tokens(connection, registry, label)
    wallets = {
        block: await _wallets(connection, registry, block, investors) for block in {each.block for each in counted}
    }
    held: dict[bytes, list[bytes]] = defaultdict(list)
    for token in counted:
        of = wallets[token.block]
        owners: set[bytes] = set()
        if of:
            owners = {of[each] async for each in _holders(connection, token.contract, token.block) if each in of}
        for investor in owners:
            held[investor].append(token.contract.address)
    return held


async def _wallets(
    connection: ReadConnection, registry: Contract, block: int, investors: Collection[bytes]
) -> dict[bytes, bytes]:
    """The investor of each wallet that was linked to one of them at the end of a block."""
    wanted = set(investors)
    found, after = {}, None
    while True:
        rows = await facts.states_page(
            connection, contract_id=registry.id, aspect="wallet", block=block, after=after, count_max=ROWS_MAX
        )
        for row in rows:
            investor = bytes.fromhex(row.state["investor"][2:])
            if investor in wanted:
                found[row.key] = investor
        if len(rows) < ROWS_MAX:
            return found
        after = rows[-1].key


async def _holders(connection: ReadConnection, contract: Contract, block: int) -> AsyncIterator[bytes]:
    after: bytes | None = None
    while True:
        rows = await mirror.holdings_page(
            connection, contract_id=contract.id, block=block, after=after, count_max=ROWS_MAX
        )
        for row in rows:
            yield row.account
        if len(rows) < ROWS_MAX:
            return
        after = rows[-1].account
