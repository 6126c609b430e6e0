"""One contract at one block: what the mirror has of it, against what its own functions answer."""

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
from service.mirror.differences import Difference, Tally
from service.mirror.queries import Contract, Label
from service.mirror.sampling import Sample

CALLS_MAX = 500
"""Answers asked at once."""

NOBODY = "nobody"

_HELD = """
SELECT known.{key}, held.{state}
FROM ({known}) AS known LEFT JOIN LATERAL (
    SELECT {state} FROM mirror.{table} AS past
    WHERE past.contract_id = %(contract_id)s{aspect} AND past.{key} = known.{key}
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held ON true
ORDER BY known.{key}
"""

# Each key has exactly one open row, so the open rows list all that was ever known.
_PAGE = """SELECT {key} FROM mirror.{table}
    WHERE contract_id = %(contract_id)s{aspect} AND {key} >= %(after)s AND to_block IS NULL AND canonical
    ORDER BY {key} LIMIT %(count_max)s"""

_DRAWN = """SELECT {key} FROM mirror.{table}
    WHERE contract_id = %(contract_id)s{aspect} AND to_block IS NULL AND canonical
    ORDER BY sha256(%(seed)s || {bytes}) LIMIT %(count_max)s"""


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys of one kind that the mirror knows of a contract: a page of them, or some drawn by lot."""

    page: LiteralString
    drawn: LiteralString

    @classmethod
    def of(cls, table: str, key: str, state: str, *, bytes_: str, aspect: str = "") -> "_Known":
        names = {"table": table, "key": key, "state": state, "bytes": bytes_, "aspect": aspect}
        return cls(*(_HELD.format(known=known.format(**names), **names) for known in (_PAGE, _DRAWN)))


ACCOUNTS = _Known.of("holdings", "account", "amount", bytes_="account")
DEEDS = _Known.of("titles", "deed_id", "holder", bytes_="convert_to(deed_id::text, 'UTF8')")
KEYS = _Known.of("states", "key", "state", bytes_="key", aspect=" AND aspect = %(aspect)s")

ROW_COUNTS = """
SELECT contract_id, %(holding)s::text, count(*) FROM mirror.holdings
    WHERE contract_id = ANY(%(ids)s) AND to_block IS NULL AND canonical GROUP BY contract_id
UNION ALL SELECT contract_id, %(title)s::text, count(*) FROM mirror.titles
    WHERE contract_id = ANY(%(ids)s) AND to_block IS NULL AND canonical GROUP BY contract_id
UNION ALL SELECT contract_id, aspect, count(*) FROM mirror.states
    WHERE contract_id = ANY(%(ids)s) AND to_block IS NULL AND canonical GROUP BY contract_id, aspect
"""


@dataclass(frozen=True, slots=True)
class _Question:
    """Something that the mirror and a contract must agree on."""

    kind: str
    account: bytes | None
    key: bytes | None
    mirror: str
    calldata: bytes
    told: Callable[[bytes], str]
    unknown: str = NOBODY  # what it means where the contract knows no such deed


@dataclass(frozen=True, slots=True)
class Comparing:
    """One contract, and all that comparing it needs."""

    db: Database
    chain: Chain
    label: Label
    contract: Contract
    tally: Tally
    sample: Sample | None

    @property
    def kind(self) -> str:
        """What its deployer called it."""
        return self.contract.kind

    @property
    def functions(self) -> frozenset[str]:
        """Names of its functions."""
        return views.functions(self.kind)

    def difference(self, question: _Question, chain_says: str) -> Difference:
        """What is told of an answer that is not the mirror's."""
        return Difference(
            question.kind, self.contract.address, question.account, question.mirror, chain_says, question.key
        )


async def count(db: Database, found: Sequence[Contract], sample: Sample | None) -> int:
    """How many comparisons of their states there will be, if every contract's code is right."""
    kinds = {contract.id: contract.kind for contract in found}
    async with db.read() as connection:
        given = {"ids": list(kinds), "holding": "holding", "title": "title"}
        rows = await (await connection.execute(ROW_COUNTS, given)).fetchall()
    asked = {"holding": "balanceOf", "title": "ownerOf"}
    rows_asked: int = sum(
        rows_count if sample is None else min(rows_count, sample.count)
        for contract_id, what, rows_count in rows
        if (
            asked[what] in views.functions(kinds[contract_id])
            if what in asked
            else what in views.aspects(kinds[contract_id])
        )
    )
    return rows_asked + sum(1 + _totals(views.functions(contract.kind)) for contract in found)


def _totals(functions: frozenset[str]) -> int:
    """Supply and sum of holdings, and whether it is paused."""
    return 2 * ("totalSupply" in functions) + ("paused" in functions)


async def compare_state(comparing: Comparing) -> list[Difference]:
    """All that a contract's functions tell otherwise than the mirror, at the label's block."""
    differences = await _compare_code(comparing)
    if not differences:
        differences += await _compare_totals(comparing)
    comparing.tally.add(1 + _totals(comparing.functions))
    if any(difference.kind == "code" for difference in differences):
        return differences
    async for questions, rows_count in _questions(comparing):
        differences += await _ask(comparing, questions)
        comparing.tally.add(rows_count)
    return differences


