"""/v1/governors, and the votes of tokens: proposing, voting, carrying out, and reading all of it as of any block."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from pydantic import BeforeValidator, WithJsonSchema

from service.amounts import parse_amount
from service.db import ReadConnection
from service.deployments import problems as deployments
from service.deployments import queries as deployed
from service.deployments.orders import EmptyOrder
from service.deployments.queries import Deployment
from service.errors import Problem
from service.governance import commands, problems, queries
from service.governance.orders import SUPPORTS, BallotOrder, GovernorOrder, PrepareBallotOrder, ProposalOrder
from service.governance.views import (
    BallotView,
    DelegationView,
    GovernorView,
    LabelledGovernor,
    LabelledGovernors,
    LabelledProposal,
    LabelledVotes,
    ProposalView,
    VotesView,
)
from service.mirror import facts
from service.mirror.queries import Contract, Label
from service.operations import queries as operations
from service.operations.http import CALL, GovernanceAsking, LedgerDep, accepted
from service.operations.labels import LabelledPage, Row, label_view
from service.operations.reading import READ, Reading, ReadingAt
from service.operations.views import OperationView
from service.tokens import problems as tokens
from service.tokens import queries as token_queries
from service.tokens.act_routes import PreparedView
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import AddressInPath
from service.web.paging import BadCursor, CursorParameter, Limit, decode_cursor, encode_cursor, page

router = APIRouter(route_class=StrictJsonRoute, tags=["governance"])

ProposalInPath = Annotated[
    int,
    PathParameter(description="The proposal's id, in decimal digits."),
    BeforeValidator(lambda text: parse_amount(str(text))),
    WithJsonSchema({"type": "string", "pattern": "^(0|[1-9][0-9]{0,77})$", "examples": ["1"]}),
]

VOTING_ARTIFACTS = frozenset({"GovernanceToken", "AssetTokenHistory"})
"""Contracts whose units vote."""

Problems = tuple[type[Problem], ...]

_GOVERNOR: Problems = (deployments.GovernorNotFound, deployments.ContractNotDeployed)
_WRITE: Problems = (*CALL, *_GOVERNOR, problems.ProposalNotInState)
_CARRY: Problems = (
    *_WRITE,
    problems.ProposalNotFound,
    problems.TimelockNotReady,
    problems.NotCancellable,
    deployments.SignerLacksRole,
    deployments.OperationAlreadyExecuted,
)
_VOTE: Problems = (
    *_WRITE,
    problems.ProposalNotFound,
    problems.AlreadyVoted,
    problems.BallotOutdated,
    tokens.NodeAway,
)
_TOKEN: Problems = (*READ, tokens.TokenNotFound, tokens.TokenNotDeployed, tokens.WrongTokenKind)


@router.post(
    "/governors",
    status_code=202,
    responses=documented(
        *CALL,
        tokens.TokenNotFound,
        tokens.TokenNotDeployed,
        tokens.WrongTokenKind,
        deployments.ContractExists,
        deployments.SignerLacksRole,
        problems.GovernorSettingInvalid,
    ),
)
async def deploy_governor(
    order: GovernorOrder, ask: GovernanceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Deploy the governor of a governance token, and its timelock. GET /v1/governors then tells its id."""
    return accepted(await commands.deploy_governor(ledger, ask(order), order), response)


@router.get("/governors", responses=documented(*READ))
async def list_governors(
    reading: ReadingAt, token_id: Annotated[UUID | None, Query(description="Only this token's.")] = None
) -> LabelledGovernors:
    """The issuer's governors, newest first: at most one for each governance token."""
    async with reading.open() as (connection, label):
        rows = await deployed.deployments(connection, issuer_id=reading.caller.issuer_id)
        asked = [each for each in rows if each.kind == "governor" and token_id in (None, each.subject_id)]
        views = [await _governor_view(connection, reading, label, each) for each in asked]
    return LabelledGovernors(data=views, at=label_view(label))


@router.get("/governors/{governor_id}", responses=documented(*READ, deployments.GovernorNotFound))
async def read_governor(governor_id: UUID, reading: ReadingAt) -> LabelledGovernor:
    """One governor: its address, its timelock, and its settings as of a block."""
    async with reading.open() as (connection, label):
        found = await deployed.governor(connection, issuer_id=reading.caller.issuer_id, id=governor_id)
        view = await _governor_view(connection, reading, label, found)
    return LabelledGovernor(**dict(view), at=label_view(label))


async def _governor_view(
    connection: ReadConnection, reading: Reading, label: Label, governor: Deployment
) -> GovernorView:
    settings = await queries.settings(connection, label, governor)
    awaited = [governor.operation_id] if settings is None else []
    failed = await operations.failed_among(connection, issuer_id=reading.caller.issuer_id, ids=awaited)
    return GovernorView.of(governor, settings, failed=bool(failed))


