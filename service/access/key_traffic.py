"""How credentials are used and refused: counted in memory, and written every few seconds, never while a request waits.

What is lost when a process is killed is the counts of its last seconds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, LiteralString

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access.key_limits import network_of
from service.db import UNAVAILABLE, Database, acting_for_every_issuer
from service.journal import Fact
from service.telemetry import logger

WRITE_INTERVAL_S = 2.0

ENTRIES_MAX = 20_000
"""Beyond so many a process no longer tells operations and networks apart until it has written."""

RETIRING, NEW_NETWORK = "retiring", "new-network"
NOTED = frozenset({RETIRING, NEW_NETWORK})
"""What is counted beside refusals, and was let in: uses of retiring credentials, and networks that were new to one."""

FACTS = {RETIRING: "key.straggler", "expired": "key.used-after-expiry"}
"""What the journal calls a use that deserves notice; any other is `key.refused`."""

SHARES_PERCENT = (50, 80, 95)
"""Whoever uses a retiring credential when so much of its overlap is over is told of again."""

_NEW_NETWORKS: LiteralString = """
SELECT given.id, given.network, c.issuer_id
FROM unnest(CAST(:ids AS varchar[]), CAST(:networks AS varchar[])) AS given (id, network)
    JOIN credentials k ON k.id = given.id JOIN callers c ON c.id = k.caller_id
WHERE EXISTS (SELECT FROM credential_uses u WHERE u.credential_id = given.id)
    AND NOT EXISTS (SELECT FROM credential_uses u WHERE u.credential_id = given.id AND u.network = given.network)
"""

# Each sorted, so that two processes wait for one another in one direction only.
_USES: LiteralString = """
INSERT INTO credential_uses AS u (credential_id, day, operation, network, count, failed_count)
SELECT id, (now() AT TIME ZONE 'utc')::date, operation, network, count, failed_count
FROM unnest(CAST(:ids AS varchar[]), CAST(:operations AS varchar[]), CAST(:networks AS varchar[]),
    CAST(:counts AS bigint[]), CAST(:failed AS bigint[])) AS given (id, operation, network, count, failed_count)
ORDER BY id, operation, network
ON CONFLICT (credential_id, day, operation, network) DO UPDATE
    SET count = u.count + excluded.count, failed_count = u.failed_count + excluded.failed_count
"""

_LAST_USED: LiteralString = """
WITH held AS (
    SELECT id FROM credentials WHERE id = ANY(CAST(:ids AS varchar[])) ORDER BY id FOR NO KEY UPDATE
) UPDATE credentials k SET last_used_at = now() FROM held WHERE k.id = held.id AND k.last_used_at IS DISTINCT FROM now()
"""

_STRAGGLED: LiteralString = """
WITH passed AS (
    SELECT k.id, (SELECT max(share) FROM unnest(CAST(:shares AS smallint[])) AS share
        WHERE (now() - s.activated_at) * 100 >= (least(k.retires_at, k.expires_at) - s.activated_at) * share) AS percent
    FROM credentials k JOIN credentials s ON s.id = k.replaced_by
    WHERE k.id = ANY(CAST(:ids AS varchar[])) ORDER BY k.id FOR NO KEY UPDATE OF k
) UPDATE credentials k SET straggled_percent = passed.percent FROM passed, callers c
WHERE k.id = passed.id AND passed.percent > k.straggled_percent AND c.id = k.caller_id
RETURNING k.id, passed.percent, c.id AS caller_id, c.issuer_id
"""

_REHASHED: LiteralString = """
WITH held AS (
    SELECT k.id, given.hash FROM credentials k
    JOIN unnest(CAST(:ids AS varchar[]), CAST(:hashes AS bytea[])) AS given (id, hash) ON given.id = k.id
    WHERE k.pepper_version < :version ORDER BY k.id FOR NO KEY UPDATE OF k
) UPDATE credentials k SET secret_hmac = held.hash, pepper_version = :version FROM held WHERE k.id = held.id
"""

_REFUSALS: LiteralString = """
WITH counted AS (
    INSERT INTO access_refusals AS r (key_id, reason, day, count, network)
    SELECT id, reason, (now() AT TIME ZONE 'utc')::date, count, network
    FROM unnest(CAST(:ids AS varchar[]), CAST(:reasons AS varchar[]), CAST(:counts AS bigint[]),
        CAST(:networks AS varchar[])) AS given (id, reason, count, network) ORDER BY id, reason
    ON CONFLICT (key_id, reason, day) DO UPDATE SET count = r.count + excluded.count, network = excluded.network
    RETURNING key_id, reason, count
) SELECT counted.key_id, reason, count, c.issuer_id, c.id FROM counted
    LEFT JOIN credentials k ON k.id = counted.key_id LEFT JOIN callers c ON c.id = k.caller_id ORDER BY 1, 2
