"""Answers as Python has them: amounts are integers, times are datetimes. `raw` is all that was told."""

import types
import typing
from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An answer; what a newer deployment tells besides is in `raw` alone."""

    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """Read an answer.

        Raises:
            LookupError: it lacks something.
            ValueError: something in it is malformed.
        """
        kind: Any = cls
        hints: dict[str, Any] = _hints(kind)
        given = {
            each.name: _read(hints[each.name], content[each.name.rstrip("_")])
            for each in fields(cls)
            if each.name != "raw"
        }
        return cls(raw=content, **given)


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, types.UnionType):
        (kind,) = [each for each in typing.get_args(kind) if each is not types.NoneType]
    if typing.get_origin(kind) is tuple:
        return tuple(_read(typing.get_args(kind)[0], each) for each in value)
    if isinstance(kind, type) and issubclass(kind, Shape):
        return kind.of(value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    return int(value) if kind is int else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset(Shape):
    """An off-chain thing."""

    id: str
    name: str
    category: str
    description: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Account(Shape):
    """A holder's account."""

    address: str
    managed: bool
    label: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Shape):
    """One of the issuer's contracts that is no token."""

    id: str
    kind: str
    name: str
    chain: int
    address: str
    operation_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Shape):
    """An asset's token; its supply is in base units."""

    id: str
    asset_id: str | None
    kind: str
    name: str
    symbol: str
    decimals: int
    address: str
    status: str
    total_supply: int | None
    paused: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder(Shape):
    """What an account holds of a token, in base units."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding(Shape):
    """What an account holds of one token among others, in base units."""

    token_id: str
    contract: str
    symbol: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Shape):
    """A move that the chain has; `from_` is None of a mint, `to` of a burn."""

    token_id: str
    kind: str
    from_: str | None
    to: str | None
    amount: int
    block: int
    time: datetime
    log_index: int
    transaction_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction(Shape):
    """How an operation stands on the chain."""

    status: str
    hash: str | None
    signer: str
    nonce: int | None
    block: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Shape):
    """What a write has begun: pending, then succeeded or failed."""

    id: str
    key_id: str | None
    kind: str
    status: str
    token_id: str | None
    contract: str
    transaction: Transaction
    problem: dict[str, Any] | None
    created_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts(Shape):
    """How many rows or packs of a batch stand how."""

    total: int
    queued: int
    sent: int
    mined: int
    succeeded: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Shape):
    """Rows that go together: pending, running, then succeeded, failed, partly_failed or cancelled."""

    id: str
    kind: str
    token_id: str | None
    state: str
    rows: Counts
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Shape):
    """What the vault does with one kind of value."""

    id: str
    name: str
    kind: str
    data_class: str
    deterministic: bool
    mapping: str
    pointer: bool
    ttl_max_s: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized(Shape):
    """What one value came to: created, existing or refused, with its problem then."""

    status: str
    token: str | None = field(repr=False)
    record_id: str | None
    problem: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Shape):
    """What is known of a vault token besides its value."""

    id: str
    policy_id: str
    state: str
    subject_id: str | None
    asset_token_id: str | None
    last_four: str | None
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown(Shape):
    """One value that was revealed, or why it was not."""

    value: str | None = field(repr=False)
    problem: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased(Shape):
    """A person who is forgotten."""

    subject_id: str
    records_count: int
    erased_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment(Shape):
    """A card that was charged, in the currency's smallest unit: pending, accepted or declined."""

    id: str
    state: str
    processor: str
    amount: int
    currency: str
    reference: str
    processor_reference: str | None
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Shape):
    """What is known of a document besides its content and its name; `received_bytes` of it came."""

    id: str
    policy: str
    subject_id: str | None
    asset_token_id: str | None
    media_type: str
    size_bytes: int
    received_bytes: int
    whole: bool
    created_at: datetime
    expires_at: datetime | None
