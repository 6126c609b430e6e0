"""Reading assets, accounts and tokens. Another issuer's are not there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.db import Database, ReadConnection
from service.deployments.queries import Target
from service.mirror import adoptions
from service.mirror import queries as mirror
from service.mirror.queries import Contract, Label
from service.tokens.problems import (
    AccountNotFound,
    AssetNotFound,
    PreparedNotFound,
    TokenNotDeployed,
    TokenNotFound,
    WrongTokenKind,
)

_COLUMNS = """id, asset_id, kind, artifact, name, symbol, decimals, terms, chain_id, address, operation_id, adoption_id,
    created_at"""


@dataclass(frozen=True, slots=True)
class Asset:
    """The off-chain thing."""

    id: UUID
    name: str
    category: str
    description: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """An address that the issuer knows."""

    address: bytes
    managed: bool
    label: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """One contract for one asset, which `operation_id` deploys; or one of others, which `adoption_id` adopts."""

    id: UUID
    asset_id: UUID | None
    kind: str
    artifact: str
    name: str
    symbol: str
    decimals: int
    terms: dict[str, Any]
    chain_id: int
    address: bytes
    operation_id: UUID | None
    adoption_id: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a holder was given to sign, and the operation that came of it."""

    id: UUID
    kind: str
    road: str
    token_id: UUID | None
    contract: bytes
    account: bytes
    calldata: bytes
    signature_at: int | None
    signature_form: str | None
    digest: bytes | None
    proof: bytes | None
    typed_data: dict[str, Any] | None
    transaction: dict[str, Any] | None
    parameters: dict[str, Any]
    valid_until: datetime
    operation_id: UUID | None
    created_at: datetime


FINAL_TOKENS_MAX = 10_000
"""Tokens that a process remembers as standing in a final block; it then forgets all and begins again."""

_final_tokens: dict[tuple[UUID, UUID], Token] = {}  # by issuer and id


async def _rows(connection: ReadConnection, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query, parameters)
    return await cursor.fetchall()


