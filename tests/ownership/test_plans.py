"""What is asked of owners is answered from indexes."""

from typing import Any, LiteralString

import psycopg
import pytest

from service.mirror import lines, movements, ownership
from tests.mirror.test_plans import MODES, explain, filled

__all__ = ["filled"]

ACCOUNT = bytes.fromhex("5feceb66ffc86f38d952786c6d696c79c2dbc239")

GIVEN: dict[str, Any] = {
    "account": ACCOUNT,
    "accounts": [ACCOUNT],
    "after": b"\x40",
    "after_block": 9_000,
    "after_log_index": 3,
    "before_account": b"\x80",
    "below_account": b"\x40",
    "below_amount": 50,
    "chain_id": 1,
    "count_max": 50,
    "deed_id": 500,
    "first_block": 1,
    "floors": [10, 20],
    "from_block": 9_500,
    "gained": None,
    "nobody": bytes(20),
    "period": "day",
    "starts": [0, 5_000],
    "step": "1 day",
    "supply": 10**6,
    "top_max": 100,
}

PAGES: dict[str, tuple[LiteralString, set[str]]] = {
    "largest now": (ownership.BY_AMOUNT_NOW, {"holdings_contract_id_amount_idx"}),
    "amounts of some": (ownership.AMOUNTS, {"holdings_pkey"}),
    "changes of accounts": (ownership.CHANGES_OF_ACCOUNTS, {"holdings_open_key", "holdings_pkey"}),
    "changes of transfers": (ownership.CHANGES_OF_TRANSFERS, {"transfers_contract_id_idx", "holdings_pkey"}),
    "transfers between": (ownership.TRANSFERS_BETWEEN, {"transfers_contract_id_idx"}),
    "period starts": (ownership.PERIOD_STARTS, {"blocks_chain_id_timestamp_idx"}),
    "transfers of a holder": (
        movements.HOLDER_TRANSFERS,
        {"transfers_contract_id_sender_idx", "transfers_contract_id_recipient_idx", "blocks_pkey"},
    ),
    # Its own block's transfers are few by any index.
    "held after": (movements.HELD_AFTER, {"holdings_pkey"}),
    "transfers of a deed": (movements.DEED_TRANSFERS, {"transfers_contract_id_deed_id_idx"}),
    "received": (movements.RECEIVED, {"transfers_contract_id_recipient_idx", "blocks_pkey"}),
    "received by all": (movements.RECEIVED_BY_ALL, {"transfers_contract_id_recipient_idx", "holdings_pkey"}),
    "lines of holders now": (lines.HELD_LINES_NOW, {"holdings_holders_idx"}),
    "lines of holders then": (lines.HELD_LINES_THEN, {"holdings_open_key", "holdings_pkey"}),
    "lines of transfers": (lines.TRANSFER_LINES, {"transfers_contract_id_idx", "blocks_pkey"}),
}
"""Questions whose work is bounded by a page."""

WHOLE: dict[str, tuple[LiteralString, set[str]]] = {
    "ranked then": (ownership.RANKED.format(ownership.HELD_THEN), {"holdings_open_key", "holdings_pkey"}),
    "concentration then": (
        ownership.CONCENTRATION.format(ownership.HELD_THEN),
        {"holdings_open_key", "holdings_pkey"},
    ),
    "period changes": (ownership.PERIOD_CHANGES, set()),  # most rows of the table are this contract's
}
"""Questions that no page can answer."""


@pytest.mark.parametrize("mode", MODES)
def test_questions_of_ownership_use_their_indexes(filled: psycopg.Connection[Any], mode: str) -> None:
    for name, (query, indexes) in {**PAGES, **WHOLE}.items():
        found = explain(filled, query, mode, **GIVEN)
        used = {node["Index Name"] for node in found if "Index Name" in node}
        assert indexes <= used, f"{name} uses {used}"
        scanned = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"contracts", *(() if indexes else ("holdings",))}, f"{name} reads all of {scanned}"
