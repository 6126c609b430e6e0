"""Rotation of an issuer's signer: grant the successor, switch, drain the former, revoke it.

    policy -> factory grant -> grant -> switch -> drain -> revoke -> factory revoke

What is left to do is read from Postgres and the chain each time, and each transaction's id is stored with it in one DB
transaction: a rotation that was cut anywhere goes on where it stopped, and does nothing twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.queries import Issuer
from service.addresses import checksum
from service.db import new_id
from service.deployments import queries as deployments
from service.deployments.queries import Target
from service.keys import policies
from service.operators import authority
from service.operators.tables import RotationRow
from service.operators.waiting import Waiting
from service.transactions import overview
from service.transactions.commands import Wish, enqueue
from service.transactions.lanes import Means

Tell = Callable[[str, str], None]
"""Hears of each step: its name, and what is going on in it."""


class RotationRefused(Exception):
    """The rotation can't begin or go on; the message says what to do first."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Who hands over to whom, for which issuer."""

    issuer: Issuer
    former: bytes
    successor: bytes


@dataclass(slots=True)
class Rotation:
    """One rotation under way."""

    means: Means
    factory: bytes
    passage: Passage
    tell: Tell
    waiting: Waiting
    row: RotationRow

    @property
    def chain_id(self) -> int:
        """The chain that it happens on."""
        return self.means.chain.chain_id

    async def run(self) -> None:
        """Take every step that is left.

        Raises:
            RotationRefused: something has to be done first; what was done stays, and the next run goes on.
        """
        await self._keep_policy()
        await self._factory_grant()
        await self._grant()
        await self._switch()
        await self._drain()
        await self._revoke()
        await self._factory_revoke()
        await self._note(finished_at=func.now())
        self.tell("done", f"{checksum(self.passage.successor)} signs for {self.passage.issuer.name!r}")

    async def _keep_policy(self) -> None:
        """The successor may sign no more than the former: only where nothing was said of it yet."""
        former, successor = self.passage.former, self.passage.successor
        async with self.means.db.transaction() as session:
            stored = await policies.stored_policies(session, [former, successor])
            if former not in stored or successor in stored:
                return
            policy = await policies.read_policy(session, former)
            assert policy is not None, "it is stored"
            await policies.set_policy(session, successor, policy, by=f"rotation {self.row.id}")
        self.tell("policy", "the successor has the former's policy")

    async def _factory_grant(self) -> None:
        former, successor = self.passage.former, self.passage.successor
        if self.row.factory_grant_id is None:
            held = await authority.operators(self.means.chain, self.factory, [former, successor])
            if former not in held or successor in held:
                return
            admin = await self._factory_admin()
            if admin is None:
                raise RotationRefused(
                    "no signer of ours administers the factory: have its administrator run "
                    f"`muniment factory allow ADMIN {checksum(successor)}`, then run this again"
                )
            data = authority.operator_call("grantRole", successor)
            await self._send("factory_grant_id", Wish(self.chain_id, admin, self.factory, data))
        await self._final("factory_grant_id", "factory grant", "the successor may deploy")

    async def _grant(self) -> None:
        target = await self._authority()
        if target is None:
            return
        if self.row.grant_id is None and self.row.switched_at is None:
            missing = await self._missing(target)
            if not missing:
                return
            calls = authority.grants(self.passage.successor, missing)
            await self._send("grant_id", self._performing("grant", self.passage.former, target, calls))
        if self.row.grant_id is not None and self.row.switched_at is None:
            await self._final("grant_id", "grant", "the successor has the former's roles")
            await self._in_force(target)

    async def _switch(self) -> None:
        """From the commit on, requests are the successor's; those being accepted meanwhile are waited for."""
        if self.row.switched_at is not None:
            return
        await self._refuse_scheduled()
        async with self.means.db.transaction() as session:
            given = {"id": self.passage.issuer.id, "former": self.passage.former, "successor": self.passage.successor}
            await session.execute(text("SELECT FROM issuers WHERE id = :id FOR UPDATE"), {"id": given["id"]})
            switched = await session.scalar(
                text("UPDATE issuers SET signer = :successor WHERE id = :id AND signer = :former RETURNING true"), given
            )
            if not switched:
                raise RotationRefused("another signer was named for the issuer meanwhile")
            self.row = await _noted(session, self.row.id, {"switched_at": func.now()})
        self.tell("switch", "new requests are the successor's")

    async def _drain(self) -> None:
        """Until the former has nothing on its way for the issuer that is not final: it still needs its roles for it."""
        issuer = self.passage.issuer

        async def left() -> str | None:
            async with self.means.db.read() as connection:
                live = await overview.live_of(
                    connection, chain_id=self.chain_id, issuer_id=issuer.id, signer=self.passage.former
                )
            if not live:
                return None
            first = live[0]
            why = f" ({first.last_error})" if first.last_error else ""
            return f"{len(live)} of its transactions are not final; the oldest, {first.id}, is {first.status}{why}"

        await self.waiting.until(left, lambda told: self.tell("drain", told))
        self.tell("drain", "the former has nothing on its way")
        # What was accepted just before the switch may have scheduled something since.
        await self.waiting.mirrored((await self.means.chain.head()).tip.number, lambda told: self.tell("mirror", told))
        await self._refuse_scheduled()

    async def _revoke(self) -> None:
        target = await self._authority()
        if target is None:
            return
        if self.row.revoke_id is None:
            held = await self._roles(target)
            if not held[self.passage.former]:
                return
            # A role that the former was given meanwhile passes on as well.
            former, successor = held[self.passage.former], held[self.passage.successor]
            calls = authority.grants(self.passage.successor, authority.missing(former, successor))
            calls += authority.revokes(self.passage.former, former)
            await self._send("revoke_id", self._performing("revoke", self.passage.successor, target, calls))
        await self._final("revoke_id", "revoke", "the former has no role any more")

    async def _factory_revoke(self) -> None:
        """The former deploys no more, unless it serves another issuer or administers the factory."""
        former = self.passage.former
        if self.row.factory_revoke_id is None:
            admin = await self._factory_admin()
            async with self.means.db.read() as connection:
                cursor = await connection.execute("SELECT count(*) FROM issuers WHERE signer = %s", (former,))
                ((others,),) = await cursor.fetchall()
            if admin == former:
                self.tell("factory", f"{checksum(former)} still administers the factory: keep its key safe")
            if admin in (None, former) or others:
                return
            if former not in await authority.operators(self.means.chain, self.factory, [former]):
                return
            data = authority.operator_call("revokeRole", former)
            assert admin is not None
            await self._send("factory_revoke_id", Wish(self.chain_id, admin, self.factory, data))
        await self._final("factory_revoke_id", "factory revoke", "the former may not deploy any more")

    # -- beneath the steps --------------------------------------------------------------------------------------------

    def _performing(self, step: str, signer: bytes, target: Target, calls: Sequence[bytes]) -> Wish:
        data, proof = authority.perform(target, authority.burned(target, self.row.id, step), calls)
        return Wish(self.chain_id, signer, target.address, data, proof, issuer_id=self.passage.issuer.id)

    async def _send(self, step: str, wish: Wish) -> None:
        """Store a transaction and that it is this step's, together."""
        if wish.signer not in self.means.guard.signers.addresses:
            raise RotationRefused(f"there is no key for {checksum(wish.signer)}, which has to sign this step")
        async with self.means.db.transaction() as session:
            self.row = await _noted(session, self.row.id, {step: await enqueue(session, wish)})

    async def _final(self, step: str, name: str, done: str) -> None:
        """Wait until a step's transaction is past reversal; the next run repeats one that failed."""
        id_: UUID = getattr(self.row, step)
        ended = await self.waiting.final(id_, lambda told: self.tell(name, told))
        if ended.status not in ("confirmed", "executed"):
            await self._note(**{step: None})
            why = f": {ended.reason}" if ended.reason else ""
            raise RotationRefused(f"the {name} was {ended.status}{why}; see `muniment transactions show {id_}`")
        # The roles that are read next are those that came of it.
        final_number = (await self.means.chain.head()).final_number
        await self.waiting.mirrored(final_number, lambda told: self.tell("mirror", told))
        self.tell(name, done)

    async def _in_force(self, target: Target) -> None:
        """Until each of the successor's roles acts: a role may be given with a delay before it does."""

        async def left() -> str | None:
            roles = (await self._roles(target))[self.passage.former]
            lacking = await authority.not_in_force(self.means.chain, target, self.passage.successor, list(roles))
            return f"{len(lacking)} roles of the successor are not in force yet" if lacking else None

        await self.waiting.until(left, lambda told: self.tell("grant", told))

    async def _authority(self) -> Target | None:
        async with self.means.db.read() as connection:
            found = await deployments.deployment(connection, issuer_id=self.passage.issuer.id, kind="authority")
            return None if found is None else await deployments.standing(connection, found)

    async def _roles(self, target: Target) -> Mapping[bytes, Mapping[int, int]]:
        async with self.means.db.read() as connection:
            return await authority.roles(connection, target, [self.passage.former, self.passage.successor])

    async def _missing(self, target: Target) -> Mapping[int, int]:
        held = await self._roles(target)
        return authority.missing(held[self.passage.former], held[self.passage.successor])

    async def _refuse_scheduled(self) -> None:
        waiting = await self._scheduled()
        if waiting:
            raise RotationRefused(
                f"{checksum(self.passage.former)} has scheduled {len(waiting)} actions that nobody else can execute: "
                "execute or cancel them first (GET /v1/scheduled), then run this again"
            )

    async def _scheduled(self) -> Sequence[str]:
        target = await self._authority()
        if target is None:
            return []
        async with self.means.db.read() as connection:
            return await authority.scheduled_by(connection, target, self.passage.former)

    async def _factory_admin(self) -> bytes | None:
        return await authority.factory_admin(self.means.chain, self.factory, sorted(self.means.guard.signers.addresses))

    async def _note(self, **changes: object) -> None:
        async with self.means.db.transaction() as session:
            self.row = await _noted(session, self.row.id, changes)


