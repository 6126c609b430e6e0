"""JSON-RPC 2.0 over HTTP: one long-lived session, bounded in time, bytes and batch size."""

import asyncio
import itertools
import re
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from service.chain.reasons import Reason, reason
from service.chain.reverts import Revert, decode_revert
from service.chain.wire import parse_data

MESSAGE_CHARS_MAX = 500
_CONNECTIONS_MAX = 32
_CHUNK_BYTES = 1 << 16
_REQUEST_BYTES_MAX = 900_000
_LANES = 2
_STATUSES = (200, 400)  # besu says 400 where it refuses; anything else comes from something before the node
T = TypeVar("T")
_LONG_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{130,}")


class NodeUnavailable(Exception):
    """No usable answer: nothing is known about what was asked, not even that the node did not do it."""


class AnswerTooLong(NodeUnavailable):
    """The answer is longer than was asked for: a part of the question may have one that is not."""


class AnswerLate(NodeUnavailable):
    """There was no answer within the time limit: a part of the question may have one."""


class NodeLied(NodeUnavailable):
    """The answer contradicts what it must agree with: nothing may be built from it, and later answers may be true."""


class NodeRefused(Exception):
    """The node answered with an error.

    Attributes:
        code: the JSON-RPC error code; clients disagree on codes, so switch on `reason`.
        message: the node's words, bounded, with every long run of hexadecimal digits taken out, since some
            nodes echo the transaction they refuse.
        data: revert data as 0x text, where the node gave any.
    """

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        self.code = code
        self.message = _LONG_HEX.sub("0x(long)", message)[:MESSAGE_CHARS_MAX]
        self.data = data
        self.reason: Reason = reason(code, message, data)
        super().__init__(f"{self.reason}: {self.message} ({code})")

    @property
    def revert(self) -> Revert | None:
        """The contract's own error, when a contract refused."""
        if self.reason is not Reason.REVERTED:
            return None
        return decode_revert(parse_data(self.data or "0x"))


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: Any = None


class _Answer(msgspec.Struct):
    id: int | str | None = None
    result: Any = msgspec.UNSET
    error: _Error | None = None


class _RawAnswer(_Answer):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_one = msgspec.json.Decoder(_Answer)
_many = msgspec.json.Decoder(list[_Answer] | _Answer)
_many_raw = msgspec.json.Decoder(list[_RawAnswer] | _RawAnswer)
_encode = msgspec.json.Encoder().encode


