"""Which contracts there are: the mirror's list against what the factory announced on the chain."""

from collections.abc import Mapping, Sequence
from typing import Any

from eth_hash.auto import keccak

from service.addresses import ZERO, hex0x
from service.chain import artifacts, contracts
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Chain, Log
from service.db import Database
from service.mirror import projections, proxies
from service.mirror.differences import NOTHING, Difference
from service.mirror.projections import Deployment
from service.mirror.queries import Label
from service.mirror.width import Question, Width, is_too_much

BLOCKS_MAX = 10_000
"""Blocks in one question for the factory's logs, where the node allows it."""

_MIRRORED = """
SELECT contracts.address, deployments.block_number, deployments.block_hash, deployments.salt, deployments.operator,
    deployments.kind
FROM mirror.contracts JOIN mirror.deployments ON deployments.contract_id = contracts.id AND deployments.canonical
WHERE contracts.chain_id = %(chain_id)s AND deployments.block_number <= %(block)s AND deployments.operator <> %(nobody)s
"""

_ADOPTED = """
SELECT contracts.address, deployments.block_number
FROM mirror.contracts JOIN mirror.deployments ON deployments.contract_id = contracts.id AND deployments.canonical
WHERE contracts.chain_id = %(chain_id)s AND deployments.block_number <= %(block)s AND deployments.operator = %(nobody)s
"""

_EXPELLED = """
SELECT contracts.address, deployments.block_hash
FROM mirror.contracts JOIN mirror.deployments ON deployments.contract_id = contracts.id
WHERE contracts.chain_id = %(chain_id)s AND deployments.left_at IS NOT NULL AND NOT deployments.canonical
"""

_TIMELOCK_CHANGE = keccak(projections.TIMELOCK_CHANGE.encode())


async def deployed(chain: Chain, *, factory: bytes, first: int, last: int) -> list[Deployment]:
    """All that the factory deployed in blocks `first` to `last`, and the timelocks that governors made then."""
    logs = await every_log(chain, Question(first, last, [factory], [contracts.DEPLOYED]))
    announced = projections.decode_deployments(logs, factory=factory)
    found = projections.first_deployments(announced, known=())
    followed = {each.contract: each.block_number for each in found}
    changes: list[Log] = []
    addresses = sorted(followed)
    for start in range(0, len(addresses), (width := Width(BLOCKS_MAX)).addresses):
        part = addresses[start : start + width.addresses]
        oldest = min(followed[address] for address in part)
        changes += await every_log(chain, Question(oldest, last, part, [_TIMELOCK_CHANGE]))
    known = {factory, *followed}
    return [*found, *projections.decode_timelocks(changes, found, known=known)]


async def every_log(chain: Chain, question: Question) -> list[Log]:
    """The logs that answer a question, in order within each contract, in as many parts as the node makes it take."""
    width = Width(BLOCKS_MAX, blocks=BLOCKS_MAX)
    found: list[Log] = []
    first = question.first
    while first <= question.last:
        part = Question(first, min(first + width.blocks - 1, question.last), question.addresses, question.topics)
        found += await _asked(chain, part, width)
        first = part.last + 1
    return found


async def _asked(chain: Chain, question: Question, width: Width) -> list[Log]:
    try:
        logs, _ = await chain.logs(
            first=question.first, last=question.last, addresses=question.addresses, topics=question.topics
        )
    except (NodeRefused, NodeUnavailable) as error:
        halves = question.halves() if is_too_much(error) else None
        if halves is None:
            raise
        width.refused(blocks=question.blocks, addresses=len(question.addresses))
        return [log for half in halves for log in await _asked(chain, half, width)]
    return logs


async def adopted(db: Database, label: Label) -> dict[bytes, int]:
    """The contracts of others that are followed because somebody adopted them, and the first block of each."""
    async with db.read() as connection:
        return dict(await (await connection.execute(_ADOPTED, _given(label))).fetchall())


def _given(label: Label) -> dict[str, Any]:
    return {"chain_id": label.chain, "block": label.block, "nobody": ZERO}


async def expelled(db: Database, chain: Chain, label: Label, on_chain: Sequence[Deployment]) -> list[Deployment]:
    """Those of the factory's contracts that the mirror left for what they said, none of which has code of ours."""
    async with db.read() as connection:
        gone = set(await (await connection.execute(_EXPELLED, {"chain_id": label.chain})).fetchall())
    return [
        each
        for each in on_chain
        if each.block_number <= label.block
        and (each.contract, each.block_hash) in gone
        and not artifacts.is_code_of_ours(await chain.code(each.contract, block=label.block))
    ]


async def compare_deployments(db: Database, label: Label, on_chain: Sequence[Deployment]) -> list[Difference]:
    """Contracts that the mirror misses, has too many of, or tells otherwise than the factory.

    What was adopted is nobody's word but an issuer's.
    """
    async with db.read() as connection:
        rows = await (await connection.execute(_MIRRORED, _given(label))).fetchall()
    mirror = {address: dict(zip(_FIELDS, row, strict=True)) for address, *row in rows}
    chain = {
        each.contract: {field: getattr(each, field) for field in _FIELDS}
        for each in on_chain
        if each.block_number <= label.block
    }
    return [
        Difference("deployment", address, None, *unlike(mirror.get(address), chain.get(address)))
        for address in sorted(mirror.keys() | chain.keys())
        if mirror.get(address) != chain.get(address)
        and not (address not in chain and mirror[address]["kind"] in proxies.OTHERS)
    ]


_FIELDS = ("block_number", "block_hash", "salt", "operator", "kind")


def unlike(mirror: Mapping[str, Any] | None, chain: Mapping[str, Any] | None) -> tuple[str, str]:
    """Two rows in words: all of one that has no counterpart, else the columns that differ."""
    names = [name for name in (mirror or chain or {}) if mirror is None or chain is None or mirror[name] != chain[name]]
    return _words(mirror, names), _words(chain, names)


def _words(row: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    if row is None:
        return NOTHING
    values = {name: hex0x(row[name]) if isinstance(row[name], bytes) else row[name] for name in names}
    return ", ".join(f"{name} {value}" for name, value in values.items())
