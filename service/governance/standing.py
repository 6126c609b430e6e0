"""Where a proposal stands, from what the mirror knows and the number of a block alone. Pure, no I/O.

Source: OpenZeppelin 5.7, Governor.state, GovernorCountingSimple, GovernorTimelockControl.state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from service.governance.orders import Support

State = Literal["pending", "active", "canceled", "defeated", "succeeded", "queued", "executed"]
"""There is no `expired`: a timelock waits for ever."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the governor and its timelock have announced of a proposal's end."""

    executed: bool = False
    canceled: bool = False
    eta: int | None = None  # seconds since 1970; None until it is queued
    timelock: str | None = None  # its own word: scheduled, executed, cancelled or unset; None when nobody follows it


def state_of(
    clock: int, *, snapshot: int, deadline: int, tallies: Mapping[Support, int], quorum: int | None, ended: Ended
) -> State:
    """The state at the end of block `clock`.

    Args:
        snapshot, deadline: block numbers; votes count in the blocks after the one, up to and with the other.
        tallies: base units of votes.
        quorum: base units; None until the snapshot is over.
    """
    if ended.executed or ended.canceled:
        return "executed" if ended.executed else "canceled"
    if quorum is None or snapshot >= clock:
        return "pending"
    if deadline >= clock:
        return "active"
    if quorum > tallies["for"] + tallies["abstain"] or tallies["for"] <= tallies["against"]:
        return "defeated"
    if ended.eta is None:
        return "succeeded"
    return _in_timelock(ended.timelock)


def _in_timelock(word: str | None) -> State:
    """A queued proposal may be executed or canceled in the timelock itself, without a word of the governor's."""
    if word == "executed":
        return "executed"
    return "canceled" if word in ("cancelled", "unset") else "queued"


def quorum_of(supply: int, percent: int) -> int:
    """Votes that decide, in base units: the share of the supply rounded up, and 1 at least. Source: AssetGovernor."""
    return max(-(-supply * percent // 100), 1)


def deadline_of(proposal: Mapping[str, Any], extended: Mapping[str, Any] | None) -> int:
    """The last block in which a vote counts."""
    deadline: int = max(proposal["vote_end"], extended["vote_end"] if extended else 0)
    return deadline
