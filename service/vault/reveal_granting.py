"""Letting values be seen: rules, budgets, approvals and the journal's entry, all committed before any is opened."""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, LiteralString, Self
from uuid import UUID

import psycopg
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access.queries import Caller
from service.db import UNAVAILABLE, ReadConnection
from service.journal import Fact
from service.telemetry import logger
from service.vault import approvals
from service.vault.budgets import DURABLE, STOPPED, Overspent, Spending, count_refusal, spend, suspend, suspended
from service.vault.keys import Vault
from service.vault.masks import View
from service.vault.policies import Policy
from service.vault.reveal_problems import ApprovalMissing, RevealRefused, RevealSuspended, RevealUnrecorded
from service.vault.reveal_rules import Asked, judge

LIVE: LiteralString = """revoked_at IS NULL AND erased_at IS NULL
    AND (expires_at IS NULL OR expires_at > clock_timestamp())"""
"""Whether a record may be opened, at the moment when its row is locked."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One value that is to be seen; `index` is the keyed hash that names it in the journal.

    Args:
        is_record: whether it is a record's, which may end at any moment.
    """

    policy: Policy
    subject_id: UUID | None
    index: bytes
    is_record: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants to see, and why.

    Args:
        view: None where the values go to somebody else than the caller, who sees nothing of them.
        approval: of the request whose keyed hash is `print_`.
        kind: of the entry in the journal.
        what: what the entry says besides; nothing of a value.
    """

    purpose: str
    reason: str
    view: View | None
    wanted: Sequence[Wanted]
    approval: UUID | None = None
    print_: bytes = b""
    kind: str = "vault.revealed"
    what: dict[str, Any] = field(default_factory=dict)

    @property
    def of_policies(self) -> dict[UUID, list[Wanted]]:
        """What is wanted of each policy, the policies in order."""
        found: dict[UUID, list[Wanted]] = {}
        for each in sorted(self.wanted, key=lambda each: each.policy.id):
            found.setdefault(each.policy.id, []).append(each)
        return found

    @property
    def of_records(self) -> list[bytes]:
        """The indexes of the records that are wanted."""
        return [each.index for each in self.wanted if each.is_record]

    def left(self, live: Collection[bytes]) -> Self:
        """It without the records that are not among these."""
        return replace(self, wanted=[each for each in self.wanted if not each.is_record or each.index in live])


def judged(caller: Caller, wish: Wish) -> int:
    """How many others must agree first.

    Raises:
        RevealRefused: a policy's rules say no; then nothing of the whole request is seen.
    """
    needed = 0
    for policy_id, wanted in wish.of_policies.items():
        ruling = judge(wanted[0].policy.rules, Asked(caller.name, wish.purpose, wish.view, len(wanted)))
        if ruling.refusal is not None:
            raise RevealRefused(
                f"ask for what the reveal rules of policy {policy_id} allow, or have them changed with PATCH",
                reason=ruling.refusal.value,
                policy=str(policy_id),
            )
        needed = max(needed, ruling.approvals_needed)
    return needed


@dataclass(frozen=True, slots=True)
class Granting:
    """A grant under way.

    Args:
        live: the indexes of those records that are active, and stay so until it is committed.
    """

    session: AsyncSession
    connection: ReadConnection
    live: frozenset[bytes]


@asynccontextmanager
async def granting(vault: Vault, caller: Caller, wish: Wish) -> AsyncIterator[Granting]:
    """One DB transaction, with what else belongs to it in the block; once it ends well the live values may be opened.

    What ended since it was found costs nothing, is in no entry, and is not to be opened.

    What is refused is written down, too, when this is undone.

    Raises:
        RevealRefused: a policy's rules say no.
        RevealSuspended: the API key is, or just came to be.
        ApprovalMissing: others must agree first.
        RevealUnrecorded: Postgres refused the entry.
    """
    async with _refusals_counted(vault, caller, wish):
        needed = judged(caller, wish)
        with recorded():
            async with vault.transaction() as (session, connection):
                live = await _live(connection, wish)
                yield Granting(session, connection, live)
                left = wish.left(live)
                await spend(connection, caller.key_id, _spendings(left))
                await _approved(connection, caller, wish, needed)
                await journal.append(session, [Fact(wish.kind, caller.issuer_id, _entry(caller, left))])


async def granted(vault: Vault, caller: Caller, wish: Wish) -> frozenset[bytes]:
    """Grant a wish with nothing else in its DB transaction; the indexes of those records that may be opened.

    Where no budget and no approval takes part it is one statement. Where no record is left there is no entry.

    Raises:
        RevealRefused, RevealSuspended, ApprovalMissing, RevealUnrecorded: as of `granting`.
    """
    async with _refusals_counted(vault, caller, wish):
        needed = judged(caller, wish)
        if needed == 0 and wish.approval is None and not any(each.limited for each in _spendings(wish)):
            return await _entered(vault, caller, wish)
    try:
        async with granting(vault, caller, wish) as grant:
            if wish.of_records and not grant.live:
                raise _NothingLeft
    except _NothingLeft:
        return frozenset()
    return grant.live


class _NothingLeft(Exception):
    """All records of a wish ended since they were found."""


@asynccontextmanager
async def _refusals_counted(vault: Vault, caller: Caller, wish: Wish) -> AsyncIterator[None]:
    try:
        yield
    except Overspent as over:
        raise await suspend(vault, caller, over) from None
    except (RevealRefused, RevealSuspended, ApprovalMissing) as refusal:
        policy_id = next(iter(wish.of_policies), None)
        reason = refusal.extensions.get("reason", refusal.slug)
        await count_refusal(vault, caller, reason, policy_id, wish.purpose)
        raise


async def _entered(vault: Vault, caller: Caller, wish: Wish) -> frozenset[bytes]:
    """Write down a wish that costs no budget, again without those records that ended since, until all of it is live."""
    while wish.wanted:
        indexes = [*dict.fromkeys(wish.of_records)]
        body = journal.written(Fact(wish.kind, caller.issuer_id, _entry(caller, wish)))
        given = {"key": caller.key_id, "issuer": caller.issuer_id, "kind": wish.kind, "body": body, "indexes": indexes}
        with recorded():
            ((suspension, entered, live, _),) = await vault.db.fetch(_ENTER, given)
        if suspension is not None:
            raise suspended(suspension)
        if entered:
            return frozenset(indexes)
        assert len(live or ()) < len(indexes), "the migration makes the one row of journal_end"
        wish = wish.left(live or ())
    return frozenset()


_ENTER: LiteralString = f"""WITH live AS (
    SELECT index FROM vault.records WHERE index = ANY(%(indexes)b::bytea[]) AND {LIVE} ORDER BY index FOR SHARE
), found AS (
    SELECT (SELECT suspension FROM ({STOPPED}) AS stopped WHERE key_id = %(key)s) AS suspension,
        (SELECT array_agg(index) FROM live) AS live
), allowed AS (
    SELECT FROM found WHERE suspension IS NULL AND coalesce(cardinality(live), 0) = cardinality(%(indexes)b::bytea[])
), ended AS (
    {journal.END}
), entered AS (
    INSERT INTO journal_entries (position, issuer_id, kind, body)
    SELECT position, %(issuer)s, %(kind)s, %(body)s FROM ended RETURNING position
)
SELECT suspension, position IS NOT NULL, CASE WHEN position IS NULL THEN live END, {DURABLE}
FROM found LEFT JOIN entered ON true"""
"""The journal's end is locked after the records, and no longer than until this is committed.