@router.post(
    "/governors/{governor_id}/proposals",
    status_code=202,
    responses=documented(
        *_WRITE,
        problems.ActionInvalid,
        problems.TooFewVotesToPropose,
        problems.ProposerRestricted,
    ),
)
async def propose(
    governor_id: UUID, order: ProposalOrder, ask: GovernanceAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Propose calls of the issuer's contracts, in the name of its signer. `parameters` tells the `proposal_id`."""
    return accepted(await commands.propose(ledger, ask(order), governor_id, order), response)


@router.get("/governors/{governor_id}/proposals", responses=documented(*READ, *_GOVERNOR, BadCursor))
async def list_proposals(
    governor_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 20
) -> LabelledPage[ProposalView]:
    """A governor's proposals, newest first, and where each stands at a block."""
    of = f"proposals:{governor_id}"
    before = decode_cursor(cursor, of, int, int) if cursor else None
    issuer_id = reading.caller.issuer_id
    async with reading.open() as (connection, label):
        governor = await queries.governor(connection, label, issuer_id=issuer_id, id=governor_id)
        known = await queries.known_contracts(connection, label, issuer_id=issuer_id)
        rows = await queries.proposals_page(connection, label, governor, known, before=before, count_max=limit + 1)
    shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, *last[0]))
    views = [ProposalView.of(proposal) for _, proposal in shown]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label))


@router.get(
    "/governors/{governor_id}/proposals/{proposal_id}",
    responses=documented(*READ, *_GOVERNOR, problems.ProposalNotFound),
)
async def read_proposal(governor_id: UUID, proposal_id: ProposalInPath, reading: ReadingAt) -> LabelledProposal:
    """One proposal: what it would do, its tallies, and where it stands at a block."""
    issuer_id = reading.caller.issuer_id
    async with reading.open() as (connection, label):
        governor = await queries.governor(connection, label, issuer_id=issuer_id, id=governor_id)
        known = await queries.known_contracts(connection, label, issuer_id=issuer_id)
        found = await queries.proposal(connection, label, governor, known, id=proposal_id)
    return LabelledProposal(**dict(ProposalView.of(found)), at=label_view(label))


