"""What the vault's bench is compared with: FF1 of two other libraries, and bare FastAPI routes with the same SQL.

A bare route knows no caller, checks, draws, seals and opens nothing: it parses JSON and sends the statement.
"""

import argparse
import json
import os
import time
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID, uuid4

import fastfpe
import ffx
import psycopg

from service.db import new_id
from service.vault.queries import STORED
from service.vault.storing import COMMIT

URL = "BENCH_DATABASE_URL"
"""The variable that tells where Postgres is: a command line would show its password."""

POLICY = "BENCH_POLICY"
"""The variable with the policy that bare records are of."""

SEALED_BYTES = 80


def cards_a_second(cards: list[str], key: bytes) -> dict[str, float]:
    """How many 16-digit numbers a second each library encrypts, one by one: neither takes batches."""
    judge = ffx.FF1(key, radix=10)
    tweak = b"policy"
    found = {}
    started_s = time.perf_counter()
    for card in cards:
        judge.encrypt(card, tweak=tweak)
    found["libffx"] = len(cards) / (time.perf_counter() - started_s)
    started_s = time.perf_counter()
    for card in cards:
        fastfpe.ff1.encrypt(key.hex(), tweak.hex(), "0123456789", card)
    found["fastfpe"] = len(cards) / (time.perf_counter() - started_s)
    return found


def bare_store(issuer: UUID, policy: UUID, count: int) -> dict[str, Any]:
    """The parameters of a batch of new records, made as cheaply as can be."""
    return {
        "caller": uuid4(),
        "key": "bare",
        "print": os.urandom(32),
        "resource": "vault/tokenize",
        "answer": os.urandom(32),
        "issuer": issuer,
        "policy": policy,
        "deterministic": False,
        "data_version": 1,
        "wrapping_version": 1,
        "stored_subjects": [],
        "answered": [],
        "subject_ids": [],
        "subject_indexes": [],
        "subject_keys": [],
        "indexes": [os.urandom(32) for _ in range(count)],
        "ids": [new_id() for _ in range(count)],
        "subjects": [None] * count,
        "assets": [None] * count,
        "sealed": [os.urandom(SEALED_BYTES)] * count,
        "sealed_tokens": [None] * count,
        "fingerprints": [os.urandom(32) for _ in range(count)],
        "last_fours": [None] * count,
        "ttls": [None] * count,
    }


def routes(port: int) -> None:
    """Serve `POST /tokenize` and `POST /reveal` until a signal, as the API's process is served."""
    import uvicorn
    from fastapi import FastAPI, Request
    from psycopg_pool import AsyncConnectionPool

    url = os.environ[URL]
    policy = UUID(os.environ[POLICY])
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT issuer_id FROM vault.policies WHERE id = %s", (policy,)).fetchone()
    assert row is not None
    issuer: UUID = row[0]
    kwargs: dict[str, Any] = {"autocommit": True}
    pool = AsyncConnectionPool(url, min_size=10, max_size=10, kwargs=kwargs, open=False)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        del app
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan)

    async def rows(query: LiteralString, given: Any) -> list[Any]:
        async with pool.connection() as connection:
            return await (await connection.execute(query, given)).fetchall()

    @app.post("/tokenize")
    async def tokenize(request: Request) -> dict[str, Any]:
        values = json.loads(await request.body())["items"]
        await rows(COMMIT, bare_store(issuer, policy, len(values)))
        return {"data": values}

    @app.post("/reveal")
    async def reveal(request: Request) -> dict[str, Any]:
        indexes = [bytes.fromhex(each) for each in json.loads(await request.body())["indexes"]]
        found = await rows(STORED, (indexes, issuer))
        return {"data": [str(row[0]) for row in found]}

    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description="The bare routes of the vault's bench.")
    parser.add_argument("--port", type=int, required=True)
    routes(parser.parse_args().port)


if __name__ == "__main__":
    main()
