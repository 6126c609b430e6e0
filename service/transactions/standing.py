"""How signers stand: what the chain says of them, what halts one, and what its operator should know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.reader import AccountState
from service.db import Database
from service.keys.guard import Failure, Fault
from service.keys.policy import Refusal
from service.telemetry import logger
from service.transactions.lanes import Lane
from service.workers import Lease


class Halt(StrEnum):
    """Why nothing new is sent for a signer. All but the last pass by themselves once their cause has gone."""

    NO_FUNDS = "no-funds"  # it can't pay for the next transaction
    FEE_CAP = "fee-cap"  # the next block asks more than the cap allows
    FROZEN = "frozen"  # its policy says so
    POLICY = "policy"  # it forbids a transaction that has a nonce already, and holds up all that come after
    PROVIDER_DOWN = "provider-down"  # whoever holds its key does not answer
    CHAIN_REWOUND = "chain-rewound"  # the chain has lost transactions that were final; they are being sent again
    NODE_BEHIND = "node-behind"  # the node does not know blocks that we have seen
    STEP_FAILED = "step-failed"  # a fault of ours ended a step of its lane; the log has it
    EFFECT_CHANGED = "effect-changed"  # sent again after that, one ended otherwise than told: an operator must look


@dataclass(frozen=True, slots=True)
class Halted:
    """A halt, and what is to be said of it."""

    halt: Halt
    detail: str


@dataclass(frozen=True, slots=True)
class Alert:
    """What an operator should look at before it halts a signer, and what is to be said of it."""

    alert: str
    detail: str


async def present_halt(session: AsyncSession, chain_id: int, address: bytes) -> str | None:
    """The name of what halts a signer, as it was last stored, or None."""
    halt: str | None = await session.scalar(
        text("SELECT halt FROM signers WHERE chain_id = :chain_id AND address = :address"),
        {"chain_id": chain_id, "address": address},
    )
    return halt


async def lasts(session: AsyncSession, lane: Lane, halt: str) -> bool:
    """Whether something waits to be tried again because of a halt: until then nothing says that it has passed."""
    families: dict[str, Sequence[str]] = {Halt.PROVIDER_DOWN: list(Failure), Halt.POLICY: list(Refusal)}
    words = families.get(halt, [halt])
    waits = await session.scalar(
        text(
            f"""SELECT EXISTS (SELECT FROM transactions t WHERE {lane.condition("t")}
                AND (t.status IN ('pending', 'submitted') OR t.status = 'queued' AND t.cancel_asked_at IS NULL)
                AND t.retry_at IS NOT NULL AND t.last_error = ANY(:words))"""
        ),
        {**lane.parameters, "words": words},
    )
    return bool(waits)


async def store_halt(session: AsyncSession, chain_id: int, address: bytes, halted: Halted | None) -> bool:
    """Halt a signer, or note that nothing halts it now; whether that is news. EFFECT_CHANGED stays until resumed."""
    news = await session.scalar(
        text(
            """INSERT INTO signers AS s (chain_id, address, next_nonce, balance_wei, halt, halt_detail, halted_at)
            SELECT :chain_id, :address, 0, 0, c.halt, c.detail, CASE WHEN c.halt IS NOT NULL THEN now() END
            FROM (SELECT CAST(:halt AS text) AS halt, CAST(:detail AS text) AS detail) AS c
            ON CONFLICT (chain_id, address) DO UPDATE SET halt = EXCLUDED.halt, halt_detail = EXCLUDED.halt_detail,
                halted_at = EXCLUDED.halted_at
            WHERE s.halt IS DISTINCT FROM EXCLUDED.halt AND s.halt IS DISTINCT FROM 'effect-changed'
            RETURNING true"""
        ),
        {
            "chain_id": chain_id,
            "address": address,
            "halt": None if halted is None else halted.halt,
            "detail": None if halted is None else halted.detail,
        },
    )
    return bool(news)


async def tell(db: Database, lane: Lane, lease: Lease, halted: Halted | None) -> None:
    """Store what halts a lane's signer now, or that nothing does, and log it when that is news."""
    async with db.transaction() as session:
        await lease.hold(session)
        news = await store_halt(session, lane.chain_id, lane.own, halted)
    if news and halted is not None:
        logger().error("signer_halted", worker=lane.lease_name, reason=halted.halt, detail=halted.detail)
    elif news:
        logger().info("signer_goes_on", worker=lane.lease_name)


