"""Adopting a contract of others: what it answers is asked once, and the mirror does the rest."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from eth_hash.auto import keccak
from sqlalchemy import insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import ZERO, checksum
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call
from service.chain.reasons import NOT_NOW
from service.db import ReadConnection, new_id, take_turn
from service.errors import Problem
from service.mirror import adoptions
from service.mirror import queries as mirror
from service.mirror.adoptions import Adoption, AdoptionRow
from service.mirror.queries import BlockInFuture
from service.operations.submit import Ledger, Request
from service.tokens import queries
from service.tokens.orders import AdoptionOrder
from service.tokens.problems import (
    AdoptionNotFound,
    AlreadyAdopted,
    AlreadyFollowed,
    NoCode,
    NodeAway,
    NotAToken,
    TooManyAdoptions,
)
from service.tokens.queries import Token
from service.tokens.tables import TokenRow

NAME_MAX = 120
SYMBOL_MAX = 16
"""Longest name and symbol that are kept of what a contract calls itself."""

OPEN_MAX = 20
"""Adoptions of one issuer that have not ended: the mirror fills in one contract at a time, for all issuers."""

WORD = 32


def _selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


_SOMEBODY = bytes(12) + b"\x11" * 20
_ERC165 = _selector("supportsInterface(bytes4)")
_IS_ERC165, _IS_ERC721, _IS_NOTHING = (
    _ERC165 + bytes.fromhex(id_).ljust(WORD, b"\0") for id_ in ("01ffc9a7", "80ac58cd", "ffffffff")
)

_QUESTIONS = (
    _IS_ERC165,
    _IS_ERC721,
    _IS_NOTHING,
    _selector("totalSupply()"),
    _selector("balanceOf(address)") + _SOMEBODY,
    _selector("decimals()"),
    _selector("name()"),
    _selector("symbol()"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a contract says of itself; `kind` None: it is no token."""

    kind: str | None
    name: str
    symbol: str
    decimals: int


async def adopt(ledger: Ledger, request: Request, order: AdoptionOrder) -> tuple[Adoption, UUID]:
    """Ask for a contract of others to be mirrored and served like our own; the adoption, and its token's id.

    Raises:
        AlreadyAdopted: the issuer has it, or it is on its way.
        AlreadyFollowed: the factory deployed it.
        BlockInFuture: `start_block` is above the mirror's newest block.
        NoCode, NotAToken: as their names say.
        TooManyAdoptions: `OPEN_MAX` of the issuer's have not ended.
        NodeAway: the node does not answer, so nobody can tell.
    """
    try:
        await _request(ledger, request, order)
    except Problem:
        # The same request may have come before, and the refusal may be its effect.
        if first := await _first(ledger, request):
            return first
        raise
    found = await _first(ledger, request)
    assert found is not None, "the key was spent a moment ago"
    return found


async def _request(ledger: Ledger, request: Request, order: AdoptionOrder) -> None:
    if await request.first_id(ledger.db) is not None:
        return
    issuer_id, chain_id = request.caller.issuer_id, ledger.chain.chain_id
    async with ledger.db.read() as connection:
        label = await mirror.label(connection, chain_id=chain_id, at_block=None)
        if order.start_block is not None and order.start_block > label.block:
            raise BlockInFuture(f"begin with block {label.block} or an earlier one", tip=label.block)
        former = await _former(connection, issuer_id=issuer_id, chain_id=chain_id, address=order.address)
    said = await _asked(ledger, order)
    async with ledger.db.transaction() as session:
        await _store(session, ledger, request, order, said, former)