class Node:
    """A way to one node. Safe for any number of concurrent callers in one event loop.

    Args:
        url: http or https; it may hold a secret, so no error and no repr tells it.
        timeout_s: longest wait for one HTTP request, connecting and reading the body included.
        batch_max: calls in one HTTP request.
        response_bytes_max: a longer body is given up on while it streams, after decompression.
    """

    def __init__(
        self, url: str, *, timeout_s: float = 10, batch_max: int = 100, response_bytes_max: int = 64 * 1024 * 1024
    ) -> None:
        if batch_max < 1:
            raise ValueError("a batch holds at least one call")
        self._url = url
        self._timeout_s = timeout_s
        self._batch_max = batch_max
        self._response_bytes_max = response_bytes_max
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, *params: Any) -> Any:
        """Ask one thing; the answer is plain JSON.

        Raises:
            NodeRefused: the node answered with an error.
            NodeUnavailable: it gave no usable answer.
        """
        call_id = next(self._ids)
        status, body = await self._post(_request(call_id, method, params), told_as=method)
        answer = _decoded(_one, body, status=status, told_as=method)
        if answer.id != call_id and not (answer.id is None and answer.error):
            raise NodeUnavailable(f"{method}: the answer belongs to another question")
        outcome = _outcome(answer, told_as=method)
        if isinstance(outcome, NodeRefused):
            raise outcome
        if status != 200:
            raise NodeUnavailable(f"{method}: HTTP {status}")
        return outcome

    async def ask_many(
        self,
        calls: Sequence[tuple[str, Sequence[Any]]],
        *,
        response_bytes_max: int | None = None,
        raw: bool = False,
    ) -> list[Any | NodeRefused]:
        """Ask many things, in batches; the answers come in the order of `calls`.

        A refusal takes its place among the answers and harms no other call. Batches of signed transactions go one
        after another, so that each finds the nonces before it; of other batches two are under way at a time.

        Args:
            response_bytes_max: for each batch, in place of the node's own limit.
            raw: answers are JSON that is not read yet (`msgspec.Raw`), for a caller who reads it into columns.

        Raises:
            AnswerTooLong, AnswerLate: a batch's answer is beyond its limit.
            NodeUnavailable: an answer is missing, doubled or unasked for, or the node refused a batch as a whole.
        """
        batches = list(_batches(calls, self._batch_max))
        answers: list[list[Any | NodeRefused]] = [[] for _ in batches]
        lanes = 1 if calls and calls[0][0] == "eth_sendRawTransaction" else min(_LANES, len(batches))

        async def ask_every(first: int) -> None:
            for place in range(first, len(batches), lanes):
                answers[place] = await self._ask_batch(batches[place], response_bytes_max, raw=raw)

        if lanes == 1:
            await ask_every(0)
        else:
            await _together(*(ask_every(first) for first in range(lanes)))
        return list(itertools.chain.from_iterable(answers))

    async def close(self) -> None:
        """Close the connections. A later question opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def host(self) -> str:
        """The name of the machine asked, which is all of its URL that may be told."""
        try:
            return urlsplit(self._url).hostname or ""
        except ValueError:
            return ""

    def __repr__(self) -> str:
        return f"Node(timeout_s={self._timeout_s}, batch_max={self._batch_max})"

    async def _ask_batch(
        self, calls: Sequence[tuple[str, Sequence[Any]]], response_bytes_max: int | None, *, raw: bool
    ) -> list[Any | NodeRefused]:
        told_as = f"batch of {len(calls)}, first {calls[0][0]}"
        ids = [next(self._ids) for _ in calls]
        requests = [_request(call_id, method, params) for call_id, (method, params) in zip(ids, calls, strict=True)]
        status, body = await self._post(requests, told_as=told_as, bytes_max=response_bytes_max)
        answers = _decoded(_many_raw if raw else _many, body, status=status, told_as=told_as)
        if isinstance(answers, _Answer) or status != 200 or (len(answers) == 1 and answers[0].id is None):
            first = answers if isinstance(answers, _Answer) else next(iter(answers), _Answer())
            raise NodeUnavailable(f"{told_as}: HTTP {status}, refused as a whole: {_refusal(first)}")
        by_id = {answer.id: answer for answer in answers}
        if len(answers) != len(calls) or by_id.keys() != set(ids):
            raise NodeUnavailable(f"{told_as}: the answers do not match the questions")
        return [_outcome(by_id[call_id], told_as=told_as) for call_id in ids]

    async def _post(self, message: Any, *, told_as: str, bytes_max: int | None = None) -> tuple[int, bytes]:
        # Errors of aiohttp carry the URL, so they are retold and never chained.
        try:
            async with self._opened().post(
                self._url, data=_encode(message), headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as response:
                if response.status not in _STATUSES:
                    raise NodeUnavailable(f"{told_as}: HTTP {response.status}")
                body = await _body(response, told_as=told_as, bytes_max=bytes_max or self._response_bytes_max)
                return response.status, body
        except aiohttp.ClientConnectorError as error:
            raise NodeUnavailable(f"{told_as}: no connection, {error.os_error.strerror}") from None
        except TimeoutError:
            raise AnswerLate(f"{told_as}: no answer within {self._timeout_s} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NodeUnavailable(f"{told_as}: {type(error).__name__}") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all at once; when one fails the others are called off."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _body(response: aiohttp.ClientResponse, *, told_as: str, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > bytes_max:
            raise AnswerTooLong(f"{told_as}: the answer is longer than {bytes_max} bytes")
    return bytes(body)


def _batches(calls: Sequence[tuple[str, Sequence[Any]]], count_max: int) -> Iterator[list[tuple[str, Sequence[Any]]]]:
    """Calls in batches that a node reads: geth's HTTP server takes 5 MB."""
    batch: list[tuple[str, Sequence[Any]]] = []
    size = 0
    for call in calls:
        cost = len(repr(call))
        if batch and (len(batch) == count_max or size + cost > _REQUEST_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(call)
        size += cost
    if batch:
        yield batch


def _request(call_id: int, method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, *, status: int, told_as: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NodeUnavailable(f"{told_as}: HTTP {status}, and the body is no JSON-RPC answer") from None


def _outcome(answer: _Answer, *, told_as: str) -> Any | NodeRefused:
    if answer.error is not None:
        return _refusal(answer)
    if answer.result is msgspec.UNSET:
        raise NodeUnavailable(f"{told_as}: an answer holds neither a result nor an error")
    return answer.result


def _refusal(answer: _Answer) -> NodeRefused:
    error = answer.error or _Error()
    return NodeRefused(error.code, error.message, _revert_data(error.data))


def _revert_data(given: Any) -> str | None:
    """Revert data as plain 0x text: geth and anvil give that, others nest it or put a word before it."""
    if isinstance(given, dict):
        return _revert_data(given.get("data", given.get("result")))
    if not isinstance(given, str):
        return None
    text = given.removeprefix("Reverted").strip()
    try:
        parse_data(text)
    except ValueError:
        return None
    return text
