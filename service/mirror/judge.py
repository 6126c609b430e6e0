"""Whether a contract of others does what its transfers say: some holders' balances, asked of it, against the mirror's.

ERC-20 says which event a transfer emits, and nothing of what else may change a balance. So nothing but asking tells a
token that keeps a fee, or changes all balances at once, from an honest one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from service.addresses import checksum, hex0x
from service.chain import contracts
from service.chain.node import NodeRefused
from service.chain.reader import Call, Chain, Reverted
from service.chain.reasons import Reason
from service.db import Database
from service.mirror import queries
from service.mirror.differences import NOTHING, Finding
from service.mirror.queries import Contract

ACCOUNTS_MAX = 50
"""Accounts, and deeds, that are asked about."""

SUSPECTS_MAX = 5
"""Accounts with another balance whose past is looked at."""

CHANGES_MAX = 5
"""Newest changes of each that are."""

BALANCES, NO_RETURN = "balances-do-not-follow", "no-return-value"
FEE, REBASING, UNKNOWN = "fee-on-transfer", "rebasing", "unknown"

_NO_ANSWER = frozenset((Reason.REVERTED, Reason.HALTED, Reason.OUT_OF_GAS, Reason.HISTORY_GONE, Reason.BLOCK_UNKNOWN))

# The newest accounts: what a contract keeps from transfers, it may have begun to keep late.
_BATCHES = """
SELECT FROM mirror.events
WHERE contract_id = %(contract_id)s AND canonical AND name = 'ConsecutiveTransfer' AND block_number <= %(block)s LIMIT 1
"""

_ACCOUNTS = """
SELECT recent.account, held.amount
FROM (SELECT account FROM (
        SELECT recipient AS account, block_number FROM mirror.transfers
        WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s AND recipient <> %(zero)s
        ORDER BY block_number DESC, log_index DESC LIMIT %(rows_max)s) AS newest
    GROUP BY account ORDER BY max(block_number) DESC, account LIMIT %(count_max)s) AS recent
CROSS JOIN LATERAL (
    SELECT amount FROM mirror.holdings
    WHERE contract_id = %(contract_id)s AND account = recent.account AND from_block <= %(block)s AND canonical
    ORDER BY from_block DESC LIMIT 1) AS held
"""

_CHANGES = """
SELECT from_block, amount, coalesce(lag(amount) OVER (ORDER BY from_block), 0)
FROM mirror.holdings
WHERE contract_id = %(contract_id)s AND account = %(account)s AND from_block <= %(block)s AND canonical
ORDER BY from_block DESC LIMIT %(count_max)s
"""

_TITLES = """
SELECT recent.deed_id, held.holder
FROM (SELECT DISTINCT deed_id FROM (
        SELECT deed_id FROM mirror.transfers
        WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s AND deed_id IS NOT NULL
        ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s) AS newest) AS recent
CROSS JOIN LATERAL (
    SELECT holder FROM mirror.titles
    WHERE contract_id = %(contract_id)s AND deed_id = recent.deed_id AND from_block <= %(block)s AND canonical
    ORDER BY from_block DESC LIMIT 1) AS held
WHERE held.holder IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class _Suspect:
    """An account whose balance is not what the transfers say."""

    account: bytes
    mirror: int
    chain: int | None  # None: no answer, or none that is a number


@dataclass(frozen=True, slots=True)
class _Case:
    """A contract before its judge."""

    db: Database
    chain: Chain
    contract: Contract
    block: int

    async def balance(self, account: bytes, block: int) -> int | None:
        """What the contract answers; None where that is no number, and where the node has no such past."""
        answer = await self.answer(contracts.encode_call("AssetToken", "balanceOf", account), block=block)
        return int.from_bytes(answer) if answer is not None and len(answer) == 32 else None

    async def answer(self, calldata: bytes, *, block: int, sender: bytes = bytes(20)) -> bytes | None:
        """What the contract answers; None where it, or the node, refuses."""
        try:
            return await self.chain.call(Call(self.contract.address, calldata, sender), block=block)
        except Reverted:
            return None
        except NodeRefused as refused:
            if refused.reason in _NO_ANSWER:
                return None
            raise

    async def rows(self, query: LiteralString, **given: Any) -> list[tuple[Any, ...]]:
        """Rows of the mirror about the contract at the block."""
        place = {"contract_id": self.contract.id, "block": self.block, **given}
        async with self.db.read() as connection:
            return await (await connection.execute(query, place)).fetchall()

    def finding(self, cause: str, account: bytes | None, mirror: object, chain: object) -> Finding:
        """Balances that do not follow from transfers."""
        return Finding(BALANCES, self.contract.address, cause, account, self.block, str(mirror), str(chain))


