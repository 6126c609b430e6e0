"""Compare the mirror with the chain at one block. Whatever the mirror says, the chain is right."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from service.addresses import ZERO, checksum, hex0x
from service.chain import artifacts, contracts
from service.chain.node import NodeRefused
from service.chain.reader import Call, Chain
from service.chain.reasons import Reason
from service.db import Database
from service.mirror import queries, views
from service.mirror.queries import Contract, Label

CALLS_MAX = 500
"""Answers asked at once."""

KEYS_MAX = 1_000
"""Keys compared of each aspect of a contract: the first, in key order."""

NOBODY = "nobody"

ACCOUNTS = """
SELECT known.account, coalesce(held.amount, 0)
FROM mirror.holdings AS known LEFT JOIN LATERAL (
    SELECT amount FROM mirror.holdings AS past
    WHERE past.contract_id = known.contract_id AND past.account = known.account
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held ON true
WHERE known.contract_id = %(contract_id)s AND known.account >= %(after)s AND known.to_block IS NULL AND known.canonical
ORDER BY known.account LIMIT %(count_max)s
"""

DEEDS = """
SELECT known.deed_id, held.holder
FROM mirror.titles AS known LEFT JOIN LATERAL (
    SELECT holder FROM mirror.titles AS past
    WHERE past.contract_id = known.contract_id AND past.deed_id = known.deed_id
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held ON true
WHERE known.contract_id = %(contract_id)s AND known.deed_id >= %(after)s AND known.to_block IS NULL AND known.canonical
ORDER BY known.deed_id LIMIT %(count_max)s
"""

KEYS = """
SELECT known.key, held.state
FROM mirror.states AS known LEFT JOIN LATERAL (
    SELECT state FROM mirror.states AS past
    WHERE past.contract_id = known.contract_id AND past.aspect = known.aspect AND past.key = known.key
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held ON true
WHERE known.contract_id = %(contract_id)s AND known.aspect = %(aspect)s AND known.key >= %(after)s
    AND known.to_block IS NULL AND known.canonical
ORDER BY known.key LIMIT %(count_max)s
"""

ROW_COUNTS = """
SELECT contract_id, %(holding)s::text, count(*) FROM mirror.holdings
    WHERE contract_id = ANY(%(ids)s) AND to_block IS NULL AND canonical GROUP BY contract_id
UNION ALL SELECT contract_id, %(title)s::text, count(*) FROM mirror.titles
    WHERE contract_id = ANY(%(ids)s) AND to_block IS NULL AND canonical GROUP BY contract_id
UNION ALL SELECT contract_id, aspect, least(count(*), %(keys_max)s) FROM mirror.states
    WHERE contract_id = ANY(%(ids)s) AND to_block IS NULL AND canonical GROUP BY contract_id, aspect
"""

Progress = Callable[[int, int], None]


class ReorganisedMeanwhile(Exception):
    """The block left the chain, or the mirror, while it was compared: run again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the mirror and the chain say differently, each in its own words."""

    kind: str  # block_hash, code, supply, sum_of_holdings, paused, holding, title, or an aspect
    contract: bytes | None
    account: bytes | None
    mirror: str
    chain: str
    key: bytes | None = None  # of a title, the deed in 32 bytes; of an aspect, the key


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared at one block, and every difference."""

    block: int
    block_hash: bytes
    compared: int
    differences: tuple[Difference, ...]


@dataclass(slots=True)
class _Tally:
    progress: Progress | None
    total: int
    compared: int = 0

    def add(self, count: int) -> None:
        self.compared += count
        if self.progress is not None:
            self.progress(min(self.compared, self.total), self.total)


@dataclass(frozen=True, slots=True)
class _Question:
    """Something that the mirror and a contract must agree on."""

    kind: str
    account: bytes | None
    key: bytes | None
    mirror: str
    calldata: bytes
    told: Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class _Comparing:
    """One contract, and all that comparing it needs."""

    db: Database
    chain: Chain
    label: Label
    contract: Contract
    tally: _Tally

    @property
    def kind(self) -> str:
        return self.contract.kind

    @property
    def functions(self) -> frozenset[str]:
        return views.functions(self.kind)

    def difference(self, question: _Question, chain_says: str) -> Difference:
        return Difference(
            question.kind, self.contract.address, question.account, question.mirror, chain_says, question.key
        )


async def verify(db: Database, chain: Chain, *, chain_id: int, block: int | None, progress: Progress | None) -> Report:
    """Compare the mirror with the chain at one block.

    The block's hash; each contract's code, supply and pause, as far as its kind has them; every account and deed that
    the mirror ever knew; and of each aspect that has a view, the first `KEYS_MAX` keys.

    Args:
        block: None means the mirror's newest block.
        progress: called with comparisons done and in all.

    Raises:
        ReorganisedMeanwhile: the block was replaced while it was compared; run again.
        MirrorEmpty, BlockInFuture, BlockNotMirrored: the mirror has no such block.
        NodeUnavailable, NodeRefused: the node cannot answer for this block, for instance because it prunes history.
    """
    await chain.check()
    async with db.read() as connection:
        label = await queries.label(connection, chain_id=chain_id, at_block=block)
    chain_hash = await _hash_on_chain(chain, label.block)
    if chain_hash != label.hash:
        shown = "no such block" if chain_hash is None else hex0x(chain_hash)
        return Report(label.block, label.hash, 1, (Difference("block_hash", None, None, hex0x(label.hash), shown),))
    found = [each async for each in _contracts(db, label)]
    tally = _Tally(progress, total=1 + await _count(db, found))
    tally.add(1)
    try:
        differences = [
            difference
            for contract in found
            for difference in await _compare(_Comparing(db, chain, label, contract, tally))
        ]
    except NodeRefused as refused:
        if refused.reason is Reason.BLOCK_UNKNOWN:
            raise _reorganised(label) from refused
        raise
    await _check_still_there(db, chain, label)
    return Report(label.block, label.hash, tally.compared, tuple(differences))


async def _count(db: Database, found: Sequence[Contract]) -> int:
    """How many comparisons there will be, if every contract's code is right."""
    kinds = {contract.id: contract.kind for contract in found}
    given = {"ids": list(kinds), "keys_max": KEYS_MAX, "holding": "holding", "title": "title"}
    async with db.read() as connection:
        rows = await (await connection.execute(ROW_COUNTS, given)).fetchall()
    asked = {"holding": "balanceOf", "title": "ownerOf"}
    rows_asked: int = sum(
        count
        for contract_id, what, count in rows
        if (
            asked[what] in views.functions(kinds[contract_id])
            if what in asked
            else what in views.views(kinds[contract_id])
        )
    )
    return rows_asked + sum(1 + _totals(views.functions(contract.kind)) for contract in found)


def _totals(functions: frozenset[str]) -> int:
    """Supply and sum of holdings, and whether it is paused."""
    return 2 * ("totalSupply" in functions) + ("paused" in functions)


async def _compare(comparing: _Comparing) -> list[Difference]:
    differences = await _compare_code(comparing)
    if not differences:
        differences += await _compare_totals(comparing)
    comparing.tally.add(1 + _totals(comparing.functions))
    if any(difference.kind == "code" for difference in differences):
        return differences
    async for questions in _questions(comparing):
        differences += await _ask(comparing, questions)
        comparing.tally.add(len(questions))
    return differences


async def _compare_code(comparing: _Comparing) -> list[Difference]:
    kind, contract = comparing.kind, comparing.contract
    code = await comparing.chain.code(contract.address, block=comparing.label.block)
    if kind not in artifacts.names():
        # Told by a name that we do not have, or made by a governor: there is nothing to compare its code with.
        return [] if code else [Difference("code", contract.address, None, kind, "no code")]
    artifact = artifacts.load(kind)
    code_hash = artifacts.masked_code_hash(code, artifact) if code else None
    if code_hash == artifact.runtime_code_hash:
        return []
    expected = f"{kind} {hex0x(artifact.runtime_code_hash)}"
    return [Difference("code", contract.address, None, expected, hex0x(code_hash) if code_hash else "no code")]


async def _compare_totals(comparing: _Comparing) -> list[Difference]:
    given: dict[str, Any] = {"contract_id": comparing.contract.id, "block": comparing.label.block}
    questions = []
    if "totalSupply" in comparing.functions:
        async with comparing.db.read() as connection:
            supply = await queries.supply(connection, **given)
        held = 0
        async for rows in _rows(comparing, ACCOUNTS, b""):
            held += sum(amount for _, amount in rows)
        questions.append(_total(comparing, "supply", "totalSupply", supply))
        # Balances of accounts that the mirror never heard of would show here.
        questions.append(_total(comparing, "sum_of_holdings", "totalSupply", held))
    if "paused" in comparing.functions:
        async with comparing.db.read() as connection:
            paused = await queries.paused(connection, **given)
        questions.append(_total(comparing, "paused", "paused", paused))
    return await _ask(comparing, questions)


def _total(comparing: _Comparing, kind: str, function: str, mirror: int) -> _Question:
    return _Question(kind, None, None, str(int(mirror)), contracts.encode_call(comparing.kind, function), _number)


async def _questions(comparing: _Comparing) -> AsyncIterator[list[_Question]]:
    """All that is asked about the rows of one contract, a bounded number at a time."""
    kind = comparing.kind
    if "balanceOf" in comparing.functions:
        async for rows in _rows(comparing, ACCOUNTS, b""):
            yield [
                _Question(
                    "holding", account, None, str(amount), contracts.encode_call(kind, "balanceOf", account), _number
                )
                for account, amount in rows
            ]
    if "ownerOf" in comparing.functions:
        async for rows in _rows(comparing, DEEDS, 0):
            yield [
                _Question(
                    kind="title",
                    account=None,
                    key=deed_id.to_bytes(32),
                    mirror=NOBODY if holder is None else checksum(holder),
                    calldata=contracts.encode_call(kind, "ownerOf", deed_id),
                    told=_account,
                )
                for deed_id, holder in rows
            ]
    for aspect, view in views.views(kind).items():
        async for rows in _rows(comparing, KEYS, b"", aspect=aspect, count_max=KEYS_MAX):
            yield [_view_question(kind, aspect, view, key, state) for key, state in rows]


def _view_question(kind: str, aspect: str, view: views.View, key: bytes, state: Any) -> _Question:
    return _Question(
        kind=aspect,
        account=key if len(key) == len(ZERO) else None,
        key=key,
        mirror=view.mirror(state),
        calldata=view.calldata(kind, key),
        told=lambda answer: view.told(kind, answer),
    )


async def _ask(comparing: _Comparing, questions: Sequence[_Question]) -> list[Difference]:
    if not questions:
        return []
    calls = [Call(comparing.contract.address, question.calldata, ZERO) for question in questions]
    answers = await comparing.chain.calls(calls, block=comparing.label.block)
    said = [_said(question, answer) for question, answer in zip(questions, answers, strict=True)]
    return [
        comparing.difference(question, chain_says)
        for question, chain_says in zip(questions, said, strict=True)
        if question.mirror != chain_says
    ]


def _said(question: _Question, answer: bytes | NodeRefused) -> str:
    """A contract's answer, or its refusal in its own words."""
    if isinstance(answer, NodeRefused):
        if answer.reason is not Reason.REVERTED:
            raise answer
        unknown = answer.revert is not None and answer.revert.name == "ERC721NonexistentToken"
        return NOBODY if unknown else f"refused: {answer.revert}"
    return question.told(answer)


def _number(answer: bytes) -> str:
    """A one-word answer as decimal text."""
    return str(int.from_bytes(answer)) if len(answer) == 32 else f"no number: {hex0x(answer)}"


def _account(answer: bytes) -> str:
    return checksum(answer[12:]) if len(answer) == 32 else f"no account: {hex0x(answer)}"


async def _contracts(db: Database, label: Label) -> AsyncIterator[Contract]:
    after: bytes | None = None
    while True:
        async with db.read() as connection:
            page = await queries.contracts_page(
                connection, chain_id=label.chain, block=label.block, after=after, count_max=CALLS_MAX
            )
        for each in page:
            yield each
        if len(page) < CALLS_MAX:
            return
        after = page[-1].address


async def _rows(
    comparing: _Comparing, query: LiteralString, after: bytes | int, *, count_max: int | None = None, **more: str
) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
    """What the mirror ever knew of a contract, as it stood at the block; `count_max` None means all of it."""
    left = count_max
    while left is None or left > 0:
        wanted = CALLS_MAX if left is None else min(CALLS_MAX, left)
        given: Mapping[str, Any] = {
            "contract_id": comparing.contract.id,
            "block": comparing.label.block,
            "after": after,
            "count_max": wanted,
            **more,
        }
        # A short read for each page: a long one would keep Postgres from cleaning up behind the indexer.
        async with comparing.db.read() as connection:
            rows = await (await connection.execute(query, given)).fetchall()
        if rows:
            yield [(key, state) for key, state in rows]
        if len(rows) < wanted:
            return
        last = rows[-1][0]
        after = last + 1 if isinstance(last, int) else last + b"\0"  # the first place beyond it
        left = None if left is None else left - len(rows)


async def _hash_on_chain(chain: Chain, number: int) -> bytes | None:
    blocks = await chain.blocks(first=number, count_max=1)
    return blocks[0].hash if blocks else None


async def _check_still_there(db: Database, chain: Chain, label: Label) -> None:
    async with db.read() as connection:
        row = await (
            await connection.execute(
                "SELECT hash FROM mirror.blocks WHERE chain_id = %s AND number = %s AND canonical",
                (label.chain, label.block),
            )
        ).fetchone()
    if row is None or row[0] != label.hash or await _hash_on_chain(chain, label.block) != label.hash:
        raise _reorganised(label)


def _reorganised(label: Label) -> ReorganisedMeanwhile:
    return ReorganisedMeanwhile(f"block {label.block} was replaced while it was compared: run verify again")
