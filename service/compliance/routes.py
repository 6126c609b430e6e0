"""Routes of who may hold an issuer's tokens, what is documented, what stands behind them, and previews of transfers."""

from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, BeforeValidator, WithJsonSchema

from service.access.http import Complying
from service.addresses import parse_address
from service.compliance import commands, problems, queries
from service.compliance.orders import (
    AttestationOrder,
    AttesterOrder,
    BlockOrder,
    CountryLimitOrder,
    DocumentOrder,
    DocumentRemovalOrder,
    LotsOrder,
    PersonIdentityOrder,
    PolicyOrder,
    PreviewOrder,
    ReserveOrder,
    WalletOrder,
)
from service.compliance.preview import preview
from service.compliance.views import (
    CountryLimitView,
    DocumentView,
    IdentityView,
    InvestorView,
    LabelledWallet,
    LotsView,
    PolicyView,
    PreviewView,
    ReserveView,
    TypedDataView,
    WalletView,
    read_name,
    told,
)
from service.db import ReadConnection
from service.deployments import problems as deployments
from service.deployments.routes import Bytes32InPath
from service.errors import Problem
from service.mirror import facts
from service.mirror.queries import Contract, Label
from service.operations.facts import FactHistoryView, FactView, facts_page
from service.operations.http import CALL, ComplianceAsking, LedgerDep, accepted
from service.operations.labels import LabelledPage, label_view
from service.operations.reading import READ, Reading, ReadingAt, ReadingOnChain
from service.operations.views import OperationView
from service.tokens import problems as tokens
from service.tokens.queries import Token, contract_of, token
from service.vault.person_problems import PersonNotFound
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import AddressInPath, Db
from service.web.paging import BadCursor, CursorParameter, Limit, decode_cursor, encode_cursor, page
from service.web.problems import BodyTooLarge

router = APIRouter(route_class=StrictJsonRoute)

View = TypeVar("View", bound=BaseModel)

_WRITE: tuple[type[Problem], ...] = (
    *CALL,
    deployments.ContractMissing,
    deployments.ContractNotDeployed,
    deployments.SignerLacksRole,
    deployments.OperationAlreadyExecuted,
)
_TOKEN = (tokens.TokenNotFound, tokens.TokenNotDeployed, tokens.WrongTokenKind)
_POLICY = (*_WRITE, *_TOKEN, problems.TokenUnregulated)
_INVESTOR = (*_WRITE, problems.InvestorInvalid)
_RESERVE = (*_WRITE, *_TOKEN)
_READ = (*READ, deployments.ContractMissing)
_LIST = (*_READ, BadCursor)
_TOKEN_READ = (*_READ, tokens.TokenNotFound, tokens.TokenNotDeployed)

AddressInQuery = BeforeValidator(lambda text: text if text is None else parse_address(text))
AddressSchema = WithJsonSchema(
    {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$", "examples": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]}
)
NameInQuery = Annotated[
    bytes,
    Query(description="The document's name, or 0x and 64 hexadecimal digits."),
    BeforeValidator(read_name),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 66, "examples": ["prospectus"]}),
]


# Investors