async def judge(db: Database, chain: Chain, *, contract: Contract, block: int) -> Finding | None:
    """What a contract does that its transfers do not tell; None where those asked about have what the mirror says.

    The contract's rows must be in the mirror, and need not be shown yet. A node without history tells that balances do
    not follow, and not why.

    Args:
        block: mirrored, and one that the node still knows the state of.

    Raises:
        NodeUnavailable, NodeRefused: the node does not answer now.
    """
    case = _Case(db, chain, contract, block)
    if await case.rows(_BATCHES):
        return case.finding(UNKNOWN, None, "no transfer of each", "ConsecutiveTransfer")
    if await case.rows("SELECT FROM mirror.titles WHERE contract_id = %(contract_id)s LIMIT 1"):
        return await _judge_titles(case)
    held = await case.rows(_ACCOUNTS, zero=bytes(20), rows_max=100 * ACCOUNTS_MAX, count_max=ACCOUNTS_MAX)
    balances = await asyncio.gather(*(case.balance(account, block) for account, _ in held))
    suspects = [
        _Suspect(account, amount, balance)
        for (account, amount), balance in zip(held, balances, strict=True)
        if balance != amount
    ]
    if suspects:
        return await _cause(case, suspects[:SUSPECTS_MAX])
    return await _judge_supply(case) or await _judge_return(case, [account for account, _ in held])


async def _cause(case: _Case, suspects: Sequence[_Suspect]) -> Finding:
    causes = {suspect.account: await _cause_of(case, suspect) for suspect in suspects}
    for cause in (REBASING, FEE, UNKNOWN):  # a balance that moves by itself spoils every sum about transfers
        for suspect in suspects:
            if causes[suspect.account] == cause:
                told = "no number" if suspect.chain is None else suspect.chain
                return case.finding(cause, suspect.account, suspect.mirror, told)
    raise AssertionError("there is no other cause")


async def _cause_of(case: _Case, suspect: _Suspect) -> str:
    """Which of an account's balances changed otherwise than its transfers say, beginning with the newest."""
    changes = await case.rows(_CHANGES, account=suspect.account, count_max=CHANGES_MAX)
    later = suspect.chain
    for from_block, amount, former in changes:
        begun, before = await asyncio.gather(
            case.balance(suspect.account, from_block), case.balance(suspect.account, from_block - 1)
        )
        if begun is None or later is None:
            return UNKNOWN
        if begun != later:
            return REBASING
        # The contract may have had no code in the block before.
        if begun - (before or 0) != amount - former:
            return FEE
        later = before or 0
    return UNKNOWN


async def _judge_titles(case: _Case) -> Finding | None:
    held = await case.rows(_TITLES, count_max=ACCOUNTS_MAX)
    asked = (contracts.encode_call("DeedToken", "ownerOf", deed_id) for deed_id, _ in held)
    answers = await asyncio.gather(*(case.answer(calldata, block=case.block) for calldata in asked))
    for (_, holder), answer in zip(held, answers, strict=True):
        if answer is None or answer[-20:] != holder:
            told = NOTHING if answer is None else hex0x(answer[-20:])
            return case.finding(UNKNOWN, holder, checksum(holder), told)
    return None


async def _judge_supply(case: _Case) -> Finding | None:
    answer = await case.answer(contracts.encode_call("AssetToken", "totalSupply"), block=case.block)
    if answer is None or len(answer) != 32:
        return None
    async with case.db.read() as connection:
        supply = await queries.supply(connection, contract_id=case.contract.id, block=case.block)
    told = int.from_bytes(answer)
    return None if told == supply else case.finding(UNKNOWN, None, supply, told)


async def _judge_return(case: _Case, accounts: Sequence[bytes]) -> Finding | None:
    """Whether `transfer` answers nothing, where ERC-20 has it answer true."""
    for account in accounts[:SUSPECTS_MAX]:
        calldata = contracts.encode_call("AssetToken", "transfer", account, 0)
        answer = await case.answer(calldata, block=case.block, sender=account)
        if answer is not None:
            told = "no answer" if not answer else hex0x(answer)
            found = Finding(NO_RETURN, case.contract.address, None, account, case.block, "true", told)
            return found if not answer else None
    return None
