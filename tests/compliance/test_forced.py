"""A forced transfer goes to somebody who may hold the token, whoever orders it."""

import pytest

from tests.compliance.office import Office
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORDER = {"reason": "Court order 12/2026", "document_hash": "0x" + "8f" * 32, "amount": "10"}


async def test_a_court_cannot_order_units_to_a_stranger(office: Office) -> None:
    token_id = await office.token()
    (_, holder), (_, heir) = await office.member(), await office.member()
    await office.write(f"/v1/tokens/{token_id}/mint", {"to": holder, "amount": "100"})
    path = f"/v1/tokens/{token_id}/forced-transfer"
    order = {**ORDER, "from": holder, "to": office.wallet()}
    told = problem(await office.world.post(path, order), "cannot-receive")
    assert told["revert"]["arguments"]["account"].lower() == order["to"].lower()
    await office.write(path, {**order, "to": heir})
    assert await office.world.holding(token_id, heir) == 10


async def test_a_blocked_holder_loses_units_by_force_alone(office: Office) -> None:
    token_id = await office.token()
    (investor, holder), (_, heir) = await office.member(), await office.member()
    await office.write(f"/v1/tokens/{token_id}/mint", {"to": holder, "amount": "100"})
    await office.block(investor)
    told = problem(await office.world.transfer(token_id, holder, heir, 10), "transfer-restricted")
    assert told["rule"]["name"] == "sender-blocked"
    await office.write(f"/v1/tokens/{token_id}/forced-transfer", {**ORDER, "from": holder, "to": heir})
    assert await office.world.holding(token_id, heir) == 10
