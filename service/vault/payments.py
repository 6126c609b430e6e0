"""Payments: a card goes from the vault to a payment processor, and the issuer who asks never sees it.

A payment, its idempotency key, what it spends of the budgets and its entry in the journal are one DB transaction,
committed before the processor hears of it. Its id is the processor's idempotency key, so that a payment whose end is
not known is sent again, and charged once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from service import journal
from service.access.queries import Caller
from service.db import Database, new_id
from service.journal import Fact
from service.telemetry import logger
from service.vault import indexes
from service.vault.keyring import KeyMissing, Purpose
from service.vault.keys import Vault
from service.vault.payment_processors import Charge, NoVerdict, PaymentProcessor, Verdict
from service.vault.problems import NotOfThisPolicy
from service.vault.reveal_granting import Wish, granting
from service.vault.reveal_orders import PaymentOrder
from service.vault.reveal_problems import ProcessorUnavailable, ProcessorUnknown
from service.vault.revealing import Found, find, not_found, opened
from service.vault.values import DataClass
from service.web import idempotency

ROUTE = "POST /v1/vault/payments"
PURPOSE = "payment"


class PaymentState(StrEnum):
    """How a payment stands."""

    PENDING = "pending"  # the processor has not said how it ended
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment, without its card; `amount` is in the currency's smallest unit."""

    id: UUID
    processor: str
    amount: int
    currency: str
    reference: str
    state: PaymentState
    processor_reference: str | None
    code: str | None
    created_at: datetime
    settled_at: datetime | None


async def pay(
    vault: Vault, processors: Mapping[str, PaymentProcessor], caller: Caller, key: str, order: PaymentOrder
) -> Payment:
    """Have a card charged once for each caller and key. A payment that has ended is told again as it ended.

    Raises:
        ProcessorUnknown: the deployment has none of this name.
        VaultTokenNotFound: nothing can be revealed for this vault token.
        NotOfThisPolicy: it stands for no card.
        RevealRefused, RevealSuspended, ApprovalMissing, RevealUnrecorded: as for a reveal with the purpose `payment`.
        IdempotencyKeyReused: the key belongs to another request.
        ProcessorUnavailable: its end is not known; the same request asks again.
        RecordDamaged: the record was altered.
        VaultKeysUnavailable: the provider does not unwrap now.
    """
    processor = processors.get(order.processor)
    if processor is None:
        raise ProcessorUnknown("name one of the deployment's MUNIMENT_PAYMENT_PROCESSORS")
    print_ = await _print(vault, caller, order)
    resource = await idempotency.first_resource(vault.db, caller.id, key, print_)
    if resource is not None:
        payment = await _payment(vault.db, resource)
        if payment.state is not PaymentState.PENDING:
            return payment
    found = await find(vault, caller, [order.token], None, "")
    if not found.wanted:
        raise not_found()
    if found.wanted[0].policy.data_class is not DataClass.CARD:
        raise NotOfThisPolicy("only cards are charged: send the vault token of a card")
    resource = await _granted(vault, caller, key, print_, order, found)
    ((plain, _),) = await opened(vault, caller, found)
    assert plain is not None, "it was live when it was found"
    id_ = _id(resource)
    try:
        verdict = await processor.pay(Charge(id_, order.amount, order.currency, order.reference, plain.canonical))
    except NoVerdict as error:
        logger().warning("vault_payment_open", reason=str(error), kind=order.processor, detail=str(id_))
        raise ProcessorUnavailable(
            "send the same request again with the same idempotency key: the processor charges once for it",
            payment=str(id_),
        ) from None
    await _settle(vault, caller, id_, verdict)
    return await _payment(vault.db, resource)


async def _print(vault: Vault, caller: Caller, order: PaymentOrder) -> bytes:
    """A keyed hash of the request; for an issuer without a vault there is no such token."""
    try:
        index_key = await vault.newest(caller.issuer_id, Purpose.INDEX)
    except KeyMissing:
        vault.keyring.forget(caller.issuer_id)
        raise not_found() from None
    return indexes.request_print(index_key.secret, idempotency.fingerprint(ROUTE, None, order.asked()))


async def _granted(vault: Vault, caller: Caller, key: str, print_: bytes, order: PaymentOrder, found: Found) -> str:
    """Write the payment down, and that its card will be seen; the name of its resource.

    The entry is written each time that the card leaves for the processor, and the payment is made the first time.
    """
    id_ = new_id()
    resource = f"vault/payments/{id_}"
    what = {"processor": order.processor, "amount": str(order.amount), "currency": order.currency}
    wish = Wish(PURPOSE, order.reference, None, found.wanted, kind="vault.payment-sent", what=what)
    async with granting(vault, caller, wish) as granted:
        if not granted.live:
            raise not_found()
        if await idempotency.claim(granted.session, caller.id, key, print_, resource):
            await granted.connection.execute(
                """INSERT INTO vault.payments
                    (id, issuer_id, caller_id, record_id, processor, amount, currency, reference)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    *(id_, caller.issuer_id, caller.id, found.live[0].stored.record.id),
                    *(order.processor, order.amount, order.currency, order.reference),
                ),
            )
        else:
            resource = await idempotency.first_resource(vault.db, caller.id, key, print_) or resource
        what["payment"] = resource.rpartition("/")[2]
    return resource


async def _settle(vault: Vault, caller: Caller, id: UUID, verdict: Verdict) -> None:
    """Keep how a payment ended; the first answer stays."""
    async with vault.transaction() as (session, connection):
        cursor = await connection.execute(
            """UPDATE vault.payments SET state = %s, processor_reference = %s, code = %s, settled_at = now()
            WHERE id = %s AND state = 'pending' RETURNING id""",
            (verdict.ending.value, verdict.reference, verdict.code, id),
        )
        if await cursor.fetchone():
            body = {"payment": str(id), "caller": str(caller.id), "state": verdict.ending.value, "code": verdict.code}
            await journal.append(session, [Fact("vault.payment-settled", caller.issuer_id, body)])


async def _payment(db: Database, resource: str) -> Payment:
    ((id_, processor, amount, currency, reference, state, *rest),) = await db.fetch(
        """SELECT id, processor, amount, currency, reference, state, processor_reference, code, created_at, settled_at
        FROM vault.payments WHERE id = %s""",
        (_id(resource),),
    )
    return Payment(id_, processor, amount, currency, reference, PaymentState(state), *rest)


def _id(resource: str) -> UUID:
    return UUID(resource.rpartition("/")[2])
