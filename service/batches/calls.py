"""What a pack asks of its contract, and what a single row of it would ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from service.batches.orders import FREEZE, IDENTITY, MINT, Kind
from service.batches.packing import Pack
from service.chain import contracts
from service.chain.reader import Call
from service.chain.typed_data import Authorization
from service.deployments.calls import executed
from service.deployments.queries import Target
from service.operations.submit import Intent
from service.tokens.controls import Share
from service.tokens.moves import BatchTransferOrder
from service.tokens.queries import Token

FUNCTIONS = {MINT: "batchMint", FREEZE: "batchSetFrozenTokensIf", IDENTITY: "batchSetIdentity"}
"""The function of each kind that a role asks for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Checked rows, their packs, and what was read of one database state to make calls of them."""

    kind: Kind
    target: Target
    token: Token | None
    signer: bytes
    effect_id: UUID
    orders: Mapping[int, Any] = field(repr=False)  # by row number
    packs: Sequence[Pack]
    row_gas: int  # what a row costs at most
    until: datetime  # when messages of accounts run out
    held: Mapping[bytes, list[bytes]]  # tokens by investor

    def of(self, pack: Pack) -> list[Any]:
        """The rows of a pack."""
        return [self.orders[number] for number in pack.rows]

    def burned(self, pack: Pack) -> bytes:
        """The 32 bytes that make a pack happen once."""
        return contracts.operation_nonce(self.target.chain_id, self.target.address, pack.effect_id(self.effect_id))


def role_intent(plan: Plan, pack: Pack) -> Intent:
    """A pack as the call of a role."""
    target, burned = plan.target, plan.burned(pack)
    data = _role_data(plan, plan.of(pack), burned)
    proof = executed(target, burned, data)
    return Intent(plan.kind.operation, target.token_id, target.address, target.address, data, proof)


def _role_data(plan: Plan, orders: Sequence[Any], burned: bytes) -> bytes:
    arguments: tuple[Any, ...]
    if plan.kind is MINT:
        arguments = [each.to for each in orders], [each.amount for each in orders]
    elif plan.kind is FREEZE:
        columns = ("account", "expected", "amount")
        arguments = tuple([getattr(each, column) for each in orders] for column in columns)
    else:
        arguments = ([_identity(plan, each) for each in orders],)
    return contracts.encode_call(plan.target.artifact, FUNCTIONS[plan.kind], *arguments, burned)


def _identity(plan: Plan, order: Any) -> tuple[Any, ...]:
    return order.investor, order.country, order.level, order.expires_at or 0, plan.held.get(order.investor, [])


def authorization(plan: Plan, pack: Pack) -> Authorization:
    """The message by which a pack's account lets the issuer's signer move its units. Source: ERC-3009."""
    assert pack.account is not None, "a pack of transfers is one account's"
    # Validated row by row already: the limit on a request's own list of shares does not concern a pack.
    shares = [Share.model_construct(to=each.to, amount=each.amount) for each in plan.of(pack)]
    act = BatchTransferOrder.model_construct(holder=pack.account, shares=shares).act(())
    return Authorization(
        artifact=plan.target.artifact,
        chain_id=plan.target.chain_id,
        contract=plan.target.address,
        account=pack.account,
        primary_type=act.primary_type,
        function=act.relay,
        fields=act.signed,
        valid_before=int(plan.until.timestamp()),
        nonce=plan.burned(pack),
    )


def relayed_intent(plan: Plan, permission: Authorization, signature: bytes) -> Intent:
    """A pack of transfers as the call that carries its account's message."""
    to, data = plan.target.address, permission.calldata(signature)
    return Intent(plan.kind.operation, plan.target.token_id, to, to, data, permission.proof(), plan.until)


def row_call(plan: Plan, pack: Pack, number: int) -> Call:
    """What one row would ask by itself, so that a refusal can be laid at its door."""
    order = plan.orders[number]
    if pack.account is None:
        return Call(plan.target.address, _role_data(plan, [order], plan.burned(pack)), plan.signer)
    data = contracts.encode_call(plan.target.artifact, "transfer", order.to, order.amount)
    return Call(plan.target.address, data, pack.account)
