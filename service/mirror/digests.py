"""One hash for all that a contract ever announced: two mirrors that saw the same chain have the same. Pure, no I/O.

    digest of a contract without a row   SHA-256(tag ‖ chain id ‖ address)
    digest at a block with rows          SHA-256(tag ‖ digest before ‖ block number ‖ block hash ‖ rows by log index)
    row of a transfer                    log index ‖ 1 ‖ transaction hash ‖ sender ‖ recipient ‖ amount
    row of a deed's transfer             log index ‖ 2 ‖ transaction hash ‖ sender ‖ recipient ‖ deed id
    row of any other event               log index ‖ 0 ‖ transaction hash ‖ length ‖ name ‖ length ‖ arguments as JSON

Numbers are big-endian: a log index and a length have 4 bytes, a chain id and a block number 8, amounts and ids 32.
JSON is that of RFC 8785, but whole numbers beyond 2**53 keep all their digits. A block without rows leaves a digest as
it was.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

CONTRACT, BLOCK, STATE, MIRROR = (
    f"muniment {of} digest 1\0".encode() for of in ("contract", "block", "state", "mirror")
)
"""What each hash is about, ahead of all else in it."""

EVENT, AMOUNT, DEED = b"\0", b"\1", b"\2"
_DEED_AMOUNT = b"\3"  # no log says so: a row that somebody changed

Columns = tuple[Sequence[bytes], Sequence[int], Sequence[bytes]]
"""Contracts, block numbers and rows: as many of each."""

_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def beginning(chain_id: int, contract: bytes) -> bytes:
    """The digest of a contract that has announced nothing yet."""
    return sha256(b"%b%b%b" % (CONTRACT, chain_id.to_bytes(8), contract)).digest()


def closing_digests(
    chain_id: int,
    opening: Mapping[tuple[bytes], bytes],
    hashes: Mapping[int, bytes],
    *columns: Columns,
) -> dict[tuple[bytes], dict[int, bytes]]:
    """The digest of each contract at the end of each block in which it has rows.

    Args:
        opening: digests before the first of the blocks; a contract without one has announced nothing yet.
        hashes: of the blocks, by number.
        columns: every row of a contract in these blocks must be among them, in any order.
    """
    closings: dict[tuple[bytes], dict[int, bytes]] = {}
    for contract, by_block in rows_by_block(*columns).items():
        digest = opening.get((contract,)) or beginning(chain_id, contract)
        closing = closings[(contract,)] = {}
        for number in sorted(by_block):
            closing[number] = digest = block_digest(digest, number, hashes[number], by_block[number])
    return closings


def rows_by_block(*columns: Columns) -> dict[bytes, dict[int, list[bytes]]]:
    """The rows of each contract in each block."""
    found: dict[bytes, dict[int, list[bytes]]] = {}
    for contracts, numbers, rows in columns:
        for contract, number, row in zip(contracts, numbers, rows, strict=True):
            try:
                found[contract][number].append(row)
            except KeyError:
                found.setdefault(contract, {}).setdefault(number, []).append(row)
    return found


def block_digest(before: bytes, number: int, block_hash: bytes, rows: Iterable[bytes]) -> bytes:
    """The digest of a contract after a block. A row begins with its log index, so rows sort into the chain's order."""
    return sha256(b"".join((BLOCK, before, number.to_bytes(8), block_hash, *sorted(rows)))).digest()


def transfer_rows(
    log_indexes: Sequence[int],
    transaction_hashes: Sequence[bytes],
    senders: Sequence[bytes],
    recipients: Sequence[bytes],
    words: Sequence[bytes],
    kinds: Sequence[bytes] | None = None,
) -> list[bytes]:
    """The rows of transfers, from columns.

    Args:
        words: the amount, or the id of a deed, in 32 bytes.
        kinds: `AMOUNT` or `DEED` for each; None where all are amounts.
    """
    places = [index.to_bytes(4) for index in log_indexes]
    parts = zip(places, kinds or [AMOUNT] * len(places), transaction_hashes, senders, recipients, words, strict=True)
    return list(map(b"".join, parts))


def words(amounts: Sequence[int], deed_ids: Sequence[int | None]) -> tuple[list[bytes], list[bytes]]:
    """What `transfer_rows` takes as words and kinds."""
    kinds = [AMOUNT if deed_id is None else DEED for deed_id in deed_ids]
    values = (amount if deed_id is None else deed_id for amount, deed_id in zip(amounts, deed_ids, strict=True))
    found = [each.to_bytes(32) for each in values]
    for place, (amount, deed_id) in enumerate(zip(amounts, deed_ids, strict=True)):
        if deed_id is not None and amount != 1:
            kinds[place], found[place] = _DEED_AMOUNT, found[place] + amount.to_bytes(32)
    return found, kinds


def event_rows(
    log_indexes: Iterable[int],
    transaction_hashes: Iterable[bytes],
    names: Iterable[str],
    arguments: Iterable[Mapping[str, Any]],
) -> list[bytes]:
    """The rows of all other events, from columns."""
    return [
        b"".join((index.to_bytes(4), EVENT, transaction_hash, sized(name.encode()), json_sized(given)))
        for index, transaction_hash, name, given in zip(log_indexes, transaction_hashes, names, arguments, strict=True)
    ]


def sized(value: bytes) -> bytes:
    """Bytes after their own length, so that no two lists of them are written alike."""
    return len(value).to_bytes(4) + value


def json_sized(value: Mapping[str, Any]) -> bytes:
    """A JSON object in its one form, after its length."""
    return sized(_json(value).encode())
