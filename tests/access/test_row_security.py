"""Postgres itself shows the API no row of an issuer that it does not act for, whatever a statement asks for."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import exc as sa_exc
from sqlalchemy import text
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from service.db import Database, act_for, acting_for, acting_for_every_issuer, new_id
from service.workers import Lease

OURS, THEIRS = new_id(), new_id()

ROLES = ("muniment_api", "muniment_sender", "muniment_indexer", "muniment_dispatcher")

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


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> str:
    """Each process's own, unless a test names one."""
    return str(request.param)


@pytest.fixture
async def login(db: Database, database_url: SecretStr, role: str) -> AsyncIterator[SecretStr]:
    """A login for one process alone, made as migrations/README.md has it."""
    name = f"login_{uuid4().hex}"
    async with db.transaction() as session:
        await session.execute(text(f"CREATE ROLE {name} LOGIN NOINHERIT"))
        await session.execute(text(f"GRANT {role} TO {name}"))
    url = make_url(database_url.get_secret_value()).set(username=name, password=None)
    yield SecretStr(url.render_as_string(hide_password=False))
    async with db.transaction() as session:
        await session.execute(text(f"DROP ROLE {name}"))


@pytest.fixture
async def of_login(login: SecretStr, role: str) -> AsyncIterator[Database]:
    """What the process has of Postgres under that login."""
    opened = Database(login, role=role, connections_max=1)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def at_will(login: SecretStr, role: str) -> Iterator[psycopg.Connection]:
    """A connection as the process has it, for whoever runs statements of its own choice in it."""
    with psycopg.connect(login.get_secret_value(), options=f"-c role={role}", autocommit=True) as connection:
        yield connection


async def test_a_process_works_with_a_login_that_may_become_its_role_alone(of_login: Database, role: str) -> None:
    ((session_user, current_user),) = await of_login.fetch("SELECT session_user, current_user", ())
    assert session_user.startswith("login_")
    assert current_user == role
    if role != "muniment_api":
        lease = Lease("work", ttl_s=10)
        assert await lease.take(of_login)
        await lease.release(of_login)
    async with of_login.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM leases")) == (role != "muniment_api")


async def test_a_login_that_may_do_more_than_the_work_of_its_process_is_told(
    of_login: Database, api: Database, db: Database, role: str
) -> None:
    with capture_logs() as lines:
        await of_login.warn_of_login()
        assert lines == []
        async with db.transaction() as session:
            ((name,),) = await of_login.fetch("SELECT session_user", ())
            await session.execute(text(f"GRANT {ROLES[ROLES.index(role) - 1]} TO {name}"))
        for wide in (of_login, api):
            await wide.warn_of_login()
    assert [line["event"] for line in lines] == ["login_may_do_more"] * 2


@pytest.mark.parametrize("role", ["muniment_api"], indirect=True)
async def test_the_api_reads_and_writes_its_issuers_rows_with_a_login_of_its_own(
    api: Database, of_login: Database
) -> None:
    with acting_for([OURS]):
        async with of_login.transaction() as session:
            await session.execute(text(INSERT), {"issuer": OURS, "asset": new_id()})
        assert await seen(of_login) == await seen_in_writing(of_login) == {OURS}
        assert len(await api.fetch("SELECT FROM assets", ())) == 2
        with pytest.raises(sa_exc.ProgrammingError, match="row-level security"):
            async with of_login.transaction() as session:
                await session.execute(text(INSERT), {"issuer": THEIRS, "asset": new_id()})


async def test_a_login_becomes_no_role_but_its_own(at_will: psycopg.Connection, role: str, db: Database) -> None:
    ((owner,),) = await db.fetch("SELECT current_user", ())
    others = {*ROLES, owner} - {role}
    for leaving in ("RESET ROLE", "SET ROLE NONE"):
        at_will.execute(leaving)
        for other in others:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                at_will.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(other)))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                at_will.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(other)))


async def test_a_login_outside_its_role_has_no_right_on_any_table(at_will: psycopg.Connection, role: str) -> None:
    at_will.execute("RESET ROLE")
    assert at_will.execute("SELECT current_user").fetchall() == [(role,)]  # it is what the connection began with
    at_will.execute("SET ROLE NONE")
    open_to_it = """
        SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND CASE WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f')
            THEN has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
            WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'USAGE, SELECT, UPDATE') END"""
    assert at_will.execute(open_to_it).fetchall() == []
    for issuers in ("*", f"{{{OURS}}}"):
        at_will.execute("SELECT set_config('muniment.issuers', %s, false)", (issuers,))
        for table in ("issuers", "credentials", "vault.records", "mirror.blocks"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                at_will.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(*table.split("."))))


async def test_a_login_changes_no_table_and_no_policy(at_will: psycopg.Connection, role: str) -> None:
    for leaving in (f"SET ROLE {role}", "SET ROLE NONE"):
        at_will.execute(leaving)
        for statement in (
            "ALTER TABLE assets DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE assets OWNER TO CURRENT_USER",
            "ALTER POLICY confined ON assets USING (true)",
            "CREATE TABLE mine ()",
            "CREATE SCHEMA mine",
            "TRUNCATE assets",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                at_will.execute(statement)


@pytest.mark.parametrize("role", ["muniment_api"], indirect=True)
async def test_who_runs_statements_of_its_choice_in_the_api_sees_every_issuer_and_gains_no_right(
    api: Database, at_will: psycopg.Connection
) -> None:
    """The setting is the API's own word: it keeps apart what the API's statements forget, not who writes them."""
    assert at_will.execute("SELECT FROM assets").fetchall() == []
    at_will.execute("SET muniment.issuers = '*'")
    assert {issuer_id for (issuer_id,) in at_will.execute("SELECT issuer_id FROM assets")} == {OURS, THEIRS}
    for statement in ("DELETE FROM assets", "SELECT FROM rotations", "UPDATE journal_entries SET issuer_id = NULL"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            at_will.execute(statement)


@pytest.mark.parametrize("role", ["muniment_api"], indirect=True)
async def test_a_temporary_table_stands_in_for_none_that_the_owners_functions_read(
    api: Database, at_will: psycopg.Connection
) -> None:
    signer = b"\x07" * 20
    at_will.execute("SET muniment.issuers = '*'")
    at_will.execute("CREATE TEMP TABLE issuers (id uuid, signer bytea)")
    at_will.execute("INSERT INTO pg_temp.issuers VALUES (%s, %s)", (OURS, signer))
    with pytest.raises(psycopg.errors.SerializationFailure, match="another signer"):
        at_will.execute(
            """INSERT INTO transactions (id, chain_id, issuer_id, signer, recipient, data, origin, status)
               VALUES (gen_random_uuid(), 31337, %s, %s, %s, '', 'wish', 'queued')""",
            (OURS, signer, signer),
        )


async def test_functions_that_act_with_the_owners_rights_are_open_to_named_roles_alone(db: Database) -> None:
    rows = await db.fetch(
        """SELECT proname, array_to_string(proconfig, ' '), has_function_privilege('public', oid, 'EXECUTE')
           FROM pg_proc WHERE prosecdef AND pronamespace::regnamespace::text IN ('public', 'mirror', 'vault')""",
        (),
    )
    assert {name for name, _, _ in rows} == {"transactions_present_signer", "begin_first_sync", "build_late_index"}
    for name, settings, to_all in rows:
        # Not named, temporary tables come first in a search path.
        assert "pg_temp" in settings, name
        assert not to_all, name