@router.get(
    "/governors/{governor_id}/proposals/{proposal_id}/ballots",
    responses=documented(*READ, *_GOVERNOR, problems.ProposalNotFound, BadCursor),
)
async def list_ballots(
    governor_id: UUID,
    proposal_id: ProposalInPath,
    reading: ReadingAt,
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> LabelledPage[BallotView]:
    """Who voted how on a proposal, in address order."""
    async with reading.open() as (connection, label):
        governor = await queries.governor(connection, label, issuer_id=reading.caller.issuer_id, id=governor_id)
        await queries.timelock_operation(connection, label, governor, id=proposal_id)
        return await _page(
            connection,
            governor.contract,
            label,
            aspect="ballot",
            prefix=proposal_id.to_bytes(32),
            of=f"ballots:{governor_id}:{proposal_id}",
            cursor=cursor,
            limit=limit,
            view=_ballot_view,
        )


def _ballot_view(key: bytes, state: dict[str, Any]) -> BallotView:
    return BallotView.model_validate({**state, "voter": key[32:], "support": SUPPORTS[int(state["support"])]})


@router.post(
    "/governors/{governor_id}/proposals/{proposal_id}/vote",
    status_code=202,
    responses=documented(*_VOTE, tokens.AccountNotFound, tokens.AccountNotManaged),
)
async def vote(
    governor_id: UUID,
    proposal_id: ProposalInPath,
    order: BallotOrder,
    ask: GovernanceAsking,
    ledger: LedgerDep,
    response: Response,
) -> OperationView:
    """Vote for a managed account. An account's ballots are numbered: wait for one before the next."""
    return accepted(await commands.vote(ledger, ask(order), governor_id, proposal_id, order), response)


@router.post(
    "/governors/{governor_id}/proposals/{proposal_id}/vote/prepare",
    status_code=201,
    responses=documented(*_VOTE, tokens.SignerIsOurs),
)
async def prepare_vote(
    governor_id: UUID,
    proposal_id: ProposalInPath,
    order: PrepareBallotOrder,
    ask: GovernanceAsking,
    ledger: LedgerDep,
    response: Response,
) -> PreparedView:
    """For a voter with its own key: something to sign, for POST /v1/prepared/{id}/submit."""
    prepared = await commands.prepare_vote(ledger, ask(order), governor_id, proposal_id, order)
    response.headers["Location"] = f"/v1/prepared/{prepared.id}"
    return PreparedView.model_validate(prepared)


@router.post("/governors/{governor_id}/proposals/{proposal_id}/queue", status_code=202, responses=documented(*_CARRY))
async def queue(
    governor_id: UUID,
    proposal_id: ProposalInPath,
    order: EmptyOrder,
    ask: GovernanceAsking,
    ledger: LedgerDep,
    response: Response,
) -> OperationView:
    """Hand a proposal that has passed to the timelock."""
    return accepted(await commands.queue(ledger, ask(order), governor_id, proposal_id), response)


@router.post("/governors/{governor_id}/proposals/{proposal_id}/execute", status_code=202, responses=documented(*_CARRY))
async def execute(
    governor_id: UUID,
    proposal_id: ProposalInPath,
    order: EmptyOrder,
    ask: GovernanceAsking,
    ledger: LedgerDep,
    response: Response,
) -> OperationView:
    """Carry out a queued proposal, once `eta` is past. One of its actions may be refused, and so all of them."""
    return accepted(await commands.execute(ledger, ask(order), governor_id, proposal_id), response)


@router.post("/governors/{governor_id}/proposals/{proposal_id}/cancel", status_code=202, responses=documented(*_CARRY))
async def cancel(
    governor_id: UUID,
    proposal_id: ProposalInPath,
    order: EmptyOrder,
    ask: GovernanceAsking,
    ledger: LedgerDep,
    response: Response,
) -> OperationView:
    """Take a proposal of the issuer's signer back, while it is pending."""
    return accepted(await commands.cancel(ledger, ask(order), governor_id, proposal_id), response)


@router.get("/tokens/{token_id}/delegations", responses=documented(*_TOKEN, BadCursor))
async def list_delegations(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[DelegationView]:
    """Which accounts let whom vote with their units, in address order."""
    async with reading.open() as (connection, label):
        contract = await _voting_contract(connection, reading, label, token_id)
        return await _page(
            connection,
            contract,
            label,
            aspect="delegate",
            of=f"delegations:{token_id}",
            cursor=cursor,
            limit=limit,
            view=lambda key, state: DelegationView.model_validate({"account": key, **state}),
        )


@router.get("/tokens/{token_id}/votes", responses=documented(*_TOKEN, BadCursor))
async def list_votes(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[VotesView]:
    """Which accounts have how many votes, in address order."""
    async with reading.open() as (connection, label):
        contract = await _voting_contract(connection, reading, label, token_id)
        return await _page(
            connection,
            contract,
            label,
            aspect="votes",
            of=f"votes:{token_id}",
            cursor=cursor,
            limit=limit,
            view=lambda key, state: VotesView.model_validate({"account": key, **state}),
        )


@router.get("/tokens/{token_id}/votes/{account}", responses=documented(*_TOKEN))
async def read_votes(token_id: UUID, account: AddressInPath, reading: ReadingAt) -> LabelledVotes:
    """How many votes one account has, and whom its own units vote through."""
    async with reading.open() as (connection, label):
        contract = await _voting_contract(connection, reading, label, token_id)
        at: dict[str, Any] = {"contract_id": contract.id, "key": account, "block": label.block}
        votes = await facts.state(connection, aspect="votes", **at)
        delegate = await facts.state(connection, aspect="delegate", **at)
    told = {"account": account, "votes": (votes or {"votes": 0})["votes"], **(delegate or {"delegatee": None})}
    return LabelledVotes.model_validate({**told, "at": label_view(label)})


async def _voting_contract(connection: ReadConnection, reading: Reading, label: Label, token_id: UUID) -> Contract:
    token = await token_queries.token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
    if token.artifact not in VOTING_ARTIFACTS:
        raise tokens.WrongTokenKind("units of this token have no votes: a governance token's do", kind=token.kind)
    return await token_queries.contract_of(connection, token, label)


async def _page(
    connection: ReadConnection,
    contract: Contract,
    label: Label,
    *,
    aspect: str,
    prefix: bytes = b"",
    of: str,
    cursor: str | None,
    limit: int,
    view: Callable[[bytes, dict[str, Any]], Row],
) -> LabelledPage[Row]:
    after = decode_cursor(cursor, of, bytes)[0] if cursor else None
    rows = await facts.states_page(
        connection,
        contract_id=contract.id,
        aspect=aspect,
        block=label.block,
        prefix=prefix,
        after=after,
        count_max=limit + 1,
    )
    shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.key))
    data = [view(row.key, row.state or {}) for row in shown]
    return LabelledPage(data=data, next_cursor=next_cursor, at=label_view(label))
