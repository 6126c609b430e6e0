"""Sending a batch, taking it back, and sending again what failed of it.

A batch is read, tried on the chain and stored as a whole: no Postgres connection is held while the node thinks, nothing
is stored unless every row passes, and all packs are stored in one DB transaction.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from eth_hash.auto import keccak
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.key_amounts import Moved
from service.addresses import checksum, hex0x
from service.batches import queries
from service.batches.calls import Plan, authorization, relayed_intent, role_intent
from service.batches.checking import check
from service.batches.held import held_by_investors
from service.batches.orders import ERRORS_TOLD_MAX, IDENTITY, KINDS, TRANSFER, Kind, Rows, accepted_orders
from service.batches.packing import Pack, form_packs, row_gas
from service.batches.problems import BatchInvalid
from service.batches.queries import Batch, GivenOne
from service.batches.tables import BatchRow
from service.db import ReadConnection, new_id
from service.deployments.queries import required
from service.errors import Problem
from service.keys import managed
from service.keys.signed import packed
from service.mirror import queries as mirror
from service.operations import many
from service.operations.many import Told
from service.operations.submit import Intent, Ledger, Request
from service.tokens.acting import AUTHORIZATION_LIFE, until
from service.tokens.queries import managed_of, standing_token, target_of
from service.transactions.commands import cancel as cancel_transactions


async def send(ledger: Ledger, request: Request, kind: Kind, token_id: UUID | None, rows: Rows) -> Batch:
    """Accept a batch: every row passes, or nothing is stored.

    Raises:
        TokenNotFound, TokenNotDeployed, WrongTokenKind, ContractMissing, ContractNotDeployed: as their names say.
        BatchInvalid: an account whose units would move is not a managed one of the issuer's.
        BatchRefused: the contract refuses rows now.
        LimitExceeded: the caller's credential may not move as much as all rows together.
        StepUpRequired: not without the approval of a second factor.
        Problem: the contract refuses whatever the rows are.
    """
    return await _once(ledger, request, lambda: _send(ledger, request, kind, token_id, rows))


async def _once(ledger: Ledger, request: Request, make: Callable[[], Awaitable[None]]) -> Batch:
    """The batch of a request's key, after `make` has stored something under it, now or before."""
    first = await request.first_id(ledger.db)
    if first is None:
        try:
            await make()
        except Problem:
            # The same request at the same time may have been faster, and the refusal may be its effect.
            if await request.first_id(ledger.db) is None:
                raise
        first = await request.first_id(ledger.db)
    assert first is not None, "the key was spent a moment ago"
    async with ledger.db.read() as connection:
        return await queries.batch(connection, issuer_id=request.caller.issuer_id, id=UUID(first))


async def _send(ledger: Ledger, request: Request, kind: Kind, token_id: UUID | None, rows: Rows) -> None:
    orders = dict(enumerate(rows.orders, start=1))
    moved = _moved(request, token_id, rows.orders)
    await moved.insist(ledger.db)
    async with ledger.db.read() as connection:
        plan = await _plan(connection, request, kind, token_id, request.effect_id, orders)
    intents = await _intents(ledger, plan)
    await check(ledger, plan, intents)
    batch_id = new_id()

    async def store() -> None:
        async with ledger.db.transaction() as session:
            if await request.claim(session, f"batches/{batch_id}"):
                await _store_batch(session, request, plan, batch_id)
                await _store_rows(session, batch_id, plan, rows.given)
                await _store_packs(session, ledger, request, batch_id, plan.packs, intents, round_=1)
                await moved.take(session)

    await moved.accepted(ledger.db, store)


def _moved(request: Request, token_id: UUID | None, orders: Iterable[Any]) -> Moved:
    """The base units that rows name together."""
    return Moved(request.caller, request.approval, token_id, sum(getattr(order, "amount", 0) for order in orders))


async def _plan(
    connection: ReadConnection,
    request: Request,
    kind: Kind,
    token_id: UUID | None,
    effect_id: UUID,
    orders: Mapping[int, Any],
    packs: Sequence[Pack] | None = None,
) -> Plan:
    """What calls are made of, read of one database state; `packs` are as the rows formed them before, if they did."""
    issuer_id, token = request.caller.issuer_id, None
    if kind is IDENTITY:
        target = await required(connection, issuer_id=issuer_id, kind="compliance")
    else:
        assert token_id is not None, "every other kind is done to a token"
        token, _ = await standing_token(connection, issuer_id=issuer_id, id=token_id, kinds=kind.token_kinds)
        target = target_of(token)
    gas = row_gas(kind, target.artifact, regulated=token is not None and bool(token.terms.get("compliance")))
    packs = packs or form_packs(kind, orders, gas)
    if kind is TRANSFER:
        await _require_managed(connection, request, packs)
    held = {}
    if kind is IDENTITY:
        held = await held_by_investors(connection, target, [order.investor for order in orders.values()])
    label = await mirror.label(connection, chain_id=target.chain_id, at_block=None)
    expiry = until(label, AUTHORIZATION_LIFE)
    return Plan(kind, target, token, request.caller.signer, effect_id, orders, packs, gas, expiry, held)


