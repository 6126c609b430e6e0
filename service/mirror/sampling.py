"""What a sample is: so many of each, drawn by lot from a seed, so that the same draw can be made again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """At most `count` of each thing, drawn from `seed`, 0 to 2**64 - 1."""

    count: int
    seed: int

    @property
    def bytes(self) -> bytes:
        """The seed, to draw with in Postgres."""
        return self.seed.to_bytes(8)

    def of(self, things: Sequence[T]) -> list[T]:
        """Some of the things, in their order."""
        drawn = random.Random(self.seed).sample(range(len(things)), min(self.count, len(things)))  # noqa: S311
        return [things[place] for place in sorted(drawn)]
