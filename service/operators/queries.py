"""Reading transactions together with what they serve, and signers together with what limits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.db import ReadConnection
from service.operations import queries as operations
from service.operations.queries import Served
from service.operators.problems import TransactionNotFound
from service.transactions import overview
from service.transactions.overview import Attempt, Load, Owner, Standing, Transaction
from service.transactions.tables import Status


@dataclass(frozen=True, slots=True)
class Listed:
    """A transaction and the operation that it serves, if it serves one."""

    transaction: Transaction
    operation: Served | None


@dataclass(frozen=True, slots=True)
class Signature:
    """An entry of the audit before a signature."""

    at: datetime
    provider: str | None
    purpose: str
    nonce: int
    fee_max_wei: int
    verdict: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Detail:
    """All that is known of a transaction."""

    listed: Listed
    attempts: Sequence[Attempt]
    signatures: Sequence[Signature]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a signer may sign, as it was last set; without one it may sign anything."""

    policy: dict[str, Any]
    frozen: bool
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class SignerState:
    """A signer; `standing` is None until the sender has looked at it."""

    address: bytes
    standing: Standing | None
    load: Load | None
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who may do a named work now, or did last, and how often it has passed to a worker."""

    name: str
    holder: str
    epoch: int
    held: bool


async def page(
    connection: ReadConnection,
    *,
    chain_id: int,
    owner: Owner | None,
    status: Status | None = None,
    signer: bytes | None = None,
    stuck: bool = False,
    before: UUID | None = None,
    count_max: int,
) -> list[Listed]:
    """Transactions with their operations, newest first. For the arguments see `overview.transactions_page`."""
    rows = await overview.transactions_page(
        connection,
        chain_id=chain_id,
        owner=owner,
        status=status,
        signer=signer,
        stuck=stuck,
        before=before,
        count_max=count_max,
    )
    served = await operations.served_by(connection, [row.id for row in rows])
    return [Listed(row, served.get(row.id)) for row in rows]


async def detail(
    connection: ReadConnection,
    *,
    chain_id: int,
    owner: Owner | None,
    id: UUID | None = None,
    hash: bytes | None = None,
) -> Detail:
    """One transaction by its id or by the hash of any of its versions.

    Raises:
        TransactionNotFound: none, or another owner's.
    """
    found = await overview.transaction(connection, chain_id=chain_id, owner=owner, id=id, hash=hash)
    if found is None:
        raise TransactionNotFound("no such transaction: list them with GET /v1/transactions")
    served = await operations.served_by(connection, [found.id])
    cursor = await connection.execute(
        """SELECT at, provider, purpose, nonce, fee_max_wei, verdict, reason FROM signatures
        WHERE transaction_id = %s ORDER BY at, id""",
        (found.id,),
    )
    signatures = [Signature(*row) for row in await cursor.fetchall()]
    return Detail(Listed(found, served.get(found.id)), await overview.attempts(connection, found.id), signatures)


async def signers(connection: ReadConnection, *, chain_id: int, addresses: Sequence[bytes]) -> list[SignerState]:
    """How these signers stand, and all that have stood on the chain where no address is given; in address order."""
    standings = await overview.standings(connection, chain_id=chain_id)
    loads = {each.signer: each for each in await overview.loads(connection, chain_id=chain_id)}
    cursor = await connection.execute("SELECT address, policy, frozen, updated_at, updated_by FROM signer_policies", ())
    limits = {row[0]: Limits(*row[1:]) for row in await cursor.fetchall()}
    known = sorted(addresses or {*standings, *(each for each in loads if each is not None)})
    return [SignerState(each, standings.get(each), loads.get(each), limits.get(each)) for each in known]


async def leases(connection: ReadConnection) -> list[LeaseState]:
    """Every lease that was ever taken."""
    cursor = await connection.execute("SELECT name, holder, epoch, expires_at > now() FROM leases ORDER BY name")
    return [LeaseState(*row) for row in await cursor.fetchall()]
