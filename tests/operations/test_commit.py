"""A request is accepted when it is stored, and not a moment earlier."""

import asyncio

import pytest
from sqlalchemy import text

from tests.web.answers import problem
from tests.world import World

HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TABLES = ("operations", "transactions", "requests", "tokens", "accounts", "assets", "managed_keys")

FAIL_AT_COMMIT = """
CREATE FUNCTION fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the commit fails' USING ERRCODE = '{code}'; END $$
"""


async def counts(world: World) -> list[int]:
    async with world.db.transaction() as session:
        return [int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0) for table in TABLES]


@pytest.mark.parametrize(
    ("code", "slug"),
    [("P0001", "internal-error"), ("40001", "database-unavailable"), ("57P01", "database-unavailable")],
)
async def test_a_failed_commit_is_never_answered_with_202(world: World, code: str, slug: str) -> None:
    token_id, asset_id = await world.token(), await world.asset()
    requests = [
        (f"/v1/tokens/{token_id}/mint", {"to": HOLDER, "amount": "5"}, 202),
        ("/v1/tokens", {"asset_id": asset_id, "name": "Mill", "symbol": "MILL"}, 202),
        ("/v1/accounts", {"label": "Alice"}, 201),
        ("/v1/assets", {"name": "Mill", "category": "house"}, 201),
    ]
    before = await counts(world)
    async with world.db.transaction() as session:
        await session.execute(text(FAIL_AT_COMMIT.format(code=code)))
        for table in ("operations", "accounts", "assets"):
            await session.execute(
                text(
                    f"CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
                    "FOR EACH ROW EXECUTE FUNCTION fail_at_commit()"
                )
            )
    for index, (path, body, _) in enumerate(requests):
        answer = await world.post(path, body, idempotency_key=f"commit-{index}")
        problem(answer, slug)
        assert ("retry-after" in answer.headers) == (answer.status_code == 503)
    assert await counts(world) == before
    async with world.db.transaction() as session:
        await session.execute(text("DROP FUNCTION fail_at_commit() CASCADE"))
    for index, (path, body, status) in enumerate(requests):
        assert (await world.post(path, body, idempotency_key=f"commit-{index}")).status_code == status
    await world.finish()
    assert await world.holding(token_id, HOLDER) == 5


@pytest.mark.parametrize("table", ["requests", "transactions", "operations"])
async def test_an_operation_its_transaction_and_its_key_are_stored_together_or_not_at_all(
    world: World, table: str
) -> None:
    token_id = await world.token()
    before = await counts(world)
    async with world.db.transaction() as session:
        await session.execute(text(FAIL_AT_COMMIT.format(code="P0001")))
        await session.execute(
            text(f"CREATE TRIGGER fails AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail_at_commit()")
        )
    problem(await world.mint(token_id, HOLDER, 5, idempotency_key="half"), "internal-error")
    assert await counts(world) == before
    async with world.db.transaction() as session:
        await session.execute(text("DROP FUNCTION fail_at_commit() CASCADE"))
    assert (await world.mint(token_id, HOLDER, 5, idempotency_key="half")).status_code == 202


async def test_requests_that_are_stored_together_fail_alone(world: World) -> None:
    token_id = await world.token()
    async with world.db.transaction() as session:
        await session.execute(text(FAIL_AT_COMMIT.format(code="P0001")))
        await session.execute(
            text(
                "CREATE TRIGGER fails AFTER INSERT ON requests FOR EACH ROW WHEN (NEW.key = 'together-3') "
                "EXECUTE FUNCTION fail_at_commit()"
            )
        )
    answers = await asyncio.gather(
        *(world.mint(token_id, HOLDER, 1, idempotency_key=f"together-{index}") for index in range(8))
    )
    assert [answer.status_code for answer in answers] == [202, 202, 202, 500, 202, 202, 202, 202]
    await world.finish()
    assert await world.holding(token_id, HOLDER) == 7
