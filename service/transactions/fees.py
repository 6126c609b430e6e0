"""What a transaction offers. Pure."""

from dataclasses import dataclass

GAS_MARGIN_PERCENT = 25
"""Over the estimate: the state may change between the estimate and the block."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Both fee fields of a type-2 transaction, in wei for each unit of gas. Source: EIP-1559."""

    max_fee_wei: int
    priority_fee_wei: int


def offer(base_fee_wei: int, priority_fee_wei: int) -> Offer:
    """An offer that stays good while the base fee doubles, which takes six full blocks."""
    return Offer(max_fee_wei=2 * base_fee_wei + priority_fee_wei, priority_fee_wei=priority_fee_wei)


def gas_limit(estimate: int) -> int:
    """The gas limit for an estimate, rounded up."""
    return estimate + -(-estimate * GAS_MARGIN_PERCENT // 100)
