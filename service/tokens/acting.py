"""How a holder's act reaches the chain, by one of three roads.

*Managed*: the service holds the account's key, signs the message, and the issuer's signer relays it. *Signature*: the
holder signs that message itself. *Transaction*: the holder signs a transaction, and pays for it. On no road does
anybody give a key away, and on the first two no holder needs ether.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import checksum, hex0x
from service.chain import contracts
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call
from service.chain.typed_data import SIGNATURE_BYTES, Authorization, Permission, with_signature
from service.db import ReadConnection, new_id
from service.deployments.calls import send
from service.deployments.queries import Target
from service.keys import managed
from service.keys.signed import NotATransaction, Signed, packed, read_signed, recover
from service.mirror.queries import Label
from service.operations.queries import Operation
from service.operations.submit import Intent, Ledger, Request, first_operation, once, refused, simulate, submit
from service.tokens import queries
from service.tokens.moves import Act
from service.tokens.problems import (
    AccountNotManaged,
    AlreadySubmitted,
    NodeAway,
    NonceSpent,
    NotMineable,
    NotWhatWasPrepared,
    PreparedExpired,
    SignerIsOurs,
)
from service.tokens.queries import Prepared
from service.tokens.tables import PreparedRow
from service.transactions.commands import Given
from service.transactions.fees import offer

AUTHORIZATION_LIFE = timedelta(hours=1)
"""A holder's message that fails in a block is public: the operation fails only once it has run out."""

PREPARED_LIFE = timedelta(hours=24)
"""How long a holder has to sign what was prepared."""


PREPARED_GAS_FACTOR = 3
"""Times the estimate: a holder signs only once, a later state may cost more, and unused gas is not paid for."""

AHEAD_MAX = 16
"""How far a holder's transaction may be ahead of those that are mined."""


@dataclass(frozen=True, slots=True)
class HolderCall:
    """What an account asks of a contract: the call that it makes itself, or the message that lets another make it."""

    kind: str
    target: Target
    account: bytes
    direct: bytes = field(repr=False)
    permission: Permission


Read = Callable[[ReadConnection, timedelta], Awaitable[HolderCall]]
"""Reads one database state and makes the call, with a message that is good for so long."""


def holder_call(request: Request, kind: str, target: Target, act: Act, until: datetime) -> HolderCall:
    """An act on a token as a call, its message good until `until`."""
    permission = Authorization(
        artifact=target.artifact,
        chain_id=target.chain_id,
        contract=target.address,
        account=act.account,
        primary_type=act.primary_type,
        function=act.relay,
        fields=act.signed,
        valid_before=int(until.timestamp()),
        nonce=contracts.operation_nonce(target.chain_id, target.address, request.effect_id),
    )
    return HolderCall(
        kind, target, act.account, contracts.encode_call(target.artifact, act.function, *act.arguments), permission
    )


def until(label: Label, life: timedelta) -> datetime:
    """When a message runs out: by the chain's clock, which may run ahead of ours."""
    return (max(datetime.now(UTC), label.time) + life).replace(microsecond=0)


async def act(ledger: Ledger, request: Request, read: Read) -> Operation:
    """Act for a managed account: its key signs, the issuer's signer relays and pays the gas.

    Raises:
        AccountNotFound: this issuer has not registered the account.
        AccountNotManaged: the holder has its own key.
        Problem: what `read` raises, or the contract's refusal.

    Source: ERC-3009.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            call = await read(connection, AUTHORIZATION_LIFE)
            account = await queries.account(connection, issuer_id=request.caller.issuer_id, address=call.account)
        if not account.managed:
            raise AccountNotManaged(
                f"{checksum(call.account)} is external: prepare this with POST {request.route.removeprefix('POST ')}"
                "/prepare, and have its holder sign"
            )
        await request.moved(call.kind, call.target.token_id).insist(ledger.db)
        # What is signed is an effect in anybody's hands: of a key that is spent there may be no other one.
        if first := await first_operation(ledger, request):
            return first
        digest = call.permission.typed_data().digest()
        async with ledger.db.transaction() as session:
            signed = await managed.sign_digest(session, ledger.key_encryption_key, call.account, digest)
        data = call.permission.calldata(packed(signed))
        return await send(ledger, request, _relayed(call.kind, call.target, call.permission, data))

    return await once(ledger, request, make)


def _relayed(kind: str, target: Target, permission: Permission, data: bytes) -> Intent:
    to = target.address
    return Intent(kind, target.token_id, to, to, data, permission.proof(), _expiry(permission))


def _expiry(permission: Permission) -> datetime | None:
    """When the message itself runs out, by the chain's clock; a ballot never does."""
    if isinstance(permission, Authorization):
        return datetime.fromtimestamp(permission.valid_before, UTC)
    return None


