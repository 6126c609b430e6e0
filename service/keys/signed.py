"""Reading a transaction that somebody else signed."""

from dataclasses import dataclass, field
from typing import Any

import rlp
from coincurve import PublicKey
from eth_hash.auto import keccak

from service.keys.managed import Signature

RAW_BYTES_MAX = 128 * 1024
"""Longer ones no node takes. Source: geth, txMaxSize."""

_TYPE_2 = b"\x02"
_FIELDS = 12
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


class NotATransaction(Exception):
    """The bytes are no signed type 2 transaction; the message says why."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed type 2 transaction as its bytes say. Amounts are in wei. Source: EIP-1559."""

    raw: bytes = field(repr=False)
    hash: bytes
    signer: bytes
    chain_id: int
    nonce: int
    to: bytes
    value: int
    data: bytes = field(repr=False)
    gas_limit: int
    max_fee_wei: int
    priority_fee_wei: int


def read_signed(raw: bytes) -> Signed:
    """Read a signed transaction, and who signed it.

    Raises:
        NotATransaction: another type, not canonical RLP, no recipient, or a signature that nobody made.
    """
    if not raw.startswith(_TYPE_2) or len(raw) > RAW_BYTES_MAX:
        raise NotATransaction("sign a type 2 transaction (EIP-1559) of at most 128 KiB")
    try:
        fields: list[Any] = rlp.decode(raw[1:], strict=True)
    except rlp.exceptions.RLPException:
        raise NotATransaction("the bytes are no canonical RLP") from None
    if not isinstance(fields, list) or len(fields) != _FIELDS or fields[8] != []:
        raise NotATransaction("a type 2 transaction has twelve fields, and here no access list")
    if not all(isinstance(each, bytes) for each in (*fields[:8], *fields[9:])):
        raise NotATransaction("a field is a list where bytes belong")
    numbers = [*fields[:5], fields[6], *fields[9:]]
    if any(each.startswith(b"\0") or len(each) > 32 for each in numbers) or len(fields[5]) != 20:
        raise NotATransaction("a number has leading zeros or is too large, or the recipient has not 20 bytes")
    chain_id, nonce, priority, fee, gas = (int.from_bytes(each) for each in fields[:5])
    if max(chain_id, nonce, gas) >= 2**63:
        raise NotATransaction("chain id, nonce or gas limit is out of range")
    signer = _signer(keccak(_TYPE_2 + rlp.encode(fields[:9])), *(int.from_bytes(each) for each in fields[9:]))
    value, to, data = int.from_bytes(fields[6]), fields[5], fields[7]
    return Signed(raw, keccak(raw), signer, chain_id, nonce, to, value, data, gas, fee, priority)


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Who signed 32 bytes with these r, s and v (65 bytes), or None when nobody did."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    try:
        return _signer(digest, signature[64] - 27, int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]))
    except NotATransaction:
        return None


def packed(signature: Signature) -> bytes:
    """A signature as r, s and v in 65 bytes."""
    return signature.r + signature.s + bytes([signature.v])


def _signer(digest: bytes, parity: int, r: int, s: int) -> bytes:
    if parity > 1 or not 0 < s <= _HALF_ORDER:
        raise NotATransaction("the signature is malleable or malformed (EIP-2)")
    try:
        compact = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
        key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except Exception as error:  # libsecp256k1's binding raises a bare Exception
        raise NotATransaction("nobody made this signature") from error
    return keccak(key.format(compressed=False)[1:])[12:]
