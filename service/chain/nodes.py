"""The same questions to one endpoint of a chain or to several: which to ask, and how each of them does."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from service.chain.node import AnswerTooLong, Node, NodeRefused, NodeUnavailable
from service.chain.quorum import reached
from service.chain.reasons import NOT_NOW, Reason
from service.chain.wire import parse_quantity
from service.telemetry import logger

T = TypeVar("T")
Question = tuple[str, Sequence[Any]]
Outcome = Any | NodeRefused

LOOK_INTERVAL_S = 5.0
"""Every endpoint is looked at this often while questions come, and one that failed is asked again after it."""

LOOK_TIMEOUT_S = 2.0
"""An endpoint that takes longer to say its chain and head is not chosen."""

BLOCKS_BEHIND_MAX = 5
"""An endpoint further below the best is not chosen."""

_ELSEWHERE = NOT_NOW | {Reason.HISTORY_GONE, Reason.UNKNOWN}
_LOOK: Sequence[Question] = (("eth_chainId", []), ("eth_getBlockByNumber", ["latest", False]))


class WrongChain(Exception):
    """The node follows another chain than this deployment."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How an endpoint does."""

    name: str  # its number in the settings, and its host: never a URL, which may hold a key
    healthy: bool  # it is asked
    failures: int  # questions in a row without a usable answer
    latency_ms: float | None  # of the last answer
    head: int | None  # the newest block it spoke of
    head_age_s: float | None  # since it did
    behind: int  # blocks below the best, when they were last compared
    wrong_chain: bool
    disagreements: int  # answers in which it contradicted the others, since this process began
    last_error: str | None