async def asset(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> Asset:
    """One asset of an issuer.

    Raises:
        AssetNotFound: none, or another issuer's.
    """
    rows = await _rows(
        connection,
        """SELECT id, name, category, description, created_at FROM assets
        WHERE id = %(id)s AND issuer_id = %(issuer_id)s""",
        id=id,
        issuer_id=issuer_id,
    )
    if not rows:
        raise AssetNotFound(f"no asset {id}: register it with POST /v1/assets, or list them with GET /v1/assets")
    return Asset(*rows[0])


async def assets_page(
    connection: ReadConnection, *, issuer_id: UUID, before: UUID | None, count_max: int
) -> list[Asset]:
    """Assets of an issuer, newest first."""
    rows = await _rows(
        connection,
        """SELECT id, name, category, description, created_at FROM assets
        WHERE issuer_id = %(issuer_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s)
        ORDER BY id DESC LIMIT %(count_max)s""",
        issuer_id=issuer_id,
        before=before,
        count_max=count_max,
    )
    return [Asset(*row) for row in rows]


async def account(connection: ReadConnection, *, issuer_id: UUID, address: bytes) -> Account:
    """One account of an issuer.

    Raises:
        AccountNotFound: this issuer has not registered it.
    """
    rows = await _rows(
        connection,
        """SELECT address, managed, label, created_at FROM accounts
        WHERE issuer_id = %(issuer_id)s AND address = %(address)s""",
        issuer_id=issuer_id,
        address=address,
    )
    if not rows:
        raise AccountNotFound("no such account: register it with POST /v1/accounts")
    return Account(*rows[0])


async def managed_of(connection: ReadConnection, *, issuer_id: UUID, addresses: Sequence[bytes]) -> dict[bytes, bool]:
    """Whether each of these accounts is managed; those that the issuer has not registered are left out."""
    rows = await _rows(
        connection,
        """SELECT address, managed FROM accounts
        WHERE issuer_id = %(issuer_id)s AND address = ANY(%(addresses)s)""",
        issuer_id=issuer_id,
        addresses=list(addresses),
    )
    return dict(rows)


async def accounts_page(
    connection: ReadConnection, *, issuer_id: UUID, after: bytes | None, count_max: int
) -> list[Account]:
    """Accounts of an issuer, in address order."""
    rows = await _rows(
        connection,
        """SELECT address, managed, label, created_at FROM accounts
        WHERE issuer_id = %(issuer_id)s AND (%(after)s::bytea IS NULL OR address > %(after)s)
        ORDER BY address LIMIT %(count_max)s""",
        issuer_id=issuer_id,
        after=after,
        count_max=count_max,
    )
    return [Account(*row) for row in rows]


async def token(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> Token:
    """One token of an issuer.

    Raises:
        TokenNotFound: none, or another issuer's.
    """
    rows = await _rows(
        connection,
        f"SELECT {_COLUMNS} FROM tokens WHERE id = %(id)s AND issuer_id = %(issuer_id)s",
        id=id,
        issuer_id=issuer_id,
    )
    if not rows:
        raise TokenNotFound(f"no token {id}: deploy one with POST /v1/tokens, or list them with GET /v1/tokens")
    return Token(*rows[0])


async def token_of_asset(connection: ReadConnection, *, asset_id: UUID, kind: str) -> Token | None:
    """The token of a kind that an asset has, or None."""
    rows = await _rows(
        connection,
        f"SELECT {_COLUMNS} FROM tokens WHERE asset_id = %(asset_id)s AND kind = %(kind)s",
        asset_id=asset_id,
        kind=kind,
    )
    return Token(*rows[0]) if rows else None


async def adopted_token(connection: ReadConnection, *, issuer_id: UUID, chain_id: int, address: bytes) -> Token | None:
    """The token that an issuer has of a contract of others, or None."""
    rows = await _rows(
        connection,
        f"""SELECT {_COLUMNS} FROM tokens WHERE issuer_id = %(issuer_id)s AND chain_id = %(chain_id)s
            AND address = %(address)s AND adoption_id IS NOT NULL""",
        issuer_id=issuer_id,
        chain_id=chain_id,
        address=address,
    )
    return Token(*rows[0]) if rows else None


async def tokens_page(
    connection: ReadConnection,
    *,
    issuer_id: UUID,
    held_tokens: Sequence[UUID] | None,
    before: UUID | None,
    count_max: int,
) -> list[Token]:
    """Tokens of an issuer, newest first; `held_tokens` alone where they are told."""
    held = "" if held_tokens is None else "AND id = ANY(%(held_tokens)s)"
    rows = await _rows(
        connection,
        f"""SELECT {_COLUMNS} FROM tokens
        WHERE issuer_id = %(issuer_id)s {held} AND (%(before)s::uuid IS NULL OR id < %(before)s)
        ORDER BY id DESC LIMIT %(count_max)s""",
        issuer_id=issuer_id,
        held_tokens=held_tokens,
        before=before,
        count_max=count_max,
    )
    return [Token(*row) for row in rows]


async def tokens_among(db: Database, issuer_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Those of these ids that are tokens of the issuer's, also of ones that are not on the chain yet."""
    rows = await db.fetch("SELECT id FROM tokens WHERE issuer_id = %s AND id = ANY(%s)", (issuer_id, list(ids)))
    return {id_ for (id_,) in rows}


async def tokens_by_address(connection: ReadConnection, *, issuer_id: UUID) -> dict[bytes, Token]:
    """Every token of an issuer, by contract address."""
    rows = await _rows(
        connection, f"SELECT {_COLUMNS} FROM tokens WHERE issuer_id = %(issuer_id)s", issuer_id=issuer_id
    )
    tokens: Sequence[Token] = [Token(*row) for row in rows]
    return {each.address: each for each in tokens}


async def standing_token(
    connection: ReadConnection, *, issuer_id: UUID, id: UUID, kinds: frozenset[str] | None = None
) -> tuple[Token, Label]:
    """One token of an issuer that is on the chain, and the newest mirrored block.

    Raises:
        TokenNotFound: none, or another issuer's.
        WrongTokenKind: its kind is not among `kinds`.
        TokenNotDeployed: its contract is not on the chain yet.
    """
    found = await token(connection, issuer_id=issuer_id, id=id)
    if kinds is not None:
        _refuse_other_kinds(found, kinds)
    label = await mirror.label(connection, chain_id=found.chain_id, at_block=None)
    await contract_of(connection, found, label)
    return found, label


async def standing_target(db: Database, *, issuer_id: UUID, id: UUID, kinds: frozenset[str]) -> Target:
    """One token of an issuer that is on the chain, as a target of calls. Raises as `standing_token`.

    Where its contract stands in a final block, that is so for ever, and is asked once in the life of a process.
    """
    token = _final_tokens.get((issuer_id, id))
    if token is None:
        async with db.read() as connection:
            token, label = await standing_token(connection, issuer_id=issuer_id, id=id, kinds=kinds)
            contract = await contract_of(connection, token, label)
            final = (await mirror.status(connection, chain_id=token.chain_id)).final
        if final is not None and contract.deployed_block <= final:
            if len(_final_tokens) >= FINAL_TOKENS_MAX:
                _final_tokens.clear()
            _final_tokens[issuer_id, id] = token
    _refuse_other_kinds(token, kinds)
    return target_of(token)


def _refuse_other_kinds(token: Token, kinds: frozenset[str]) -> None:
    if token.kind not in kinds:
        needed = " and ".join(sorted(kinds))
        raise WrongTokenKind(f"this is a {token.kind} token, and only {needed} tokens do this", kind=token.kind)


async def contract_of(connection: ReadConnection, token: Token, label: Label) -> Contract:
    """A token's contract at the label's block.

    Raises:
        TokenNotDeployed: it was not on the chain at that block.
    """
    found = await mirror.contract(connection, chain_id=token.chain_id, address=token.address, block=label.block)
    if found is None:
        way = f"operations/{token.operation_id}" if token.adoption_id is None else f"adoptions/{token.adoption_id}"
        raise TokenNotDeployed(
            f"at block {label.block} its contract was not on the chain, or is not mirrored yet: ask for a later block, "
            f"or wait for GET /v1/{way}"
        )
    return found


async def doubts(connection: ReadConnection, tokens: Sequence[Token]) -> list[str]:
    """The marks of tokens by which what accounts hold may be other amounts than their transfers say."""
    adopted = [token for token in tokens if token.adoption_id is not None]
    if not adopted:
        return []
    found = await adoptions.marks(
        connection, chain_id=adopted[0].chain_id, addresses=[token.address for token in adopted]
    )
    return sorted({mark.name for marks in found.values() for mark in marks if mark.spoils_balances})


def target_of(token: Token) -> Target:
    """A token as a target of calls."""
    return Target(token.artifact, token.chain_id, token.address, token.id)


async def prepared(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> Prepared:
    """What one of the issuer's holders was given to sign.

    Raises:
        PreparedNotFound: none, or another issuer's.
    """
    rows = await _rows(
        connection,
        """SELECT id, kind, road, token_id, contract, account, calldata, signature_at, signature_form, digest, proof,
            typed_data, transaction, parameters, valid_until, operation_id, created_at
        FROM prepared WHERE id = %(id)s AND issuer_id = %(issuer_id)s""",
        id=id,
        issuer_id=issuer_id,
    )
    if not rows:
        raise PreparedNotFound(f"nothing is prepared as {id}: take the id from the answer to …/prepare")
    return Prepared(*rows[0])


async def is_signer(connection: ReadConnection, address: bytes) -> bool:
    """Whether an address signs for any issuer here."""
    return bool(await _rows(connection, "SELECT 1 FROM issuers WHERE signer = %(address)s LIMIT 1", address=address))
