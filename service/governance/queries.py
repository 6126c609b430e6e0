"""Reading governors and their proposals from the mirror, as of one block. Another issuer's are not there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.db import ReadConnection
from service.deployments import queries as deployments
from service.deployments.problems import ContractNotDeployed
from service.deployments.queries import Deployment
from service.governance import actions, standing
from service.governance.actions import TIMELOCK, Action, Known, Told
from service.governance.orders import SUPPORTS, Support
from service.governance.problems import ProposalNotFound
from service.governance.standing import Ended, State
from service.mirror import facts
from service.mirror import queries as mirror
from service.mirror.queries import Contract, Label
from service.tokens import queries as tokens
from service.tokens.queries import Token

SETTINGS = {
    "voting_delay_blocks": "voting-delay",
    "voting_period_blocks": "voting-period",
    "proposal_threshold": "proposal-threshold",
    "quorum_percent": "quorum-numerator",
    "vote_extension_blocks": "late-quorum-vote-extension",
}
"""The governor's own settings by our names; the timelock's delay is the timelock's."""


@dataclass(frozen=True, slots=True)
class Governor:
    """A governor that is on the chain, at one block."""

    deployment: Deployment
    contract: Contract
    token: Token
    timelock: bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """What a vote can change."""

    deployed_block: int
    timelock: bytes
    numbers: dict[str, int]
    timelock_delay_s: int | None  # None when a vote chose a timelock that nobody follows


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal at one block. Votes are in base units; `quorum` is None until the snapshot is over."""

    id: int
    governor_id: UUID
    proposer: str
    description: str
    actions: list[Told]
    state: State
    snapshot: int
    deadline: int
    tallies: dict[Support, int]
    quorum: int | None
    eta: int | None
    block: int
    time: datetime


async def governor(connection: ReadConnection, label: Label, *, issuer_id: UUID, id: UUID) -> Governor:
    """One governor of an issuer at the label's block.

    Raises:
        GovernorNotFound: none, or another issuer's.
        ContractNotDeployed: it was not on the chain at that block.
    """
    found = await deployments.governor(connection, issuer_id=issuer_id, id=id)
    contract = await mirror.contract(connection, chain_id=found.chain_id, address=found.address, block=label.block)
    timelock = None if contract is None else await _setting(connection, contract, "timelock", label.block)
    if contract is None or timelock is None:
        raise ContractNotDeployed(
            f"at block {label.block} the governor was not on the chain: ask for a later block, "
            f"or wait for GET /v1/operations/{found.operation_id}"
        )
    token = await tokens.token(connection, issuer_id=issuer_id, id=found.subject_id)
    return Governor(found, contract, token, bytes.fromhex(timelock[2:]))


async def settings(connection: ReadConnection, label: Label, deployment: Deployment) -> Settings | None:
    """A governor's settings at the label's block; None when it was not on the chain."""
    contract = await mirror.contract(
        connection, chain_id=deployment.chain_id, address=deployment.address, block=label.block
    )
    if contract is None:
        return None
    told = await facts.states_page(
        connection, contract_id=contract.id, aspect="setting", block=label.block, after=None, count_max=100
    )
    values = {each.key.decode(): (each.state or {})["value"] for each in told}
    timelock = bytes.fromhex(values["timelock"][2:])
    at = await mirror.contract(connection, chain_id=deployment.chain_id, address=timelock, block=label.block)
    delay = None if at is None else await _setting(connection, at, "min-delay", label.block)
    numbers = {ours: int(values[its]) for ours, its in SETTINGS.items()}
    return Settings(contract.deployed_block, timelock, numbers, None if delay is None else int(delay))


async def _setting(connection: ReadConnection, contract: Contract, name: str, block: int) -> str | None:
    found = await facts.state(connection, contract_id=contract.id, aspect="setting", key=name.encode(), block=block)
    return None if found is None else str(found["value"])


async def known_contracts(connection: ReadConnection, label: Label, *, issuer_id: UUID) -> dict[bytes, Known]:
    """Every contract of an issuer that was on the chain at the label's block, timelocks too, by address."""
    ours = {
        address: Known(token.artifact, token.symbol, token.id)
        for address, token in (await tokens.tokens_by_address(connection, issuer_id=issuer_id)).items()
        if token.adoption_id is None  # nobody knows the functions of a contract of others
    }
    for each in await deployments.deployments(connection, issuer_id=issuer_id):
        ours[each.address] = Known(each.artifact, each.name or each.kind)
    there = await mirror.contract_states(connection, chain_id=label.chain, addresses=list(ours), block=label.block)
    found = {address: ours[address] for address in there}
    for address in [address for address, each in found.items() if each.artifact == "AssetGovernor"]:
        timelock = await _setting(connection, there[address], "timelock", label.block)
        if timelock is not None:
            found.setdefault(bytes.fromhex(timelock[2:]), Known(TIMELOCK, f"timelock of {found[address].name}"))
    return found


async def proposals_page(
    connection: ReadConnection,
    label: Label,
    governor: Governor,
    known: Mapping[bytes, Known],
    *,
    before: tuple[int, int] | None,
    count_max: int,
) -> list[tuple[tuple[int, int], Proposal]]:
    """Proposals of a governor, newest first, each with its place: block number and log index."""
    told = await facts.events_page(
        connection,
        contract_ids=[governor.contract.id],
        names=["ProposalCreated"],
        block=label.block,
        before=before,
        count_max=count_max,
    )
    ids = [int(each.arguments["proposalId"]) for each in told]
    counted = await _tallies(connection, label, governor.contract, ids)
    return [
        (
            (each.block_number, each.log_index),
            await _proposal(connection, label, governor, known, id=proposal_id, tallies=counted[proposal_id]),
        )
        for each, proposal_id in zip(told, ids, strict=True)
    ]


