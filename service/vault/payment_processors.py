"""Payment processors: a protocol, and the reference adapter, which speaks JSON over HTTP.

A processor is told a key of ours with each payment, and answers a key that it knows with what it did before. On that
rests that nobody is charged twice: whatever is not an answer leaves the payment open, and is asked again with its key.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import aiohttp

from service.settings import Settings

TIMEOUT_S = 15.0

_ANSWER_BYTES_MAX = 65_536
_CONNECTIONS_MAX = 32
_DECLINED = 402
_ANSWERS = (200, 201, _DECLINED)
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_CODE = re.compile(r"[a-z0-9_-]{1,40}")
_NO_DIGITS = re.compile("[^0-9]+")


class Ending(StrEnum):
    """How a processor ended a payment."""

    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Charge:
    """What a processor is told besides the card.

    Args:
        key: one for each payment, the same however often it is sent.
        amount: in the currency's smallest unit.
    """

    key: UUID
    amount: int
    currency: str
    reference: str
    card: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a processor answered."""

    ending: Ending
    reference: str
    code: str | None


class NoVerdict(Exception):
    """Nothing that can be relied on came back; the processor may have charged or not."""


class PaymentProcessor(Protocol):
    """Somebody who charges cards."""

    async def pay(self, charge: Charge) -> Verdict:
        """Charge a card once for each key.

        Raises:
            NoVerdict: no usable answer.
        """


class HttpProcessor:
    """The reference adapter: POST to `{url}/payments` with the header `Idempotency-Key`.

    It sends `card`, `amount`, `currency` and `reference`, and takes 200, 201 or 402 with `id`, `status` (`accepted` or
    `declined`) and perhaps `code` for an answer.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, f"{url.rstrip('/')}/payments"

    async def pay(self, charge: Charge) -> Verdict:
        """See `PaymentProcessor`. A redirection is no answer: the card goes to nobody else."""
        body = {"card": charge.card, "amount": str(charge.amount)}
        body |= {"currency": charge.currency, "reference": charge.reference}
        headers = {"Idempotency-Key": str(charge.key)}
        try:
            async with self._session.post(self._url, json=body, headers=headers, allow_redirects=False) as response:
                if response.status not in _ANSWERS:
                    raise NoVerdict(f"HTTP {response.status}")
                told = json.loads(await _read(response))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            raise NoVerdict(type(error).__name__) from None
        verdict = _verdict(told, charge.card)
        if response.status == _DECLINED and verdict.ending is Ending.ACCEPTED:
            raise NoVerdict("accepted under a status that declines")
        return verdict


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = await response.content.read(_ANSWER_BYTES_MAX + 1)
    while len(body) <= _ANSWER_BYTES_MAX and (more := await response.content.read(_ANSWER_BYTES_MAX + 1 - len(body))):
        body += more
    if len(body) > _ANSWER_BYTES_MAX:
        raise NoVerdict("an answer without an end")
    return body


def _verdict(told: object, card: str) -> Verdict:
    if not isinstance(told, dict):
        raise NoVerdict("no JSON object")
    reference, status, code = told.get("id"), told.get("status"), told.get("code")
    if not isinstance(reference, str) or not _ID.fullmatch(reference):
        raise NoVerdict("an answer without id")
    if not isinstance(status, str) or status not in set(Ending):
        raise NoVerdict("an answer without status")
    # What comes back is told to the issuer and stored, and the card must reach neither.
    if any(card in _NO_DIGITS.sub("", each) for each in (reference, code) if isinstance(each, str)):
        raise NoVerdict("the card came back")
    return Verdict(Ending(status), reference, code if isinstance(code, str) and _CODE.fullmatch(code) else None)


@asynccontextmanager
async def open_processors(settings: Settings) -> AsyncIterator[Mapping[str, PaymentProcessor]]:
    """The processors that the settings name."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS_MAX)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield {name: HttpProcessor(session, url) for name, url in settings.processors.items()}
