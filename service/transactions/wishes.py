"""Storing wishes as a part of the one statement that accepts them."""

from typing import Any, LiteralString
from uuid import UUID

from service.transactions.commands import Wish

COLUMNS: LiteralString = """transaction_id uuid, signer bytea, recipient bytea, data bytea, proof_recipient bytea,
    proof_data bytea, effect_until timestamptz"""
"""What `record` tells of a wish; whose it is and for which chain, its operation's record tells."""

ENQUEUE: LiteralString = """INSERT INTO transactions (id, chain_id, signer, recipient, data, proof_recipient,
        proof_data, effect_until, issuer_id, caller_id)
    SELECT transaction_id, chain_id, signer, recipient, data, proof_recipient, proof_data, effect_until, issuer_id,
        caller_id
    FROM accepted ORDER BY transaction_id"""
"""Stores the wishes of a relation `accepted`; the sender carries them out."""


def record(id: UUID, wish: Wish) -> dict[str, Any]:
    """A wish as JSON that Postgres reads."""
    proof_recipient, proof_data = wish.proof or (None, None)
    return {
        "transaction_id": str(id),
        "signer": hex_text(wish.signer),
        "recipient": hex_text(wish.recipient),
        "data": hex_text(wish.data),
        "proof_recipient": hex_text(proof_recipient),
        "proof_data": hex_text(proof_data),
        "effect_until": None if wish.effect_until is None else wish.effect_until.isoformat(),
    }


def hex_text(data: bytes | None) -> str | None:
    """Bytes as text that Postgres reads."""
    return None if data is None else f"\\x{data.hex()}"
