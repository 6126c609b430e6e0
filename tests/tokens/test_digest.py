"""One hash tells whether two deployments saw the same: of a token, and of the whole mirror."""

import pytest

from tests.compliance.office import Office
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_digest_changes_with_every_event_and_stays_what_it_was_at_a_past_block(shared: World) -> None:
    office, token_id, holder = Office(shared, ""), await shared.token(), await shared.account()
    path = f"/v1/tokens/{token_id}/digest"
    before = (await shared.get(path, state=True)).json()
    assert before["since_block"] <= before["at"]["block"]
    whole = (await shared.get("/v1/mirror/digest", at_block=before["at"]["block"])).json()
    assert whole["contracts"] >= 1

    await office.write(f"/v1/tokens/{token_id}/freeze", {"account": holder, "amount": "5"})
    after = (await shared.get(path, state=True)).json()
    for name in ("digest", "state_digest", "since_block"):
        assert after[name] != before[name]
    assert (await shared.get(path)).json()["state_digest"] is None
    assert (await shared.get("/v1/mirror/digest")).json()["digest"] != whole["digest"]

    again = (await shared.get(path, state=True, at_block=before["at"]["block"])).json()
    assert [again[name] for name in ("contract", "digest", "state_digest")] == [
        before[name] for name in ("contract", "digest", "state_digest")
    ]
    past = (await shared.get("/v1/mirror/digest", at_block=before["at"]["block"])).json()
    assert (past["digest"], past["contracts"]) == (whole["digest"], whole["contracts"])


async def test_a_state_that_returns_has_the_digest_that_it_had_and_its_events_another(shared: World) -> None:
    office, token_id, holder = Office(shared, ""), await shared.token(), await shared.account()
    path = f"/v1/tokens/{token_id}/digest"
    before = (await shared.get(path, state=True)).json()
    freeze = f"/v1/tokens/{token_id}/freeze"
    await office.write(freeze, {"account": holder, "amount": "5"})
    await office.write(freeze, {"account": holder, "expected": "5", "amount": "0"})
    after = (await shared.get(path, state=True)).json()
    assert after["state_digest"] == before["state_digest"]
    assert after["digest"] != before["digest"]
