"""Questions that many callers ask at once go out as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Generic, TypeVar

from service.chain.node import AnswerLate

Q = TypeVar("Q")
A = TypeVar("A")


class Together(Generic[Q, A]):
    """Gathers single questions into lists; each caller gets its own answer.

    Args:
        ask: the answers to questions, in their order. When it fails for several of them each is asked alone, since
            the fault may be of one; not after a failure of `of_all`, such as one that spent the callers' time.
        lists_max: so many lists are under way at most; what is asked meanwhile waits, and goes out as the next one.
        alone_max: so many questions of lists that failed are asked alone at most; the others wait. They keep no list
            from going out.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        of_all: tuple[type[Exception], ...] = (AnswerLate,),
        lists_max: int | None = None,
        alone_max: int | None = None,
    ) -> None:
        self._ask = ask
        self._of_all = of_all
        self._lists_max = lists_max
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()
        self._turns: AbstractAsyncContextManager[None] = (
            nullcontext() if alone_max is None else asyncio.Semaphore(alone_max)
        )

    async def ask(self, question: Q) -> A:
        """The answer to one question."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, answer))
        if len(self._waiting) == 1:
            loop.call_soon(self._send)
        return await answer

    def _send(self) -> None:
        if self._lists_max is not None and len(self._under_way) >= self._lists_max:
            return
        # Who has left is answered by nobody.
        waiting, self._waiting = [each for each in self._waiting if not each[1].done()], []
        if not waiting:
            return
        task = asyncio.create_task(self._answer(waiting))
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._send()

    async def _answer(self, waiting: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._ask([question for question, _ in waiting])
            for (_, future), answer in zip(waiting, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:
            if len(waiting) > 1 and not isinstance(error, self._of_all):
                for each in waiting:
                    task = asyncio.create_task(self._answer_alone(each))
                    self._alone.add(task)
                    task.add_done_callback(self._alone.discard)
                waiting = []
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in waiting:
                future.cancel()

    async def _answer_alone(self, each: tuple[Q, asyncio.Future[A]]) -> None:
        try:
            async with self._turns:
                if not each[1].done():
                    await self._answer([each])
        finally:
            each[1].cancel()