async def count_foreign(session: AsyncSession, chain_id: int, address: bytes, count: int) -> None:
    """Note that transactions which are not ours have spent nonces of a signer: somebody else uses its key."""
    await session.execute(
        text(
            """INSERT INTO signers AS s (chain_id, address, next_nonce, balance_wei, foreign_nonces)
            VALUES (:chain_id, :address, 0, 0, :count)
            ON CONFLICT (chain_id, address) DO UPDATE SET foreign_nonces = s.foreign_nonces + :count"""
        ),
        {"chain_id": chain_id, "address": address, "count": count},
    )


async def store_seen(
    session: AsyncSession,
    chain_id: int,
    seen: Mapping[bytes, AccountState],
    faults: Mapping[bytes, Fault],
    *,
    balance_low_wei: int,
) -> dict[bytes, Alert]:
    """Note what the chain and their providers say of signers, and what operators should know; what of that is news."""
    rows = await session.execute(
        text(
            """INSERT INTO signers AS s (chain_id, address, next_nonce, balance_wei, alert, alert_detail, alerted_at)
            SELECT :chain_id, c.address, c.next_nonce, c.balance, c.alert, c.detail,
                CASE WHEN c.alert IS NOT NULL THEN now() END
            FROM (SELECT given.*,
                    CASE WHEN fault IS NOT NULL THEN fault WHEN balance < :low THEN 'balance-low'
                         WHEN capped > 0 THEN 'fee-cap' END AS alert,
                    CASE WHEN fault IS NOT NULL THEN fault_detail
                         WHEN balance < :low THEN balance || ' wei left, alert below ' || :low
                         WHEN capped > 0 THEN capped || ' stuck transactions offer all the cap allows' END AS detail
                  FROM unnest(CAST(:addresses AS bytea[]), CAST(:nonces AS bigint[]), CAST(:balances AS numeric[]),
                      CAST(:faults AS text[]), CAST(:fault_details AS text[]))
                    AS given(address, next_nonce, balance, fault, fault_detail),
                  LATERAL (SELECT count(*) AS capped FROM transactions t
                    WHERE t.chain_id = :chain_id AND t.signer = given.address AND t.last_error = 'fee-cap'
                      AND t.status IN ('pending', 'submitted')) AS stuck) AS c
            ON CONFLICT (chain_id, address) DO UPDATE SET next_nonce = EXCLUDED.next_nonce,
                balance_wei = EXCLUDED.balance_wei, seen_at = now(), alert = EXCLUDED.alert,
                alert_detail = EXCLUDED.alert_detail,
                alerted_at = CASE WHEN EXCLUDED.alert = s.alert THEN s.alerted_at ELSE EXCLUDED.alerted_at END
            RETURNING address, alert, alert_detail, alerted_at = now() AS news"""
        ),
        {
            "chain_id": chain_id,
            "low": balance_low_wei,
            "addresses": list(seen),
            "nonces": [state.next_nonce for state in seen.values()],
            "balances": [state.balance_wei for state in seen.values()],
            "faults": [None if each not in faults else faults[each].reason for each in seen],
            "fault_details": [None if each not in faults else faults[each].detail for each in seen],
        },
    )
    # A lane without work takes no step that would find its halt gone.
    await session.execute(
        text(
            """UPDATE signers s SET halt = NULL, halt_detail = NULL, halted_at = NULL
            WHERE chain_id = :chain_id AND address = ANY(:addresses) AND halt <> 'effect-changed' AND NOT EXISTS (
                SELECT FROM transactions t WHERE t.chain_id = s.chain_id AND t.signer = s.address
                  AND t.status IN ('queued', 'pending', 'submitted', 'mined'))"""
        ),
        {"chain_id": chain_id, "addresses": list(seen)},
    )
    return {row.address: Alert(row.alert, row.alert_detail) for row in rows if row.news}


async def next_nonces(session: AsyncSession, chain_id: int, addresses: frozenset[bytes]) -> dict[bytes, int]:
    """By signer, the nonce after the highest that a transaction of ours has."""
    rows = await session.execute(
        text(
            """SELECT s.signer, (
                SELECT max(nonce) FROM transactions t
                WHERE t.chain_id = :chain_id AND t.signer = s.signer AND t.status <> 'displaced') AS nonce
            FROM unnest(CAST(:signers AS bytea[])) AS s(signer)"""
        ),
        {"chain_id": chain_id, "signers": list(addresses)},
    )
    return {row.signer: row.nonce + 1 for row in rows if row.nonce is not None}
