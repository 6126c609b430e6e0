"""How much to ask a node for at once: learnt from its answers and refusals. Pure, no I/O.

Nodes limit a question for logs by blocks, by results, by bytes or by time, tell so in words of their own, and change
their minds with their load. So nothing is configured: a refusal halves, and answers earn more, slowly near a refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.chain.node import AnswerLate, AnswerTooLong, NodeRefused
from service.chain.reasons import Reason

ADDRESSES_MAX = 500
"""Most addresses in one question for logs."""

LOGS_QUICK = 1_000
"""Logs in an answer of a node that answers at once: short answers are the fastest to make, to send and to read."""

LOGS_SLOW = 10_000
"""Logs in an answer of a node that is far away, where every question costs the way there and back."""

QUICK_S = 0.05
"""A node that answers within this is near."""

LATE_S = 2.0
"""An answer that took longer earns no more: the next one might be late."""

PATIENCE = 20
"""Full answers in a row that earn another try at what was refused before."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which logs: of blocks `first` to `last`, of these addresses, with one of these first topics."""

    first: int
    last: int
    addresses: Sequence[bytes]
    topics: Sequence[bytes]

    @property
    def blocks(self) -> int:
        """How many blocks it is about."""
        return self.last - self.first + 1

    def halves(self) -> "tuple[Question, Question] | None":
        """Two questions that together ask the same: by blocks, then addresses, then topics. None of the smallest."""
        if self.blocks > 1:
            middle = (self.first + self.last) // 2
            return replace(self, last=middle), replace(self, first=middle + 1)
        if len(self.addresses) > 1:
            one, two = _halves(self.addresses)
            return replace(self, addresses=one), replace(self, addresses=two)
        if len(self.topics) > 1:
            one, two = _halves(self.topics)
            return replace(self, topics=one), replace(self, topics=two)
        return None


def _halves(values: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[bytes]]:
    middle = len(values) // 2
    return values[:middle], values[middle:]


def is_too_much(error: Exception) -> bool:
    """Whether a part of the question may have an answer where the whole has none: too long, too many, too late."""
    if isinstance(error, NodeRefused):
        return error.reason in (Reason.RANGE_TOO_LARGE, Reason.TIMED_OUT)
    return isinstance(error, AnswerTooLong | AnswerLate)


@dataclass(slots=True)
class Width:
    """How many blocks and addresses to ask for at once.

    Args:
        blocks_max: never more blocks than this, 1 or more.
        blocks: what to begin with.
    """

    blocks_max: int
    blocks: int = 8
    addresses: int = ADDRESSES_MAX
    _blocks_refused: int | None = None
    _addresses_refused: int | None = None
    _answers: int = 0

    def __post_init__(self) -> None:
        self.blocks = max(1, min(self.blocks, self.blocks_max))

    def took(self, *, blocks: int, logs: int, duration_s: float) -> None:
        """Learn from an answer. One to a narrower question than was due, such as a range's rest, earns nothing."""
        logs_good = LOGS_QUICK if duration_s < QUICK_S else LOGS_SLOW
        if logs > 2 * logs_good:
            self.blocks = max(1, min(self.blocks, blocks * logs_good // logs))
        if blocks < self.blocks or duration_s > LATE_S:
            return
        self._answers += 1
        if self._answers >= PATIENCE:
            self._answers = 0
            self.addresses, self._addresses_refused = _tried_again(self.addresses, self._addresses_refused)
            refused = None if self._blocks_refused is None else _beyond(self._blocks_refused)
            self._blocks_refused = None if refused is None or refused > self.blocks_max else refused
        if 2 * logs <= logs_good:
            wider = min(2 * self.blocks, self.blocks_max)
            if self._blocks_refused is not None:
                wider = min(wider, (self.blocks + self._blocks_refused) // 2)
                if wider - self.blocks <= self._blocks_refused // 8:
                    return  # so near, the next try would cost more than it may win
            self.blocks = wider

    def refused(self, *, blocks: int, addresses: int) -> None:
        """Learn from a question that was too much: fewer blocks, or fewer addresses where it was about one block."""
        self._answers = 0
        if blocks > 1:
            if self._blocks_refused is None or blocks < self._blocks_refused:
                self._blocks_refused = blocks
            self.blocks = max(1, min(self.blocks, blocks // 2))
        elif addresses > 1:
            self._addresses_refused = addresses
            self.addresses = max(1, min(self.addresses, addresses // 2))


def _beyond(refused: int) -> int:
    return refused + max(1, refused // 4)


def _tried_again(now: int, refused: int | None) -> tuple[int, int | None]:
    """A little more than now, and no memory of the refusal once all is allowed again."""
    if refused is None:
        return now, None
    more = min(_beyond(now), ADDRESSES_MAX)
    return more, None if more == ADDRESSES_MAX else refused