@router.post(
    "/identities",
    status_code=202,
    tags=["compliance"],
    responses=documented(*_INVESTOR, problems.HoldingsChanged, PersonNotFound),
)
async def set_identity(
    order: PersonIdentityOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Say what is attested about an investor: country, level, and until when."""
    return accepted(await commands.set_identity(ledger, ask(order), order), response)


@router.post("/identities/block", status_code=202, tags=["compliance"], responses=documented(*_INVESTOR))
async def block_identity(
    order: BlockOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Refuse every move by or to an investor, in all tokens, or end that."""
    return accepted(await commands.set_blocked(ledger, ask(order), order), response)


@router.get("/identities", tags=["compliance"], responses=documented(*_LIST))
async def list_identities(
    reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 50
) -> LabelledPage[IdentityView]:
    """What is attested about each investor, now or as of a block."""
    return await _facts(reading, "compliance", "identity", IdentityView, cursor=cursor, limit=limit)


@router.get("/identities/{investor}", tags=["compliance"], responses=documented(*_READ))
async def read_identity(investor: Bytes32InPath, reading: ReadingAt) -> InvestorView:
    """All that the registry knows about an investor: identity, block and wallets, now or as of a block."""
    async with reading.open() as (connection, label):
        registry = await _registry(connection, reading, "compliance", label)
        identity = await _state(connection, registry, "identity", investor, label)
        blocked = await _state(connection, registry, "blocked", investor, label) or {}
        wallets = (
            []
            if registry is None
            else await queries.wallets_of(connection, registry, investor=investor, block=label.block)
        )
    return InvestorView.model_validate(
        {
            "investor": investor,
            "identity": None if identity is None else told(identity),
            "blocked": blocked.get("blocked", False),
            "reason_hash": blocked.get("reason_hash"),
            "wallets": wallets,
            "at": label_view(label),
        }
    )


@router.get("/identities/{investor}/history", tags=["compliance"], responses=documented(*_LIST))
async def read_identity_history(
    investor: Bytes32InPath,
    reading: ReadingAt,
    of: Annotated[Literal["identity", "blocked"], Query(description="What was attested, or what was blocked.")] = (
        "identity"
    ),
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> LabelledPage[FactHistoryView]:
    """What was attested about an investor and when, oldest first."""
    return await _history(reading, "compliance", of, key=investor, cursor=cursor, limit=limit)


@router.post(
    "/wallets/link",
    status_code=202,
    tags=["compliance"],
    responses=documented(
        *_INVESTOR,
        problems.InvestorStillBlocked,
        problems.HoldingsChanged,
        tokens.TransferRestricted,
    ),
)
async def link_wallet(
    order: WalletOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Say whose wallet a wallet is; what it holds counts for that investor from then on."""
    return accepted(await commands.link_wallet(ledger, ask(order), order), response)


@router.get("/wallets", tags=["compliance"], responses=documented(*_LIST))
async def list_wallets(
    reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 50
) -> LabelledPage[WalletView]:
    """Every wallet that is linked to an investor, now or as of a block."""
    return await _facts(reading, "compliance", "wallet", WalletView, cursor=cursor, limit=limit)


@router.get("/wallets/{wallet}", tags=["compliance"], responses=documented(*_READ))
async def read_wallet(wallet: AddressInPath, reading: ReadingAt) -> LabelledWallet:
    """Whose wallet a wallet is, now or as of a block."""
    async with reading.open() as (connection, label):
        registry = await _registry(connection, reading, "compliance", label)
        linked = await _state(connection, registry, "wallet", wallet, label) or {}
    return LabelledWallet.model_validate(
        {"wallet": wallet, "investor": linked.get("investor"), "at": label_view(label)}
    )


# Policies


@router.post(
    "/tokens/{token_id}/policy",
    status_code=202,
    tags=["compliance"],
    responses=documented(*_POLICY),
)
async def set_policy(
    token_id: UUID, order: PolicyOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Set all rules of a token. The first time this comes before the first mint."""
    return accepted(await commands.set_policy(ledger, ask(order), token_id, order), response)


@router.post(
    "/tokens/{token_id}/policy/countries",
    status_code=202,
    tags=["compliance"],
    responses=documented(*_POLICY, problems.PolicyMissing),
)
async def set_country_limit(
    token_id: UUID, order: CountryLimitOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Give one country a limit on holders of its own."""
    return accepted(await commands.set_country_limit(ledger, ask(order), token_id, order), response)


@router.get(
    "/tokens/{token_id}/policy", tags=["compliance"], responses=documented(*_TOKEN_READ, problems.PolicyMissing)
)
async def read_policy(token_id: UUID, reading: ReadingAt) -> PolicyView:
    """The rules of a token, with the countries that have a limit of their own, now or as of a block."""
    async with reading.open() as (connection, label):
        found = await _token(connection, reading, token_id, label)
        registry = await _registry(connection, reading, "compliance", label)
        state = await queries.policy(connection, registry, found, label)
        limits = await facts_page(
            connection,
            registry,
            label,
            aspect="country-holders-max",
            prefix=found.address,
            cursor=None,
            limit=1024,  # more than there are countries
        )
    shown = {**told(state), "country_limits": [_view(CountryLimitView, fact) for fact in limits.data]}
    return PolicyView.model_validate({**shown, "at": limits.at})


@router.get("/tokens/{token_id}/policy/history", tags=["compliance"], responses=documented(*_TOKEN_READ, BadCursor))
async def read_policy_history(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[FactHistoryView]:
    """Which rules a token had and when, oldest first."""
    return await _history(reading, "compliance", "policy", token_id=token_id, cursor=cursor, limit=limit)


@router.post(
    "/tokens/{token_id}/lots",
    status_code=202,
    tags=["compliance"],
    responses=documented(*_POLICY, problems.PolicyMissing, problems.InvestorInvalid),
)
async def set_lots(
    token_id: UUID, order: LotsOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Say what an investor may not go below yet: all lots, in place of those set before."""
    return accepted(await commands.set_lots(ledger, ask(order), token_id, order), response)


@router.get("/tokens/{token_id}/lots", tags=["compliance"], responses=documented(*_TOKEN_READ, BadCursor))
async def list_lots(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 50
) -> LabelledPage[LotsView]:
    """What each investor may not go below yet, now or as of a block; lots that bind no longer are shown too."""
    return await _facts(reading, "compliance", "lots", LotsView, token_id=token_id, cursor=cursor, limit=limit)


# Documents


@router.post(
    "/documents",
    status_code=202,
    tags=["documents"],
    responses=documented(*_WRITE, problems.SubjectNotFound, problems.DocumentHashMissing),
)
async def set_document(
    order: DocumentOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Publish a document about a token or another contract of the issuer: its first version, or the next one."""
    return accepted(await commands.set_document(ledger, ask(order), order), response)


@router.post(
    "/documents/remove", status_code=202, tags=["documents"], responses=documented(*_WRITE, problems.DocumentNotFound)
)
async def remove_document(
    order: DocumentRemovalOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Take a document out of force; its versions stay readable."""
    return accepted(await commands.remove_document(ledger, ask(order), order), response)


@router.get("/documents", tags=["documents"], responses=documented(*_LIST))
async def list_documents(
    reading: ReadingAt,
    subject: Annotated[
        bytes | None, Query(description="Only about this address."), AddressInQuery, AddressSchema
    ] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> LabelledPage[DocumentView]:
    """The documents in force, now or as of a block."""
    prefix = subject or b""
    return await _facts(reading, "documents", "document", DocumentView, prefix=prefix, cursor=cursor, limit=limit)


@router.get("/documents/history", tags=["documents"], responses=documented(*_LIST))
async def read_document_history(
    reading: ReadingAt,
    subject: Annotated[bytes, Query(description="What the document is about."), AddressInQuery, AddressSchema],
    name: NameInQuery,
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> LabelledPage[FactHistoryView]:
    """All versions of a document and when each was in force, oldest first."""
    return await _history(reading, "documents", "document", key=subject + name, cursor=cursor, limit=limit)


# Reserves


@router.post("/tokens/{token_id}/reserve/attester", status_code=202, tags=["reserve"], responses=documented(*_RESERVE))
async def set_attester(
    token_id: UUID, order: AttesterOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Say who vouches for a token's reserve; what was attested before no longer counts."""
    return accepted(await commands.set_attester(ledger, ask(order), token_id, order), response)


@router.post(
    "/tokens/{token_id}/reserve/attest",
    status_code=202,
    tags=["reserve"],
    responses=documented(
        *_RESERVE,
        problems.AttesterMissing,
        problems.AttestationStale,
        problems.AttestationFromFuture,
        problems.AttestationInvalid,
        tokens.NotBacked,
    ),
)
async def attest_reserve(
    token_id: UUID, order: AttestationOrder, ask: ComplianceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Bring what the attester signed to the chain. Anybody may, since the signature is what counts."""
    return accepted(await commands.attest(ledger, ask(order), token_id, order), response)


@router.post(
    "/tokens/{token_id}/reserve/prepare",
    tags=["reserve"],
    responses=documented(*_READ, *_TOKEN, deployments.ContractNotDeployed, BodyTooLarge),
)
async def prepare_attestation(token_id: UUID, order: ReserveOrder, caller: Complying, db: Db) -> TypedDataView:
    """What an attester is to sign with its wallet. Nothing is stored."""
    typed = await commands.attestation(db, issuer_id=caller.issuer_id, token_id=token_id, order=order)
    return TypedDataView.of(typed)


@router.get("/tokens/{token_id}/reserve", tags=["reserve"], responses=documented(*_TOKEN_READ))
async def read_reserve(token_id: UUID, reading: ReadingAt) -> ReserveView:
    """Who vouches for a token's reserve, and what is attested, now or as of a block."""
    async with reading.open() as (connection, label):
        found = await _token(connection, reading, token_id, label)
        reserve = await _registry(connection, reading, "reserve", label)
        attester = await _state(connection, reserve, "attester", found.address, label) or {}
        attested = await _state(connection, reserve, "reserve", found.address, label)
    return ReserveView.model_validate(
        {
            "attester": attester.get("attester"),
            "attestation": None if attested is None else told(attested),
            "at": label_view(label),
        }
    )


# Previews


@router.post(
    "/tokens/{token_id}/preview",
    tags=["compliance"],
    responses=documented(*READ, *_TOKEN, tokens.NodeAway, problems.StateNotKept, BodyTooLarge),
)
async def preview_transfer(
    token_id: UUID, order: PreviewOrder, reading: ReadingOnChain, ledger: LedgerDep
) -> PreviewView:
    """Would this transfer pass, and if not, which rule forbids it? In the state of the newest block, or of any."""
    async with reading.open() as (connection, label):
        found = await _token(connection, reading, token_id, label)
    verdict = await preview(ledger, found, label, order)
    return PreviewView.model_validate(
        {
            "allowed": verdict.problem is None,
            "problem": None if verdict.problem is None else verdict.problem.body(),
            "rule": verdict.rule,
            "at": label_view(label),
        }
    )


# What the reads share


async def _token(connection: ReadConnection, reading: Reading, token_id: UUID, label: Label) -> Token:
    found = await token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
    await contract_of(connection, found, label)
    return found


async def _registry(connection: ReadConnection, reading: Reading, kind: str, label: Label) -> Contract | None:
    return await queries.registry_of(connection, issuer_id=reading.caller.issuer_id, kind=kind, label=label)


async def _state(
    connection: ReadConnection, contract: Contract | None, aspect: str, key: bytes, label: Label
) -> dict[str, Any] | None:
    if contract is None:
        return None
    return await facts.state(connection, contract_id=contract.id, aspect=aspect, key=key, block=label.block)


async def _facts(
    reading: Reading,
    kind: str,
    aspect: str,
    view: type[View],
    *,
    prefix: bytes = b"",
    token_id: UUID | None = None,
    cursor: str | None,
    limit: int,
) -> LabelledPage[View]:
    """One page of what the issuer's registry of a kind says; about one token, whose address its keys begin with."""
    async with reading.open() as (connection, label):
        if token_id is not None:
            prefix = (await _token(connection, reading, token_id, label)).address
        registry = await _registry(connection, reading, kind, label)
        of = (prefix.hex(),)
        found = await facts_page(
            connection, registry, label, aspect=aspect, prefix=prefix, cursor=cursor, limit=limit, of=of
        )
    data = [_view(view, fact) for fact in found.data]
    return LabelledPage(data=data, next_cursor=found.next_cursor, at=found.at)


def _view(view: type[View], fact: FactView) -> View:
    return view.model_validate(told(fact.model_dump()))


async def _history(
    reading: Reading,
    kind: str,
    aspect: str,
    *,
    key: bytes = b"",
    token_id: UUID | None = None,
    cursor: str | None,
    limit: int,
) -> LabelledPage[FactHistoryView]:
    """One page of what the issuer's registry of a kind said under one key, or about one token."""
    async with reading.open() as (connection, label):
        if token_id is not None:
            key = (await _token(connection, reading, token_id, label)).address
        registry = await _registry(connection, reading, kind, label)
        of = f"{aspect}-history:{key.hex()}"
        after = decode_cursor(cursor, of, int)[0] if cursor else None
        rows = (
            []
            if registry is None
            else await facts.state_history_page(
                connection,
                contract_id=registry.id,
                aspect=aspect,
                key=key,
                block=label.block,
                after_block=after,
                count_max=limit + 1,
            )
        )
    shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.from_block))
    views = [
        FactHistoryView(
            from_block=row.from_block,
            from_hash=row.from_hash,
            from_time=row.from_time,
            to_block=row.to_block,
            state=None if row.state is None else told(row.state),
        )
        for row in shown
    ]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label))
