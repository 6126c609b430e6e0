"""What comparing the mirror comes to: differences, findings, and how far it is."""

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[int, int], None]
"""Called with comparisons done and in all, as far as that is known."""

NOTHING = "nothing"
"""What is told of a row that is not there."""


class ReorganisedMeanwhile(Exception):
    """The block left the chain, or the mirror, while it was compared: run again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the mirror and the chain say differently, each in its own words.

    Where the mirror contradicts itself, `chain` is what its other rows say.
    """

    kind: str  # block_hash, code, supply, sum_of_holdings, paused, a table's name in the singular, or an aspect
    contract: bytes | None
    account: bytes | None
    mirror: str
    chain: str
    key: bytes | None = None  # of a title, the deed in 32 bytes; of an aspect, the key
    block: int | None = None  # None: at the block of the report


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a contract of others that its transfers do not tell.

    `name` is `balances-do-not-follow`, with `cause` fee-on-transfer, rebasing or unknown; or `no-return-value`, whose
    balances do follow; or `expelled`, of one that the factory deployed at `block`, which is followed no longer.
    """

    name: str
    contract: bytes
    cause: str | None
    account: bytes | None
    block: int
    mirror: str
    chain: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared, at one block and before it, and every difference."""

    block: int
    block_hash: bytes
    compared: int
    differences: tuple[Difference, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Tally:
    """How many comparisons are done, and how many there will be."""

    progress: Progress | None
    total: int = 0
    compared: int = 0

    def expect(self, count: int) -> None:
        """So many more will come."""
        self.total += count

    def add(self, count: int) -> None:
        """So many more are done."""
        self.compared += count
        if self.progress is not None:
            self.progress(min(self.compared, self.total), self.total)
