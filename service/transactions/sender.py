"""The sender: reserve nonces, sign, store, commit, broadcast; then watch until final.

One step of a lane is recover, confirm, replace, send. Nothing is signed that is not reserved, nothing is broadcast that
is not stored, and everything stored is broadcast until it is mined, so a step may be cut between any two instructions.
A lane's lease makes one sender the only one that writes; lanes do not wait for one another.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import WrongChain
from service.chain.reasons import Reason
from service.db import UNAVAILABLE
from service.keys.guard import Fault
from service.telemetry import logger
from service.transactions import attempts, endpoints, moves, standing
from service.transactions.claiming import claim
from service.transactions.confirming import confirm
from service.transactions.lanes import Lane, Means, Seen, busy_lanes
from service.transactions.providers import NO_FAULTS, Providers
from service.transactions.recovering import recover
from service.transactions.replacing import replace
from service.transactions.standing import Halt, Halted
from service.workers import Lease, LeaseLost, pause, run

PACE_S = 0.05
"""Least time from one step of a lane to its next: a step costs hardly more for many transactions than for one."""

LOOK_EVERY_S = 1.0
"""How often a lane looks for what is stuck."""

WATCH_EVERY_S = 5.0
"""How often signers with nothing to do are looked at: their ether, and whether the chain still has what was final."""


@dataclass(slots=True)
class Sender:
    """The step of every lane."""

    means: Means
    _looked_s: dict[Lane, float] = field(default_factory=dict)

    async def step(self, lane: Lane, lease: Lease) -> int:
        """Do one bounded round of a lane; how many transactions moved."""
        seen = await self.look(lane)
        if lane.signer is None:
            return await confirm(self.means, lane, lease, seen) + await self.broadcast(lane, lease)
        recovered = await recover(self.means, lane, lease, seen)
        moved = await confirm(self.means, lane, lease, seen)
        moved += await replace(self.means, lane, lease, seen, look_for_stuck=self._is_look_due(lane))
        moved += await claim(self.means, lane, lease, seen, recovered)
        return moved + await self.broadcast(lane, lease, recovered.ended)

    async def look(self, lane: Lane) -> Seen:
        """What the chain says of the lane's signers now."""
        head = await self.means.chain.head()
        async with self.means.db.transaction() as session:
            signers = await moves.outsiders(session, lane) if lane.signer is None else [lane.signer]
        states = await self.means.chain.accounts(signers, final_number=head.final_number) if signers else []
        return Seen(head, dict(zip(signers, states, strict=True)))

    def _is_look_due(self, lane: Lane) -> bool:
        now_s = time.monotonic()
        if now_s - self._looked_s.get(lane, -LOOK_EVERY_S) < LOOK_EVERY_S:
            return False
        self._looked_s[lane] = now_s
        return True

    async def broadcast(self, lane: Lane, lease: Lease, ended: Sequence[UUID] = ()) -> int:
        """Send what is stored and not mined, again when it has been silent for long: same bytes, same effect.

        Args:
            ended: what was final, and has to be sent again all the same.
        """
        means, limits = self.means, self.means.limits
        async with means.db.transaction() as session:
            due = await attempts.due(
                session, lane, ended, resend_after_s=limits.resend_after_s, count_max=limits.transactions_max
            )
        if not due:
            return 0
        answers = await means.chain.broadcast([raw for _, raw in due])
        taken, troubled = [], {}
        for (id_, _), answer in zip(due, answers, strict=True):
            if answer is None or answer.reason is Reason.ALREADY_KNOWN:
                taken.append(id_)
            else:
                troubled[id_] = str(answer.reason)
        async with means.db.transaction() as session:
            await lease.hold(session)
            await attempts.store_broadcast(session, taken)
            await moves.store_trouble(session, troubled, limits.resend_after_s)
        if troubled:
            words = ", ".join(sorted(set(troubled.values())))
            logger().warning("broadcast_refused", worker=lane.lease_name, count=len(troubled), reason=words)
        return len(taken)


async def watch(means: Means, faults: Mapping[bytes, Fault] = NO_FAULTS) -> set[Lane]:
    """Look at every signer, busy or not: note its nonce and its ether, and find whose ends the chain has lost.

    How the chain's endpoints do is stored as well, whether or not they answered.

    Args:
        faults: why providers have no use of a signer's key now.

    Raises:
        NodeUnavailable, NodeRefused: the chain tells nothing.
        WrongChain: another node answers.
    """
    try:
        await means.chain.head()
        return await _watch_signers(means, faults)
    finally:
        await endpoints.store(means.db, means.chain.chain_id, means.chain.health())


