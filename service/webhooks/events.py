"""What a receiver is told of a fact: its type, its subject, and how much of it. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

BODY_BYTES_MAX = 20_000
"""Source: Standard Webhooks 1.0, payload size."""

EARLY = "unfinal."
"""Types that begin so tell what may still be undone; whoever wants them names them."""
MINED, REORGANISED = "unfinal.operation.mined", "unfinal.operation.reorganised"
TEST = "webhook.test"

WANTED = re.compile(r"\*|[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*(\.\*)?")

# Whatever is not listed stays here: names, purposes, reasons and hashes of what the vault keeps are none of these.
_THIN = (
    *("operation", "operation_kind", "chain", "token", "contract", "caller", "key", "credential", "family", "version"),
    *("policy", "policy_id", "subject", "record", "person", "document", "document_id", "approval", "suspension"),
    *("payment", "webhook", "host", "disabled_for"),
)
_WHOLE = "operation."


def wants(types: Sequence[str], type_: str) -> bool:
    """Whether one of the names or patterns (`*`, `vault.*`) means a type; `*` means all that is final."""
    early = type_.startswith(EARLY)
    return any(
        each == type_ or (each == "*" and not early) or (each.endswith(".*") and type_.startswith(each[:-1]))
        for each in types
    )


def subject_of(kind: str, body: Mapping[str, Any]) -> str:
    """Whose history a fact belongs to: its sequence is counted for that."""
    for name in ("token", "contract", "policy", "webhook", "credential", "person", "key"):
        if isinstance(found := body.get(name), str):
            return f"{name}:{found}"
    return kind.partition(".")[0]


def told(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a fact leaves: all of an operation, and of anything else its ids alone."""
    if kind.startswith(_WHOLE):
        return {name: value for name, value in body.items() if name != "kind"}
    return _thin(body)


def payload(
    type_: str, *, recorded_at: datetime, subject: str, sequence: int, number: int, data: Mapping[str, Any]
) -> bytes:
    """The body of a message, the same bytes whenever it is made.

    Args:
        sequence: counts the messages of this subject to this webhook from 1.
        number: counts all messages to this webhook from 1.
    """
    envelope = {
        "type": type_,
        "timestamp": instant(recorded_at),
        "final": not type_.startswith(EARLY),
        "subject": subject,
        "sequence": sequence,
        "number": number,
    }
    whole = _written({**envelope, "data": dict(data)})
    return whole if len(whole) <= BODY_BYTES_MAX else _written({**envelope, "thin": True, "data": _thin(data)})


def instant(at: datetime) -> str:
    """A time in UTC. Source: RFC 3339."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _thin(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in _THIN if isinstance(body.get(name), str | int)}


def _written(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
