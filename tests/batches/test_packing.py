"""Packs: small enough for a block, and the same for the same rows."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batches.orders import FREEZE, IDENTITY, KINDS, MINT, TRANSFER, Kind
from service.batches.packing import PACK_GAS_BASE, PACK_GAS_MAX, ROW_GAS, form_packs, row_gas
from service.tokens.controls import MintOrder
from service.tokens.moves import TransferOrder

TRANSACTION_GAS_MAX = 2**24  # source: EIP-7825
COSTS = {
    row["what"]: int(row["figure"].replace(",", ""))
    for row in re.finditer(
        r"^\| (?P<what>[^|]+, a row, gas) \| (?P<figure>[\d,]+) \|$",
        (Path(__file__).parents[2] / "contracts/README.md").read_text(),
        re.MULTILINE,
    )
}

senders = st.lists(st.integers(0, 5), min_size=1, max_size=300)


def transfers(accounts: list[int]) -> dict[int, TransferOrder]:
    return {
        number: TransferOrder.model_validate({"from": bytes([9] * 19 + [each]), "to": bytes([1] * 20), "amount": "1"})
        for number, each in enumerate(accounts, start=1)
    }


@given(senders, st.integers(100_000, 6_000_000))
def test_every_row_is_in_one_pack_of_its_own_account(accounts: list[int], gas: int) -> None:
    orders = transfers(accounts)
    packs = form_packs(TRANSFER, orders, gas)
    assert sorted(number for pack in packs for number in pack.rows) == list(orders)
    assert [pack.number for pack in packs] == list(range(1, len(packs) + 1))
    for pack in packs:
        assert list(pack.rows) == sorted(pack.rows)
        assert {orders[number].holder for number in pack.rows} == {pack.account}
        assert PACK_GAS_BASE + len(pack.rows) * gas <= PACK_GAS_MAX


def test_ten_thousand_mints_are_few_packs() -> None:
    orders = dict.fromkeys(range(1, 10_001), MintOrder.model_validate({"to": bytes([1] * 20), "amount": "1"}))
    packs = form_packs(MINT, orders, row_gas(MINT, "AssetToken", regulated=False))
    assert len(packs) == 29
    assert [number for pack in packs for number in pack.rows] == list(orders)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
@pytest.mark.parametrize("artifact", ROW_GAS)
@pytest.mark.parametrize("regulated", [False, True])
def test_a_pack_leaves_a_quarter_of_what_a_transaction_may_use(kind: Kind, artifact: str, regulated: bool) -> None:
    gas = row_gas(kind, artifact, regulated=regulated)
    assert gas * 4 < PACK_GAS_MAX
    assert PACK_GAS_MAX * 5 / 4 < TRANSACTION_GAS_MAX


@pytest.mark.parametrize("what", COSTS)
def test_a_row_costs_no_more_than_a_pack_counts_for_it(what: str) -> None:
    name, _, deed = what.partition(": ")
    artifact, regulated = name.partition(",")[0], "every rule" in name
    if artifact == "Distributor":
        return
    kind = next(
        kind
        for word, kind in (("Mint", MINT), ("Transfer", TRANSFER), ("Frozen", FREEZE), ("Identity", IDENTITY))
        if word in deed
    )
    assert COSTS[what] < row_gas(kind, artifact, regulated=regulated)
