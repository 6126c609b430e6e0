"""Closing operations whose transactions are final, each with its fact in the journal."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import bindparam

from service import journal
from service.addresses import checksum, hex0x
from service.chain.reverts import Revert
from service.db import Database
from service.errors import Problem
from service.operations.submit import refused
from service.telemetry import logger
from service.transactions import commands as transactions
from service.transactions.commands import Outcome
from service.workers import Lease


class OperationCancelled(Problem):
    """It was taken back in time, and has no effect; told of operations alone."""

    slug, title, status = "operation-cancelled", "The operation was cancelled", 409


class NonceSpentElsewhere(Problem):
    """A holder's own transaction can't be mined any more, since its nonce is spent; told of operations alone."""

    slug, title, status = "nonce-spent-elsewhere", "The nonce was used for another transaction", 409


SETTLE_MAX = 500
"""Operations closed in one DB transaction."""


async def settle(db: Database, lease: Lease, problems: Mapping[str, type[Problem]]) -> int:
    """Close operations of final transactions and record them, in one DB transaction; how many.

    Args:
        problems: by the contract's error of the same meaning.
    """
    async with db.transaction() as session:
        await lease.hold(session)
        outcomes = await transactions.take_final(session, count_max=SETTLE_MAX)
        if not outcomes:
            return 0
        statement = text(
            """UPDATE operations o SET
                status = CASE WHEN c.status IN ('confirmed', 'executed') THEN 'succeeded' ELSE 'failed' END,
                problem = NULLIF(CAST(:problems AS jsonb) -> CAST(o.transaction_id AS text), 'null'),
                closed_at = now()
            FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS text[])) AS c(id, status)
            WHERE o.transaction_id = c.id AND o.status = 'pending'
            RETURNING o.id, o.issuer_id, o.caller_id, o.key_id, o.kind, o.chain_id, o.token_id, o.contract,
                      o.parameters, o.status, o.problem, o.transaction_id"""
        ).bindparams(bindparam("problems", type_=JSONB))
        closed = await session.execute(
            statement,
            {
                "ids": [outcome.id for outcome in outcomes],
                "statuses": [outcome.status for outcome in outcomes],
                "problems": {str(outcome.id): _problem(outcome, problems) for outcome in outcomes},
            },
        )
        by_transaction = {outcome.id: outcome for outcome in outcomes}
        rows = sorted(closed, key=lambda row: row.id)
        await journal.append(session, [_fact(row, by_transaction[row.transaction_id]) for row in rows])
    logger().info("operations_settled", count=len(rows))
    return len(outcomes)


def _problem(outcome: Outcome, problems: Mapping[str, type[Problem]]) -> dict[str, Any] | None:
    if outcome.status in ("confirmed", "executed"):
        return None
    if outcome.status == "cancelled":
        return OperationCancelled("it was taken back before it was in a block: ask again under another key").body()
    if outcome.status == "displaced":
        return NonceSpentElsewhere("its signer has used the nonce for another transaction: prepare again").body()
    refusal = outcome.refusal or {"name": "unknown", "arguments": {}}
    return refused(Revert(refusal["name"], refusal["arguments"]), problems).body()


def _fact(row: Any, outcome: Outcome) -> journal.Fact:
    operation_id: UUID = row.id
    body = {
        "operation": str(operation_id),
        "issuer": str(row.issuer_id),
        "caller": str(row.caller_id),
        "key": row.key_id,
        "operation_kind": row.kind,
        "chain": row.chain_id,
        "token": None if row.token_id is None else str(row.token_id),
        "contract": checksum(row.contract),
        "parameters": row.parameters,
        "problem": row.problem,
        "transaction": _transaction(outcome),
    }
    return journal.Fact(f"operation.{row.status}", row.issuer_id, body)


def _transaction(outcome: Outcome) -> dict[str, Any] | None:
    if outcome.status == "executed" or outcome.transaction_hash is None or outcome.block_hash is None:
        return None  # no transaction of ours brought it about
    return {
        "hash": hex0x(outcome.transaction_hash),
        "signer": checksum(outcome.signer),
        "nonce": outcome.nonce,
        "block": outcome.block_number,
        "block_hash": hex0x(outcome.block_hash),
        "gas_used": outcome.gas_used,
    }
