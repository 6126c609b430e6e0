"""Whether the providers of keys are there, asked beside the lanes, so that nothing waits for one that hangs."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Self

from service.keys.guard import Fault, Guard

ASK_EVERY_S = 30.0
"""How often each key is asked for: some providers charge for a question."""

NO_FAULTS: Mapping[bytes, Fault] = MappingProxyType({})


class Providers:
    """What the last look at the providers found; a look that is under way is called off at the end of the block."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._found = NO_FAULTS
        self._look: asyncio.Task[None] | None = None
        self._asked_s = -ASK_EVERY_S

    def faults(self) -> Mapping[bytes, Fault]:
        """The signers whose keys were not at hand, and why; where it is time, this begins the next look."""
        over = self._look is None or self._look.done()
        if over and time.monotonic() - self._asked_s >= ASK_EVERY_S:
            self._asked_s = time.monotonic()
            self._look = asyncio.create_task(self._ask())
        return self._found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._look is not None:
            self._look.cancel()
            with suppress(asyncio.CancelledError):
                await self._look

    async def _ask(self) -> None:
        self._found = await self._guard.faults()
