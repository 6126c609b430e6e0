"""What is offered for a place in a block, and how an offer is raised. Pure. Source: EIP-1559."""

from dataclasses import dataclass

GAS_MARGIN_PERCENT = 25
"""Over the estimate: the state may change between the estimate and the block."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Both fee fields of a type-2 transaction, in wei for each unit of gas."""

    max_fee_wei: int
    priority_fee_wei: int


def offer(base_fee_wei: int, priority_fee_wei: int) -> Offer:
    """An offer that stays good while the base fee doubles, which takes six full blocks."""
    return Offer(max_fee_wei=2 * base_fee_wei + priority_fee_wei, priority_fee_wei=priority_fee_wei)


def capped_offer(base_fee_wei: int, priority_fee_wei: int, *, cap_wei: int) -> Offer | None:
    """The same, but never above the cap; None when the next block asks more than the cap allows."""
    if base_fee_wei > cap_wei:
        return None
    max_fee = min(offer(base_fee_wei, priority_fee_wei).max_fee_wei, cap_wei)
    return Offer(max_fee, min(priority_fee_wei, max_fee))


def raised(former: Offer, market: Offer | None, *, cap_wei: int) -> Offer | None:
    """A better offer for the same nonce: an eighth more in both fields, or what the market asks where that is more.

    Nodes take a replacement only when both fields are at least a tenth higher. None when the cap forbids it.
    """
    max_fee, priority = _eighth_more(former.max_fee_wei), _eighth_more(former.priority_fee_wei)
    if max_fee > cap_wei:
        return None
    if market is not None:
        max_fee, priority = max(max_fee, market.max_fee_wei), max(priority, market.priority_fee_wei)
    max_fee = min(max_fee, cap_wei)
    return Offer(max_fee, min(priority, max_fee))


def is_adequate(given: Offer, base_fee_wei: int, priority_fee_wei: int) -> bool:
    """Whether the next block's producer would take it: it covers the base fee, and leaves the usual tip."""
    tip = min(given.priority_fee_wei, given.max_fee_wei - base_fee_wei)
    return given.max_fee_wei >= base_fee_wei and tip >= priority_fee_wei


def gas_limit(estimate: int) -> int:
    """The gas limit for an estimate, rounded up."""
    return estimate + -(-estimate * GAS_MARGIN_PERCENT // 100)


def _eighth_more(wei: int) -> int:
    return max(wei + -(-wei // 8), wei + 1)