async def proposal(
    connection: ReadConnection, label: Label, governor: Governor, known: Mapping[bytes, Known], *, id: int
) -> Proposal:
    """One proposal of a governor.

    Raises:
        ProposalNotFound: none, or not at the label's block yet.
    """
    counted = await _tallies(connection, label, governor.contract, [id])
    return await _proposal(connection, label, governor, known, id=id, tallies=counted[id])


async def _proposal(
    connection: ReadConnection,
    label: Label,
    governor: Governor,
    known: Mapping[bytes, Known],
    *,
    id: int,
    tallies: dict[Support, int],
) -> Proposal:
    entries = await facts.state_history_page(
        connection,
        contract_id=governor.contract.id,
        aspect="proposal",
        key=id.to_bytes(32),
        block=label.block,
        after_block=None,
        count_max=1,
    )
    if not entries or entries[0].state is None:
        raise ProposalNotFound(f"at block {label.block} the governor had no proposal {id}: list them, or wait for it")
    created = entries[0].state
    did = _actions(created)
    ended = await _ended(connection, label, governor, did, created["description"], id)
    extended = await _fact(connection, label, governor.contract, "proposal-extended", id)
    snapshot, deadline = int(created["vote_start"]), standing.deadline_of(created, extended)
    quorum = await _quorum(connection, governor, snapshot) if snapshot < label.block else None
    return Proposal(
        id=id,
        governor_id=governor.deployment.id,
        proposer=created["proposer"],
        description=created["description"],
        actions=[actions.told(each, known) for each in did],
        state=standing.state_of(
            label.block, snapshot=snapshot, deadline=deadline, tallies=tallies, quorum=quorum, ended=ended
        ),
        snapshot=snapshot,
        deadline=deadline,
        tallies=tallies,
        quorum=quorum,
        eta=ended.eta,
        block=entries[0].from_block,
        time=entries[0].from_time,
    )


async def timelock_operation(connection: ReadConnection, label: Label, governor: Governor, *, id: int) -> bytes | None:
    """The 32 bytes under which the timelock keeps a proposal, if its announcement tells enough to make them.

    Raises:
        ProposalNotFound: the governor had none such at the label's block.
    """
    created = await _fact(connection, label, governor.contract, "proposal", id)
    if created is None:
        raise ProposalNotFound(f"at block {label.block} the governor had no proposal {id}: list them, or wait for it")
    return _operation(governor, _actions(created), created["description"], id)


def _operation(governor: Governor, did: list[Action], description: str, id: int) -> bytes | None:
    # An outsider's description may hold bytes that are no text, and the mirror keeps only what is.
    if actions.proposal_id(did, description) != id:
        return None
    return actions.timelock_id(governor.deployment.address, did, description)


def _actions(created: Mapping[str, Any]) -> list[Action]:
    listed = zip(created["targets"], created["values"], created["calldatas"], strict=True)
    return [Action(bytes.fromhex(to[2:]), int(value), bytes.fromhex(data[2:])) for to, value, data in listed]


async def _fact(
    connection: ReadConnection, label: Label, contract: Contract, aspect: str, id: int
) -> dict[str, Any] | None:
    key = id.to_bytes(32)
    return await facts.state(connection, contract_id=contract.id, aspect=aspect, key=key, block=label.block)


async def _ended(
    connection: ReadConnection, label: Label, governor: Governor, did: list[Action], description: str, id: int
) -> Ended:
    executed = await _fact(connection, label, governor.contract, "proposal-executed", id)
    canceled = await _fact(connection, label, governor.contract, "proposal-canceled", id)
    queued = await _fact(connection, label, governor.contract, "proposal-queued", id)
    word = None
    operation = _operation(governor, did, description, id) if queued else None
    if operation is not None:
        word = await _timelock_word(connection, label, governor, operation)
    return Ended(executed is not None, canceled is not None, queued["eta"] if queued else None, word)


async def _timelock_word(connection: ReadConnection, label: Label, governor: Governor, operation: bytes) -> str | None:
    timelock = await mirror.contract(connection, chain_id=label.chain, address=governor.timelock, block=label.block)
    if timelock is None:
        return None
    kept = await facts.state(
        connection, contract_id=timelock.id, aspect="timelock-call", key=operation, block=label.block
    )
    return "unset" if kept is None else str(kept["status"])


async def _tallies(
    connection: ReadConnection, label: Label, contract: Contract, ids: Sequence[int]
) -> dict[int, dict[Support, int]]:
    counted = await facts.tallies(connection, contract_id=contract.id, proposal_ids=ids, block=label.block)
    return {
        proposal_id: {support: weights.get(number, 0) for number, support in enumerate(SUPPORTS)}
        for proposal_id, weights in counted.items()
    }


async def _quorum(connection: ReadConnection, governor: Governor, snapshot: int) -> int:
    """Share of the supply at the end of the snapshot block, both as they were then."""
    percent = await _setting(connection, governor.contract, "quorum-numerator", snapshot)
    token = governor.token
    counted = await mirror.contract(connection, chain_id=token.chain_id, address=token.address, block=snapshot)
    supply = 0 if counted is None else await mirror.supply(connection, contract_id=counted.id, block=snapshot)
    return standing.quorum_of(supply, int(percent or 0))