async def _noted(session: AsyncSession, id: UUID, changes: Mapping[str, object]) -> RotationRow:
    statement = update(RotationRow).where(RotationRow.id == id).values(**changes).returning(RotationRow)
    return (await session.scalars(statement, execution_options={"populate_existing": True})).one()


async def rotate(means: Means, factory: bytes, passage: Passage, tell: Tell, *, lease_ttl_s: float) -> None:
    """Hand an issuer over from one signer to another, or go on with it; returns when all of it is past reversal.

    While no sender runs for a signer that has something to send, this sends it.

    Raises:
        RotationRefused: something has to be done first.
    """
    await _check(means, passage)
    async with means.db.transaction() as session:
        row = await _begin(session, means.chain.chain_id, passage)
    async with Waiting(means, lease_ttl_s=lease_ttl_s) as waiting:
        await Rotation(means, factory, passage, tell, waiting, row).run()


async def _check(means: Means, passage: Passage) -> None:
    former, successor = checksum(passage.former), checksum(passage.successor)
    if passage.former == passage.successor:
        raise RotationRefused("the successor is the former signer: name another one")
    if passage.successor not in means.guard.signers.addresses:
        raise RotationRefused(f"there is no key for {successor}: make one with `muniment signers create`")
    if passage.issuer.signer not in (passage.former, passage.successor):
        told = checksum(passage.issuer.signer)
        raise RotationRefused(f"{told} signs for {passage.issuer.name!r}, not {former}")
    async with means.db.read() as connection:
        watched = await overview.watched(connection, chain_id=means.chain.chain_id)
    if watched and passage.successor not in watched:
        raise RotationRefused(f"the running sender has not opened the key of {successor}: start it again first")
    if await means.chain.balance(passage.successor) == 0:
        raise RotationRefused(f"{successor} has no ether to pay gas with: fund it, and run this again")


async def _begin(session: AsyncSession, chain_id: int, passage: Passage) -> RotationRow:
    """The issuer's unfinished rotation, which may be from an earlier run."""
    issuer = passage.issuer
    asked = {"former": passage.former, "successor": passage.successor}
    if issuer.signer == passage.former:
        await session.execute(
            insert(RotationRow)
            .values(id=new_id(), issuer_id=issuer.id, chain_id=chain_id, **asked)
            .on_conflict_do_nothing(
                index_elements=["issuer_id", "chain_id"], index_where=RotationRow.finished_at.is_(None)
            )
        )
    found = await session.scalar(
        select(RotationRow).where(
            RotationRow.issuer_id == issuer.id, RotationRow.chain_id == chain_id, RotationRow.finished_at.is_(None)
        )
    )
    if found is None:
        raise RotationRefused(f"{checksum(passage.successor)} signs for {issuer.name!r} already, and nothing is left")
    if (found.former, found.successor) != (passage.former, passage.successor):
        told = f"from {checksum(found.former)} to {checksum(found.successor)}"
        raise RotationRefused(f"a rotation of {issuer.name!r} {told} is not finished: run that one first")
    return found
