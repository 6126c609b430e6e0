"""What routes take from the running app."""

from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi import Path as PathParameter
from pydantic import BeforeValidator, WithJsonSchema

from service.addresses import parse_holder
from service.db import Database


# Async, like every dependency here: a plain function would cost a thread for each request.
async def _db(request: Request) -> Database:
    db: Database = request.app.state.db
    return db


Db = Annotated[Database, Depends(_db)]

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="Your own name for this request, for instance a UUID: 1 to 128 visible ASCII characters. "
        "Sent again with the same body, the request answers with its first result.",
        examples=["mint-2026-0001"],
    ),
]

AddressInPath = Annotated[
    bytes,
    PathParameter(description="0x and 40 hexadecimal digits, with a right EIP-55 checksum or in one case."),
    BeforeValidator(parse_holder),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^0x[0-9a-fA-F]{40}$",
            "examples": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        }
    ),
]
"""An account's address, 20 bytes."""
