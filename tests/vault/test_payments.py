"""A card goes from the vault to a payment processor: charged once, and never seen by the issuer."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.settings import Settings
from service.vault import payment_processors, payments, revealing
from tests.vault.desk import CARD, Desk
from tests.vault.processor import Behaviour, Processor, answering, hang, hang_up, open_processor
from tests.vault.reveals import PREFIX, entries, limited, reveal
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

DIGITS = CARD.replace(" ", "")


@pytest_asyncio.fixture(loop_scope="module")
async def processor(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Processor]:
    """One that the desk's process knows as `acquirer`."""
    monkeypatch.setattr(payment_processors, "TIMEOUT_S", 0.3)
    async with open_processor() as opened:
        given = desk.app.state.settings.model_dump() | {"payment_processors": f"acquirer={opened.url}"}
        async with payment_processors.open_processors(Settings(**given)) as processors:
            own, desk.app.state.processors = desk.app.state.processors, processors
            yield opened
            desk.app.state.processors = own


async def pay(desk: Desk, token: str, key: str, **changed: Any) -> httpx.Response:
    body = {"token": token, "processor": "acquirer", "amount": "1250", "currency": "EUR", "reference": "invoice-17"}
    return await desk.post("/payments", {**body, **changed}, idempotency_key=key)


async def test_the_processor_gets_the_card_and_the_issuer_does_not(desk: Desk, processor: Processor, log: Any) -> None:
    policy = await desk.policy(reveal={"purposes": ["payment"], "views": ["masked"]})
    token = await desk.token(policy, CARD)
    answer = await pay(desk, token, "paid")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["state"], told["amount"], told["processor_reference"]) == ("accepted", "1250", "ch_0")
    sent = {"card": DIGITS, "amount": "1250", "currency": "EUR", "reference": "invoice-17"}
    assert processor.heard == [(told["id"], sent)]
    problem(await reveal(desk, token, purpose="payment"), "reveal-refused")
    (entry,) = await entries(desk, "vault.payment-sent", told["id"])
    assert (entry["purpose"], entry["view"], [*entry["values"]]) == ("payment", None, [policy])
    assert len(await entries(desk, "vault.payment-settled", told["id"])) == 1
    rows = await desk.rows("SELECT payments::text FROM vault.payments")
    assert not any(DIGITS in each for each in (answer.text, json.dumps(entry), log.getvalue(), str(rows)))


