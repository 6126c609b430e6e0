"""Nothing that is handed to the vault is found again: not in Postgres, not in a log, not in a refusal."""

import base64
import hashlib
import json
from typing import Any

import pytest
from psycopg import sql

from service.vault.orders import EraseOrder, PointerOrder, SearchOrder, TokenizeOrder, TokensOrder
from service.web.orders import Order
from tests.vault.desk import Desk

CARD = "4716 2210 5188 5662"
EMAIL = "canary.aviary@example.org"
NAME = "Canary Zephyrine Quill"
TEXT = "The canary sings of parcel 4711/815."
REFERENCE = "canary-subject-007"
CONTEXT = "canary-context"


def spellings(secret: str) -> set[bytes]:
    """How a secret may lie about: in the clear, without its separators, encoded, or as a bare hash."""
    plain = {secret, secret.replace(" ", ""), json.dumps(secret)[1:-1]}
    found = set()
    for each in plain:
        raw = each.encode()
        found |= {raw, raw.hex().encode(), base64.b64encode(raw)}
        for algorithm in ("sha256", "sha1", "md5"):
            digest = hashlib.new(algorithm, raw).digest()
            found |= {digest, digest.hex().encode()}
    return found


async def everything(desk: Desk) -> bytes:
    """Every text, bytes and JSON of every table, bytes in the clear and as Postgres writes them."""
    columns = await desk.rows(
        """SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema IN ('public', 'vault', 'mirror') AND data_type NOT LIKE 'timestamp%%'"""
    )
    found = []
    for schema, table, column, kind in columns:
        query = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(schema, table))
        for (value,) in await desk.db.fetch(query, ()):  # type: ignore[arg-type]
            if kind == "bytea" and value is not None:
                found += [bytes(value), bytes(value).hex().encode()]
            elif value is not None:
                found.append(json.dumps(value, default=str).encode())
    return b"\n".join(found)


@pytest.mark.asyncio(loop_scope="module")
async def test_no_canary_is_found_anywhere_again(desk: Desk, log: Any) -> None:
    prefix = {"kind": "prefix", "environment": "test"}
    values = {
        CARD: await desk.policy(deterministic=True),
        EMAIL: await desk.policy(data_class="email", format=prefix, mapping="exportable", pointer=True),
        NAME: await desk.policy(data_class="name", format=prefix, deterministic=True, mapping="exportable"),
        TEXT: await desk.policy(data_class="text", format=prefix),
    }
    tokens, told = [], ""
    for value, policy in values.items():
        tokens.append(await desk.token(policy, {"value": value, "subject": REFERENCE}))
        told += (await desk.post("/search", {"policy": policy, "value": value})).text
        for other in values:
            told += (await desk.post("/search", {"policy": policy, "value": other})).text
            told += (await desk.post("/tokenize", {"policy": policy, "items": [{"value": other, "cvv": other}]})).text
            told += (await desk.post("/tokenize", {"policy": policy, "items": other})).text
    told += (await desk.post("/tokenize", {"policy": values[NAME], "items": [{"value": f"{CARD}\u202e"}]})).text
    vaultless = await desk.policy(kind="vaultless")
    body = {"policy": vaultless, "items": [{"value": CARD}], "context": CONTEXT}
    tokens.append((await desk.post("/tokenize", body)).json()["data"][0]["token"])
    told += (await desk.send("PUT", "/tokens", {"token": tokens[1], "value": CARD})).text
    await desk.send("PUT", "/tokens", {"token": tokens[1], "value": EMAIL})
    told += (await desk.post("/lookup", {"tokens": tokens})).text
    told += (await desk.get("/records", subject=REFERENCE)).text
    await desk.alter("ALTER TABLE vault.records ADD CONSTRAINT broken CHECK (false) NOT VALID")
    failed = await desk.post("/tokenize", {"policy": values[TEXT], "items": [{"value": TEXT, "subject": REFERENCE}]})
    await desk.alter("ALTER TABLE vault.records DROP CONSTRAINT broken")
    assert failed.status_code == 500
    told += failed.text
    await desk.post("/subjects/erase", {"reference": REFERENCE})
    stored, logged = await everything(desk), log.getvalue()
    assert "request_failed" in logged
    assert len(stored) > 10_000
    for secret in (*values, REFERENCE, CONTEXT):
        for spelling in spellings(secret):
            assert spelling not in stored
            assert spelling not in told.encode()
            assert spelling not in logged.encode()
    for token in tokens:
        assert token.encode() not in stored
        assert token not in logged


def test_no_order_shows_in_its_repr_what_it_carries() -> None:
    policy = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
    orders = (
        TokenizeOrder.model_validate({"policy": policy, "items": [{"value": CARD, "subject": CARD}]}),
        TokensOrder.model_validate({"tokens": [CARD]}),
        SearchOrder.model_validate({"policy": policy, "value": CARD}),
        PointerOrder.model_validate({"token": CARD, "value": CARD}),
        EraseOrder.model_validate({"reference": CARD}),
    )
    assert CARD not in repr(orders)


def orders_below(order: type[Order]) -> set[type[Order]]:
    """An order's subclasses, and theirs."""
    return {each for below in order.__subclasses__() for each in (below, *orders_below(below))}


def test_what_an_order_shows_in_its_repr_is_no_value_token_or_reference_to_a_person() -> None:
    shown = {
        field
        for order in orders_below(Order)
        if order.__module__.startswith("service.vault.") and order.__module__ != "service.vault.policies"
        for field, info in order.model_fields.items()
        if info.repr
    }
    of_all = {"policy", "asset_token_id", "purpose", "reason", "view", "approval"}
    of_payments = {"processor", "amount", "currency", "reference"}
    assert shown == of_all | of_payments | {"items", "ttl_s", "media_type", "size_bytes", "commitment"}
    assert not EraseOrder.model_fields["reference"].repr