"""

_Use = tuple[str, str, str]  # credential, operation, network
_Refusal = tuple[str, str]  # credential, or empty for all that nobody has; reason


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was seen of credentials; `networks` is where the last refusal came from."""

    uses: Counter[_Use] = field(default_factory=Counter)
    failed: Counter[_Use] = field(default_factory=Counter)
    refusals: Counter[_Refusal] = field(default_factory=Counter)
    networks: dict[_Refusal, str] = field(default_factory=dict)
    hashes: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def and_then(self, later: "_Counted") -> "_Counted":
        """Both together."""
        return _Counted(
            self.uses + later.uses,
            self.failed + later.failed,
            self.refusals + later.refusals,
            self.networks | later.networks,
            self.hashes | later.hashes,
        )


class KeyTraffic:
    """What one process has seen of credentials since it last wrote that down."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counted = _Counted()
        self._seen: set[tuple[str, str]] = set()
        self._writing = asyncio.Lock()

    def used(self, key_id: str, operation: str, address: str | None, *, failed: bool, retiring: bool) -> None:
        """A credential was let in, and its request was answered."""
        use = (key_id, operation, network_of(address))
        if use not in self._counted.uses and len(self._counted.uses) >= ENTRIES_MAX:
            use = (key_id, "", "")
        self._counted.uses[use] += 1
        if failed:
            self._counted.failed[use] += 1
        if retiring:
            self.refused(RETIRING, key_id, address)

    def refused(self, reason: str, key_id: str = "", address: str | None = None) -> None:
        """Count a refusal, or the use of a retiring key. An id that nobody has is not kept: others choose it."""
        self._counted.refusals[key_id, reason] += 1
        if key_id:
            self._counted.networks[key_id, reason] = network_of(address)

    def rehashed(self, key_id: str, pepper_version: int, secret_hmac: bytes) -> None:
        """A key of an older pepper was shown, so that its hash under the newest is known."""
        self._counted.hashes[key_id] = (pepper_version, secret_hmac)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write every few seconds, and once more at the end."""
        writing = asyncio.create_task(self._write_for_ever())
        try:
            yield
        finally:
            # Not in the middle of one: what it writes is in no counter any more.
            async with self._writing:
                writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            await self._try_to_write()

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(WRITE_INTERVAL_S)
            await self._try_to_write()

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except UNAVAILABLE as error:
            logger().warning("key_traffic_kept", error_kind=type(error).__name__)
        except Exception as error:
            logger().error("key_traffic_lost", exc_info=error)

    async def write(self) -> None:
        """Write what was counted; where Postgres is away it stays counted.

        Raises:
            UNAVAILABLE: Postgres does not answer.
        """
        async with self._writing:
            counted, self._counted = self._counted, _Counted()
            if counted == _Counted():
                return
            try:
                with acting_for_every_issuer():
                    await self._store(counted)
            except UNAVAILABLE:
                self._counted = counted.and_then(self._counted)
                raise

    async def _store(self, counted: _Counted) -> None:
        pairs = {(key_id, network) for key_id, _, network in counted.uses if network}
        async with self._db.transaction() as session:
            facts = await self._new_networks(session, pairs)
            await _write_uses(session, counted)
            await _write_hashes(session, counted.hashes)
            straggling = [key_id for key_id, reason in counted.refusals if reason == RETIRING]
            facts += await _straggled(session, straggling)
            new = _Counted()
            for each in facts:
                if each.kind == "key.new-network":
                    new.refusals[each.body["key"], NEW_NETWORK] += 1
                    new.networks[each.body["key"], NEW_NETWORK] = each.body["network"]
            facts += await _write_refusals(session, counted.and_then(new))
            await journal.append(session, facts)
        # Not before: what was not written is told when it is.
        if len(self._seen) > ENTRIES_MAX:
            self._seen.clear()
        self._seen |= pairs
        for fact in facts:
            reason, count = fact.body.get("reason"), fact.body.get("count")
            logger().warning("key_noticed", kind=fact.kind, reason=reason, detail=fact.body["key"], count=count)

    async def _new_networks(self, session: AsyncSession, pairs: set[tuple[str, str]]) -> list[Fact]:
        """A fact for each network that a credential in use came from for the first time."""
        asked = sorted(pairs - self._seen)
        if not asked:
            return []
        columns = {"ids": [key_id for key_id, _ in asked], "networks": [network for _, network in asked]}
        rows = await session.execute(text(_NEW_NETWORKS), columns)
        return [Fact("key.new-network", issuer_id, {"key": key_id, "network": to}) for key_id, to, issuer_id in rows]


