"""What a chaos run does, drawn from a seed: the operations that are asked for, and the faults that they meet. Pure.

Every operation has amounts or accounts that no other one has, so its effect is told from all others by the chain's own
events, and nothing of the service is needed to find it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from scripts.proxy import Disturbance

TOKENS = 3
HOLDERS = 6
"""Managed accounts that hold enough of every token for anything."""

UNITS_EACH = 10**12
"""Of every token, for each of them."""

OVERDRAFT = 10**15
"""More than anybody holds."""

ASKS_EACH_ROUND = 14
REORGANISED_MAX = 12

T = TypeVar("T")

SURE, NEVER, EITHER = "succeeds", "never succeeds", "either"

KINDS: dict[str, tuple[int, str]] = {
    "mint": (24, SURE),
    "transfer": (24, SURE),
    "batch-mint": (6, SURE),
    "batch-transfer": (4, SURE),
    "burn": (8, SURE),
    "approve": (5, SURE),
    "redeem": (5, SURE),
    "freeze": (8, SURE),
    "grant": (4, SURE),
    "deploy": (1, SURE),
    "relayed": (2, SURE),  # a message that a holder with its own key signed
    "passed-on": (2, SURE),  # a transaction that a holder with its own key signed
    "contested": (3, EITHER),  # a transfer out of a holding that does not suffice for all of its kind
    "refreeze": (2, EITHER),  # a freeze that only the first one of its kind may do
    "overdraft": (2, NEVER),
}
"""How often each kind is drawn, and what is to become of it."""

RPC_DISTURBANCES = tuple(Disturbance)
POSTGRES_DISTURBANCES = tuple(each for each in Disturbance if each not in (Disturbance.ERROR, Disturbance.TWICE))

PROCESSES = ("api", "sender", "indexer", "dispatcher")

BREAKS = (
    *(f"kill {name}" for name in PROCESSES),
    "kill all",
    "pause sender",
    "pause indexer",
    "pause api",
    "drop mempool",
    "reorganise",
    "reorganise",
    "reorganise",
    "restart chain",
    "drain signer",
    "raise base fee",
    "spend nonce",
)
"""What is done to processes and chain; each comes once before any comes again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One operation to ask for. `amounts` are base units: one, or one for each row of a batch."""

    number: int
    kind: str
    token: int
    holder: int
    others: tuple[int, ...]
    amounts: tuple[int, ...]
    account: str  # 20 bytes as 0x text; nobody else's
    secret: bytes = field(repr=False)  # the key of a holder with its own, for the kinds that need one

    @property
    def expected(self) -> str:
        """SURE, NEVER or EITHER."""
        return KINDS[self.kind][1]


@dataclass(frozen=True, slots=True)
class Round:
    """Operations asked for at once, and what goes wrong meanwhile.

    `strength` is what its break makes of it: blocks, transactions or a factor. Times are in seconds.
    """

    asks: tuple[Ask, ...]
    side: str  # rpc or postgres
    disturbance: Disturbance
    disturbed_s: float
    breaks: str
    strength: int
    down_s: float
    rest_s: float

    def __str__(self) -> str:
        return f"{self.side} {self.disturbance} {self.disturbed_s:.1f} s; {self.breaks} {self.strength}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seed: int
    rounds: tuple[Round, ...]

    @property
    def asks(self) -> list[Ask]:
        """Every operation, in order."""
        return [ask for each in self.rounds for ask in each.asks]


def draw(operations: int, seed: int) -> Plan:
    """The plan of a seed: the same one every time."""
    dice = random.Random(seed)
    kinds, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    drawn = dice.choices(kinds, weights, k=operations)
    asks = [_ask(dice, number, kind) for number, kind in enumerate(drawn, start=1)]
    rounds = max(len(BREAKS), -(-operations // ASKS_EACH_ROUND))
    sides = [("rpc", each) for each in RPC_DISTURBANCES] + [("postgres", each) for each in POSTGRES_DISTURBANCES]
    wrongs, breaks = _dealt(dice, sides), _dealt(dice, BREAKS)
    bounds = [operations * number // rounds for number in range(rounds + 1)]
    return Plan(
        seed,
        tuple(_round(dice, asks[start:end], next(wrongs), next(breaks)) for start, end in pairwise(bounds)),
    )


def _ask(dice: random.Random, number: int, kind: str) -> Ask:
    token, holder = dice.randrange(TOKENS), dice.randrange(HOLDERS)
    strangers = [each for each in range(HOLDERS) if each != holder]
    rows = dice.randrange(2, HOLDERS) if kind.startswith("batch") else 1
    amounts = tuple(1_000 * number + row for row in range(rows))
    account, secret = f"0x{dice.randbytes(20).hex()}", dice.randbytes(32)
    return Ask(number, kind, token, holder, tuple(dice.sample(strangers, rows)), amounts, account, secret)


def _round(dice: random.Random, asks: Sequence[Ask], wrong: tuple[str, Disturbance], breaks: str) -> Round:
    most = {"reorganise": REORGANISED_MAX, "restart chain": 2, "raise base fee": 20, "spend nonce": 3}.get(breaks, 1)
    return Round(
        tuple(asks),
        *wrong,
        disturbed_s=dice.uniform(0.3, 1.2),
        breaks=breaks,
        strength=dice.randint(4 if breaks == "raise base fee" else 1, most),
        down_s=dice.uniform(0.0, 0.5),
        rest_s=dice.uniform(0.0, 0.4),
    )


def _dealt(dice: random.Random, cards: Sequence[T]) -> Iterator[T]:
    """All cards in some order, then all again in another."""
    while True:
        yield from dice.sample(cards, len(cards))
