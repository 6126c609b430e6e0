"""Offers and gas limits."""

from hypothesis import given
from hypothesis import strategies as st

from service.transactions.fees import gas_limit, offer

WEI = st.integers(0, 2**128)


@given(base=WEI, priority=WEI)
def test_an_offer_survives_a_doubled_base_fee(base: int, priority: int) -> None:
    made = offer(base, priority)
    assert made.max_fee_wei >= 2 * base + made.priority_fee_wei
    assert made.priority_fee_wei <= made.max_fee_wei


@given(st.integers(21_000, 2**40))
def test_a_gas_limit_is_a_quarter_over_the_estimate_rounded_up(estimate: int) -> None:
    assert estimate * 125 <= gas_limit(estimate) * 100 < estimate * 125 + 100
