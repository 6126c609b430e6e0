"""What the mirror's bench is compared with, each a process of its own: fetching alone, and a route alone.

`ceiling` fetches, decodes and COPYs all transfers of a chain, with nothing checked, derived or indexed. `route` serves
the query of one holding from FastAPI with nothing around it.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import psycopg

from service.mirror.queries import HOLDING

BLOCKS_IN_A_REQUEST = 10
FETCHERS = 2
"""Small answers on two connections are what the node gives fastest."""

TABLE = "ceiling_transfers"
URL = "BENCH_DATABASE_URL"
"""The variable that tells where Postgres is: a command line would show its password."""


class _Log(msgspec.Struct, rename="camel", gc=False):
    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    log_index: str


class _Answer(msgspec.Struct, gc=False):
    result: list[_Log]


_decode = msgspec.json.Decoder(_Answer).decode


async def ceiling(node: str, *, first: int, last: int, addresses: list[str]) -> dict[str, float]:
    """Fill a table with a chain's transfers; how many came, how long that took, and how much processor time."""
    starts = iter(range(first, last + 1, BLOCKS_IN_A_REQUEST))
    ids = {address.lower(): str(number) for number, address in enumerate(addresses, start=1)}
    count, lock = 0, asyncio.Lock()
    async with (
        await psycopg.AsyncConnection.connect(os.environ[URL]) as connection,
        connection.cursor() as cursor,
        aiohttp.ClientSession() as session,
    ):
        await cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
        await cursor.execute(f"CREATE TABLE {TABLE} (LIKE mirror.transfers)")
        started_s, spent_s = time.perf_counter(), time.process_time()
        columns = "block_hash, log_index, contract_id, block_number, transaction_hash, sender, recipient, amount"
        async with cursor.copy(f"COPY {TABLE} ({columns}, deed_id, canonical) FROM STDIN") as copy:

            async def fetch() -> None:
                nonlocal count
                for start in starts:
                    end = min(start + BLOCKS_IN_A_REQUEST - 1, last)
                    query = {"fromBlock": hex(start), "toBlock": hex(end), "address": addresses}
                    asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [query]}
                    async with session.post(node, json=asked) as answer:
                        logs = _decode(await answer.read()).result
                    count += len(logs)
                    written = "".join(_rows(logs, ids))
                    async with lock:
                        await copy.write(written)

            await asyncio.gather(*(fetch() for _ in range(FETCHERS)))
        await connection.commit()
        took_s, spent_s = time.perf_counter() - started_s, time.process_time() - spent_s
        return {"took_s": took_s, "cpu_s": spent_s, "events": count}


def _rows(logs: list[_Log], ids: dict[str, str]) -> Iterator[str]:
    for log in logs:
        topics = log.topics
        deed = len(topics) == 4
        amount, deed_id = (1, int(topics[3], 16)) if deed else (int(log.data, 16), r"\N")
        yield (
            f"\\\\x{log.block_hash[2:]}\t{int(log.log_index, 16)}\t{ids[log.address]}\t{int(log.block_number, 16)}\t"
            f"\\\\x{log.transaction_hash[2:]}\t\\\\x{topics[1][26:]}\t\\\\x{topics[2][26:]}\t{amount}\t{deed_id}\tt\n"
        )


def route(port: int) -> None:
    """Serve `/{contract}/{account}/{block}` until a signal, as the API's process is served."""
    import uvicorn
    from fastapi import FastAPI
    from psycopg_pool import AsyncConnectionPool

    kwargs: dict[str, Any] = {"autocommit": True}
    pool = AsyncConnectionPool(os.environ[URL], min_size=10, max_size=10, kwargs=kwargs, open=False)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        del app
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/{contract}/{account}/{block}")
    async def read(contract: int, account: str, block: int) -> dict[str, str]:
        given = {"contract_id": contract, "account": bytes.fromhex(account[2:]), "block": block}
        async with pool.connection() as connection:
            row = await (await connection.execute(HOLDING, given)).fetchone()
        return {"account": account, "amount": str(row[0] if row else 0)}

    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


def main() -> int:
    """Do what is asked; the last line is a JSON object."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench_mirror_references", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("ceiling", help="fetch, decode and COPY all transfers of a chain")
    fetching.add_argument("--node", required=True)
    fetching.add_argument("--first", type=int, required=True)
    fetching.add_argument("--last", type=int, required=True)
    fetching.add_argument("--address", action="append", required=True)
    serving = commands.add_parser("route", help="serve one holding, and nothing else")
    serving.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    if asked.command == "route":
        route(asked.port)
    else:
        done = asyncio.run(ceiling(asked.node, first=asked.first, last=asked.last, addresses=asked.address))
        print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