async def adoption(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> tuple[Adoption, UUID]:
    """How far one adoption of an issuer came, and the token's id.

    Raises:
        AdoptionNotFound: none, or another issuer's.
    """
    found = (await adoptions.adoptions(connection, issuer_id=issuer_id, ids=[id])).get(id)
    if found is None:
        raise AdoptionNotFound(f"no adoption {id}: adopt a contract with POST /v1/tokens/adopt")
    chain_id, address = found.chain_id, found.address
    token = await queries.adopted_token(connection, issuer_id=issuer_id, chain_id=chain_id, address=address)
    assert token is not None, "both were stored in one DB transaction"
    return found, token.id


async def _first(ledger: Ledger, request: Request) -> tuple[Adoption, UUID] | None:
    first = await request.first_id(ledger.db)
    if first is None:
        return None
    async with ledger.db.read() as connection:
        return await adoption(connection, issuer_id=request.caller.issuer_id, id=UUID(first))


async def _former(connection: ReadConnection, *, issuer_id: UUID, chain_id: int, address: bytes) -> Token | None:
    """The token whose adoption was refused, for which this is another attempt; None for the first one."""
    if await adoptions.is_ours(connection, chain_id=chain_id, address=address):
        raise AlreadyFollowed("the factory deployed it: the issuer whose token it is reads it with GET /v1/tokens")
    token = await queries.adopted_token(connection, issuer_id=issuer_id, chain_id=chain_id, address=address)
    if token is None:
        return None
    assert token.adoption_id is not None
    past = await adoptions.adoptions(connection, issuer_id=issuer_id, ids=[token.adoption_id])
    if past[token.adoption_id].status != "refused":
        raise _adopted(token)
    return token


def _adopted(token: Token) -> AlreadyAdopted:
    return AlreadyAdopted(
        f"it is the token {token.id}: read it with GET /v1/tokens/{token.id}, and how far it came with "
        f"GET /v1/adoptions/{token.adoption_id}",
        token_id=str(token.id),
        adoption_id=str(token.adoption_id),
    )


async def _asked(ledger: Ledger, order: AdoptionOrder) -> Found:
    """What the contract says of itself at the newest block."""
    calls = [Call(order.address, data, ZERO) for data in _QUESTIONS]
    try:
        code, answers = await asyncio.gather(ledger.chain.code(order.address), ledger.chain.calls(calls))
    except (NodeUnavailable, NodeRefused) as error:
        raise NodeAway("the node must say what the contract is: ask again later") from error
    if not code:
        raise NoCode(f"there is no code at {checksum(order.address)} on chain {ledger.chain.chain_id}: check both")
    if any(isinstance(answer, NodeRefused) and answer.reason in NOT_NOW for answer in answers):
        raise NodeAway("the node must say what the contract is, and refuses now: ask again later")
    said = _read([b"" if isinstance(answer, NodeRefused) else answer for answer in answers])
    if said.kind is None:
        raise NotAToken("it answers neither as ERC-20 (totalSupply, balanceOf) nor as ERC-721 (by ERC-165)")
    if order.kind is not None and order.kind != said.kind:
        raise NotAToken(f"it answers as {said.kind}: leave out `kind`, or check the address", kind=said.kind)
    return said


def _read(answers: list[bytes]) -> Found:
    is_erc165, is_erc721, is_nothing, supply, balance, decimals, name, symbol = answers
    if all(map(_is_true, (is_erc165, is_erc721))) and not _is_true(is_nothing):
        return Found("erc721", _text(name, NAME_MAX), _text(symbol, SYMBOL_MAX), 0)
    kind = "erc20" if len(supply) == WORD == len(balance) else None
    places = int.from_bytes(decimals) if len(decimals) == WORD else 0
    return Found(kind, _text(name, NAME_MAX), _text(symbol, SYMBOL_MAX), places if places <= 255 else 0)


def _is_true(answer: bytes) -> bool:
    return len(answer) == WORD and int.from_bytes(answer) == 1


def _text(answer: bytes, length_max: int) -> str:
    """What a contract calls itself, as a string or, as old ones do, as 32 bytes; without what is not printable."""
    raw = answer.rstrip(b"\0")
    if len(answer) >= 2 * WORD:
        start = int.from_bytes(answer[:WORD])
        size = int.from_bytes(answer[start : start + WORD]) if start <= len(answer) - WORD else 0
        raw = answer[start + WORD : start + WORD + min(size, 4 * length_max)] if size else b""
    text = "".join(character for character in raw.decode(errors="ignore") if character.isprintable())
    return text.strip()[:length_max]


async def _store(
    session: AsyncSession, ledger: Ledger, request: Request, order: AdoptionOrder, said: Found, former: Token | None
) -> None:
    adoption_id, issuer_id, chain_id = new_id(), request.caller.issuer_id, ledger.chain.chain_id
    if not await request.claim(session, f"adoptions/{adoption_id}"):
        return
    await _refuse_too_many(session, issuer_id)
    place = {"issuer_id": issuer_id, "chain_id": chain_id, "address": order.address}
    await session.execute(
        insert(AdoptionRow).values(id=adoption_id, kind=said.kind, start_block=order.start_block, **place)
    )
    name = order.name or said.name or checksum(order.address)
    content = {"kind": said.kind, "name": name, "symbol": said.symbol, "decimals": said.decimals}
    if former is None:
        stored = await session.scalar(
            upsert(TokenRow)
            .values(id=new_id(), artifact="", terms={}, adoption_id=adoption_id, **place, **content)
            .on_conflict_do_nothing()
            .returning(TokenRow.id)
        )
    else:
        stored = await session.scalar(
            update(TokenRow)
            .where(TokenRow.id == former.id, TokenRow.adoption_id == former.adoption_id)
            .values(adoption_id=adoption_id, **content)
            .returning(TokenRow.id)
        )
    if stored is None:
        raise AlreadyAdopted("another request adopted it a moment ago: list the tokens with GET /v1/tokens")


async def _refuse_too_many(session: AsyncSession, issuer_id: UUID) -> None:
    # One at a time for each issuer until the commit, or all that come at once would count the same.
    await take_turn(session, f"adoptions:{issuer_id.hex}")
    count, oldest = await adoptions.open_count(session, issuer_id=issuer_id)
    if count >= OPEN_MAX:
        raise TooManyAdoptions(
            f"{count} adoptions have not ended: wait until one has, such as GET /v1/adoptions/{oldest}, and ask again",
            adoption_id=str(oldest),
        )
