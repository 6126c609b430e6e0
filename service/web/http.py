"""What routes take from the running app."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

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
        description="Your own name for this request, for instance a UUID: 1 to 128 visible ASCII characters, taken as "
        'they are. Written in quotes, as a string of RFC 9651, the quotes belong to it: `"a"` is not `a`. '
        "Sent again with the same body, the request answers with its first result, for ever.",
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

# RFC 3339's own grammar, since parsers of ISO 8601 take much more, a time without its offset included.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _time(given: Any) -> datetime:
    if not isinstance(given, str) or not _TIME.fullmatch(given):
        raise ValueError(
            "give an RFC 3339 time with its offset, such as 2027-01-31T00:00:00Z; in a URL, + is written %2B"
        )
    try:
        found = datetime.fromisoformat(given.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None
    if found.year < 1970:
        raise ValueError("give a time from the year 1970 on")
    return found


Time = Annotated[
    datetime | None,
    BeforeValidator(lambda given: None if given is None else _time(given)),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2027-01-31T00:00:00Z"]}),
]
"""A time with its offset, RFC 3339 on the wire, in UTC inside."""