async def test_a_card_that_is_erased_while_it_is_asked_for_goes_nowhere(
    desk: Desk, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, find = await desk.token(await desk.policy(), {"value": CARD, "subject": "unpaid"}), revealing.find

    async def then_it_is_erased(*given: Any) -> Any:
        found = await find(*given)
        await desk.post("/subjects/erase", {"reference": "unpaid"})
        return found

    monkeypatch.setattr(payments, "find", then_it_is_erased)
    problem(await pay(desk, token, "erased"), "vault-token-not-found")
    assert processor.heard == []
    assert await desk.rows("SELECT 1 FROM requests WHERE key = 'erased'") == []


async def test_a_repeated_payment_is_told_again_and_not_sent_again(desk: Desk, processor: Processor) -> None:
    token = await desk.token(await desk.policy(), CARD)
    first, again = [(await pay(desk, token, "twice")).json() for _ in range(2)]
    assert first == again
    assert len(processor.heard) == 1
    problem(await pay(desk, token, "twice", amount="1251"), "idempotency-key-reused")


async def test_payments_at_once_under_one_key_charge_once(desk: Desk, processor: Processor) -> None:
    token = await desk.token(await desk.policy(), CARD)
    answers = await asyncio.gather(*(pay(desk, token, "at-once") for _ in range(8)))
    assert len({each.json()["id"] for each in answers}) == 1
    assert {each.json()["state"] for each in answers} == {"accepted"}
    assert len(processor.charged) == 1


async def test_a_declined_payment_is_an_answer(desk: Desk, processor: Processor) -> None:
    token = await desk.token(await desk.policy(), CARD)
    told = (await pay(desk, token, "declined", amount="666")).json()
    assert (told["state"], told["code"]) == ("declined", "insufficient_funds")
    assert (await pay(desk, token, "declined", amount="666")).json() == told
    assert len(processor.heard) == 1


@pytest.mark.parametrize(
    "failure",
    [
        answering(500),
        answering(503, {"id": "x", "status": "accepted"}),
        answering(429),
        answering(401),
        answering(307, Location="http://127.0.0.1:1/"),
        answering(200, ["accepted"]),
        answering(200, {"id": "x", "status": "maybe"}),
        answering(200, {"id": "x", "status": []}),
        answering(402, {"id": "x", "status": "accepted"}),
        answering(200, {"id": DIGITS, "status": "accepted"}),
        answering(200, {"id": "4111-1111.1111_1111", "status": "accepted"}),
        answering(200, {"id": "x", "status": "declined", "code": "4111_1111_1111_1111"}),
        answering(200, {"id": "x" * 100_000, "status": "accepted"}),
        hang,
        hang_up,
    ],
)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_without_a_usable_answer_the_payment_stays_open_and_is_charged_once(
    desk: Desk, processor: Processor, failure: Behaviour, moment: str
) -> None:
    policy = await desk.policy()
    token = await desk.token(policy, CARD)
    setattr(processor, moment, failure)
    answer = await pay(desk, token, f"open-{policy}")
    told = problem(answer, "processor-unavailable")
    assert DIGITS not in answer.text
    setattr(processor, moment, None)
    ended = (await pay(desk, token, f"open-{policy}")).json()
    assert (ended["id"], ended["state"]) == (told["payment"], "accepted")
    assert {key for key, _ in processor.heard} == {ended["id"]} == set(processor.charged)
    assert len(await entries(desk, "vault.payment-sent", ended["id"])) == 2  # the card left twice


async def test_a_processor_that_is_not_there_is_told_so(desk: Desk, processor: Processor) -> None:
    token = await desk.token(await desk.policy(), CARD)
    problem(await pay(desk, token, "nobody", processor="nobody"), "processor-unknown")
    assert processor.heard == []


async def test_what_the_rules_do_not_allow_never_reaches_the_processor(desk: Desk, processor: Processor) -> None:
    refused = await desk.token(await desk.policy(reveal={"purposes": ["support"], "views": ["plain"]}), CARD)
    problem(await pay(desk, refused, "refused"), "reveal-refused")
    approved = await desk.token(await limited(desk, approvals=1), CARD)
    problem(await pay(desk, approved, "approved"), "approval-missing")
    name = await desk.token(await desk.policy(data_class="name", format=PREFIX), "Ada Byron")
    problem(await pay(desk, name, "name"), "not-of-this-policy")
    problem(await pay(desk, "9" * 16, "unknown"), "vault-token-not-found")
    assert processor.heard == []
    assert await desk.rows("SELECT 1 FROM requests WHERE key IN ('refused', 'approved', 'name', 'unknown')") == []


async def test_a_payment_that_cannot_be_recorded_is_not_sent(desk: Desk, processor: Processor) -> None:
    token = await desk.token(await desk.policy(), CARD)
    await desk.alter("REVOKE INSERT ON journal_entries FROM muniment_api")
    answer = await pay(desk, token, "unrecorded")
    await desk.alter("GRANT INSERT ON journal_entries TO muniment_api")
    problem(answer, "reveal-unrecorded")
    assert processor.heard == []
    assert (await pay(desk, token, "unrecorded")).json()["state"] == "accepted"


@pytest.mark.parametrize(
    "wrong",
    [
        {"cvv": "123"},
        {"card_verification_code": "123"},
        {"amount": 1250},
        {"amount": "0"},
        {"amount": "12.50"},
        {"amount": "1" * 17},
        {"currency": "eur"},
        {"reference": ""},
        {"reference": f"card {CARD}"},
        {"processor": "http://127.0.0.1"},
    ],
)
async def test_a_malformed_payment_is_refused(desk: Desk, processor: Processor, wrong: dict[str, Any]) -> None:
    answer = await pay(desk, "9" * 16, "malformed", **wrong)
    problem(answer, "invalid-request")
    assert processor.heard == []
    assert "4111" not in answer.text


@pytest.mark.parametrize(
    "text", ["acquirer", "acquirer=http://example.org", "a=https://x a=https://y", "A=https://x", "a=https://x?y=1"]
)
async def test_the_card_leaves_this_machine_only_under_tls(desk: Desk, text: str) -> None:
    given = desk.app.state.settings.model_dump()
    with pytest.raises(ValueError, match="write name=https"):
        Settings(**given | {"payment_processors": text})
    named = Settings(**given | {"payment_processors": "a=https://u:p@x/y b=http://localhost:1"})
    assert named.processors == {"a": "https://u:p@x/y", "b": "http://localhost:1"}


async def test_an_issuer_without_a_vault_pays_nothing(desk: Desk, processor: Processor) -> None:
    stranger = await desk.new_issuer("Bay Estates")
    body = {"token": "9" * 16, "processor": "acquirer", "amount": "1", "currency": "EUR", "reference": "x"}
    problem(await desk.post("/payments", body, key=stranger), "vault-token-not-found")
