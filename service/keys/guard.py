"""The only way to a signature: the policy in front, an audit entry committed before, then the provider."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database
from service.keys import policies
from service.keys.keystore import LocalSigner
from service.keys.policies import Judged
from service.keys.policy import Policy, Recent, Refusal, SigningIntent, refusal
from service.keys.signers import Signers
from service.keys.signing import ProviderDown, Signer, SignerRefused, WrongSignature
from service.keys.unsigned import SignedTransaction, assemble, digest
from service.telemetry import logger

CONCURRENT_MAX = 32
"""Signatures that one remote signer is asked for at a time."""

_ANYTHING = Policy()


class Failure(StrEnum):
    """Why a signature that the policy allows is not there."""

    UNKNOWN = "unknown-signer"  # no provider holds the key
    DOWN = "provider-down"  # passes by itself: ask again
    REFUSED = "signer-refused"  # the provider's own word
    WRONG = "wrong-signature"  # by another key, or of something else
    FAILED = "signer-failed"  # a fault of ours; the log has it


@dataclass(frozen=True, slots=True)
class Unsigned:
    """There is no signature. `reason` is a word of `Refusal` or of `Failure`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A key is not at hand. `reason` is a word of `Failure`, and `detail` tells no secret."""

    reason: str
    detail: str


Outcome = SignedTransaction | Unsigned


class Guard:
    """What signs for the sender.

    Args:
        db: in a role that may read `signer_policies` and add to `signatures`.
    """

    def __init__(self, db: Database, signers: Signers) -> None:
        self._db = db
        self.signers = signers

    async def verdicts(self, intents: Sequence[SigningIntent]) -> list[str | None]:
        """What `sign` would refuse now, and why: one answer for each, None where it would sign. Writes nothing."""
        async with self._db.transaction() as session:
            return [each.reason for each in await self._judge(session, intents)]

    async def sign(self, intents: Sequence[SigningIntent]) -> list[Outcome]:
        """Sign what the policies allow: one outcome for each, in order; no signer's trouble is another's.

        An audit entry for each, allowed or refused, is committed before the first key is touched. Asking again for the
        same transaction is safe: a digest signed twice has the same effect, and no policy counts a nonce twice.
        """
        if not intents:
            return []
        async with self._db.transaction() as session:
            judged = await self._judge(session, intents)
            await policies.record(session, judged)
        outcomes = await self._signatures(judged)
        failed = [each.reason for each in outcomes if isinstance(each, Unsigned)]
        if failed:
            logger().warning("transactions_unsigned", count=len(failed), reason=failed[0])
        return outcomes

    async def faults(self) -> dict[bytes, Fault]:
        """Ask every provider for its keys, all at once and without a signature; those that are not at hand, and why."""
        addresses = sorted(self.signers.addresses)
        found = await asyncio.gather(*(_fault(self.signers[address]) for address in addresses))
        return {address: fault for address, fault in zip(addresses, found, strict=True) if fault is not None}

    async def _judge(self, session: AsyncSession, intents: Sequence[SigningIntent]) -> list[Judged]:
        stored = await policies.stored_policies(session, {each.signer for each in intents})
        digests = [digest(each.transaction) for each in intents]
        windows_s = {
            signer: policy.rate_window_s
            for signer, policy in stored.items()
            if isinstance(policy, Policy) and policy.looks_back
        }
        recent: dict[bytes, Recent] = {}
        if windows_s:
            await policies.lock(session, windows_s)
            recent = await policies.recent(session, windows_s, but=intents)
        judged = []
        for intent, signed in zip(intents, digests, strict=True):
            signer = self.signers.get(intent.signer)
            before = recent.get(intent.signer, Recent())
            reason = Failure.UNKNOWN if signer is None else _reason(stored.get(intent.signer), intent, before)
            if reason is None:
                recent[intent.signer] = before.with_(intent)
            judged.append(Judged(intent, signed, signer.provider if signer else None, reason))
        return judged

    async def _signatures(self, judged: Sequence[Judged]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {
            place: Unsigned(each.reason) for place, each in enumerate(judged) if each.reason is not None
        }
        local: list[tuple[LocalSigner, int]] = []
        remote: dict[bytes, list[int]] = defaultdict(list)
        for place, each in enumerate(judged):
            signer = self.signers.get(each.intent.signer)
            if place in outcomes:
                continue
            if isinstance(signer, LocalSigner):
                local.append((signer, place))
            else:
                remote[each.intent.signer].append(place)
        found = await asyncio.gather(
            asyncio.to_thread(lambda: [_signed_here(signer, judged[place]) for signer, place in local]),
            *(
                _signed_there(self.signers[address], [judged[each] for each in places])
                for address, places in remote.items()
            ),
        )
        for places, made in zip([[place for _, place in local], *remote.values()], found, strict=True):
            outcomes.update(zip(places, made, strict=True))
        return [outcomes[place] for place in range(len(judged))]


def _reason(policy: Policy | Refusal | None, intent: SigningIntent, recent: Recent) -> str | None:
    if isinstance(policy, Refusal):
        return policy
    return refusal(policy or _ANYTHING, intent, recent)


def _signed_here(signer: LocalSigner, judged: Judged) -> Outcome:
    try:
        return assemble(judged.intent.transaction, signer.sign_now(judged.digest))
    except Exception as error:
        return Unsigned(_failure(error))


async def _signed_there(signer: Signer, judged: Sequence[Judged]) -> list[Outcome]:
    """Many signatures of one remote signer; once it is down, the rest do not wait for it one after another."""
    bound = asyncio.Semaphore(CONCURRENT_MAX)
    down = False

    async def one(each: Judged) -> Outcome:
        nonlocal down
        async with bound:
            if down:
                return Unsigned(Failure.DOWN)
            try:
                return assemble(each.intent.transaction, await signer.sign_digest(each.digest))
            except Exception as error:
                failure = _failure(error)
                down = down or failure is Failure.DOWN
                return Unsigned(failure)

    return await asyncio.gather(*(one(each) for each in judged))


async def _fault(signer: Signer) -> Fault | None:
    try:
        await signer.health()
    except (ProviderDown, SignerRefused) as error:
        return Fault(_failure(error), str(error))
    except Exception as error:
        return Fault(_failure(error), f"a fault of ours, {type(error).__name__}: the sender's log has it")
    return None


def _failure(error: Exception) -> Failure:
    if isinstance(error, ProviderDown):
        return Failure.DOWN
    if isinstance(error, WrongSignature):
        return Failure.WRONG
    if isinstance(error, SignerRefused):
        return Failure.REFUSED
    logger().error("signer_failed", exc_info=error)
    return Failure.FAILED