Where the connection is cut before it answers it is said again, and what is seen once may be entered twice.
"""


async def _live(connection: ReadConnection, wish: Wish) -> frozenset[bytes]:
    """The wanted records that are active now; who revokes or erases one of them waits for the end of this."""
    indexes = wish.of_records
    if not indexes:
        return frozenset()
    cursor = await connection.execute(
        f"SELECT index FROM vault.records WHERE index = ANY(%b) AND {LIVE} ORDER BY index FOR SHARE", (indexes,)
    )
    return frozenset(row[0] for row in await cursor.fetchall())


def _spendings(wish: Wish) -> list[Spending]:
    return [
        Spending(
            policy_id,
            len(wanted),
            wanted[0].policy.rules.daily_max,
            frozenset(each.subject_id for each in wanted if each.subject_id is not None),
            wanted[0].policy.rules.subjects_daily_max,
        )
        for policy_id, wanted in wish.of_policies.items()
    ]


async def _approved(connection: ReadConnection, caller: Caller, wish: Wish, needed: int) -> None:
    if wish.approval is None and needed == 0:
        return
    spent = wish.approval is not None and await approvals.spend(
        connection, caller, wish.approval, wish.print_, needed=needed
    )
    if not spent:
        raise ApprovalMissing(
            "ask for this very request with POST /v1/vault/approvals, and send it with `approval` when others agreed",
            approvals_needed=needed,
        )


def _entry(caller: Caller, wish: Wish) -> dict[str, Any]:
    return {
        "caller": str(caller.id),
        "key": caller.key_id,
        "purpose": wish.purpose,
        "reason": wish.reason,
        "view": None if wish.view is None else wish.view.value,
        "approval": None if wish.approval is None else str(wish.approval),
        "values": {
            str(policy_id): [each.index.hex() for each in wanted] for policy_id, wanted in wish.of_policies.items()
        },
        **wish.what,
    }


@contextmanager
def recorded() -> Iterator[None]:
    """A refusal of Postgres inside the block as a problem; that it does not answer is told as everywhere.

    Raises:
        RevealUnrecorded: Postgres refused.
    """
    try:
        yield
    except (sa_exc.DBAPIError, psycopg.Error) as error:
        if isinstance(error, UNAVAILABLE):
            raise
        logger().error("vault_reveal_unrecorded", error_kind=type(error).__name__)
        raise RevealUnrecorded("nothing was revealed: tell the operator, and send the request again later") from None
