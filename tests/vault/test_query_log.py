"""A person's whole way through the vault, with canaries for values, under a Postgres that logs all it is told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from scripts import local
from tests.conftest import TEMPLATE, clone, drop
from tests.vault.desk import Desk, open_desk
from tests.vault.processor import Processor, answering, open_processor
from tests.vault.reveals import reveal
from tests.vault.test_canaries import everything, spellings
from tests.vault.test_documents import registered, send
from tests.vault.test_persons import account, set_accounts

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARD = "4485 0402 9302 9478"
NAME = "Philomena Canary Thrush"
EMAIL = "thrush.canary@example.net"
REFERENCE = "canary-subject-thrush"
CONTENT = "The canary's deed of 3 Aviary Lane"
FILE_NAME = "canary-deed-3-aviary-lane.pdf"
ATTRIBUTE = "parcel of the canary 77/12"
ACCOUNT = account(0xCA9A)
SECRETS = (CARD, NAME, EMAIL, REFERENCE, CONTENT, FILE_NAME, ATTRIBUTE, ACCOUNT, ACCOUNT[2:].lower())

WHY = {"purpose": "support", "reason": "Ticket 4711"}
PREFIX = {"kind": "prefix", "environment": "test"}


@dataclass(slots=True)
class Watched:
    """A desk, the processor of its payments, and what Postgres logs."""

    desk: Desk
    processor: Processor
    postgres: local.Postgres
    begun: int  # where in the log

    def query_log(self) -> bytes:
        """All that Postgres logged since the desk is open."""
        with self.postgres.server.log.open("rb") as file:
            file.seek(self.begun)
            return bytes(file.read())


@pytest_asyncio.fixture(loop_scope="module")
async def watched(postgres: local.Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """A desk of its own, on a database that logs every statement with every parameter, also of those that fail."""
    name = f"watched_{uuid4().hex}"
    url, begun = clone(postgres, TEMPLATE, name), postgres.server.log.stat().st_size
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for setting, value in (
            ("log_statement", "all"),
            ("log_parameter_max_length", "-1"),
            ("log_parameter_max_length_on_error", "-1"),
        ):
            change = sql.SQL("ALTER DATABASE {} SET {} = {}")
            connection.execute(change.format(sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)))
    folder = tmp_path_factory.mktemp("watched")
    async with (
        open_processor() as processor,
        open_desk(url, folder, payment_processors=f"acquirer={processor.url}") as desk,
    ):
        yield Watched(desk, processor, postgres, begun)
    drop(postgres, name)


async def payment(desk: Desk, token: str, **changed: Any) -> str:
    """What the issuer is told of a payment."""
    body = {"token": token, "processor": "acquirer", "amount": "1250", "currency": "EUR", "reference": "invoice-17"}
    return (await desk.post("/payments", {**body, **changed})).text


async def tokenized_and_revealed(desk: Desk, names: str) -> tuple[list[str], str]:
    """Vault tokens of a card, a name and an email, and what was told on the way."""
    cards = await desk.policy(name="logged-in-clear", deterministic=True)
    emails = await desk.policy(data_class="email", format=PREFIX, pointer=True)
    tokens = [
        await desk.token(policy, {"value": value, "subject": REFERENCE})
        for policy, value in ((cards, CARD), (names, NAME), (emails, EMAIL))
    ]
    card, _, email = tokens
    for view in ("plain", "masked", "hash"):
        assert (await reveal(desk, *tokens, view=view)).status_code == 200
    told = (await reveal(desk, *tokens, view="last_four")).text + (await reveal(desk, card, reason=f"Card {CARD}")).text
    told += (await desk.post("/search", {"policy": emails, "value": EMAIL})).text
    await desk.send("PUT", "/tokens", {"token": email, "value": f"other.{EMAIL}"})
    return tokens, told


async def known_on_chain(desk: Desk, name: str) -> str:
    """What was told while a person and an account came to be known."""
    person = (await desk.post("/persons", {"reference": REFERENCE, "name": name})).json()
    told = str(person) + (await set_accounts(desk, person, ACCOUNT)).text
    assert (await desk.get(f"/persons/{person['id']}/accounts")).json()["accounts"] == [ACCOUNT]
    told += (await set_accounts(desk, person, ACCOUNT, ACCOUNT)).text
    return told + (await desk.post("/persons", {"reference": REFERENCE, "name": NAME})).text


async def documented(desk: Desk, policy: str) -> str:
    """What was told of a document and of attributes that no one should have seen."""
    id_ = await registered(desk, CONTENT.encode(), policy=policy, name=FILE_NAME, subject=REFERENCE)
    assert (await send(desk, id_, CONTENT.encode())).status_code == 200
    assert (await desk.post(f"/documents/{id_}/reveal", WHY)).content == CONTENT.encode()
    told = (await desk.post(f"/documents/{id_}/reveal", {**WHY, "purpose": "other"})).text
    told += (await desk.get("/documents", subject=REFERENCE)).text
    order = {"policy": policy, "attributes": {"parcel": ATTRIBUTE}, "subject": REFERENCE}
    committed = (await desk.post("/commitments", order)).json()
    shown = await desk.post("/disclosures", {"commitment": committed["id"], "names": ["parcel"], **WHY})
    assert ATTRIBUTE in shown.text
    return told + str(committed)


async def exported(desk: Desk, policy: str, token: str) -> str:
    """What was told of exports that told no value."""
    (only,) = (await desk.post("/export", {"policy": policy, **WHY})).json()["data"]
    assert (only["token"], only["value"]) == (token, NAME)
    told = (await desk.post("/export", {"policy": policy, **WHY, "purpose": "other"})).text
    told += (await desk.post("/export", {"policy": policy, **WHY, "reason": f"Card {CARD}"})).text
    await desk.alter(f"UPDATE vault.records SET sealed_token = substr(sealed_token, 2) WHERE policy_id = '{policy}'")
    return told + (await desk.post("/export", {"policy": policy, **WHY})).text


async def paid(watched: Watched, card: str) -> str:
    """What was told of payments that a processor took, failed at, and never heard of."""
    told = await payment(watched.desk, card)
    watched.processor.before = answering(500, {"card": CARD})
    told += await payment(watched.desk, card) + await payment(watched.desk, card, reference=f"card {CARD}")
    assert [each["card"] for _, each in watched.processor.heard] == [CARD.replace(" ", "")] * 2
    return told


async def failed(desk: Desk, policy: str) -> str:
    """What is told where Postgres refuses a row."""
    await desk.alter("ALTER TABLE vault.records ADD CONSTRAINT broken CHECK (false) NOT VALID")
    items = [{"value": f"{NAME} again", "subject": REFERENCE}]
    answer = await desk.post("/tokenize", {"policy": policy, "items": items})
    await desk.alter("ALTER TABLE vault.records DROP CONSTRAINT broken")
    assert answer.status_code == 500
    return answer.text


async def test_no_canary_is_in_a_log_a_table_a_metric_or_an_answer_that_shows_no_value(
    watched: Watched, log: Any
) -> None:
    desk = watched.desk
    rules = {"purposes": ["support", "cap-table"], "views": ["plain", "masked", "hash"]}
    names = await desk.policy(data_class="name", format=PREFIX, reveal=rules, mapping="exportable")
    deeds = await desk.policy(data_class="document", format={"kind": "prefix"}, reveal=rules)
    tokens, told = await tokenized_and_revealed(desk, names)
    told += await known_on_chain(desk, tokens[1]) + await documented(desk, deeds)
    told += await paid(watched, tokens[0]) + await failed(desk, names) + await exported(desk, names, tokens[1])
    before = await everything(desk)
    assert (await desk.post("/subjects/erase", {"reference": REFERENCE})).status_code == 200
    told += (await reveal(desk, *tokens)).text + (await desk.post("/revoke", {"tokens": tokens})).text
    metrics = await desk.client.get("/metrics", headers={"Authorization": f"Bearer {desk.key}"})
    assert metrics.status_code == 200

    queries = watched.query_log()
    # It logs what it is told, parameters and failures included: only then what is not there says something.
    for control in (b"INSERT INTO vault.records", b"logged-in-clear", b"INSERT INTO vault.accounts", b"broken"):
        assert control in queries
    places = [before, await everything(desk), queries, log.getvalue().encode(), metrics.content, told.encode()]
    for secret in SECRETS:
        for spelling in spellings(secret):
            assert not [number for number, place in enumerate(places) if spelling in place], secret
    assert not [place for place in places if bytes.fromhex(ACCOUNT[2:]) in place]
    assert not [(token, number) for token in tokens for number, place in enumerate(places) if token.encode() in place]
