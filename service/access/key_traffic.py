"""How credentials are used and refused: counted in memory, and written every few seconds, never while a request waits.

What is lost when a process is killed is the counts of its last seconds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, LiteralString
from uuid import UUID

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

RETIRING = "retiring"
FACTS = {RETIRING: "key.straggler", "expired": "key.used-after-expiry"}
"""What the journal calls a use that deserves notice; any other is `key.refused`."""

_NEW_NETWORKS: LiteralString = """
SELECT given.id, given.network FROM unnest(CAST(:ids AS varchar[]), CAST(:networks AS varchar[])) AS given (id, network)
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

_REHASHED: LiteralString = """
WITH held AS (
    SELECT k.id, given.hash FROM credentials k
    JOIN unnest(CAST(:ids AS varchar[]), CAST(:hashes AS bytea[])) AS given (id, hash) ON given.id = k.id
    WHERE k.pepper_version < :version ORDER BY k.id FOR NO KEY UPDATE OF k
) UPDATE credentials k SET secret_hmac = held.hash, pepper_version = :version FROM held WHERE k.id = held.id
"""

_REFUSALS: LiteralString = """
WITH counted AS (
    INSERT INTO access_refusals AS r (key_id, reason, day, count)
    SELECT id, reason, (now() AT TIME ZONE 'utc')::date, count
    FROM unnest(CAST(:ids AS varchar[]), CAST(:reasons AS varchar[]), CAST(:counts AS bigint[]))
        AS given (id, reason, count) ORDER BY id, reason
    ON CONFLICT (key_id, reason, day) DO UPDATE SET count = r.count + excluded.count RETURNING key_id, reason, count
) SELECT counted.key_id, reason, count, c.issuer_id, c.id FROM counted
    LEFT JOIN credentials k ON k.id = counted.key_id LEFT JOIN callers c ON c.id = k.caller_id ORDER BY 1, 2
"""

_ISSUERS: LiteralString = """
SELECT k.id, c.issuer_id FROM credentials k JOIN callers c ON c.id = k.caller_id
WHERE k.id = ANY(CAST(:ids AS varchar[]))
"""

_Use = tuple[str, str, str]  # credential, operation, network
_Refusal = tuple[str, str]  # credential, or empty for all that nobody has; reason


class KeyTraffic:
    """What one process has seen of credentials since it last wrote that down."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._uses: Counter[_Use] = Counter()
        self._failed: Counter[_Use] = Counter()
        self._refusals: Counter[_Refusal] = Counter()
        self._hashes: dict[str, tuple[int, bytes]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._writing = asyncio.Lock()

    def used(self, key_id: str, operation: str, address: str | None, *, failed: bool, retiring: bool) -> None:
        """A credential was let in, and its request was answered."""
        use = (key_id, operation, network_of(address))
        if use not in self._uses and len(self._uses) >= ENTRIES_MAX:
            use = (key_id, "", "")
        self._uses[use] += 1
        if failed:
            self._failed[use] += 1
        if retiring:
            self._refusals[key_id, RETIRING] += 1

    def refused(self, reason: str, key_id: str = "") -> None:
        """A request was not let in. An id that nobody has is not kept: others choose it."""
        self._refusals[key_id, reason] += 1

    def rehashed(self, key_id: str, pepper_version: int, secret_hmac: bytes) -> None:
        """A key of an older pepper was shown, so that its hash under the newest is known."""
        self._hashes[key_id] = (pepper_version, secret_hmac)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write every few seconds, and once more at the end."""
        writing = asyncio.create_task(self._write_for_ever())
        try:
            yield
        finally:
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
            uses, failed, refusals, hashes = self._uses, self._failed, self._refusals, self._hashes
            if not (uses or refusals or hashes):
                return
            self._uses, self._failed, self._refusals, self._hashes = Counter(), Counter(), Counter(), {}
            try:
                with acting_for_every_issuer():
                    await self._store(uses, failed, refusals, hashes)
            except UNAVAILABLE:
                self._uses += uses
                self._failed += failed
                self._refusals += refusals
                self._hashes = hashes | self._hashes
                raise

    async def _store(
        self,
        uses: Counter[_Use],
        failed: Counter[_Use],
        refusals: Counter[tuple[str, str]],
        hashes: dict[str, tuple[int, bytes]],
    ) -> None:
        async with self._db.transaction() as session:
            facts = await self._write_uses(session, uses, failed)
            await _write_hashes(session, hashes)
            facts += await _write_refusals(session, refusals)
            await journal.append(session, facts)

    async def _write_uses(self, session: AsyncSession, uses: Counter[_Use], failed: Counter[_Use]) -> list[Fact]:
        if not uses:
            return []
        facts = await self._new_networks(session, {(key_id, network) for key_id, _, network in uses})
        given = sorted(uses)
        columns = {
            "ids": [key_id for key_id, _, _ in given],
            "operations": [operation for _, operation, _ in given],
            "networks": [network for _, _, network in given],
            "counts": [uses[use] for use in given],
            "failed": [failed[use] for use in given],
        }
        await session.execute(text(_USES), columns)
        await session.execute(text(_LAST_USED), {"ids": sorted({key_id for key_id, _, _ in given})})
        return facts

    async def _new_networks(self, session: AsyncSession, pairs: set[tuple[str, str]]) -> list[Fact]:
        """A fact for each network that a credential in use came from for the first time."""
        asked = sorted(pairs - self._seen)
        if not asked:
            return []
        if len(self._seen) > ENTRIES_MAX:
            self._seen.clear()
        self._seen.update(asked)
        columns = {"ids": [key_id for key_id, _ in asked], "networks": [network for _, network in asked]}
        rows = (await session.execute(text(_NEW_NETWORKS), columns)).all()
        if not rows:
            return []
        issuers = await _issuers(session, sorted({key_id for key_id, _ in rows}))
        return [Fact("key.new-network", issuers[key_id], {"key": key_id, "network": to}) for key_id, to in rows]


async def _issuers(session: AsyncSession, key_ids: Sequence[str]) -> dict[str, UUID]:
    rows = await session.execute(text(_ISSUERS), {"ids": list(key_ids)})
    return {row.id: row.issuer_id for row in rows}


async def _write_hashes(session: AsyncSession, hashes: dict[str, tuple[int, bytes]]) -> None:
    if hashes:
        ids = sorted(hashes)
        version = max(version for version, _ in hashes.values())
        given: dict[str, Any] = {"ids": ids, "hashes": [hashes[each][1] for each in ids], "version": version}
        await session.execute(text(_REHASHED), given)


async def _write_refusals(session: AsyncSession, refusals: Counter[_Refusal]) -> list[Fact]:
    """Facts of those that are the first of a day, or have doubled since: a flood costs the journal next to nothing."""
    if not refusals:
        return []
    given = sorted(refusals)
    columns = {
        "ids": [key_id for key_id, _ in given],
        "reasons": [reason for _, reason in given],
        "counts": [refusals[each] for each in given],
    }
    facts = []
    for key_id, reason, count, issuer_id, caller_id in (await session.execute(text(_REFUSALS), columns)).all():
        if count.bit_length() == (count - refusals[key_id, reason]).bit_length():
            continue
        kind = FACTS.get(reason, "key.refused")
        caller = None if caller_id is None else str(caller_id)
        facts.append(Fact(kind, issuer_id, {"key": key_id, "caller": caller, "reason": reason, "count": count}))
        logger().warning("key_noticed", kind=kind, reason=reason, detail=key_id, count=count)
    return facts
