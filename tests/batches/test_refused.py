"""A batch that the chain would refuse: which rows are told, and that nothing of it is stored."""

import pytest

from service.addresses import checksum
from tests.batches.bulk import ALICE, BOB, mints, refused, send, slugs, stranger
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_each_row_that_is_to_blame_is_told(shared: World) -> None:
    token = await shared.token()
    await send(shared, f"tokens/{token}/batches/freeze", [{"account": ALICE, "amount": "9"}])
    await shared.finish()
    rows = [{"account": stranger(number), "amount": "1"} for number in range(700)]
    rows[3]["expected"], rows[650]["account"] = "4", ALICE
    body = await refused(shared, f"tokens/{token}/batches/freeze", rows)
    assert slugs(body) == [(4, "frozen-amount-changed"), (651, "frozen-amount-changed")]
    assert body["rows"][0]["revert"]["arguments"] == {"expected": "4", "actual": "0"}
    assert body["detail"].startswith("row 4: ")


async def test_a_hundred_rows_are_told_at_most(shared: World) -> None:
    token = await shared.token()
    rows = [{"account": stranger(number), "expected": "1", "amount": "1"} for number in range(500)]
    body = await refused(shared, f"tokens/{token}/batches/freeze", rows)
    assert [row for row, _ in slugs(body)] == list(range(1, 101))


async def test_a_receiver_whom_a_rule_forbids_is_told_with_the_rule(shared: World) -> None:
    await shared.contract("compliance")
    token = await shared.token(compliance=True)
    assert (await shared.post(f"/v1/tokens/{token}/policy", {"holding_max": "100"})).status_code == 202
    await shared.finish()
    rows = mints(5)
    rows[2]["amount"] = "101"
    body = await refused(shared, f"tokens/{token}/batches/mint", rows)
    assert slugs(body) == [(3, "transfer-restricted")]
    assert body["rows"][0]["rule"]["name"]


async def test_rows_that_are_too_much_together_are_told_together(shared: World) -> None:
    token, holder = await shared.token(), await shared.account()
    await shared.mint(token, holder, 100)
    await shared.finish()
    rows = [{"from": holder, "to": BOB, "amount": "60"} for _ in range(2)]
    body = await refused(shared, f"tokens/{token}/batches/transfer", rows)
    assert [each["rows"] for each in body["rows"]] == [[1, 2]]
    assert body["rows"][0]["type"] == "/problems/insufficient-balance"


async def test_packs_of_one_account_that_are_too_much_together_are_told(shared: World) -> None:
    token, holder = await shared.token(), await shared.account()
    await shared.mint(token, holder, 500)
    await shared.finish()
    rows = [{"from": holder, "to": stranger(number), "amount": "1"} for number in range(700)]
    assert slugs(await refused(shared, f"tokens/{token}/batches/transfer", rows)) == [(501, "insufficient-balance")]
    await send(shared, f"tokens/{token}/batches/freeze", [{"account": holder, "amount": "100"}])
    await shared.finish()
    body = await refused(shared, f"tokens/{token}/batches/transfer", rows)
    assert slugs(body) == [(401, "insufficient-unfrozen-balance")]


async def test_mints_that_exceed_the_cap_only_together_are_told(shared: World) -> None:
    token = await shared.token(kind="utility", cap="600")
    body = await refused(shared, f"tokens/{token}/batches/mint", mints(700, 1))
    assert [(each["rows"], each["type"]) for each in body["rows"]] == [([1, 700], "/problems/cap-exceeded")]
    await send(shared, f"tokens/{token}/batches/mint", mints(600, 1))


async def test_what_concerns_no_single_row_is_told_as_itself(shared: World) -> None:
    token = await shared.token()
    await shared.post(f"/v1/tokens/{token}/pause")
    await shared.finish()
    await refused(shared, f"tokens/{token}/batches/mint", mints(3), "token-paused")


async def test_accounts_that_sign_for_themselves_are_told_by_their_rows(shared: World) -> None:
    token, managed, external = await shared.token(), await shared.account(), stranger(77)
    assert (await shared.post("/v1/accounts", {"address": external})).status_code == 201
    rows = [{"from": each, "to": BOB, "amount": "1"} for each in (managed, external, stranger(78), external)]
    body = await refused(shared, f"tokens/{token}/batches/transfer", rows, "batch-invalid")
    assert [(each["row"], each["pointer"]) for each in body["errors"]] == [
        *((2, "#/rows/1/from"), (3, "#/rows/2/from"), (4, "#/rows/3/from"))
    ]
    assert body["errors_count"] == 3


async def test_malformed_rows_are_told_before_anything_is_asked(shared: World) -> None:
    rows = [*mints(2), {"to": "x", "amount": "0"}]
    body = await refused(shared, f"tokens/{await shared.token()}/batches/mint", rows, "batch-invalid")
    assert [each["pointer"] for each in body["errors"]] == ["#/rows/2/to", "#/rows/2/amount"]


async def test_an_unreadable_body_is_told(shared: World) -> None:
    path = f"/v1/tokens/{await shared.token()}/batches/mint"
    problem(await shared.post(path, [1]), "invalid-request")


async def test_a_batch_is_accepted_while_the_node_is_away(shared: World) -> None:
    token = await shared.token()
    async with shared.node_away():
        batch = await send(shared, f"tokens/{token}/batches/mint", mints(400))
    await shared.finish()
    assert (await shared.get(f"/v1/batches/{batch['id']}")).json()["state"] == "succeeded"


async def test_a_signer_without_the_role_is_told_as_that(shared: World) -> None:
    token = await shared.token()
    role = {"role": "minter", "account": checksum(shared.signer)}
    assert (await shared.post("/v1/roles/revoke", role)).status_code == 202
    await shared.finish()
    await refused(shared, f"tokens/{token}/batches/mint", mints(3), "signer-lacks-role")
    assert (await shared.post("/v1/roles/grant", {**role, "delay_s": 60})).status_code == 202
    await shared.finish()
    await refused(shared, f"tokens/{token}/batches/mint", mints(3), "not-scheduled")