async def _require_managed(connection: ReadConnection, request: Request, packs: Sequence[Pack]) -> None:
    accounts = [pack.account for pack in packs if pack.account is not None]
    known = await managed_of(connection, issuer_id=request.caller.issuer_id, addresses=accounts)
    faults: list[dict[str, Any]] = []
    for pack in packs:
        assert pack.account is not None, "a pack of transfers is one account's"
        if not known.get(pack.account):
            why = "signs for itself" if pack.account in known else "is no account of this issuer"
            told = f"{checksum(pack.account)} {why}: only managed accounts can be in a batch of transfers"
            faults += [{"row": row, "pointer": f"#/rows/{row - 1}/from", "detail": told} for row in pack.rows]
    if faults:
        faults.sort(key=lambda fault: fault["row"])
        raise BatchInvalid(
            f"row {faults[0]['row']}: {faults[0]['detail']}", errors=faults[:ERRORS_TOLD_MAX], errors_count=len(faults)
        )


async def _intents(ledger: Ledger, plan: Plan) -> dict[int, Intent]:
    """The call of each pack, by its number. Encoding and signing ten thousand rows takes a while, beside the loop."""
    if plan.kind is not TRANSFER:
        return await asyncio.to_thread(lambda: {pack.number: role_intent(plan, pack) for pack in plan.packs})
    permissions = [authorization(plan, pack) for pack in plan.packs]
    digests = await asyncio.to_thread(lambda: [each.typed_data().digest() for each in permissions])
    wanted = [(each.account, digest) for each, digest in zip(permissions, digests, strict=True)]
    async with ledger.db.transaction() as session:
        signed = await managed.sign_digests(session, ledger.key_encryption_key, wanted)

    def relayed() -> dict[int, Intent]:
        each = zip(plan.packs, permissions, signed, strict=True)
        return {pack.number: relayed_intent(plan, permission, packed(given)) for pack, permission, given in each}

    return await asyncio.to_thread(relayed)


async def _store_batch(session: AsyncSession, request: Request, plan: Plan, batch_id: UUID) -> None:
    await session.execute(
        insert(BatchRow).values(
            id=batch_id,
            issuer_id=request.caller.issuer_id,
            caller_id=request.caller.id,
            kind=plan.kind.name,
            chain_id=plan.target.chain_id,
            token_id=plan.target.token_id,
            contract=plan.target.address,
            effect_id=plan.effect_id,
            rows_count=len(plan.orders),
            packs_count=len(plan.packs),
        )
    )


async def _store_rows(session: AsyncSession, batch_id: UUID, plan: Plan, given: Sequence[dict[str, Any]]) -> None:
    pack_of = {number: pack.number for pack in plan.packs for number in pack.rows}
    numbers = range(1, len(given) + 1)
    await session.execute(
        text(
            """INSERT INTO batch_rows (batch_id, number, pack, parameters)
            SELECT :batch_id, number, pack, CAST(parameters AS jsonb)
            FROM unnest(CAST(:numbers AS int[]), CAST(:packs AS int[]), CAST(:parameters AS text[]))
                AS given(number, pack, parameters)"""
        ),
        {
            "batch_id": batch_id,
            "numbers": list(numbers),
            "packs": [pack_of[number] for number in numbers],
            "parameters": [json.dumps(each) for each in given],
        },
    )


async def _store_packs(
    session: AsyncSession,
    ledger: Ledger,
    request: Request,
    batch_id: UUID,
    packs: Sequence[Pack],
    intents: dict[int, Intent],
    *,
    round_: int,
) -> None:
    told = [Told(intents[pack.number], _parameters(batch_id, pack, intents[pack.number])) for pack in packs]
    await many.submit_many(session, ledger, request.caller, told)
    await session.execute(
        text(
            """INSERT INTO batch_packs (batch_id, number, round, operation_id, rows_count)
            SELECT :batch_id, number, :round, operation_id, rows_count
            FROM unnest(CAST(:numbers AS int[]), CAST(:operation_ids AS uuid[]), CAST(:counts AS int[]))
                AS given(number, operation_id, rows_count)"""
        ),
        {
            "batch_id": batch_id,
            "round": round_,
            "numbers": [pack.number for pack in packs],
            "operation_ids": [intents[pack.number].id for pack in packs],
            "counts": [len(pack.rows) for pack in packs],
        },
    )


def _parameters(batch_id: UUID, pack: Pack, intent: Intent) -> dict[str, Any]:
    """What the operation shows, and the journal keeps: the rows by the hash of the call that carries them."""
    return {
        "batch_id": str(batch_id),
        "pack": pack.number,
        "rows_count": len(pack.rows),
        "calldata_hash": hex0x(keccak(intent.data)),
    }


