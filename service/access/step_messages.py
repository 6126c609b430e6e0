"""A critical request as it is approved: what it is told from another by, and what a wallet shows of it. Pure."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import rfc8785

from service.chain.typed_data import TypedData
from service.web.strict_json import strict_json

DOMAIN = "Muniment approvals"
BODY_CHARS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Place:
    """The deployment that messages are for, so that an approval for one is none for another."""

    chain_id: int
    factory: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, byte for byte; `path` with its query, `moves` in words where it is critical for that."""

    method: str
    path: str
    body: bytes = field(repr=False)
    idempotency_key: str
    moves: str = ""

    def print_(self, caller_id: UUID) -> bytes:
        """SHA-256 over all of it, and who asks: any difference is another request. Source: RFC 8785."""
        told = [str(caller_id), self.method, self.path, hashlib.sha256(self.body).hexdigest()]
        return hashlib.sha256(rfc8785.dumps([*told, self.idempotency_key, self.moves])).digest()

    def message(self, issuer_id: UUID, approval_id: UUID, expires_at_s: int) -> dict[str, Any]:
        """What is approved, as it is kept; the body in full as far as a wallet can show it.

        Args:
            expires_at_s: seconds since 1970.
        """
        return {
            "issuer": str(issuer_id),
            "approval": str(approval_id),
            "method": self.method,
            "path": self.path,
            "moves": self.moves,
            "body": _shown(self.body),
            "bodySha256": "0x" + hashlib.sha256(self.body).hexdigest(),
            "idempotencyKey": self.idempotency_key,
            "expiresAt": str(expires_at_s),
        }


def typed_data(place: Place, message: dict[str, Any]) -> TypedData:
    """What an approving account signs. Source: EIP-712."""
    words = ("issuer", "approval", "method", "path", "moves", "body")
    return TypedData(
        DOMAIN,
        place.chain_id,
        place.factory,
        "Approval",
        (
            *((name, "string", message.get(name, "")) for name in words),
            ("bodySha256", "bytes32", bytes.fromhex(message["bodySha256"][2:])),
            ("idempotencyKey", "string", message["idempotencyKey"]),
            ("expiresAt", "uint256", int(message["expiresAt"])),
        ),
    )


def _without_signed(body: bytes) -> bytes:
    """A body without what a holder signed: until it is used, whoever reads it could use it."""
    try:
        told = strict_json(body)
    except ValueError:
        return body
    if not isinstance(told, dict) or "signed" not in told:
        return body
    return json.dumps({**told, "signed": "…"}, ensure_ascii=False).encode()


def _shown(body: bytes) -> str:
    text = _without_signed(body).decode(errors="replace")
    # What turns the direction of writing or hides would let a wallet show something else.
    shown = "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text[:BODY_CHARS_MAX])
    return shown + "…" if len(text) > BODY_CHARS_MAX else shown