async def _write_uses(session: AsyncSession, counted: _Counted) -> None:
    if counted.uses:
        given = sorted(counted.uses)
        columns = {
            "ids": [key_id for key_id, _, _ in given],
            "operations": [operation for _, operation, _ in given],
            "networks": [network for _, _, network in given],
            "counts": [counted.uses[use] for use in given],
            "failed": [counted.failed[use] for use in given],
        }
        await session.execute(text(_USES), columns)
        await session.execute(text(_LAST_USED), {"ids": sorted({key_id for key_id, _, _ in given})})


async def _straggled(session: AsyncSession, key_ids: Sequence[str]) -> list[Fact]:
    """A fact for each retiring credential that is in use and has passed a further share of its overlap."""
    if not key_ids:
        return []
    rows = await session.execute(text(_STRAGGLED), {"ids": sorted(key_ids), "shares": list(SHARES_PERCENT)})
    return [
        Fact(
            FACTS[RETIRING],
            row.issuer_id,
            {"key": row.id, "caller": str(row.caller_id), "reason": RETIRING, "overlap_percent": row.percent},
        )
        for row in rows
    ]


async def _write_hashes(session: AsyncSession, hashes: dict[str, tuple[int, bytes]]) -> None:
    if hashes:
        ids = sorted(hashes)
        version = max(version for version, _ in hashes.values())
        given: dict[str, Any] = {"ids": ids, "hashes": [hashes[each][1] for each in ids], "version": version}
        await session.execute(text(_REHASHED), given)


async def _write_refusals(session: AsyncSession, counted: _Counted) -> list[Fact]:
    """Facts of those that are the first of a day, or have doubled since: a flood costs the journal next to nothing."""
    if not counted.refusals:
        return []
    given = sorted(counted.refusals)
    columns = {
        "ids": [key_id for key_id, _ in given],
        "reasons": [reason for _, reason in given],
        "counts": [counted.refusals[each] for each in given],
        "networks": [counted.networks.get(each, "") for each in given],
    }
    # Credentials before refusals, as by whoever alters both.
    await session.execute(text("LOCK TABLE credentials IN ACCESS SHARE MODE"))
    facts = []
    for key_id, reason, count, issuer_id, caller_id in (await session.execute(text(_REFUSALS), columns)).all():
        if reason == NEW_NETWORK or count.bit_length() == (count - counted.refusals[key_id, reason]).bit_length():
            continue
        kind = FACTS.get(reason, "key.refused")
        told = {"key": key_id, "caller": None if caller_id is None else str(caller_id)}
        told |= {"reason": reason, "count": count, "network": counted.networks.get((key_id, reason))}
        facts.append(Fact(kind, issuer_id, told))
    return facts
