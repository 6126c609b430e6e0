"""The journal: dense, ordered, canonical, and never changed."""

import asyncio
import json

import psycopg
import pytest
import rfc8785
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service import journal
from service.db import Database, new_id
from service.journal import Fact
from tests.world import World


def fact(number: int) -> Fact:
    return Fact("test.counted", None, {"number": number, "amount": str(2**256 - 1)})


async def append(db: Database, *numbers: int) -> None:
    async with db.transaction() as session:
        await journal.append(session, [fact(number) for number in numbers])


async def run(db: Database, statements: str) -> None:
    async with db.transaction() as session:
        for statement in statements.split("; "):
            await session.execute(text(statement))


async def entries(db: Database) -> list[journal.Entry]:
    async with db.read() as connection:
        return await journal.entries_after(connection, position=0, count_max=1_000)


async def test_positions_are_dense_whoever_appends_and_whatever_fails(db: Database) -> None:
    async def failing() -> None:
        async with db.transaction() as session:
            await journal.append(session, [fact(0)])
            raise LookupError

    done = await asyncio.gather(
        *(append(db, number, number) for number in range(8)), *(failing() for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(each, LookupError) for each in done) == 4
    assert [entry.position for entry in await entries(db)] == list(range(1, 17))


async def test_a_body_is_canonical_json(db: Database) -> None:
    await append(db, 3)
    (entry,) = await entries(db)
    assert rfc8785.dumps(json.loads(entry.body)).decode() == entry.body
    assert json.loads(entry.body) == {"kind": "test.counted", "number": 3, "amount": str(2**256 - 1)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_entries SET body = '{}'",
        "DELETE FROM journal_entries",
        "TRUNCATE journal_entries",
        "SET session_replication_role = replica; DELETE FROM journal_entries",
    ],
)
async def test_even_the_owner_cannot_change_an_entry(db: Database, statement: str) -> None:
    await append(db, 1)
    with pytest.raises(DBAPIError, match="append-only"):
        await run(db, statement)
    assert len(await entries(db)) == 1


def test_whoever_tells_no_final_facts_may_not_append(database_url: SecretStr) -> None:
    with (
        psycopg.connect(database_url.get_secret_value(), options="-c role=muniment_sender") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("INSERT INTO journal_entries (position, kind, body) VALUES (1, 'x', '{}')")


async def test_a_settled_operation_is_one_fact(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    before = len(await entries(world.db))
    accepted = (await world.mint(token_id, holder, 12)).json()["id"]
    await world.level()
    assert len(await entries(world.db)) == before, "nothing that may be undone is recorded"
    await world.finish()
    await world.settle()
    *_, entry = await entries(world.db)
    assert len(await entries(world.db)) == before + 1
    body = json.loads(entry.body)
    done = await world.operation(accepted)
    assert entry.kind == "operation.succeeded"
    assert body["operation"] == accepted
    assert body["key"] == done["key_id"] == (await world.get("/v1/whoami")).json()["key_id"]
    assert body["parameters"] == {"to": holder, "amount": "12"}
    assert body["transaction"]["block_hash"] == done["transaction"]["block_hash"]


async def test_an_operation_and_its_fact_are_settled_together_or_not_at_all(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    accepted = (await world.mint(token_id, holder, 12)).json()["id"]
    before = len(await entries(world.db))
    async with world.db.transaction() as session:
        await session.execute(text(f"ALTER TABLE journal_entries ADD CONSTRAINT no_more CHECK (position <= {before})"))
    await world.send()
    world.mine(3)
    await world.send()
    with pytest.raises(DBAPIError):
        await world.settle()
    assert (await world.operation(accepted))["status"] == "pending"
    async with world.db.transaction() as session:
        await session.execute(text("ALTER TABLE journal_entries DROP CONSTRAINT no_more"))
    await world.settle()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert len(await entries(world.db)) == before + 1


def test_new_ids_are_version_7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert [each.int >> 80 for each in ids] == sorted(each.int >> 80 for each in ids)
