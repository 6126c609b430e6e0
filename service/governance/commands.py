"""Deploying a governor, proposing, voting, and carrying out what was decided."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from service.addresses import checksum, hex0x
from service.chain import contracts
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call
from service.chain.typed_data import Ballot
from service.db import ReadConnection
from service.deployments import commands as deployments
from service.deployments.calls import send
from service.deployments.queries import Target
from service.governance import actions, queries
from service.governance.actions import TIMELOCK
from service.governance.orders import SUPPORTS, BallotOrder, GovernorOrder, PrepareBallotOrder, ProposalOrder
from service.governance.queries import Governor
from service.mirror import queries as mirror
from service.mirror.queries import Label
from service.operations.queries import Operation
from service.operations.submit import Intent, Ledger, Request, once
from service.tokens import acting
from service.tokens.acting import HolderCall
from service.tokens.problems import NodeAway
from service.tokens.queries import Prepared, standing_token

ARTIFACT = "AssetGovernor"

DOMAIN_NAME = "AssetGovernor"
"""The domain of what voters sign: a constant of the contract, not the governor's name. Source: AssetGovernor.sol."""

PROPOSER_MARK = "#proposer=0x"
"""A description that ends so is proposed by that account alone: nobody takes it over and cancels it.

Source: OpenZeppelin 5.7, Governor._isValidDescriptionForProposer.
"""


async def deploy_governor(ledger: Ledger, request: Request, order: GovernorOrder) -> Operation:
    """Ask for a governor of a token and, made by it, its timelock. One for each token.

    Raises:
        TokenNotFound, TokenNotDeployed: not one of the issuer's, or not on the chain yet.
        WrongTokenKind: it is no governance token.
        ContractExists: it has a governor, deployed or on its way.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            token, _ = await standing_token(
                connection,
                issuer_id=request.caller.issuer_id,
                id=order.token_id,
                kinds=frozenset({"governance"}),
            )
        terms = (
            order.name,
            token.address,
            order.voting_delay_blocks,
            order.voting_period_blocks,
            order.proposal_threshold,
            order.quorum_percent,
            order.vote_extension_blocks,
            order.timelock_delay_s,
        )
        return await deployments.deploy(ledger, request, "governor", token.id, order.name, (terms,))

    return await once(ledger, request, make)


async def propose(ledger: Ledger, request: Request, governor_id: UUID, order: ProposalOrder) -> Operation:
    """Propose calls in the name of the issuer's signer. The proposal's id is known at once, and among the parameters.

    Raises:
        GovernorNotFound, ContractNotDeployed: no such governor of the issuer's, or not on the chain yet.
        ActionInvalid: an action is no call of a contract of the issuer's.
        ProposalNotInState: the same was proposed before.
        TooFewVotesToPropose, ProposerRestricted: as their names say.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            governor, label = await _governor(connection, ledger, request, governor_id)
            known = await queries.known_contracts(connection, label, issuer_id=request.caller.issuer_id)
        asked = actions.calls(request, ledger.chain.chain_id, order.actions, known)
        description = marked(order.description, request.caller.signer)
        id_ = str(actions.proposal_id(asked, description))
        # No view of the governor answers true once a proposal is there.
        intent = _intent(governor, "proposal.create", actions.propose_call(asked, description), None)
        return await send(ledger, replace(request, body={**request.body, "proposal_id": id_}), intent)

    return await once(ledger, request, make)


def marked(description: str, signer: bytes) -> str:
    """The description with its proposer at the end, unless it names one already."""
    end = description[-len(PROPOSER_MARK) - 40 :]
    digits = end.removeprefix(PROPOSER_MARK)
    if len(digits) == 40 and set(digits.lower()) <= set("0123456789abcdef"):
        return description
    return f"{description}{PROPOSER_MARK}{signer.hex()}"


async def queue(ledger: Ledger, request: Request, governor_id: UUID, proposal_id: int) -> Operation:
    """Hand a proposal that has passed to the timelock.

    Raises:
        GovernorNotFound, ContractNotDeployed, ProposalNotFound: as their names say.
        ProposalNotInState: it has not passed, or was queued before.
    """
    return await _carry(ledger, request, governor_id, proposal_id, "queue", "isOperation")


async def execute(ledger: Ledger, request: Request, governor_id: UUID, proposal_id: int) -> Operation:
    """Carry out a queued proposal whose delay has passed.

    Raises:
        GovernorNotFound, ContractNotDeployed, ProposalNotFound: as their names say.
        ProposalNotInState, TimelockNotReady: it is not queued, or its delay has not passed.
        Problem: what one of its actions is refused with.
    """
    return await _carry(ledger, request, governor_id, proposal_id, "execute", "isOperationDone")


