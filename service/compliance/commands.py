"""Writing to an issuer's registries: each write is one call of a role, which the contract executes once."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from service.addresses import ZERO
from service.chain import contracts
from service.chain.typed_data import TypedData
from service.compliance import queries
from service.compliance.orders import (
    COUNTRY_RULES,
    AttestationOrder,
    AttesterOrder,
    BlockOrder,
    CountryLimitOrder,
    DocumentOrder,
    DocumentRemovalOrder,
    LotsOrder,
    PersonIdentityOrder,
    PolicyOrder,
    ReserveOrder,
    WalletOrder,
)
from service.db import Database, ReadConnection
from service.deployments.calls import RoleCall, send, send_role_call
from service.deployments.queries import Target, required
from service.operations.queries import Operation
from service.operations.submit import Intent, Ledger, Request, once
from service.tokens.controls import FUNGIBLE, REGULATED
from service.tokens.queries import Token, standing_token
from service.vault import persons
from service.web.orders import text32

NO_INVESTOR = bytes(32)

Arguments = Callable[[ReadConnection, Target], Awaitable[tuple[Any, ...]]]


async def _ask(
    ledger: Ledger, request: Request, contract: str, kind: str, function: str, arguments: Arguments
) -> Operation:
    """Ask a function of the issuer's contract of a kind; the arguments are read of the same database state."""

    async def read(connection: ReadConnection) -> RoleCall:
        target = await required(connection, issuer_id=request.caller.issuer_id, kind=contract)
        return RoleCall(kind, target, function, await arguments(connection, target))

    return await send_role_call(ledger, request, read)


async def _ask_of_token(
    ledger: Ledger,
    request: Request,
    token_id: UUID,
    contract: str,
    kind: str,
    function: str,
    *arguments: Any,
) -> Operation:
    """The same about one token, whose address comes before the other arguments."""

    async def read(connection: ReadConnection) -> RoleCall:
        issuer_id = request.caller.issuer_id
        kinds = FUNGIBLE if contract == "reserve" else REGULATED
        token, _ = await standing_token(connection, issuer_id=issuer_id, id=token_id, kinds=kinds)
        if contract == "compliance":
            queries.require_regulated(token)
        target = await required(connection, issuer_id=issuer_id, kind=contract)
        return RoleCall(kind, replace(target, token_id=token.id), function, (token.address, *arguments))

    return await send_role_call(ledger, request, read)


async def set_identity(ledger: Ledger, request: Request, order: PersonIdentityOrder) -> Operation:
    """Say what is attested about an investor. A change of country moves it from one country's count to another's.

    Raises:
        ContractMissing, ContractNotDeployed: there is no compliance registry yet.
        InvestorInvalid: the id is that of a wallet.
        PersonNotFound: the issuer has no such person in the vault.
        HoldingsChanged: what the investor holds is not what the mirror knows.
    """

    async def arguments(connection: ReadConnection, target: Target) -> tuple[Any, ...]:
        investor = order.investor
        if investor is None:
            assert order.person is not None, "an order names one of both"
            investor = await persons.investor_id(connection, issuer_id=request.caller.issuer_id, id=order.person)
        held = await queries.tokens_of_investor(connection, target, investor)
        return investor, order.country, order.level, order.expires_at or 0, held

    return await _ask(ledger, request, "compliance", "identity.set", "setIdentity", arguments)


async def set_blocked(ledger: Ledger, request: Request, order: BlockOrder) -> Operation:
    """Refuse every move by or to an investor, or end that. Raises as `set_identity`."""

    async def arguments(_connection: ReadConnection, _target: Target) -> tuple[Any, ...]:
        return order.investor, order.blocked, order.reason_hash

    kind = "identity.block" if order.blocked else "identity.unblock"
    return await _ask(ledger, request, "compliance", kind, "setBlocked", arguments)


async def link_wallet(ledger: Ledger, request: Request, order: WalletOrder) -> Operation:
    """Say whose wallet a wallet is; what it holds counts for that investor from then on.

    Raises:
        ContractMissing, ContractNotDeployed: there is no compliance registry yet.
        InvestorStillBlocked: the wallet would leave a block behind.
        HoldingsChanged: what the wallet holds is not what the mirror knows.
        TransferRestricted: what its former investor would keep is less than is locked up.
    """

    async def arguments(connection: ReadConnection, target: Target) -> tuple[Any, ...]:
        held = await queries.tokens_of_wallet(connection, target, order.wallet)
        return order.wallet, order.investor or NO_INVESTOR, held

    kind = "wallet.link" if order.investor else "wallet.unlink"
    return await _ask(ledger, request, "compliance", kind, "linkWallet", arguments)


async def set_policy(ledger: Ledger, request: Request, token_id: UUID, order: PolicyOrder) -> Operation:
    """Set all rules of a token; the first time this also makes the registry count its units.

    Raises:
        TokenNotFound, TokenNotDeployed, WrongTokenKind, TokenUnregulated: as their names say.
    """
    rule = COUNTRY_RULES.index(order.country_rule)
    policy = (order.level_min, rule, order.holders_max, order.country_holders_max, order.holding_max)
    given = (policy, order.countries)
    return await _ask_of_token(ledger, request, token_id, "compliance", "policy.set", "setPolicy", *given)