async def _watch_signers(means: Means, faults: Mapping[bytes, Fault]) -> set[Lane]:
    chain_id, addresses = means.chain.chain_id, sorted(means.guard.signers.addresses)
    if not addresses:
        return set()
    states = await means.chain.accounts(addresses, final_number=-1)
    seen = dict(zip(addresses, states, strict=True))
    async with means.db.transaction() as session:
        low_wei = means.limits.balance_low_wei
        alerts = await standing.store_seen(session, chain_id, seen, faults, balance_low_wei=low_wei)
        ours = await standing.next_nonces(session, chain_id, means.guard.signers.addresses)
    for address, news in alerts.items():
        logger().error("signer_alert", worker=Lane(chain_id, address).lease_name, reason=news.alert, detail=news.detail)
    return {Lane(chain_id, address) for address, nonce in ours.items() if nonce > seen[address].next_nonce}


async def drive(means: Means, *, lease_ttl_s: float, poll_interval_s: float, stop: asyncio.Event) -> None:
    """Work on every lane that has something to do, each in its own time, until `stop` is set.

    Another process may do the same: a lane is worked on by whoever holds its lease.
    """
    sender, running = Sender(means), _Running()
    watched_s, rewound = -WATCH_EVERY_S, set[Lane]()
    async with Providers(means.guard) as providers:
        while not stop.is_set():
            try:
                if time.monotonic() - watched_s >= WATCH_EVERY_S:
                    watched_s = time.monotonic()
                    rewound = await watch(means, providers.faults())
                lanes = await busy_lanes(means.db, means.chain.chain_id, means.guard.signers.addresses) | rewound
            except (*UNAVAILABLE, NodeUnavailable, NodeRefused) as error:
                logger().warning("lanes_unknown", error_kind=type(error).__name__)
            else:
                running.keep(lanes, sender, lease_ttl_s=lease_ttl_s, poll_interval_s=poll_interval_s)
            running.check()
            await pause(stop, poll_interval_s)
        await running.end()


class StepFailed(Exception):
    """A step of a lane met a fault of ours, which the log has; it is tried again after a pause that grows."""


async def _step_alone(sender: Sender, lane: Lane, lease: Lease) -> int:
    """A step whose fault stays in its lane: logged, shown as its signer's halt, and no other lane's."""
    try:
        return await sender.step(lane, lease)
    except (*UNAVAILABLE, NodeUnavailable, NodeRefused, LeaseLost, WrongChain):
        raise
    except Exception as error:
        logger().error("lane_failed", worker=lane.lease_name, exc_info=error)
        if lane.signer is not None:
            detail = f"a fault of ours, {type(error).__name__}: the sender's log has it, and it is tried again"
            await standing.tell(sender.means.db, lane, lease, Halted(Halt.STEP_FAILED, detail))
        raise StepFailed(lane.lease_name) from error


@dataclass(slots=True)
class _Running:
    """The lanes that are being worked on."""

    tasks: dict[Lane, asyncio.Task[None]] = field(default_factory=dict)
    stops: dict[Lane, asyncio.Event] = field(default_factory=dict)

    def keep(self, lanes: set[Lane], sender: Sender, *, lease_ttl_s: float, poll_interval_s: float) -> None:
        """Start on lanes that have got something to do, and let those go that have nothing left."""
        for lane in self.tasks.keys() - lanes:
            self.stops[lane].set()
        for lane in lanes - self.tasks.keys():
            stop = self.stops[lane] = asyncio.Event()
            lease = Lease(lane.lease_name, ttl_s=lease_ttl_s)

            async def step(lease: Lease, lane: Lane = lane) -> int:
                return await _step_alone(sender, lane, lease)

            work = run(
                sender.means.db,
                lease,
                step,
                poll_interval_s=poll_interval_s,
                stop=stop,
                retry=(NodeUnavailable, NodeRefused, StepFailed),
                pace_s=PACE_S,
            )
            self.tasks[lane] = asyncio.create_task(work)

    def check(self) -> None:
        """Forget lanes that have ended.

        Raises:
            WrongChain: one found another chain.
        """
        for lane in [lane for lane, task in self.tasks.items() if task.done()]:
            self.tasks.pop(lane).result()

    async def end(self) -> None:
        """Stop after the step that each is in."""
        for stop in self.stops.values():
            stop.set()
        await asyncio.gather(*self.tasks.values())
