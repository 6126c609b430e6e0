"""Questions asked at once: one list for all, and each caller gets its own answer or failure."""

import asyncio
from collections.abc import Sequence

import pytest

from service.chain.together import Together


class Oracle:
    """Answers with the question's double; remembers the lists it was asked."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def ask(self, questions: Sequence[int]) -> list[int]:
        self.lists.append(list(questions))
        await self.free.wait()
        if 13 in questions:
            raise ValueError("one of them is at fault")
        if 99 in questions:
            raise ConnectionError("nobody is there")
        return [question * 2 for question in questions]


async def test_questions_of_one_moment_go_out_as_one_list() -> None:
    oracle = Oracle()
    together = Together(oracle.ask)
    assert await asyncio.gather(*map(together.ask, range(5))) == [0, 2, 4, 6, 8]
    assert oracle.lists == [[0, 1, 2, 3, 4]]


async def test_a_fault_of_one_is_told_to_that_one() -> None:
    oracle = Oracle()
    together = Together(oracle.ask)
    answers = await asyncio.gather(*map(together.ask, (1, 13, 3)), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 6


async def test_a_fault_of_all_is_told_to_all_without_asking_again() -> None:
    oracle = Oracle()
    together = Together(oracle.ask, of_all=(ConnectionError,))
    answers = await asyncio.gather(*map(together.ask, (1, 99)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    assert oracle.lists == [[1, 99]]


async def test_what_is_asked_while_enough_lists_are_under_way_goes_out_as_the_next_list() -> None:
    oracle = Oracle()
    oracle.free.clear()
    together = Together(oracle.ask, lists_max=1)
    tasks = []
    for question in range(4):
        tasks.append(asyncio.create_task(together.ask(question)))
        await asyncio.sleep(0.001)
    assert oracle.lists == [[0]]
    oracle.free.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6]
    assert oracle.lists == [[0], [1, 2, 3]]


async def test_a_caller_that_leaves_costs_the_others_nothing() -> None:
    oracle = Oracle()
    oracle.free.clear()
    together = Together(oracle.ask)
    leaving, staying = (asyncio.create_task(together.ask(question)) for question in (1, 2))
    await asyncio.sleep(0.001)
    leaving.cancel()
    oracle.free.set()
    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    oracle = Oracle()
    oracle.free.clear()
    together = Together(oracle.ask, lists_max=1)
    first = asyncio.create_task(together.ask(1))
    await asyncio.sleep(0.001)
    oracle.lists.clear()
    late = [asyncio.create_task(together.ask(question)) for question in (4, 5)]
    await asyncio.sleep(0.001)
    late[0].cancel()
    oracle.free.set()
    assert [await first, await late[1]] == [2, 10]
    assert oracle.lists == [[5]]


async def test_so_many_are_asked_alone_at_once_and_lists_go_out_meanwhile() -> None:
    busy, most, free = 0, 0, asyncio.Event()

    async def ask(questions: Sequence[int]) -> list[int]:
        nonlocal busy, most
        if len(questions) > 1 and 13 in questions:
            raise ValueError("one of them is at fault")
        if questions[0] < 20:
            busy += 1
            most = max(most, busy)
            await free.wait()
            busy -= 1
        return [question * 2 for question in questions]

    together = Together(ask, lists_max=1, alone_max=2)
    alone = [asyncio.create_task(together.ask(question)) for question in (11, 12, 13, 14)]
    await asyncio.sleep(0.001)
    assert list(await asyncio.gather(together.ask(20), together.ask(21))) == [40, 42]
    free.set()
    assert await asyncio.gather(*alone) == [22, 24, 26, 28]
    assert most == 2
