"""`muniment vault report`: what each issuer's vault holds and how it is used, without opening anything."""

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from service.db import Database
from service.vault import queries, rotation
from service.vault.policies import CardFormat, DigitsFormat, Policy, PrefixFormat, random_format
from service.vault.rewrapping_shelves import SHELVES

REVEALS_DAYS = 30
SPACE_CARD = "4" + 15 * "0"
"""Stands for a card of 16 digits: how many tokens one last four has."""

_RECORDS: LiteralString = f"""SELECT r.policy_id, {queries.STATE},
    CASE WHEN r.created_at > now() - interval '1 day' THEN 'day'
        WHEN r.created_at > now() - interval '30 days' THEN 'month'
        WHEN r.created_at > now() - interval '365 days' THEN 'year' ELSE 'older' END, count(*)
    FROM vault.records r GROUP BY 1, 2, 3"""

_CROWDED_MOST: LiteralString = """SELECT policy_id, max(count) FROM (
        SELECT policy_id, last_four, count(*) FROM vault.records WHERE last_four IS NOT NULL GROUP BY 1, 2) of_four
    GROUP BY 1"""

_REVEALS: LiteralString = """SELECT of.policy_id::uuid, e.body::jsonb ->> 'purpose', count(*),
        sum(jsonb_array_length(of.indexes))
    FROM journal_entries e, jsonb_each(e.body::jsonb -> 'values') AS of (policy_id, indexes)
    WHERE e.kind IN ('vault.revealed', 'vault.exported', 'vault.document-revealed', 'vault.attributes-disclosed',
        'vault.payment-sent')
    AND e.recorded_at > now() - make_interval(days => %s) GROUP BY 1, 2 ORDER BY 1, 2"""

_SUSPENSIONS: LiteralString = """SELECT issuer_id, count(*) FILTER (WHERE lifted_at IS NULL), count(*)
    FROM vault.suspensions GROUP BY 1"""


async def report(db: Database) -> list[dict[str, Any]]:
    """All issuers that have a vault, as JSON; see the fields. It reads every record's row once or twice."""
    names = await rotation.issuers(db)
    records = await _all(db, _RECORDS)
    crowded = dict(await _all(db, _CROWDED_MOST))
    reveals = await _all(db, _REVEALS, (REVEALS_DAYS,))
    suspensions = {issuer_id: counts for issuer_id, *counts in await _all(db, _SUSPENSIONS)}
    named = {shelf.table: await _versions_named(db, shelf.table, shelf.version, shelf.sealed) for shelf in SHELVES}
    told = []
    for issuer_id, name in names.items():
        policies = await _policies(db, issuer_id)
        active, all_ = suspensions.get(issuer_id, (0, 0))
        told.append(
            {
                "issuer": name,
                "policies": [_policy(each, records, crowded.get(each.id, 0), reveals) for each in policies],
                "key_versions": [
                    {
                        "version": each.number,
                        "state": each.state.value,
                        "created_at": each.created_at.isoformat(),
                        "rows": {
                            table: counts[issuer_id, each.number]
                            for table, counts in named.items()
                            if (issuer_id, each.number) in counts
                        },
                    }
                    for each in await rotation.versions(db, issuer_id)
                ],
                "suspensions": {"active": active, "lifted": all_ - active},
            }
        )
    return told


def _policy(
    policy: Policy, records: Sequence[Sequence[Any]], crowded_most: int, reveals: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    states: dict[str, int] = {}
    ages: dict[str, int] = {}
    for policy_id, state, age, count in records:
        if policy_id == policy.id:
            states[state] = states.get(state, 0) + count
            ages[age] = ages.get(age, 0) + count
    return {
        "policy": policy.name,
        "id": str(policy.id),
        "kind": policy.kind.value,
        "data_class": policy.data_class.value,
        "records_by_state": states,
        "records_by_age": ages,
        "space_used": _space_used(policy, sum(states.values()), crowded_most),
        "crowded_at": None if policy.crowded_at is None else policy.crowded_at.isoformat(),
        "reveals": [
            {"purpose": purpose, "times": times, "values": int(values)}
            for policy_id, purpose, times, values in reveals
            if policy_id == policy.id
        ],
    }


def _space_used(policy: Policy, count: int, crowded_most: int) -> float | None:
    """The share of the tokens there can be that a policy's records have; of cards that of the commonest last four.

    None where each value has a space of its own, or nothing is stored.
    """
    told = policy.format
    if policy.kind is not policy.kind.VAULT or not isinstance(told, PrefixFormat | DigitsFormat | CardFormat):
        return None
    of_cards = isinstance(told, CardFormat)
    return (crowded_most if of_cards else count) / random_format(told).space(SPACE_CARD)


async def _policies(db: Database, issuer_id: UUID) -> list[Policy]:
    return await queries.policies_page(db, issuer_id=issuer_id, before=None, count_max=100_000)


async def _versions_named(
    db: Database, table: LiteralString, version: LiteralString, sealed: LiteralString
) -> dict[tuple[UUID, int], int]:
    rows = await _all(
        db, f"SELECT issuer_id, {version}, count(*) FROM {table} WHERE {sealed} IS NOT NULL GROUP BY 1, 2"
    )
    return {(issuer_id, number): count for issuer_id, number, count in rows}


async def _all(db: Database, query: LiteralString, given: Sequence[Any] = ()) -> list[Any]:
    async with db.read() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        return await (await connection.execute(query, given)).fetchall()
