"""Migrations: up, down, up again, and nothing but what the code knows."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from scripts import local
from service import migrate


@pytest.fixture
def empty_url(postgres: local.Postgres) -> Iterator[SecretStr]:
    """A database without a table."""
    name = f"empty_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield SecretStr(postgres.database(name))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def schema(url: SecretStr) -> list[tuple[str, ...]]:
    """Every column, constraint, index, trigger and grant, in words."""
    with psycopg.connect(url.get_secret_value()) as connection:
        rows = connection.execute(
            """SELECT 'column', table_schema || '.' || table_name, column_name, data_type, is_nullable,
                coalesce(column_default, '') FROM information_schema.columns
                WHERE table_schema IN ('public', 'mirror', 'vault')
            UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
                FROM pg_constraint WHERE connamespace IN (
                    SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'mirror', 'vault'))
            UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes
                WHERE schemaname IN ('public', 'mirror', 'vault')
            UNION ALL SELECT 'grant', table_schema || '.' || table_name, grantee, privilege_type, '', ''
                FROM information_schema.role_table_grants WHERE grantee LIKE 'muniment%'
            ORDER BY 1, 2, 3, 4"""
        ).fetchall()
    return [tuple(row) for row in rows]


def test_up_down_up_comes_to_the_same(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url)
    first = schema(empty_url)
    migrate.downgrade(empty_url, "base")
    left = [row for row in schema(empty_url) if row[1] not in ("alembic_version", "public.alembic_version")]
    assert left == []
    migrate.upgrade(empty_url)
    assert schema(empty_url) == first


def test_the_code_knows_exactly_these_tables(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url)
    url = make_url(empty_url.get_secret_value()).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_schemas": True, "compare_type": True})
        differences = compare_metadata(context, migrate.metadata)
    engine.dispose()
    assert differences == []


def test_what_an_older_version_cannot_tell_keeps_it_from_coming_back(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url, "0011")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        connection.execute(
            """INSERT INTO transactions (id, chain_id, signer, recipient, data, status)
            VALUES (gen_random_uuid(), 1, decode(repeat('22', 20), 'hex'), decode(repeat('22', 20), 'hex'), '',
                'cancelled')"""
        )
    before = schema(empty_url)
    with pytest.raises(RuntimeError, match=r"1 transactions were cancelled .*restoring a backup"):
        migrate.downgrade(empty_url, "0010")
    assert schema(empty_url) == before


def test_what_an_older_version_cannot_open_keeps_it_from_coming_back(empty_url: SecretStr) -> None:
    migrate.upgrade(empty_url, "0029")
    with psycopg.connect(empty_url.get_secret_value()) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            """INSERT INTO vault.commitments (id, issuer_id, policy_id, subject_id, root, data_version, sealed)
            SELECT id, id, id, id, decode(repeat('22', 32), 'hex'), 1, '' FROM gen_random_uuid() AS id"""
        )
    with pytest.raises(RuntimeError, match=r"1 commitments are of a subject.*restoring a backup"):
        migrate.downgrade(empty_url, "0028")


def test_each_migration_says_why_and_gives_up_rather_than_queue() -> None:
    for script in ScriptDirectory(str(migrate.SCRIPTS)).walk_revisions():
        assert script.doc, script.revision
        assert Path(script.path).read_text().count("SET LOCAL lock_timeout") == 2, script.revision