async def set_country_limit(ledger: Ledger, request: Request, token_id: UUID, order: CountryLimitOrder) -> Operation:
    """Give one country a limit of its own. Raises as `set_policy`, and PolicyMissing."""
    given = (order.country, order.holders_max)
    return await _ask_of_token(
        ledger, request, token_id, "compliance", "policy.country", "setCountryHoldersMax", *given
    )


async def set_lots(ledger: Ledger, request: Request, token_id: UUID, order: LotsOrder) -> Operation:
    """Replace what an investor may not go below yet. Raises as `set_policy`, and PolicyMissing."""
    amounts, unlocks = [lot.amount for lot in order.lots], [lot.unlocks_at for lot in order.lots]
    given = (order.investor, amounts, unlocks)
    return await _ask_of_token(ledger, request, token_id, "compliance", "lots.set", "setLots", *given)


async def set_document(ledger: Ledger, request: Request, order: DocumentOrder) -> Operation:
    """Publish a version of a document.

    Raises:
        SubjectNotFound: the subject is not the issuer's.
        ContractMissing, ContractNotDeployed: there is no document registry yet.
        DocumentHashMissing: the hash is zero.
    """

    async def arguments(connection: ReadConnection, _target: Target) -> tuple[Any, ...]:
        await queries.require_subject(connection, issuer_id=request.caller.issuer_id, address=order.subject)
        name = text32(order.name)
        return order.subject, name, order.uri, order.document_hash, order.effective_from or 0

    return await _ask(ledger, request, "documents", "document.set", "setDocument", arguments)


async def remove_document(ledger: Ledger, request: Request, order: DocumentRemovalOrder) -> Operation:
    """Take a document out of force.

    Raises:
        ContractMissing, ContractNotDeployed: there is no document registry yet.
        DocumentNotFound: it is not in force.
    """

    async def arguments(_connection: ReadConnection, _target: Target) -> tuple[Any, ...]:
        return order.subject, text32(order.name)

    return await _ask(ledger, request, "documents", "document.remove", "removeDocument", arguments)


async def set_attester(ledger: Ledger, request: Request, token_id: UUID, order: AttesterOrder) -> Operation:
    """Say who vouches for a token; what was attested before no longer counts.

    Raises:
        TokenNotFound, TokenNotDeployed, WrongTokenKind: as their names say.
        ContractMissing, ContractNotDeployed: there is no reserve contract yet.
    """
    attester = order.attester or ZERO
    return await _ask_of_token(ledger, request, token_id, "reserve", "reserve.attester", "setAttester", attester)


async def attest(ledger: Ledger, request: Request, token_id: UUID, order: AttestationOrder) -> Operation:
    """Bring what the attester signed to the chain. It needs no role: the signature is what counts.

    The contract takes each attestation once, because the next one must be newer; so nothing is burned, and there is
    nothing to ask afterwards whether it has happened.

    Raises:
        TokenNotFound, TokenNotDeployed, WrongTokenKind: as their names say.
        ContractMissing, ContractNotDeployed: there is no reserve contract yet.
        AttesterMissing, AttestationStale, AttestationFromFuture, AttestationInvalid, NotBacked: the contract refuses.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            token, reserve = await _reserve(connection, request.caller.issuer_id, token_id)
        figures = (token.address, order.amount, order.issued_at, order.expires_at)
        data = contracts.encode_call(reserve.artifact, "attest", *figures, bytes.fromhex(order.signature[2:]))
        # The signature stays out of the record: until it is used, whoever reads it could use it.
        told = replace(request, body={name: given for name, given in request.body.items() if name != "signature"})
        intent = Intent("reserve.attest", token.id, reserve.address, reserve.address, data, proof=None)
        return await send(ledger, told, intent)

    return await once(ledger, request, make)


async def attestation(db: Database, *, issuer_id: UUID, token_id: UUID, order: ReserveOrder) -> TypedData:
    """What an attester is to sign. Nothing is stored.

    Raises:
        TokenNotFound, TokenNotDeployed, WrongTokenKind: as their names say.
        ContractMissing, ContractNotDeployed: there is no reserve contract yet.

    Source: EIP-712.
    """
    async with db.read() as connection:
        token, reserve = await _reserve(connection, issuer_id, token_id)
    fields = (
        ("token", "address", token.address),
        ("amount", "uint256", order.amount),
        ("issuedAt", "uint64", order.issued_at),
        ("expiresAt", "uint64", order.expires_at),
    )
    return TypedData(reserve.artifact, reserve.chain_id, reserve.address, "ReserveAttestation", fields)


async def _reserve(connection: ReadConnection, issuer_id: UUID, token_id: UUID) -> tuple[Token, Target]:
    token, _ = await standing_token(connection, issuer_id=issuer_id, id=token_id, kinds=FUNGIBLE)
    return token, await required(connection, issuer_id=issuer_id, kind="reserve")