async def _compare_code(comparing: Comparing) -> list[Difference]:
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


async def _compare_totals(comparing: Comparing) -> list[Difference]:
    given: dict[str, Any] = {"contract_id": comparing.contract.id, "block": comparing.label.block}
    questions = []
    if "totalSupply" in comparing.functions:
        async with comparing.db.read() as connection:
            supply = await queries.supply(connection, **given)
        held = 0
        async for rows in _pages(comparing, ACCOUNTS, b""):
            held += sum(amount or 0 for _, amount in rows)
        questions.append(_total(comparing, "supply", "totalSupply", supply))
        # Balances of accounts that the mirror never heard of would show here.
        questions.append(_total(comparing, "sum_of_holdings", "totalSupply", held))
    if "paused" in comparing.functions:
        async with comparing.db.read() as connection:
            paused = await queries.paused(connection, **given)
        questions.append(_total(comparing, "paused", "paused", paused))
    return await _ask(comparing, questions)


def _total(comparing: Comparing, kind: str, function: str, mirror: int) -> _Question:
    return _Question(kind, None, None, str(int(mirror)), contracts.encode_call(comparing.kind, function), _number)


async def _questions(comparing: Comparing) -> AsyncIterator[tuple[list[_Question], int]]:
    """All that is asked about the rows of one contract, a bounded number at a time, and how many rows that is."""
    kind = comparing.kind
    if "balanceOf" in comparing.functions:
        async for rows in _rows(comparing, ACCOUNTS, b""):
            yield [_balance_question(kind, account, amount or 0) for account, amount in rows], len(rows)
    if "ownerOf" in comparing.functions:
        async for rows in _rows(comparing, DEEDS, 0):
            yield [_title_question(kind, deed_id, holder) for deed_id, holder in rows], len(rows)
    for aspect in views.aspects(kind):
        async for rows in _rows(comparing, KEYS, b"", aspect=aspect):
            asked = (_view_question(kind, aspect, key, state) for key, state in rows)
            yield [question for question in asked if question is not None], len(rows)


def _balance_question(kind: str, account: bytes, amount: int) -> _Question:
    return _Question("holding", account, None, str(amount), contracts.encode_call(kind, "balanceOf", account), _number)


def _title_question(kind: str, deed_id: int, holder: bytes | None) -> _Question:
    return _Question(
        kind="title",
        account=None,
        key=deed_id.to_bytes(32),
        mirror=NOBODY if holder is None else checksum(holder),
        calldata=contracts.encode_call(kind, "ownerOf", deed_id),
        told=_account,
    )


def _view_question(kind: str, aspect: str, key: bytes, state: Any) -> _Question | None:
    view = views.view(kind, aspect, key)
    said = None if view is None else view.said(state)
    if view is None or said is None:
        return None
    return _Question(
        kind=aspect,
        account=key if len(key) == len(ZERO) else None,
        key=key,
        mirror=said,
        calldata=view.calldata(kind, key),
        told=lambda answer: view.told(kind, answer),
        unknown=NOBODY if view.unknown is None else view.unknown,
    )


async def _ask(comparing: Comparing, questions: Sequence[_Question]) -> list[Difference]:
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
        return question.unknown if unknown else f"refused: {answer.revert}"
    return question.told(answer)


def _number(answer: bytes) -> str:
    """A one-word answer as decimal text."""
    return str(int.from_bytes(answer)) if len(answer) == 32 else f"no number: {hex0x(answer)}"


def _account(answer: bytes) -> str:
    return checksum(answer[12:]) if len(answer) == 32 else f"no account: {hex0x(answer)}"


async def _rows(
    comparing: Comparing, known: _Known, after: bytes | int, **more: str
) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
    """What is compared of a contract's rows, as they stood at the block: all of them, or those that were drawn."""
    if comparing.sample is None:
        async for page in _pages(comparing, known, after, **more):
            yield page
        return
    drawn = await _read(
        comparing, known.drawn, {"seed": comparing.sample.bytes, "count_max": comparing.sample.count, **more}
    )
    for start in range(0, len(drawn), CALLS_MAX):
        yield drawn[start : start + CALLS_MAX]


async def _pages(
    comparing: Comparing, known: _Known, after: bytes | int, **more: str
) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
    """All that the mirror ever knew of a contract, as it stood at the block."""
    while True:
        # A short read for each page: a long one would keep Postgres from cleaning up behind the indexer.
        rows = await _read(comparing, known.page, {"after": after, "count_max": CALLS_MAX, **more})
        if rows:
            yield rows
        if len(rows) < CALLS_MAX:
            return
        last = rows[-1][0]
        after = last + 1 if isinstance(last, int) else last + b"\0"  # the first place beyond it


async def _read(comparing: Comparing, query: LiteralString, given: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    place = {"contract_id": comparing.contract.id, "block": comparing.label.block}
    async with comparing.db.read() as connection:
        rows = await (await connection.execute(query, {**place, **given})).fetchall()
    return [(key, state) for key, state in rows]
