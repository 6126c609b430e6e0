"""Request bodies about governors, proposals and votes."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StrictStr, model_validator
from pydantic.config import JsonDict

from service.addresses import Address
from service.web.orders import Name, Order, Prose, Uint256

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
REGISTRY = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
TOKEN = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"  # noqa: S105
SET_POLICY = "setPolicy(address,(uint8,uint8,uint32,uint32,uint256),uint16[],bytes32)"

ACTIONS_MAX = 20
VALUES_MAX = 2_000
"""Numbers, texts and lists in the arguments of one call."""

DEPTH_MAX = 16
"""Lists in lists: no function of ours takes half as many."""

TEXT_CHARS_MAX = 128 * 1024
"""Characters of all texts in the arguments of one call: as hexadecimal digits, as many bytes as are put into words."""

Support = Literal["against", "for", "abstain"]
SUPPORTS: tuple[Support, ...] = ("against", "for", "abstain")
"""By number. Source: OpenZeppelin 5.7, GovernorCountingSimple.VoteType."""

_CALL: JsonDict = {
    "contract": REGISTRY,
    "function": SET_POLICY,
    "arguments": [TOKEN, ["1", "1", "99", "0", "0"], ["528", "56"]],
}


def _json_values(given: list[Any]) -> list[Any]:
    """Lists of what every reader of JSON, and jsonb, keeps as it is."""
    waiting: list[tuple[Any, int]] = [(each, 1) for each in given]
    chars = 0
    for count in range(VALUES_MAX + 1):
        if not waiting:
            return given
        if count == VALUES_MAX:
            break
        value, depth = waiting.pop()
        if isinstance(value, list):
            if depth == DEPTH_MAX:
                raise ValueError(f"lists are at most {DEPTH_MAX} deep")
            waiting += [(each, depth + 1) for each in value]
        elif isinstance(value, str):
            chars += len(value)
            if chars > TEXT_CHARS_MAX:
                raise ValueError(f"at most {TEXT_CHARS_MAX} characters of text")
            _fits_jsonb(value)
        elif not isinstance(value, bool | int) or abs(value) >= 2**53:
            raise ValueError("use strings, true and false, and lists of them; large numbers are decimal strings")
    raise ValueError(f"at most {VALUES_MAX} values")


def _fits_jsonb(text: str) -> None:
    if "\0" in text or (not text.isascii() and text.encode(errors="replace").decode() != text):
        raise ValueError("text is Unicode without NUL")


Arguments = Annotated[list[Any], AfterValidator(_json_values)]


class GovernorOrder(Order):
    """Deploy the governor of a governance token, and its timelock."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "token_id": "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01",
                "name": "Harbour Assembly",
                "voting_delay_blocks": 1,
                "voting_period_blocks": 50_400,
                "proposal_threshold": "0",
                "quorum_percent": 10,
                "vote_extension_blocks": 7_200,
                "timelock_delay_s": 172_800,
            }
        }
    )

    token_id: UUID
    name: Name
    voting_delay_blocks: Annotated[StrictInt, Field(ge=0, le=100_000)] = Field(
        1, description="From a proposal to the count of who may vote."
    )
    voting_period_blocks: Annotated[StrictInt, Field(ge=1, le=10_000_000)]
    proposal_threshold: Uint256 = Field(0, description="Votes that a proposer needs, in base units.")
    quorum_percent: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        description="Votes for and abstentions together must reach this share of the supply."
    )
    vote_extension_blocks: Annotated[StrictInt, Field(ge=0, le=10_000_000)] = Field(
        0, description="Voting that remains at least once the quorum is reached; at most the voting period."
    )
    timelock_delay_s: Annotated[StrictInt, Field(ge=1, le=3_650 * 86_400)] = Field(
        description="Between the queueing of a passed proposal and its execution."
    )

    @model_validator(mode="after")
    def _extension_within_period(self) -> "GovernorOrder":
        if self.vote_extension_blocks > self.voting_period_blocks:
            raise ValueError("vote_extension_blocks is at most voting_period_blocks")
        return self


class CallOrder(Order):
    """A call of a contract of the issuer's."""

    model_config = ConfigDict(json_schema_extra={"example": _CALL})

    contract: Address
    function: Annotated[
        StrictStr, Field(min_length=1, max_length=300, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\([A-Za-z0-9_,()\[\] ]*\))?$")
    ] = Field(description="Its signature, or its name where the contract has one function of the name.")
    arguments: Arguments = Field(
        description="Numbers as decimal strings, addresses and bytes as 0x text, structs as lists. "
        "An `operationId` at the end may be left out: it is then derived from this request."
    )


class ActionOrder(Order):
    """What a proposal does once it is executed."""

    model_config = ConfigDict(json_schema_extra={"example": {"call": _CALL}})

    call: CallOrder


class ProposalOrder(Order):
    """Propose something for the holders to vote on."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"description": "Admit Maltese investors", "actions": [{"call": _CALL}]}}
    )

    description: Annotated[Prose, Field(min_length=1)]
    actions: Annotated[list[ActionOrder], Field(min_length=1, max_length=ACTIONS_MAX)]


class BallotOrder(Order):
    """Vote with all the votes that the account had at the proposal's snapshot."""

    model_config = ConfigDict(json_schema_extra={"example": {"from": ALICE, "support": "for", "reason": "Fair"}})

    voter: Address = Field(alias="from")
    support: Support
    reason: Prose = Field("", description="Public for ever: no personal data.")


class PrepareBallotOrder(BallotOrder):
    """The same, with the road that the voter takes."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"from": ALICE, "support": "for", "reason": "Fair", "road": "signature"}}
    )

    road: Literal["signature", "transaction"] = Field(
        "signature",
        description="`signature`: the voter signs a message, and the issuer's signer relays it and pays. "
        "`transaction`: the voter signs a transaction, and pays.",
    )
