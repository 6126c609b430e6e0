"""Batches of every kind, from the request to the chain, and what is told of them."""

import csv
import io

import pytest

from service.batches.orders import ROWS_MAX
from tests.batches.bulk import ALICE, BOB, mints, operations_count, read, rows_of, send, send_csv, stranger
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = 2**256 - 1


async def test_a_batch_of_mints_succeeds_row_by_row(shared: World) -> None:
    token = await shared.token()
    rows = mints(800)
    batch = await send(shared, f"tokens/{token}/batches/mint", rows)
    assert (batch["state"], batch["kind"], batch["token_id"], batch["cancelled"]) == ("pending", "mint", token, None)
    assert batch["packs"]["total"] == 3
    assert batch["rows"] | {"total": 800, "queued": 800} == batch["rows"]
    await shared.send()
    assert (await read(shared, batch["id"]))["state"] == "running"
    await shared.finish()
    batch = await read(shared, batch["id"])
    assert (batch["state"], batch["rows"]["succeeded"]) == ("succeeded", 800)
    assert {await shared.holding(token, row["to"]) for row in rows[::97]} == {5}
    assert (await shared.get(f"/v1/tokens/{token}")).json()["total_supply"] == "4000"


async def test_rows_are_told_as_they_were_given_in_pages_that_join(shared: World) -> None:
    token = await shared.token()
    rows = mints(12)
    batch = await send(shared, f"tokens/{token}/batches/mint", [{**row, "to": row["to"].lower()} for row in rows])
    found = await rows_of(shared, batch["id"], limit=5)
    assert [each["parameters"] for each in found] == rows
    assert [each["row"] for each in found] == list(range(1, 13))
    assert {each["status"] for each in found} == {"queued"}
    assert await rows_of(shared, batch["id"], status="failed") == []


async def test_packs_are_operations(shared: World) -> None:
    token = await shared.token()
    batch = await send(shared, f"tokens/{token}/batches/mint", mints(400))
    packs = (await shared.get(f"/v1/batches/{batch['id']}/packs", limit=1)).json()
    assert packs["next_cursor"]
    more = (await shared.get(f"/v1/batches/{batch['id']}/packs", limit=1, cursor=packs["next_cursor"])).json()
    first, second = packs["data"][0], more["data"][0]
    assert [first["number"], second["number"], more["next_cursor"]] == [1, 2, None]
    assert first["rows_count"] + second["rows_count"] == 400
    operation = await shared.operation(first["operation_id"])
    assert (operation["kind"], operation["token_id"]) == ("token.batch-mint", token)
    parameters = operation["parameters"]
    assert parameters | {"batch_id": batch["id"], "pack": 1, "rows_count": first["rows_count"]} == parameters


async def test_transfers_of_several_accounts_are_packed_by_account(shared: World) -> None:
    token = await shared.token()
    one, two = await shared.account(), await shared.account()
    for account in (one, two):
        await shared.mint(token, account, 100)
    await shared.finish()
    rows = [{"from": [one, two][number % 2], "to": stranger(number), "amount": "7"} for number in range(9)]
    batch = await send(shared, f"tokens/{token}/batches/transfer", rows)
    assert batch["packs"]["total"] == 2
    assert [row["pack"] for row in await rows_of(shared, batch["id"])] == [1, 2] * 4 + [1]
    await shared.finish()
    assert (await read(shared, batch["id"]))["state"] == "succeeded"
    assert [await shared.holding(token, account) for account in (one, two)] == [100 - 5 * 7, 100 - 4 * 7]
    assert await shared.holding(token, stranger(3)) == 7


async def test_a_batch_freezes_many_accounts(shared: World) -> None:
    token = await shared.token()
    rows = [{"account": stranger(number), "amount": str(number or ALL)} for number in range(30)]
    batch = await send(shared, f"tokens/{token}/batches/freeze", rows)
    await shared.finish()
    assert (await read(shared, batch["id"]))["state"] == "succeeded"
    frozen = (await shared.get(f"/v1/tokens/{token}/frozen", limit=100)).json()["data"]
    assert len(frozen) == 30


async def test_a_file_and_a_list_of_the_same_rows_are_one_request(shared: World) -> None:
    token = await shared.token()
    path, rows = f"tokens/{token}/batches/mint", mints(3)
    text = "to,amount\r\n" + "".join(f"{row['to']},{row['amount']}\r\n" for row in rows)
    first = await send_csv(shared, path, text, "file-1")
    assert first.status_code == 202, first.text
    count = await operations_count(shared)
    again = await send(shared, path, rows, idempotency_key="file-1")
    assert again["id"] == first.json()["id"]
    assert await operations_count(shared) == count


async def test_the_same_key_for_other_rows_is_refused(shared: World) -> None:
    token = await shared.token()
    path = f"tokens/{token}/batches/mint"
    await send(shared, path, mints(3), idempotency_key="twice")
    for other in (mints(4), mints(3, 6)):
        problem(await shared.post(f"/v1/{path}", {"rows": other}, idempotency_key="twice"), "idempotency-key-reused")
    answer = await shared.post(f"/v1/tokens/{token}/mint", {"to": ALICE, "amount": "1"}, idempotency_key="twice")
    problem(answer, "idempotency-key-reused")


async def test_rows_come_back_as_a_file_that_can_be_sent_again(shared: World) -> None:
    token = await shared.token()
    path = f"tokens/{token}/batches/mint"
    batch = await send(shared, path, mints(600))
    headers = {"Authorization": f"Bearer {shared.key}", "Accept": "text/csv"}
    answer = await shared.client.get(f"/v1/batches/{batch['id']}/rows", headers=headers)
    assert answer.headers["content-type"].startswith("text/csv")
    found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert list(found[0]) == ["to", "amount", "row", "status", "problem"]
    assert [(each["to"], each["row"]) for each in found] == [(stranger(n), str(n)) for n in range(1, 601)]
    assert (await send_csv(shared, path, answer.text, "again")).status_code == 202


async def test_a_body_of_ten_thousand_rows_is_not_too_large_and_a_larger_one_is(shared: World) -> None:
    path = f"tokens/{await shared.token()}/batches/mint"
    answer = await send_csv(shared, path, "to,amount\n" + " " * (4 * 1024 * 1024), "large")
    problem(answer, "body-too-large")
    answer = await send_csv(shared, path, "to,amount\n" + f"{ALICE},x\n" * ROWS_MAX, "large")
    assert problem(answer, "batch-invalid")["errors_count"] == ROWS_MAX
    answer = await shared.post("/v1/accounts", {"label": "x" * 70_000})
    problem(answer, "body-too-large")


async def test_a_large_body_of_a_stranger_is_refused_without_being_read_as_rows(shared: World) -> None:
    answer = await shared.client.post(
        f"/v1/tokens/{await shared.token()}/batches/mint",
        content=b"{" * 1_000_000,
        headers={"Idempotency-Key": "x", "Content-Type": "application/json"},
    )
    problem(answer, "unauthorized")


async def test_a_kind_of_token_that_does_not_freeze_is_told(shared: World) -> None:
    token = await shared.token(kind="utility", cap="1000")
    answer = await shared.post(f"/v1/tokens/{token}/batches/freeze", {"rows": [{"account": BOB, "amount": "1"}]})
    problem(answer, "wrong-token-kind")