async def cancel(ledger: Ledger, request: Request, batch_id: UUID) -> Batch:
    """Take back what is not in a block yet.

    Raises:
        BatchNotFound: none, or another issuer's.
    """

    async def make() -> None:
        async with ledger.db.read() as connection:
            found = await queries.batch(connection, issuer_id=request.caller.issuer_id, id=batch_id)
        async with ledger.db.transaction() as session:
            if not await request.claim(session, f"batches/{batch_id}"):
                return
            newest = await _newest(session, batch_id)
            sent = await many.transaction_ids(session, [operation_id for operation_id, _ in newest.values()])
            taken_back = await cancel_transactions(session, list(sent.values()))
            operations = [id_ for id_, transaction_id in sent.items() if taken_back.get(transaction_id)]
            await session.execute(
                text(
                    "UPDATE batch_packs SET cancel_asked_at = now() WHERE batch_id = :id AND operation_id = ANY(:ids)"
                ),
                {"id": found.id, "ids": operations},
            )
            await session.execute(text("UPDATE batches SET cancelled_at = now() WHERE id = :id"), {"id": found.id})

    return await _once(ledger, request, make)


async def resume(ledger: Ledger, request: Request, batch_id: UUID) -> Batch:
    """Send again the packs that failed or were cancelled, as the same calls with the same burned ids.

    A message that an account signed is signed anew, since it ran out; it has the same nonce, so only one has an effect.

    Raises:
        BatchNotFound: none, or another issuer's.
        LimitExceeded: the caller's credential may not move as much as these rows together.
        StepUpRequired: not without the approval of a second factor.
        BatchRefused: the contract would refuse them again.
        Problem: what `send` raises.
    """
    return await _once(ledger, request, lambda: _resume(ledger, request, batch_id))


async def _resume(ledger: Ledger, request: Request, batch_id: UUID) -> None:
    plan: Plan | None = None
    async with ledger.db.read() as connection:
        found = await queries.batch(connection, issuer_id=request.caller.issuer_id, id=batch_id)
        again = {pack.number: pack for pack in found.packs if pack.status in ("failed", "cancelled")}
        if again:
            rows = await queries.rows_of(connection, batch_id=batch_id, packs=list(again))
            kind = KINDS[found.kind]
            orders = {
                row.number: order
                for row, order in zip(rows, accepted_orders(kind, [row.parameters for row in rows]), strict=True)
            }
            packs = _packs_of(kind, rows, orders)
            plan = await _plan(connection, request, kind, found.token_id, found.effect_id, orders, packs)
    intents: dict[int, Intent] = {}
    if plan is not None:
        await _moved(request, found.token_id, plan.orders.values()).insist(ledger.db)
        intents = await _intents(ledger, plan)
        await check(ledger, plan, intents)

    async def store() -> None:
        async with ledger.db.transaction() as session:
            if await request.claim(session, f"batches/{batch_id}"):
                newest = await _newest(session, batch_id)
                await session.execute(text("UPDATE batches SET cancelled_at = NULL WHERE id = :id"), {"id": batch_id})
                if plan is not None:
                    # Another request may have sent some of them meanwhile.
                    packs = [pack for pack in plan.packs if newest[pack.number][1] == again[pack.number].round]
                    round_ = max(each for _, each in newest.values()) + 1
                    await _store_packs(session, ledger, request, batch_id, packs, intents, round_=round_)
                    await _moved(request, found.token_id, _orders_of(plan, packs)).take(session)

    await _moved(request, found.token_id, plan.orders.values() if plan else ()).accepted(ledger.db, store)


def _orders_of(plan: Plan, packs: Sequence[Pack]) -> Iterable[Any]:
    return (plan.orders[row] for pack in packs for row in pack.rows)


def _packs_of(kind: Kind, rows: Sequence[GivenOne], orders: Mapping[int, Any]) -> list[Pack]:
    """Packs as they were formed at first."""
    numbers: dict[int, list[int]] = {}
    for row in rows:
        numbers.setdefault(row.pack, []).append(row.number)
    return [
        Pack(number, of, orders[of[0]].holder if kind is TRANSFER else None) for number, of in sorted(numbers.items())
    ]


async def _newest(session: AsyncSession, batch_id: UUID) -> dict[int, tuple[UUID, int]]:
    """The operation and the round of each pack that count, by the pack's number; nobody else changes them meanwhile."""
    await session.execute(text("SELECT FROM batches WHERE id = :id FOR UPDATE"), {"id": batch_id})
    rows = await session.execute(
        text(
            """SELECT DISTINCT ON (number) number, operation_id, round FROM batch_packs
            WHERE batch_id = :id ORDER BY number, round DESC"""
        ),
        {"id": batch_id},
    )
    return {row.number: (row.operation_id, row.round) for row in rows}
