"""Postgres itself shows the API no row of an issuer that it does not act for, whatever a statement asks for."""

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import exc as sa_exc
from sqlalchemy import text

from service.db import Database, act_for, acting_for, acting_for_every_issuer, new_id

OURS, THEIRS = new_id(), new_id()

OPEN = {
    # Sealed, found by caller and key alone, and looked through by an index that row security would rule out.
    "vault.answers",
    # The API has no right on them.
    "rotations",
    "webhook_sightings",
    # By signer, which several issuers may share.
    "signatures",
}


@pytest.fixture
async def api(db: Database, database_url: SecretStr) -> AsyncIterator[Database]:
    """Two issuers with an asset each, as the API's role sees them over a single connection."""
    async with db.transaction() as session:
        for number, issuer_id in enumerate((OURS, THEIRS)):
            given = {"issuer": issuer_id, "name": f"issuer {number}", "signer": bytes([number]) * 20, "asset": new_id()}
            await session.execute(
                text("INSERT INTO issuers (id, name, signer) VALUES (:issuer, :name, :signer)"), given
            )
            await session.execute(text(INSERT), given)
    confined = Database(database_url, role="muniment_api", connections_max=1)
    await confined.open()
    yield confined
    await confined.close()


INSERT = "INSERT INTO assets VALUES (:asset, :issuer, 'a house', 'real-estate', '')"


async def seen(db: Database) -> set[UUID]:
    """Whose assets are read, by both ways to read, which agree."""
    query = "SELECT issuer_id FROM assets"
    rows = await db.fetch(query, ())
    async with db.read() as connection:
        assert await (await connection.execute(query)).fetchall() == rows
    return {row[0] for row in rows}


async def seen_in_writing(db: Database) -> set[UUID]:
    """Whose assets a DB transaction that may write reads."""
    async with db.transaction() as session:
        return set(await session.scalars(text("SELECT issuer_id FROM assets")))


async def test_who_acts_for_nobody_sees_nothing(api: Database) -> None:
    assert await seen(api) == await seen_in_writing(api) == set()


async def test_a_statement_without_a_condition_reads_the_issuers_own(api: Database) -> None:
    act_for(OURS)
    assert await seen(api) == await seen_in_writing(api) == {OURS}


async def test_a_connection_forgets_whom_it_was_used_for(api: Database) -> None:
    for issuer_id in (OURS, THEIRS, OURS):
        with acting_for([issuer_id]):
            assert await seen(api) == await seen_in_writing(api) == {issuer_id}
    assert await seen(api) == await seen_in_writing(api) == set()


async def test_after_an_undone_db_transaction_the_next_sees_its_own(api: Database) -> None:
    with acting_for([OURS]):
        assert await seen_in_writing(api) == {OURS}
    with acting_for([THEIRS]):
        await undone(api)
        assert await seen_in_writing(api) == {THEIRS}
        await undone(api)
    with acting_for([OURS]):
        await undone(api)
        assert await seen_in_writing(api) == {OURS}


async def undone(db: Database) -> None:
    """A DB transaction that read, and came to nothing."""
    with suppress(ZeroDivisionError):
        async with db.transaction() as session:
            await session.execute(text("SELECT issuer_id FROM assets"))
            raise ZeroDivisionError


async def test_what_is_done_for_several_sees_them_all(api: Database) -> None:
    with acting_for([OURS, THEIRS]):
        assert await seen(api) == await seen_in_writing(api) == {OURS, THEIRS}
    with acting_for_every_issuer():
        assert await seen(api) == await seen_in_writing(api) == {OURS, THEIRS}


async def test_no_row_is_written_for_another_issuer(api: Database) -> None:
    act_for(OURS)
    async with api.transaction() as session:
        await session.execute(text(INSERT), {"issuer": OURS, "asset": new_id()})
    with pytest.raises(sa_exc.ProgrammingError, match="row-level security"):
        async with api.transaction() as session:
            await session.execute(text(INSERT), {"issuer": THEIRS, "asset": new_id()})


async def test_every_table_of_issuers_is_confined(db: Database) -> None:
    """A new table with an issuer in it has a policy for the API, or a reason above."""
    rows = await db.fetch(
        """SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname, c.relrowsecurity
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname IN ('public', 'vault') AND c.relkind = 'r' AND EXISTS (
               SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
               AND a.attname IN ('issuer_id', 'caller_id', 'batch_id', 'document_id', 'approval_id', 'transaction_id')
               AND NOT a.attisdropped)""",
        (),
    )
    unconfined = {name for name, confined in rows if not confined}
    assert {name for name, _ in rows} >= {"tokens", "operations", "journal_entries", "vault.records", "callers"}
    assert unconfined == OPEN


async def test_the_other_processes_work_for_all(db: Database) -> None:
    ((confined,),) = await db.fetch("SELECT count(*) FROM pg_class WHERE relrowsecurity", ())
    for role in ("muniment_sender", "muniment_indexer", "muniment_dispatcher"):
        query = "SELECT count(*) FROM pg_policies WHERE policyname = 'whole' AND %s = ANY (roles)"
        assert await db.fetch(query, (role,)) == [(confined,)]
