"""What a signer may sign: each limit at its edge, and what it lets through."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from service.keys.policy import Policy, Recent, Refusal, SigningIntent, refusal
from service.keys.unsigned import UnsignedTransaction

CONTRACT, SIGNER = b"\x22" * 20, b"\x11" * 20
MINT = bytes.fromhex("40c10f19")
CALL = UnsignedTransaction(
    chain_id=31337,
    nonce=7,
    to=CONTRACT,
    data=MINT + bytes(64),
    value=5,
    gas_limit=100_000,
    max_fee_wei=30,
    priority_fee_wei=1,
)
FEE_WEI = 3_000_000
INTENT = SigningIntent(UUID(int=1), UUID(int=2), CALL, SIGNER, approved=False, purpose="transaction")
EMPTY = replace(INTENT, transaction=replace(CALL, to=SIGNER, data=b"", value=0), purpose="cancel")
NONE = Recent()


def changed(**changes: Any) -> SigningIntent:
    return replace(INTENT, transaction=replace(CALL, **changes))


def test_without_limits_everything_is_signed() -> None:
    for intent in (INTENT, changed(to=None), changed(data=b"", value=2**255), EMPTY):
        assert refusal(Policy(), intent, Recent(10**6, 10**30)) is None


@pytest.mark.parametrize(
    ("limits", "intent", "recent", "told"),
    [
        ({"frozen": True}, INTENT, NONE, Refusal.FROZEN),
        ({"frozen": True}, EMPTY, NONE, Refusal.FROZEN),
        ({"contracts": [CONTRACT]}, INTENT, NONE, None),
        ({"contracts": []}, INTENT, NONE, Refusal.CONTRACT),
        ({"contracts": [SIGNER]}, INTENT, NONE, Refusal.CONTRACT),
        ({"contracts": [CONTRACT]}, changed(to=None), NONE, Refusal.CONTRACT),
        ({"selectors": [MINT]}, INTENT, NONE, None),
        ({"selectors": [b"\xde\xad\xbe\xef"]}, INTENT, NONE, Refusal.SELECTOR),
        ({"selectors": [MINT]}, changed(data=MINT[:3]), NONE, Refusal.SELECTOR),
        ({"selectors": [MINT]}, changed(data=b""), NONE, Refusal.SELECTOR),
        ({"value_max_wei": 5}, INTENT, NONE, None),
        ({"value_max_wei": 4}, INTENT, NONE, Refusal.VALUE),
        ({"value_max_wei": 0}, changed(value=0), NONE, None),
        ({"fee_max_wei": FEE_WEI}, INTENT, NONE, None),
        ({"fee_max_wei": FEE_WEI - 1}, INTENT, NONE, Refusal.FEE),
        ({"fee_max_wei": FEE_WEI - 1}, EMPTY, NONE, Refusal.FEE),
        ({"fee_window_max_wei": FEE_WEI + 9}, INTENT, Recent(1, 9), None),
        ({"fee_window_max_wei": FEE_WEI + 9}, INTENT, Recent(1, 10), Refusal.FEE),
        ({"rate_max": 3}, INTENT, Recent(2, 0), None),
        ({"rate_max": 3}, INTENT, Recent(3, 0), Refusal.RATE),
        ({"rate_max": 3}, EMPTY, Recent(3, 0), None),
        ({"approvals": "all"}, INTENT, NONE, Refusal.APPROVAL),
        ({"approvals": "all"}, changed(data=b""), NONE, Refusal.APPROVAL),
        ({"approvals": "all"}, replace(INTENT, approved=True), NONE, None),
        ({"approvals": "all"}, EMPTY, NONE, None),
        ({"approvals": [MINT]}, INTENT, NONE, Refusal.APPROVAL),
        ({"approvals": [b"\xde\xad\xbe\xef"]}, INTENT, NONE, None),
        ({"contracts": [], "selectors": [], "value_max_wei": 0}, EMPTY, NONE, None),
    ],
)
def test_a_limit_holds_at_its_edge(
    limits: dict[str, Any], intent: SigningIntent, recent: Recent, told: Refusal | None
) -> None:
    assert refusal(Policy(**limits), intent, recent) is told


@pytest.mark.parametrize("purpose", ["cancel", "filler", "anything"])
@pytest.mark.parametrize("changes", [{"data": b"\x00"}, {"value": 1}, {"to": CONTRACT}, {"to": None}])
def test_what_is_called_empty_must_be(purpose: str, changes: dict[str, Any]) -> None:
    pretended = replace(EMPTY, transaction=replace(EMPTY.transaction, **changes), purpose=purpose)
    assert refusal(Policy(), pretended, NONE) is Refusal.NOT_EMPTY


def test_an_empty_transaction_counts_for_fees_and_not_for_the_rate() -> None:
    assert NONE.with_(INTENT).with_(EMPTY) == Recent(1, 2 * FEE_WEI)


def test_a_policy_survives_its_row() -> None:
    policy = Policy(
        contracts=frozenset({CONTRACT}),
        selectors=frozenset({MINT}),
        value_max_wei=2**255,
        fee_window_max_wei=1,
        rate_max=10,
        rate_window_s=60,
        approvals=frozenset({MINT}),
    )
    stored = policy.model_dump(mode="json", exclude_none=True)
    assert stored["value_max_wei"] == str(2**255)
    assert stored["selectors"] == ["0x40c10f19"]
    assert Policy.model_validate(stored) == policy


def test_the_freeze_switch_is_not_among_the_stored_limits() -> None:
    assert "frozen" not in Policy(frozen=True).model_dump(mode="json")


@pytest.mark.parametrize(
    "limits",
    [
        {"contract": []},
        {"contracts": ["0x22"]},
        {"selectors": ["mint"]},
        {"selectors": ["0x40c10f"]},
        {"selectors": ["0x40c10fzz"]},
        {"value_max_wei": -1},
        {"value_max_wei": "1.5"},
        {"value_max_wei": 1.5},
        {"value_max_wei": str(2**256)},
        {"rate_max": 0},
        {"rate_window_s": 0},
        {"rate_window_s": 31 * 86_400},
        {"approvals": "some"},
    ],
)
def test_what_is_no_policy_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(limits)
