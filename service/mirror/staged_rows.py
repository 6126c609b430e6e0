"""Rows to stage, as COPY reads them in its text format, and the digests over them. Pure, no I/O.

Text and not binary: a node writes hexadecimal and Postgres reads it, so that most of a row is never turned into
anything else; only digests want bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from service.chain import contracts
from service.chain.events import Event
from service.chain.log_columns import LogColumns
from service.chain.reader import Block, Log
from service.mirror import digests, projections
from service.mirror.projections import Deployment

WORD = 32


COPIED = ("blocks", "deployments", "transfers", "events", "digests")
"""The tables of `staging`, and where their text is in `Rows`."""


@dataclass(slots=True)
class Scope:
    """Whose history is read, as of the last block that was."""

    chain_id: int
    factory: bytes | None  # None: nothing but what is followed already
    followed: dict[bytes, int]  # from which block on
    ids: dict[bytes, int]
    digests: dict[tuple[bytes], bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """What happened in a run of blocks, as text for COPY."""

    last: int
    last_hash: bytes
    blocks: bytes
    deployments: bytes
    transfers: bytes
    events: bytes
    digests: bytes
    count: int  # transfers and events

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(len(getattr(self, table)) for table in COPIED)


def rows_of(scope: Scope, blocks: Sequence[Block], deployments: Sequence[Deployment], logs: LogColumns) -> Rows:
    """The rows of a run of blocks; the scope's digests are those of its end then.

    Raises:
        NodeUnavailable: a log is not what it should be.
    """
    amounts, deeds, others = _sorted_out(logs, scope.followed)
    moved = _Moves(logs, amounts, deeds)
    read = projections.decode_others(logs.logs(others), followed=frozenset(scope.followed))
    # Here, and nowhere else, all rows of a run of blocks pass by.
    closings = digests.closing_digests(
        scope.chain_id,
        scope.digests,
        {block.number: block.hash for block in blocks},
        (moved.contracts, moved.block_numbers, moved.digested()),
        _digested_others(read),
    )
    for key, by_block in closings.items():
        scope.digests[key] = by_block[max(by_block)]
    return Rows(
        last=blocks[-1].number,
        last_hash=blocks[-1].hash,
        blocks="".join(map(_copied_block, blocks)).encode(),
        deployments="".join(_copied_deployment(scope.ids, each) for each in deployments).encode(),
        transfers=moved.copied(scope.ids),
        events="".join(_copied_event(scope.ids, log, event) for log, event in read).encode(),
        digests="".join(
            f"{scope.ids[key[0]]}\t{number}\t{_bytes(digest)}\n"
            for key, by_block in closings.items()
            for number, digest in by_block.items()
        ).encode(),
        count=len(moved.contracts) + len(read),
    )


def _copied_block(block: Block) -> str:
    timestamp = datetime.fromtimestamp(block.timestamp, UTC).isoformat()
    return f"{block.number}\t{_bytes(block.hash)}\t{_bytes(block.parent_hash)}\t{timestamp}\n"


def _copied_deployment(ids: Mapping[bytes, int], given: Deployment) -> str:
    fixed = "\t".join(map(_bytes, (given.block_hash, given.salt, given.operator)))
    return f"{ids[given.contract]}\t{given.block_number}\t{fixed}\t{_text(given.kind)}\n"


def _bytes(value: bytes) -> str:
    return "\\\\x" + value.hex()


def _text(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _sorted_out(logs: LogColumns, since: Mapping[bytes, int]) -> tuple[list[int], list[int], list[int]]:
    """The places of transfers of amounts, of transfers of deeds, and of all else that may be an event of ours."""
    amounts, deeds, others = [], [], []
    columns = zip(logs.first_topics, logs.addresses, logs.block_numbers, logs.raws, strict=True)
    for place, (topic, address, number, raw) in enumerate(columns):
        if since.get(address, number + 1) > number:
            continue
        if topic != contracts.TRANSFER:
            others.append(place)
        elif len(raw.topics) == 3 and len(raw.data) == 2 + 2 * WORD:
            amounts.append(place)
        elif len(raw.topics) == 4 and len(raw.data) == 2:
            deeds.append(place)
    return amounts, deeds, others


class _Moves:
    """Transfers by column: those of amounts first, then those of deeds."""

    def __init__(self, logs: LogColumns, amounts: Sequence[int], deeds: Sequence[int]) -> None:
        places = [*amounts, *deeds]
        self.contracts = [logs.addresses[place] for place in places]
        self.block_numbers = [logs.block_numbers[place] for place in places]
        self.log_indexes = [logs.log_indexes[place] for place in places]
        self.transaction_hashes = [logs.transaction_hashes[place] for place in places]
        self.senders, self.recipients = logs.topic_addresses(places, 1), logs.topic_addresses(places, 2)
        self.words = logs.data_words(amounts) + logs.topic_words(deeds, 3)
        self.kinds = [digests.AMOUNT] * len(amounts) + [digests.DEED] * len(deeds)
        self._amounts = len(amounts)

    def digested(self) -> list[bytes]:
        return digests.transfer_rows(
            self.log_indexes, self.transaction_hashes, self.senders, self.recipients, self.words, self.kinds
        )

    def copied(self, ids: Mapping[bytes, int]) -> bytes:
        columns = zip(
            self.block_numbers,
            self.log_indexes,
            [ids[contract] for contract in self.contracts],
            [each.hex() for each in self.transaction_hashes],
            [each.hex() for each in self.senders],
            [each.hex() for each in self.recipients],
            self._numbers(),
            strict=True,
        )
        return "".join(
            [
                f"{number}\t{index}\t{contract}\t\\\\x{transaction}\t\\\\x{sender}\t\\\\x{recipient}\t{moved}\n"
                for number, index, contract, transaction, sender, recipient, moved in columns
            ]
        ).encode()

    def _numbers(self) -> list[str]:
        """Amount and deed of each, with the tab between."""
        numbers = [int.from_bytes(word) for word in self.words]
        amounts = [f"{amount}\t\\N" for amount in numbers[: self._amounts]]
        return amounts + [f"1\t{deed}" for deed in numbers[self._amounts :]]


def _digested_others(read: Sequence[tuple[Log, Event]]) -> digests.Columns:
    rows = digests.event_rows(
        [log.log_index for log, _ in read],
        [log.transaction_hash for log, _ in read],
        [event.name for _, event in read],
        [event.arguments for _, event in read],
    )
    return [log.address for log, _ in read], [log.block_number for log, _ in read], rows


def _copied_event(ids: Mapping[bytes, int], log: Log, event: Event) -> str:
    arguments = _text(json.dumps(event.arguments, ensure_ascii=False, separators=(",", ":")))
    return (
        f"{log.block_number}\t{log.log_index}\t{ids[log.address]}\t{_bytes(log.transaction_hash)}"
        f"\t{_bytes(log.topics[0])}\t{_text(event.name)}\t{_text(event.signature)}\t{arguments}\n"
    )
