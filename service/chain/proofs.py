"""What a block's header commits to: its own hash, a bloom of its logs, the root of its receipts. Pure, no I/O.

A node's answers are held against these, so that a gap or an invention in them shows without asking anybody else.
The trie is written out here: of a list only the root is needed, which is these few lines, where py-trie brings a
database, pruning and three more packages.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from eth_hash.auto import keccak

from service.chain.wire import parse_data, parse_quantity

BLOOM_BITS = 2048

_HEADER = (
    *("parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom"),
    *("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce"),
)
_LATER = ("baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot", "requestsHash")
_NUMBERS = frozenset(
    {
        *("difficulty", "number", "gasLimit", "gasUsed", "timestamp"),
        *("baseFeePerGas", "blobGasUsed", "excessBlobGas"),
    }
)
_BESIDE = frozenset({"hash", "size", "totalDifficulty", "uncles", "transactions", "withdrawals"})
"""What stands in a node's answer beside the header."""

_DEPOSIT = 0x7E
"""The type of a deposit of the OP stack, whose receipt has two more parts. Source: OP stack specification, deposits."""

_LONG = 55


def is_proven(given: Mapping[str, Any]) -> bool | None:
    """Whether a header's fields hash to the hash it is told with; None where it has other fields than we know.

    Raises:
        ValueError, TypeError: a field is not what it should be.

    Source: Ethereum yellow paper 4.4.3; EIP-1559, EIP-4895, EIP-4844, EIP-4788, EIP-7685.
    """
    if any(name not in given for name in _HEADER):
        return None
    later = [name for name in _LATER if given.get(name) is not None]
    fields = b"".join(_field(name, given[name]) for name in (*_HEADER, *later))
    if keccak(_list(fields)) == parse_data(given["hash"], size=32):
        return True
    return None if given.keys() - _BESIDE - set(_HEADER) - set(_LATER) else False


def _field(name: str, given: Any) -> bytes:
    return _number(parse_quantity(given)) if name in _NUMBERS else _string(parse_data(given))


@lru_cache(maxsize=1 << 16)
def bloom_mask(told: bytes) -> int:
    """The three bits that an address or a topic sets in a bloom. Source: Ethereum yellow paper 4.4.1."""
    digest = keccak(told)
    mask = 0
    for at in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[at : at + 2]) % BLOOM_BITS)
    return mask


def receipts_root(receipts: Sequence[Mapping[str, Any]]) -> bytes:
    """The root of a block's receipts, which are in the order of their transactions.

    Raises:
        ValueError, TypeError, KeyError: one of them is none.

    Source: Ethereum yellow paper 4.4.1 and appendix D; EIP-2718, EIP-658.
    """
    entries = [(_nibbles(_number(at)), _receipt(receipt)) for at, receipt in enumerate(receipts)]
    return keccak(_node(sorted(entries), 0)) if entries else keccak(_string(b""))


def _receipt(given: Mapping[str, Any]) -> bytes:
    kind = parse_quantity(given.get("type") or "0x0")
    outcome = _string(parse_data(given["root"])) if given.get("root") else _number(parse_quantity(given["status"]))
    logs = b"".join(_log(each) for each in given["logs"])
    told = outcome + _number(parse_quantity(given["cumulativeGasUsed"])) + _string(parse_data(given["logsBloom"]))
    told += _list(logs)
    if kind == _DEPOSIT:
        more = (given[name] for name in ("depositNonce", "depositReceiptVersion") if given.get(name) is not None)
        told += b"".join(_number(parse_quantity(each)) for each in more)
    return _list(told) if kind == 0 else bytes((kind,)) + _list(told)


def _log(given: Mapping[str, Any]) -> bytes:
    topics = b"".join(_string(parse_data(topic, size=32)) for topic in given["topics"])
    return _list(_string(parse_data(given["address"], size=20)) + _list(topics) + _string(parse_data(given["data"])))


def _node(entries: Sequence[tuple[tuple[int, ...], bytes]], depth: int) -> bytes:
    """The node above entries, in the order of their keys, that agree in their first `depth` nibbles."""
    first, last = entries[0][0], entries[-1][0]
    if len(entries) == 1:
        return _list(_string(_path(first[depth:], leaf=True)) + _string(entries[0][1]))
    shared = depth
    while first[shared] == last[shared]:
        shared += 1
    if shared > depth:
        return _list(_string(_path(first[depth:shared], leaf=False)) + _reference(_node(entries, shared)))
    below: list[list[tuple[tuple[int, ...], bytes]]] = [[] for _ in range(16)]
    for entry in entries:
        below[entry[0][depth]].append(entry)
    # No key of a list is the beginning of another, so that no branch carries an entry of its own.
    branches = b"".join(_reference(_node(each, depth + 1)) if each else _string(b"") for each in below)
    return _list(branches + _string(b""))


def _reference(node: bytes) -> bytes:
    return node if len(node) < 32 else _string(keccak(node))


def _path(nibbles: tuple[int, ...], *, leaf: bool) -> bytes:
    """Nibbles as bytes, with a mark of the node's kind and of an odd number. Source: yellow paper, appendix C."""
    flag = 2 * leaf
    padded = (flag + 1, *nibbles) if len(nibbles) % 2 else (flag, 0, *nibbles)
    return bytes(16 * high + low for high, low in zip(padded[::2], padded[1::2], strict=True))


def _nibbles(key: bytes) -> tuple[int, ...]:
    return tuple(half for byte in key for half in divmod(byte, 16))


def _number(number: int) -> bytes:
    return _string(number.to_bytes((number.bit_length() + 7) // 8))


def _string(content: bytes) -> bytes:
    """Source: Ethereum yellow paper, appendix B."""
    return content if len(content) == 1 and content[0] < 0x80 else _sized(0x80, content)


def _list(content: bytes) -> bytes:
    return _sized(0xC0, content)


def _sized(kind: int, content: bytes) -> bytes:
    size = len(content)
    if size <= _LONG:
        return bytes((kind + size,)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((kind + _LONG + len(length),)) + length + content