class Endpoint:
    """One endpoint, and what is known of it."""

    def __init__(self, node: Node, *, number: int, chain_id: int) -> None:
        self.node = node
        self.name = f"endpoint {number}" + (f" ({node.host})" if node.host else "")
        self.failures = 0
        self.behind = 0
        self.reported_chain_id: int | None = None
        self.disagreements = 0
        self._dissenting = False
        self.head: int | None = None
        self._head_at = 0.0
        self._latency_ms: float | None = None
        self._last_error: str | None = None
        self._left_out = False
        self._chain_id = chain_id

    @property
    def wrong_chain(self) -> bool:
        """Whether it follows another chain than ours."""
        return self.reported_chain_id not in (None, self._chain_id)

    @property
    def usable(self) -> bool:
        """Whether it may be asked: seen on our chain, its last answer good, and level with the others."""
        known = self.reported_chain_id == self._chain_id
        return known and self.failures == 0 and self.behind <= BLOCKS_BEHIND_MAX

    def failed(self, error: str) -> None:
        """Take note of a question without a usable answer."""
        self.failures += 1
        self._last_error = error

    async def put(
        self, questions: Sequence[Question], ask: Callable[[Node], Awaitable[list[Outcome]]]
    ) -> list[Outcome]:
        """Put questions to it, and learn from the answers.

        Raises:
            NodeUnavailable: it gave no usable answer.
        """
        began = time.monotonic()
        try:
            answers = await ask(self.node)
        except AnswerTooLong:
            raise  # the fault is the question's
        except NodeUnavailable as error:
            self.failed(str(error))
            raise
        now = time.monotonic()
        self._latency_ms = (now - began) * 1000
        refused = next((each for each in answers if isinstance(each, NodeRefused) and each.reason in NOT_NOW), None)
        if refused is not None and refused.reason in (Reason.RATE_LIMITED, Reason.SYNCING):
            self.failed(str(refused))
        else:
            self.failures = 0
        for (method, params), answer in zip(questions[:2], answers[:2], strict=True):
            with suppress(ValueError, TypeError, LookupError):
                if method == "eth_chainId":
                    self.reported_chain_id = parse_quantity(answer)
                elif method == "eth_getBlockByNumber" and params[0] == "latest" and isinstance(answer, dict):
                    self.head, self._head_at = parse_quantity(answer["number"]), now
        return answers

    @property
    def fault(self) -> str | None:
        """Why it may not be asked."""
        if self.usable:
            return None
        if self.wrong_chain:
            return f"follows chain {self.reported_chain_id}"
        if self.failures > 0:
            return self._last_error
        return f"{self.behind} blocks behind" if self.behind else "not seen yet"

    def tell_change(self) -> None:
        """One log line when it is left out, and one when it is back."""
        if self.reported_chain_id is None and self.failures == 0:
            return
        if self.usable and self._left_out:
            logger().info("endpoint_back", detail=self.name)
        if not self.usable and not self._left_out:
            kind = "wrong-chain" if self.wrong_chain else "unavailable" if self.failures else "behind"
            logger().warning("endpoint_left_out", detail=self.name, reason=kind)
        self._left_out = not self.usable

    def contradicted(self, now: bool) -> None:
        """Take note of whether it contradicted the others; one log line when it begins to."""
        self.disagreements += now
        if now and not self._dissenting:
            logger().warning("endpoint_contradicts", detail=self.name)
        self._dissenting = now

    async def look(self) -> int | None:
        """Its head, when it says its chain and head in time and the chain is ours."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                _, latest = await self.put(_LOOK, lambda node: node.ask_many(_LOOK))
        except TimeoutError:
            self.failed(f"no head within {LOOK_TIMEOUT_S} s")
            return None
        except NodeUnavailable:
            return None
        ours = self.reported_chain_id == self._chain_id
        return self.head if ours and isinstance(latest, dict) else None

    def health(self, *, only: bool) -> EndpointHealth:
        """How it does; the `only` endpoint there is needs no leave to be asked."""
        alone = only and self.failures == 0 and not self.wrong_chain
        return EndpointHealth(
            name=self.name,
            healthy=alone or self.usable,
            failures=self.failures,
            latency_ms=self._latency_ms,
            head=self.head,
            head_age_s=None if self.head is None else time.monotonic() - self._head_at,
            behind=self.behind,
            wrong_chain=self.wrong_chain,
            disagreements=self.disagreements,
            last_error=self._last_error,
        )


class Nodes:
    """A way to one chain over one endpoint or several. Safe for any number of concurrent callers in one event loop.

    Questions stay with one endpoint as long as it answers, so that answers after each other come from one state.
    A question without a usable answer goes to the next. An endpoint that failed, fell behind or follows another chain
    is left out until a look at it, beside the questions, finds it well: no question waits for it.

    With one endpoint there is nothing to choose: every question goes to it, and nothing besides.

    Args:
        quorum: how many endpoints must agree where that is asked for, 1 to as many as there are.
    """

    def __init__(self, nodes: Sequence[Node], *, chain_id: int, quorum: int = 1) -> None:
        if not 1 <= quorum <= len(nodes):
            raise ValueError("a quorum is at least one endpoint and at most all of them")
        self.quorum = quorum
        self._chain_id = chain_id
        self._endpoints = [Endpoint(node, number=at, chain_id=chain_id) for at, node in enumerate(nodes, start=1)]
        self._current = self._endpoints[0]
        self._look: asyncio.Task[None] | None = None
        self._looked_at = -LOOK_INTERVAL_S
        self._under_way: set[asyncio.Task[Any]] = set()

    async def ask(self, method: str, *params: Any) -> Any:
        """As `Node.ask`."""
        return await self.read_one((method, params), _as_it_is)

    async def read_one(self, question: Question, reading: Callable[[Any], T]) -> T:
        """As `read`, of one question and its answer.

        Raises:
            NodeRefused: it was refused.
        """
        method, params = question

        async def ask(node: Node) -> list[Outcome]:
            try:
                return [await node.ask(method, *params)]
            except NodeRefused as refused:
                return [refused]

        def read(answers: list[Outcome]) -> T:
            (answer,) = answers
            if isinstance(answer, NodeRefused):
                raise answer
            return reading(answer)

        return await self._put([question], ask, read)

    async def ask_many(self, questions: Sequence[Question], *, response_bytes_max: int | None = None) -> list[Outcome]:
        """As `Node.ask_many`."""
        return await self.read(questions, list, response_bytes_max=response_bytes_max)

    async def read(
        self,
        questions: Sequence[Question],
        reading: Callable[[list[Outcome]], T],
        *,
        response_bytes_max: int | None = None,
        raw: bool = False,
    ) -> T:
        """What `reading` makes of one endpoint's answers; answers of which it makes nothing are not usable.

        Answers are `raw` JSON where that is asked for, as `Node.ask_many` gives it.

        Raises:
            NodeUnavailable: no endpoint gave a usable answer.
        """
        asked: dict[str, Any] = {} if response_bytes_max is None else {"response_bytes_max": response_bytes_max}
        if raw:
            asked["raw"] = True
        return await self._put(questions, lambda node: node.ask_many(questions, **asked), reading)

    async def read_all(
        self, questions: Sequence[Question], reading: Callable[[list[Outcome]], T]
    ) -> list[tuple[Endpoint, T]]:
        """What `reading` makes of every usable endpoint's answers, the one that is asked otherwise first.

        Raises:
            NodeUnavailable: fewer than the quorum gave a usable answer.
        """

        async def read(endpoint: Endpoint) -> T:
            answers = await endpoint.put(questions, lambda node: node.ask_many(questions))
            for answer in answers:
                if isinstance(answer, NodeRefused) and answer.reason in _ELSEWHERE:
                    raise answer
            return self._reading(endpoint, answers, reading)

        usable = await self._usable(questions)
        outcomes = await asyncio.gather(*(read(endpoint) for endpoint in usable), return_exceptions=True)
        said: list[tuple[Endpoint, T]] = []
        for endpoint, outcome in zip(usable, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                said.append((endpoint, outcome))
            elif not isinstance(outcome, NodeUnavailable | NodeRefused):
                raise outcome
        if len(said) < self.quorum:
            raise NodeUnavailable(f"{self.quorum} endpoints must agree, and {len(said)} answered: {self._faults()}")
        return said

    async def tell(self, questions: Sequence[Question]) -> list[list[Outcome]]:
        """Tell every usable endpoint; each list holds one endpoint's answers.

        Endpoints slower than those that together took everything are told too, but not waited for.

        Raises:
            NodeUnavailable: none gave a usable answer; whether any did what it was told is open.
        """
        if len(self._endpoints) == 1:
            return [await self._endpoints[0].put(questions, lambda node: node.ask_many(questions))]
        usable = await self._usable(questions)
        waiting = {asyncio.create_task(each.put(questions, lambda node: node.ask_many(questions))) for each in usable}
        for task in waiting:
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        said: list[list[Outcome]] = []
        error: NodeUnavailable | None = None
        while waiting and not (said and all(map(_any_took, zip(*said, strict=True)))):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    said.append(task.result())
                except NodeUnavailable as unavailable:
                    error = unavailable
        if error is not None and not said:
            raise error
        return said

    def distrust(self, why: str) -> None:
        """Take the answers of the endpoint that is asked now for no answers: the next one is asked, if there is one."""
        self._current.failed(why)

    def health(self) -> list[EndpointHealth]:
        """How each endpoint does, in the order of the settings."""
        return [endpoint.health(only=len(self._endpoints) == 1) for endpoint in self._endpoints]

    async def close(self) -> None:
        """Close the connections. A later question opens new ones."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for endpoint in self._endpoints:
            await endpoint.node.close()

    async def _put(
        self,
        questions: Sequence[Question],
        ask: Callable[[Node], Awaitable[list[Outcome]]],
        reading: Callable[[list[Outcome]], T],
    ) -> T:
        error: NodeUnavailable | None = None
        second_best: tuple[int, Endpoint, list[Outcome]] | None = None
        for endpoint in await self._usable(questions):
            try:
                answers = await endpoint.put(questions, ask)
                lacking = sum(isinstance(each, NodeRefused) and each.reason in _ELSEWHERE for each in answers)
                if lacking == 0 or len(self._endpoints) == 1:
                    return self._reading(endpoint, answers, reading)
                if second_best is None or lacking < second_best[0]:
                    second_best = (lacking, endpoint, answers)
            except AnswerTooLong:
                raise
            except NodeUnavailable as unavailable:
                error = unavailable
        if second_best is not None:
            return self._reading(*second_best[1:], reading)
        self._chains_differ(questions)
        raise error or NodeUnavailable(f"no endpoint is usable: {self._faults()}")

    def _reading(self, endpoint: Endpoint, answers: list[Outcome], reading: Callable[[list[Outcome]], T]) -> T:
        if endpoint.wrong_chain and len(self._endpoints) > 1:
            raise NodeUnavailable(f"{endpoint.name} follows another chain")
        try:
            return reading(answers)
        except NodeUnavailable as error:
            endpoint.failed(str(error))
            raise

    async def _usable(self, questions: Sequence[Question]) -> list[Endpoint]:
        """The endpoints to ask, in this order.

        Raises:
            NodeUnavailable: there is none.
            WrongChain: there is none on our chain, and that was asked.
        """
        if len(self._endpoints) == 1:
            return self._endpoints
        if self._look is None and time.monotonic() - self._looked_at >= LOOK_INTERVAL_S:
            self._start_look()
        usable = self._choose()
        if not usable:
            await asyncio.shield(self._look or self._start_look())
            usable = self._choose()
        if not usable:
            self._chains_differ(questions)
            raise NodeUnavailable(f"no endpoint is usable: {self._faults()}")
        return usable

    def _choose(self) -> list[Endpoint]:
        usable = []
        for endpoint in self._endpoints:
            endpoint.tell_change()
            if endpoint.usable:
                usable.append(endpoint)
        if usable and self._current not in usable:
            self._current = usable[0]
        return sorted(usable, key=lambda endpoint: endpoint is not self._current)

    def _start_look(self) -> asyncio.Task[None]:
        self._look = asyncio.create_task(self._look_at_all())
        self._under_way.add(self._look)
        self._look.add_done_callback(self._ended)
        return self._look

    async def _look_at_all(self) -> None:
        """Ask every endpoint for its chain and head, all at one moment, so that heads can be compared."""
        try:
            seen = await asyncio.gather(*(endpoint.look() for endpoint in self._endpoints))
            heads = [each for each in seen if each is not None]
            # As many as must agree have to be there, so that none of fewer can make the others look late.
            best = reached(heads, min(self.quorum, len(heads))) if heads else 0
            for endpoint, head in zip(self._endpoints, seen, strict=True):
                if head is not None:
                    endpoint.behind = max(best - head, 0)
        finally:
            self._looked_at = time.monotonic()
            self._look = None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not report it

    def _chains_differ(self, questions: Sequence[Question]) -> None:
        if all(endpoint.wrong_chain for endpoint in self._endpoints) and questions and questions[0][0] == "eth_chainId":
            reported = ", ".join(f"{each.name} follows {each.reported_chain_id}" for each in self._endpoints)
            raise WrongChain(f"this deployment is for chain {self._chain_id}, but {reported}")

    def _faults(self) -> str:
        return "; ".join(f"{endpoint.name}: {endpoint.fault}" for endpoint in self._endpoints if endpoint.fault)


def _as_it_is(answer: Any) -> Any:
    return answer


def _any_took(outcomes: Sequence[Outcome]) -> bool:
    return any(not isinstance(each, NodeRefused) or each.reason is Reason.ALREADY_KNOWN for each in outcomes)
