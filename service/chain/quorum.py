"""What several endpoints say, as one answer."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from service.chain.node import NodeRefused
from service.chain.reasons import NOT_NOW, Reason

T = TypeVar("T")

_TELLING = (
    *(Reason.ALREADY_KNOWN, Reason.NONCE_SPENT, Reason.REPLACEMENT_UNDERPRICED, Reason.NO_FUNDS, Reason.FEE_TOO_LOW),
    *(Reason.FEE_OVER_CAP, Reason.NONCE_TOO_HIGH, Reason.SENDER_BARRED, Reason.POOL_FULL),
)


def agreed(
    voices: Sequence[Sequence[T | None]], quorum: int, *, key: Callable[[T], Hashable]
) -> tuple[list[T | None], set[int]]:
    """Of each place what at least `quorum` voices say alike, else None; and the voices that contradict.

    Args:
        voices: equally long; None says nothing and contradicts nobody.
        key: what must be alike.

    Returns:
        The second is every voice that in some place said something else than what was agreed there, or than another
        voice where nothing was.
    """
    found: list[T | None] = []
    dissenting: set[int] = set()
    for place in zip(*voices, strict=True):
        keys = [None if said is None else key(said) for said in place]
        votes = Counter(each for each in keys if each is not None).most_common(2)
        tied = len(votes) == 2 and votes[0][1] == votes[1][1]
        winner = votes[0][0] if votes and votes[0][1] >= quorum and not tied else None
        found.append(None if winner is None else place[keys.index(winner)])
        if len(votes) == 2:
            dissenting.update(at for at, each in enumerate(keys) if each is not None and each != winner)
    return found, dissenting


def reached(numbers: Sequence[int], quorum: int) -> int:
    """The highest number that at least `quorum` of them reach."""
    return sorted(numbers, reverse=True)[quorum - 1]


def most_telling(outcomes: Sequence[NodeRefused | None]) -> NodeRefused | None:
    """Of what endpoints said to one transaction: None when any took it, else the refusal that tells most.

    A refusal that is final is believed only when every endpoint that judged the transaction says so.
    """
    return min(outcomes, key=_rank)


def _rank(outcome: NodeRefused | None) -> int:
    if outcome is None:
        return -1
    if outcome.reason in _TELLING:
        return _TELLING.index(outcome.reason)
    if outcome.reason in NOT_NOW:
        return len(_TELLING) + 2
    return len(_TELLING) + outcome.reason.final
