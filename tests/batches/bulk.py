"""What the tests of batches share: sending rows, and reading what became of them."""

from collections.abc import Sequence
from typing import Any

import httpx

from service.addresses import checksum
from tests.web.answers import problem
from tests.world import World

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
ZERO = "0x" + "0" * 40


def stranger(number: int) -> str:
    """An address that nobody has used."""
    return checksum(number.to_bytes(4).rjust(20, b"\xab"))


def mints(count: int, amount: int = 5) -> list[dict[str, str]]:
    """As many rows, each to an account of its own."""
    return [{"to": stranger(number), "amount": str(amount)} for number in range(1, count + 1)]


async def send(world: World, path: str, rows: Sequence[dict[str, Any]], **given: Any) -> dict[str, Any]:
    """A batch that is accepted."""
    answer = await world.post(f"/v1/{path}", {"rows": list(rows)}, **given)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/batches/{found['id']}"
    return found


async def send_csv(world: World, path: str, text: str, key: str) -> httpx.Response:
    """A file."""
    headers = {"Authorization": f"Bearer {world.key}", "Idempotency-Key": key, "Content-Type": "text/csv"}
    return await world.client.post(f"/v1/{path}", content=text.encode(), headers=headers)


async def read(world: World, batch_id: str) -> dict[str, Any]:
    """How far a batch is."""
    answer = await world.get(f"/v1/batches/{batch_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def rows_of(world: World, batch_id: str, **parameters: Any) -> list[dict[str, Any]]:
    """All rows of a batch, page by page."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = await world.get(f"/v1/batches/{batch_id}/rows", **parameters)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["data"]
        parameters["cursor"] = answer.json()["next_cursor"]
        if parameters["cursor"] is None:
            return rows


async def operations_count(world: World) -> int:
    """How many operations there are."""
    return int((await world.db.fetch("SELECT count(*) FROM operations", ()))[0][0])


async def refused(world: World, path: str, rows: Sequence[dict[str, Any]], slug: str = "batch-refused") -> Any:
    """The problem of a batch that is not accepted, of which nothing is stored."""
    before = await operations_count(world), await world.db.fetch("SELECT count(*) FROM batches", ())
    body = problem(await world.post(f"/v1/{path}", {"rows": list(rows)}), slug)
    assert before == (await operations_count(world), await world.db.fetch("SELECT count(*) FROM batches", ()))
    return body


def slugs(body: dict[str, Any]) -> list[tuple[int, str]]:
    """Row and slug of each refusal that is laid at one row's door."""
    return [(each["row"], each["type"].rpartition("/")[2]) for each in body["rows"]]
