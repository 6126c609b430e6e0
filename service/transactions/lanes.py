"""Lanes: the transactions that one lease guards, all of one signer, or all that outsiders have signed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

from service.addresses import checksum
from service.chain.reader import AccountState, Chain, Head
from service.db import Database
from service.keys.guard import Guard
from service.settings import Settings
from service.transactions.known_gas import KnownGas


@dataclass(frozen=True, slots=True)
class Lane:
    """The transactions of one of our signers on a chain; without a signer, those that came signed."""

    chain_id: int
    signer: bytes | None

    @property
    def lease_name(self) -> str:
        """The lease that whoever sends on this lane holds."""
        return f"sender:{self.chain_id}:{'given' if self.signer is None else checksum(self.signer)}"

    @property
    def own(self) -> bytes:
        """The signer of a lane that has one."""
        assert self.signer is not None, "outsiders sign for themselves"
        return self.signer

    @property
    def parameters(self) -> dict[str, Any]:
        """What `condition` binds."""
        return {"chain_id": self.chain_id, **({} if self.signer is None else {"signer": self.signer})}

    def condition(self, table: LiteralString) -> str:
        """The lane's rows of `transactions`, in SQL that an index serves; `table` is the name it goes by."""
        if self.signer is None:
            return f"{table}.chain_id = :chain_id AND {table}.origin = 'given'"
        return f"{table}.chain_id = :chain_id AND {table}.signer = :signer AND {table}.origin <> 'given'"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a deployment allows its sender. Times in seconds, money in wei."""

    transactions_max: int  # in one step
    resend_after_s: float
    replace_after_s: float
    fee_max_wei: int  # for a unit of gas
    balance_low_wei: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those that the settings name."""
        return cls(
            transactions_max=settings.sender_transactions_max,
            resend_after_s=settings.resend_after_s,
            replace_after_s=settings.replace_after_s,
            fee_max_wei=settings.fee_max_wei,
            balance_low_wei=settings.balance_low_wei,
        )


@dataclass(frozen=True, slots=True)
class Means:
    """What the step of every lane works with."""

    db: Database
    chain: Chain
    guard: Guard
    limits: Limits
    known_gas: KnownGas = field(default_factory=KnownGas, compare=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a step knows of the chain. The head came first, so what is final in it stays so."""

    head: Head
    accounts: Mapping[bytes, AccountState]

    def is_past(self, signer: bytes, nonce: int) -> bool:
        """Whether a final block has counted a nonce: whoever spent it, it is spent for good."""
        return nonce < self.accounts[signer].final_nonce


async def busy_lanes(db: Database, chain_id: int, signers: frozenset[bytes]) -> set[Lane]:
    """The lanes that have something to do, of those whose keys are at hand."""
    rows = await db.fetch(
        """SELECT DISTINCT CASE WHEN origin = 'given' THEN NULL ELSE signer END FROM transactions
        WHERE chain_id = %s AND status IN ('queued', 'pending', 'submitted', 'mined')""",
        (chain_id,),
    )
    return {Lane(chain_id, signer) for (signer,) in rows if signer is None or signer in signers}