async def prepare(ledger: Ledger, request: Request, road: str, read: Read) -> Prepared:
    """Give a holder something to sign: a message for the issuer's signer to relay, or a transaction of its own.

    Raises:
        NodeAway: the node must be asked for the transaction's nonce, gas and fees.
        SignerIsOurs: the account numbers its transactions here.
        Problem: what `read` raises, or the contract's refusal of the holder's own call.
    """
    first = await request.first_id(ledger.db)
    if first is None:
        async with ledger.db.read() as connection:
            call = await read(connection, PREPARED_LIFE)
            await _refuse_ours(connection, call.account)
        content = await (_signature_road if road == "signature" else _transaction_road)(ledger, call)
        row = {
            "issuer_id": request.caller.issuer_id,
            "kind": call.kind,
            "road": road,
            "token_id": call.target.token_id,
            "contract": call.target.address,
            "account": call.account,
            "parameters": request.body,
            "valid_until": _expiry(call.permission) or datetime.now(UTC) + PREPARED_LIFE,
            **content,
        }
        id_ = new_id()
        async with ledger.db.transaction() as session:
            if await request.claim(session, f"prepared/{id_}"):
                session.add(PreparedRow(id=id_, **row))
        first = await request.first_id(ledger.db)
    assert first is not None, "the key was spent a moment ago"
    async with ledger.db.read() as connection:
        return await queries.prepared(connection, issuer_id=request.caller.issuer_id, id=UUID(first))


async def _refuse_ours(connection: ReadConnection, account: bytes) -> None:
    if await queries.is_signer(connection, account):
        raise SignerIsOurs(f"{checksum(account)} signs for an issuer here, and its nonces are given out by the service")


async def _signature_road(ledger: Ledger, call: HolderCall) -> dict[str, Any]:
    await simulate(ledger, Call(to=call.target.address, data=call.direct, sender=call.account))
    typed = call.permission.typed_data()
    at, form = call.permission.signature_place()
    return {
        "calldata": call.permission.calldata(bytes(SIGNATURE_BYTES)),
        "signature_at": at,
        "signature_form": form,
        "digest": typed.digest(),
        "proof": call.permission.proof()[1],
        "typed_data": typed.as_json(),
    }


async def _transaction_road(ledger: Ledger, call: HolderCall) -> dict[str, Any]:
    asked = Call(to=call.target.address, data=call.direct, sender=call.account)
    await simulate(ledger, asked)
    try:
        ((estimate,), fees, (nonce,)) = (
            await ledger.chain.estimate_gas([asked]),
            await ledger.chain.fees(),
            await ledger.chain.transaction_counts([call.account]),
        )
    except (NodeUnavailable, NodeRefused):
        raise NodeAway("the node is asked for nonce, gas and fees, and does not answer: try again") from None
    if isinstance(estimate, NodeRefused):
        if estimate.revert is not None:
            raise refused(estimate.revert, ledger.problems)
        raise NodeAway(f"the node does not estimate this call ({estimate.reason}): try again")
    price = offer(fees.base_fee_wei, fees.priority_fee_wei)
    transaction = {
        "type": "0x2",
        "chainId": hex(call.target.chain_id),
        "from": checksum(call.account),
        "to": checksum(call.target.address),
        "nonce": hex(nonce),
        "value": "0x0",
        "data": hex0x(call.direct),
        "gas": hex(PREPARED_GAS_FACTOR * estimate),
        "maxFeePerGas": hex(price.max_fee_wei),
        "maxPriorityFeePerGas": hex(price.priority_fee_wei),
    }
    return {"calldata": call.direct, "transaction": transaction}


