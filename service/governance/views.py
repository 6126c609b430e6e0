"""Governors, proposals and votes on the wire."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from service.addresses import Address
from service.amounts import Amount
from service.chain import times
from service.deployments.queries import Deployment
from service.governance.actions import Told
from service.governance.orders import REGISTRY, TOKEN
from service.governance.queries import Proposal, Settings
from service.operations.labels import LabelView

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
NUMBER = "69483729573847562938475629384756293847562938475629384756293847562"

_ACTION: JsonDict = {
    "contract": REGISTRY,
    "known_as": "compliance",
    "token_id": None,
    "value": "0",
    "call": {
        "contract": "ComplianceRegistry",
        "function": "setPolicy",
        "arguments": {
            "token": TOKEN,
            "policy": {
                "levelMin": 1,
                "countryRule": 1,
                "holdersMax": 99,
                "countryHoldersMax": 0,
                "holdingMax": "0",
            },
            "countries": [528, 56],
            "operationId": "0x" + "5a" * 32,
        },
    },
    "data": "0x8f4e2b1a",
}


class GovernorView(BaseModel):
    """A governor, its timelock, and the settings that a vote can change; null while it is not on the chain."""

    id: UUID
    token_id: UUID = Field(description="Whose votes it counts.")
    name: str = Field(examples=["Harbour Assembly"])
    chain: int = Field(examples=[31337])
    address: Address
    status: Literal["deploying", "active", "failed"]
    operation_id: UUID = Field(description="The operation that deploys it.")
    deployed_block: int | None = Field(examples=[7])
    timelock: Address | None = Field(description="What acts once a vote has passed: roles and property are its.")
    voting_delay_blocks: int | None = Field(examples=[1])
    voting_period_blocks: int | None = Field(examples=[50_400])
    proposal_threshold: Amount | None
    quorum_percent: int | None = Field(examples=[10])
    vote_extension_blocks: int | None = Field(examples=[7_200])
    timelock_delay_s: int | None = Field(examples=[172_800])
    created_at: datetime

    @classmethod
    def of(cls, governor: Deployment, settings: Settings | None, *, failed: bool) -> "GovernorView":
        """The view of a governor; `failed` is whether its deployment did."""
        told: dict[str, Any] = dict.fromkeys(cls.model_fields)
        if settings is not None:
            told |= {
                **settings.numbers,
                "deployed_block": settings.deployed_block,
                "timelock": settings.timelock,
                "timelock_delay_s": settings.timelock_delay_s,
            }
        told |= {
            "id": governor.id,
            "token_id": governor.subject_id,
            "name": governor.name,
            "chain": governor.chain_id,
            "address": governor.address,
            "status": "active" if settings is not None else "failed" if failed else "deploying",
            "operation_id": governor.operation_id,
            "created_at": governor.created_at,
        }
        return cls.model_validate(told)


class LabelledGovernor(GovernorView):
    """A governor, and the block that the answer describes."""

    at: LabelView


class LabelledGovernors(BaseModel):
    """An issuer's governors, and the block that the answer describes."""

    data: list[GovernorView]
    at: LabelView


class ActionView(BaseModel):
    """What a proposal does once it is executed: `call` is null where nobody here can say what `data` means."""

    model_config = ConfigDict(json_schema_extra={"example": _ACTION})

    contract: Address
    known_as: str | None = Field(description="The token's symbol, or the kind or name of another contract.")
    token_id: UUID | None
    value: Amount = Field(description="Wei.")
    call: dict[str, Any] | None
    data: str

    @classmethod
    def of(cls, told: Told) -> "ActionView":
        """The view of an action."""
        return cls.model_validate(
            {
                "contract": told.action.target,
                "known_as": told.known.name if told.known else None,
                "token_id": told.known.token_id if told.known else None,
                "value": told.action.value,
                "call": told.call,
                "data": "0x" + told.action.data.hex(),
            }
        )


class TalliesView(BaseModel):
    """Votes in base units of the token."""

    model_config = ConfigDict(populate_by_name=True)

    for_: Amount = Field(alias="for")
    against: Amount
    abstain: Amount


class ProposalView(BaseModel):
    """A proposal and where it stood at one block."""

    proposal_id: str = Field(examples=[NUMBER])
    governor_id: UUID
    proposer: str = Field(examples=[ALICE])
    description: str = Field(examples=["Admit Maltese investors#proposer=" + ALICE.lower()])
    actions: list[ActionView]
    state: Literal["pending", "active", "canceled", "defeated", "succeeded", "queued", "executed"]
    snapshot: int = Field(description="Votes are counted as they were at the end of this block.", examples=[43])
    deadline: int = Field(description="The last block in which a vote counts.", examples=[50_443])
    tallies: TalliesView
    quorum: Amount | None = Field(description="Votes for and abstentions that it needs; null until the snapshot.")
    eta: datetime | None = Field(description=f"Once it is queued: when it can be executed. {times.LAST}")
    block: int = Field(description="The block that it was proposed in.", examples=[42])
    time: datetime

    @classmethod
    def of(cls, proposal: Proposal) -> "ProposalView":
        """The view of a proposal."""
        return cls.model_validate(
            {
                "proposal_id": str(proposal.id),
                "governor_id": proposal.governor_id,
                "proposer": proposal.proposer,
                "description": proposal.description,
                "actions": [ActionView.of(each) for each in proposal.actions],
                "state": proposal.state,
                "snapshot": proposal.snapshot,
                "deadline": proposal.deadline,
                "tallies": proposal.tallies,
                "quorum": proposal.quorum,
                "eta": None if proposal.eta is None else times.shown(proposal.eta),
                "block": proposal.block,
                "time": proposal.time,
            }
        )


class LabelledProposal(ProposalView):
    """A proposal, and the block that the answer describes."""

    at: LabelView


class BallotView(BaseModel):
    """How an account voted, and with how many votes."""

    voter: Address = Field(examples=[ALICE])
    support: Literal["against", "for", "abstain"]
    weight: Amount = Field(description="Base units.")
    reason: str = Field(examples=["Fair"])


class DelegationView(BaseModel):
    """Whom an account lets vote with its units."""

    account: Address = Field(examples=[ALICE])
    delegatee: str = Field(examples=[ALICE])


class VotesView(BaseModel):
    """How many votes an account has: its own units and others', as far as they are delegated to it."""

    account: Address = Field(examples=[ALICE])
    votes: Amount = Field(description="Base units.")


class LabelledVotes(VotesView):
    """An account's votes and whom its own units vote through, and the block that the answer describes."""

    delegatee: str | None = Field(description="Null: its units do not vote.", examples=[ALICE])
    at: LabelView
