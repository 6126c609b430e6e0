"""What is asked of records is answered from indexes, also where there are 200,000 of them."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from scripts import local
from service.db import Database, ReadConnection, acting_for
from service.vault import queries
from service.vault.person_names import HOLDERS
from service.vault.queries import State, Wanted
from tests.conftest import TEMPLATE, clone, drop

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDS = 200_000
LIMIT = 51
FIRST = datetime.fromtimestamp(1_700_000_000, UTC)

FILL = f"""
SET session_replication_role = replica;
CREATE FUNCTION pg_temp.id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008000000000000000')::uuid $$;
CREATE FUNCTION pg_temp.named(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT md5(kind || n)::uuid $$;
INSERT INTO issuers (id, name, signer)
    SELECT pg_temp.named('issuer', n), 'issuer ' || n, substr(sha256(n::text::bytea), 1, 20)
    FROM generate_series(0, 1) AS n;
INSERT INTO vault.policies
    (id, issuer_id, name, kind, data_class, shape, deterministic, mapping, pointer, reveal)
    SELECT pg_temp.named('policy', n), pg_temp.named('issuer', n % 2), 'policy ' || n, 'vault', 'text', '{{}}', false,
        'default', false, '{{}}' FROM generate_series(0, 7) AS n;
INSERT INTO vault.subjects (id, issuer_id, index, wrapped, wrapping_version)
    SELECT pg_temp.named('subject', n), pg_temp.named('issuer', n % 2), sha256(n::text::bytea), '', 1
    FROM generate_series(0, {RECORDS // 10 - 1}) AS n;
INSERT INTO vault.records
    (index, id, issuer_id, policy_id, subject_id, asset_token_id, deterministic, data_version, sealed, fingerprint,
    revoked_at, expires_at)
    SELECT sha256(n::text::bytea), pg_temp.id(n), pg_temp.named('issuer', n % 2), pg_temp.named('policy', n % 8),
        pg_temp.named('subject', n % {RECORDS // 10}), pg_temp.named('asset', n % 200), false, 1, '\\x00',
        sha256((n / 2)::text::bytea), CASE WHEN n % 10 = 2 THEN now() END, CASE WHEN n % 10 = 4 THEN now() END
    FROM generate_series(0, {RECORDS - 1}) AS n;
INSERT INTO vault.persons (id, issuer_id, subject_id, investor_id) SELECT id, issuer_id, id, index FROM vault.subjects;
INSERT INTO vault.accounts (issuer_id, index, person_id, sealed) SELECT issuer_id, index, id, '' FROM vault.subjects;
"""


@dataclass(slots=True)
class Explaining:
    """A database that also has every statement explained."""

    db: Database
    plans: list[dict[str, Any]] = field(default_factory=list)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadConnection]:
        """A connection that explains."""
        with acting_for([named("issuer", 0)]):
            async with self.db.read() as connection:
                yield cast(ReadConnection, _Connection(self, connection))

    async def fetch(self, query: Any, parameters: Any) -> Sequence[Any]:
        """The rows of one statement."""
        async with self.read() as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """All nodes of all plans."""
        found, left = [], list(self.plans)
        while left:
            found.append(node := left.pop())
            left += node.get("Plans", [])
        return found


@dataclass(slots=True)
class _Connection:
    explaining: Explaining
    connection: ReadConnection

    async def execute(self, query: Any, parameters: Any) -> Any:
        """Explain, then ask."""
        cursor = await self.connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query, parameters)
        row = await cursor.fetchone()
        assert row is not None
        self.explaining.plans.append(row[0][0]["Plan"])
        return await self.connection.execute(query, parameters)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def explaining(postgres: local.Postgres) -> AsyncIterator[Explaining]:
    """A vault of two issuers with many records."""
    name = f"records_{uuid4().hex}"
    url = clone(postgres, TEMPLATE, name)
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        # Indexes that are made of many rows at once cost a third of what row after row does.
        found = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'records' AND indexname <> 'records_pkey'"
        ).fetchall()
        for index, _ in found:
            connection.execute(sql.SQL("DROP INDEX vault.{}").format(sql.Identifier(index)))
        for statement in (FILL, *(made for _, made in found), "ANALYZE"):
            connection.execute(statement)
    # As the API asks: row security may not cost an index.
    db = Database(url, role="muniment_api")
    await db.open()
    yield Explaining(db)
    await db.close()
    drop(postgres, name)


def named(kind: str, number: int) -> UUID:
    """An id of what was filled in."""
    return UUID(hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest())


async def listed(explaining: Explaining, after: UUID | None = None, **wanted: Any) -> list[queries.Record]:
    """One page of the first issuer's records; nothing was read as a whole for it, nor much more than the page."""
    explaining.plans.clear()
    given: Any = explaining
    found = await queries.records_page(
        given, issuer_id=named("issuer", 0), wanted=Wanted(**wanted), after=after, count_max=LIMIT
    )
    scanned = {node.get("Relation Name") for node in explaining.nodes if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"policies"}, scanned
    return found


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"policy_id": named("policy", 2)},
        {"subject_index": hashlib.sha256(b"40").digest()},
        {"asset_token_id": named("asset", 8)},
        {"state": State.ACTIVE},
        {"state": State.EXPIRED},
        {"state": State.REVOKED, "policy_id": named("policy", 0)},
        {"older_than": FIRST + timedelta(seconds=100)},
        {"policy_id": named("policy", 2), "asset_token_id": named("asset", 10), "state": State.ACTIVE},
        {"subject_index": hashlib.sha256(b"40").digest(), "older_than": FIRST + timedelta(seconds=100)},
    ],
    ids=lambda wanted: " ".join(wanted) or "all",
)
async def test_a_page_of_records_costs_little_more_than_its_rows(explaining: Explaining, wanted: Any) -> None:
    found = await listed(explaining, **wanted)
    assert found
    assert read(explaining) <= 40 * LIMIT
    again = await listed(explaining, after=found[-1].id, **wanted)
    assert not {each.id for each in found} & {each.id for each in again}
    assert read(explaining) <= 40 * LIMIT


async def test_a_late_page_of_an_export_costs_no_more_than_its_first(explaining: Explaining) -> None:
    given: Any = explaining
    policy = await queries.policy(given, issuer_id=named("issuer", 0), id=named("policy", 2))
    after = None
    for _ in range(8):  # more than it takes until Postgres plans without looking at what is given
        explaining.plans.clear()
        found = await queries.live_records(given, policy, after=after, count_max=LIMIT)
        assert len(found) == LIMIT
        assert not [node for node in explaining.nodes if node["Node Type"] == "Seq Scan"]
        assert read(explaining) <= 4 * LIMIT
        after = UUID(int=found[-1][0].record.id.int + (2_000 << 80))


async def test_what_no_record_is_is_known_from_an_index(explaining: Explaining) -> None:
    assert await listed(explaining, state=State.ERASED) == []
    assert read(explaining) <= 20


async def test_whose_accounts_are_is_found_by_their_indexes(explaining: Explaining) -> None:
    explaining.plans.clear()
    indexes = [hashlib.sha256(str(number).encode()).digest() for number in range(0, 200, 2)]
    assert len(await explaining.fetch(HOLDERS, (named("issuer", 0), indexes))) == 100
    assert not [node for node in explaining.nodes if node["Node Type"] == "Seq Scan"]


def read(explaining: Explaining) -> int:
    """How many rows the last question read."""
    return sum(
        int((node.get("Rows Removed by Filter", 0) + node["Actual Rows"]) * node["Actual Loops"])
        for node in explaining.nodes
        if "Relation Name" in node
    )