async def submit_prepared(ledger: Ledger, request: Request, prepared_id: UUID, signed: bytes) -> Operation:
    """Take what the holder signed: a signature of 65 bytes (r, s, v), or a whole signed transaction.

    Raises:
        PreparedNotFound, PreparedExpired, AlreadySubmitted: as their names say.
        NotWhatWasPrepared: signed by another account, or something else was signed.
        NonceSpent, NonceTaken: the transaction can never be mined.
        Problem: the contract's refusal.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            found = await queries.prepared(connection, issuer_id=request.caller.issuer_id, id=prepared_id)
        if found.operation_id is not None:
            raise AlreadySubmitted(f"it became operation {found.operation_id}", operation_id=str(found.operation_id))
        if found.valid_until <= datetime.now(UTC):
            raise PreparedExpired("prepare it again: what was to be signed has run out")
        # What was signed stays out of the record: until it is used, whoever reads it could use it.
        told = replace(request, body={**found.parameters, "prepared_id": str(found.id)})
        await told.moved(found.kind, found.token_id).insist(ledger.db)
        intent = await (_relay if found.road == "signature" else _pass_on)(ledger, request, found, signed)

        async def store(session: AsyncSession) -> None:
            await _store_submitted(session, found, intent)

        return await submit(ledger, told, intent, store)

    return await once(ledger, request, make)


async def _store_submitted(session: AsyncSession, found: Prepared, intent: Intent) -> None:
    taken = await session.scalar(
        update(PreparedRow)
        .where(PreparedRow.id == found.id, PreparedRow.operation_id.is_(None))
        .values(operation_id=intent.id)
        .returning(PreparedRow.id)
    )
    if taken is None:
        raise AlreadySubmitted("another request submitted it a moment ago: GET /v1/prepared/{id} names the operation")


async def _relay(ledger: Ledger, request: Request, found: Prepared, signature: bytes) -> Intent:
    assert found.digest is not None, "a message was prepared"
    assert found.signature_at is not None, "a message was prepared"
    if recover(found.digest, signature) != found.account:
        raise NotWhatWasPrepared(
            f"{checksum(found.account)} did not sign this: sign `typed_data` with eth_signTypedData_v4, "
            "and send r, s and v (27 or 28) as 65 bytes"
        )
    data = with_signature(found.calldata, found.signature_at, found.signature_form or "", signature)
    await simulate(ledger, Call(to=found.contract, data=data, sender=request.caller.signer))
    proof = None if found.proof is None else (found.contract, found.proof)
    return Intent(found.kind, found.token_id, found.contract, found.contract, data, proof, found.valid_until)


async def _refuse_unmineable(ledger: Ledger, signed: Signed) -> None:
    """What can't be mined now would be asked about and sent again for ever, at everybody's cost.

    Raises:
        NonceSpent: the account has used the nonce.
        NotMineable: nonces are missing before it, it offers less than the base fee, or the account can't pay.
        NodeAway: the node does not tell.
    """
    try:
        (count,) = await ledger.chain.transaction_counts([signed.signer])
        fees, balance_wei = await ledger.chain.fees(), await ledger.chain.balance(signed.signer)
    except (NodeUnavailable, NodeRefused):
        raise NodeAway("the node is asked whether this can be mined, and does not answer: try again") from None
    if signed.nonce < count:
        raise NonceSpent(f"the next nonce of {checksum(signed.signer)} is {count}: sign again with it", nonce=count)
    if signed.nonce >= count + AHEAD_MAX:
        raise NotMineable(f"the next nonce of {checksum(signed.signer)} is {count}: nonces before this one are missing")
    if signed.max_fee_wei < fees.base_fee_wei:
        raise NotMineable(f"a block takes {fees.base_fee_wei} wei for each unit of gas: offer that at least")
    if balance_wei < signed.gas_limit * signed.max_fee_wei:
        raise NotMineable(f"{checksum(signed.signer)} has {balance_wei} wei, less than this may cost: fund it first")


async def _pass_on(ledger: Ledger, request: Request, found: Prepared, raw: bytes) -> Intent:
    try:
        signed = read_signed(raw)
    except NotATransaction as error:
        raise NotWhatWasPrepared(f"{error}: sign `transaction` as it was prepared") from None
    expected = (ledger.chain.chain_id, found.account, found.contract, 0, found.calldata)
    if (signed.chain_id, signed.signer, signed.to, signed.value, signed.data) != expected:
        raise NotWhatWasPrepared(
            f"sign `transaction` as it was prepared, as {checksum(found.account)}: only nonce, gas and fees may differ"
        )
    await simulate(ledger, Call(to=found.contract, data=found.calldata, sender=found.account))
    await _refuse_unmineable(ledger, signed)
    given = Given(
        chain_id=signed.chain_id,
        signer=signed.signer,
        nonce=signed.nonce,
        recipient=signed.to,
        data=signed.data,
        gas_limit=signed.gas_limit,
        raw=signed.raw,
        hash=signed.hash,
        max_fee_wei=signed.max_fee_wei,
        priority_fee_wei=signed.priority_fee_wei,
    )
    return Intent(found.kind, found.token_id, found.contract, found.contract, signed.data, None, given=given)