async def cancel(ledger: Ledger, request: Request, governor_id: UUID, proposal_id: int) -> Operation:
    """Take a pending proposal of the signer's own back.

    Raises:
        GovernorNotFound, ContractNotDeployed, ProposalNotFound: as their names say.
        NotCancellable: another's, or no longer pending.
    """
    return await _carry(ledger, request, governor_id, proposal_id, "cancel", None)


async def _carry(
    ledger: Ledger, request: Request, governor_id: UUID, proposal_id: int, function: str, view: str | None
) -> Operation:
    """`view` of the timelock answers true once it has happened; without one, nothing does."""

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            governor, label = await _governor(connection, ledger, request, governor_id)
            kept = await queries.timelock_operation(connection, label, governor, id=proposal_id)
        proof = None
        if view is not None and kept is not None:
            proof = (governor.timelock, contracts.encode_json_call(TIMELOCK, view, [hex0x(kept)]))
        data = contracts.encode_call(ARTIFACT, f"{function}(uint256)", proposal_id)
        return await send(ledger, request, _intent(governor, f"proposal.{function}", data, proof))

    return await once(ledger, request, make)


async def _governor(
    connection: ReadConnection, ledger: Ledger, request: Request, governor_id: UUID
) -> tuple[Governor, Label]:
    label = await mirror.label(connection, chain_id=ledger.chain.chain_id, at_block=None)
    return await queries.governor(connection, label, issuer_id=request.caller.issuer_id, id=governor_id), label


def _intent(governor: Governor, kind: str, data: bytes, proof: tuple[bytes, bytes] | None) -> Intent:
    address = governor.deployment.address
    return Intent(kind, governor.token.id, address, address, data, proof)


async def vote(ledger: Ledger, request: Request, governor_id: UUID, proposal_id: int, order: BallotOrder) -> Operation:
    """Vote for a managed account: its key signs, the issuer's signer relays and pays the gas.

    Raises:
        GovernorNotFound, ContractNotDeployed, ProposalNotFound: as their names say.
        AccountNotFound, AccountNotManaged: the account is not the issuer's, or has its own key.
        AlreadyVoted, ProposalNotInState: it has voted, or voting is not open.
        NodeAway: the node is asked for the ballot's nonce.
    """

    async def make() -> Operation:
        return await acting.act(ledger, request, await _reader(ledger, request, governor_id, proposal_id, order))

    return await once(ledger, request, make)


async def prepare_vote(
    ledger: Ledger, request: Request, governor_id: UUID, proposal_id: int, order: PrepareBallotOrder
) -> Prepared:
    """Give a voter with its own key a ballot or a transaction to sign. Raises as `vote`, and SignerIsOurs."""
    reader = await _reader(ledger, request, governor_id, proposal_id, order)
    return await acting.prepare(ledger, request, order.road, reader)


async def _reader(
    ledger: Ledger, request: Request, governor_id: UUID, proposal_id: int, order: BallotOrder
) -> acting.Read:
    # What a repeated request made before needs no node.
    fresh = await request.first_id(ledger.db) is None
    async with ledger.db.read() as connection:
        governor, _ = await _governor(connection, ledger, request, governor_id)
    address, support = governor.deployment.address, SUPPORTS.index(order.support)
    target = Target(ARTIFACT, governor.deployment.chain_id, address, governor.token.id)
    ballot = Ballot(
        chain_id=target.chain_id,
        governor=address,
        governor_name=DOMAIN_NAME,
        account=order.voter,
        proposal_id=proposal_id,
        support=support,
        reason=order.reason,
        nonce=await _nonce(ledger, address, order.voter) if fresh else 0,
    )
    function, reason = ("castVoteWithReason", (order.reason,)) if order.reason else ("castVote", ())
    direct = contracts.encode_call(ARTIFACT, function, proposal_id, support, *reason)

    async def read(_connection: ReadConnection, _life: timedelta) -> HolderCall:
        return HolderCall("proposal.vote", target, order.voter, direct, ballot)

    return read


async def _nonce(ledger: Ledger, governor: bytes, voter: bytes) -> int:
    """Ballots of one voter are numbered, so only one of them can be on its way at a time.

    Raises:
        NodeAway: only the node knows the number.
    """
    asked = Call(to=governor, data=contracts.encode_call(ARTIFACT, "nonces", voter), sender=voter)
    try:
        answer = await ledger.chain.call(asked)
    except (NodeUnavailable, NodeRefused):
        answer = b""
    if len(answer) != 32:
        raise NodeAway(f"the node is asked for the next ballot number of {checksum(voter)}, and does not tell it")
    return int.from_bytes(answer)
