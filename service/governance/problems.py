"""What can be wrong with a governor, a proposal or a ballot; every error of AssetGovernor and its timelock is here.

Those that other contracts have too are told by the slices that meet them first.
"""

from collections.abc import Mapping
from typing import Any

from service.errors import Problem

STATES = ("pending", "active", "canceled", "defeated", "succeeded", "queued", "expired", "executed")
"""States of a proposal by number. Source: OpenZeppelin 5.7, IGovernor.ProposalState."""


class ActionInvalid(Problem):
    """An action is no call of a contract of this issuer's; `pointer` says which part of it."""

    slug, title, status = "action-invalid", "This action can't be proposed", 422


class ProposalNotFound(Problem):
    """The governor has no such proposal on the chain; a new one is there once its operation has succeeded."""

    slug, title, status = "proposal-not-found", "No such proposal", 404
    reverts = ("GovernorNonexistentProposal",)


class ProposalNotInState(Problem):
    """The proposal is in a state that does not allow this; `state` says which, and `needed` which would."""

    slug, title, status = "proposal-not-in-state", "The proposal's state does not allow this", 409
    reverts = (
        "GovernorUnexpectedProposalState",
        "GovernorAlreadyQueuedProposal",
        "GovernorProposalQueueingFailed",
        "GovernorProposalQueueingNotRequired",
    )

    @classmethod
    def explained(cls, arguments: Mapping[str, str]) -> dict[str, Any]:
        """The state and those that would do, by name."""
        try:
            state, allowed = STATES[int(arguments["current"])], int(arguments["expectedStates"], 16)
        except (KeyError, ValueError, IndexError):
            return {}
        needed = [name for number, name in enumerate(STATES) if allowed >> number & 1]
        # A proposal that is there already is refused with no state that would do.
        sentence = f"and this needs one that is {' or '.join(needed)}" if needed else "and it is proposed once"
        return {"detail": f"the proposal is {state}, {sentence}", "state": state, "needed": needed}


class AlreadyVoted(Problem):
    """The account has voted on this proposal: a vote is cast once and can't be changed."""

    slug, title, status = "already-voted", "The account has voted already", 409
    reverts = ("GovernorAlreadyCastVote",)


class TooFewVotesToPropose(Problem):
    """The proposer had fewer votes at the block before than the governor's threshold: delegate more to it first."""

    slug, title, status = "too-few-votes-to-propose", "The proposer has too few votes", 409
    reverts = ("GovernorInsufficientProposerVotes",)


class ProposerRestricted(Problem):
    """The description ends with `#proposer=` and another account, and only that one may propose it."""

    slug, title, status = "proposer-restricted", "Another account is to propose this", 409
    reverts = ("GovernorRestrictedProposer",)


class NotCancellable(Problem):
    """Only its proposer cancels a proposal, and only while it is pending."""

    slug, title, status = "not-cancellable", "The proposal can't be canceled", 409
    reverts = ("GovernorUnableToCancel",)


class BallotOutdated(Problem):
    """The ballot's signature does not fit: another signed, or the account voted elsewhere meanwhile, so vote again."""

    slug, title, status = "ballot-outdated", "The ballot's signature does not fit", 409
    reverts = ("GovernorInvalidSignature",)


class SignatureOutdated(Problem):
    """A signature with a sequential nonce or an end was used too late or twice: sign again."""

    slug, title, status = "signature-outdated", "The signature is outdated", 409
    reverts = ("InvalidAccountNonce", "VotesExpiredSignature")


class TimelockNotReady(Problem):
    """The timelock's delay has not passed, or it has done or forgotten this: execute once `eta` is past."""

    slug, title, status = "timelock-not-ready", "The timelock is not ready", 409
    reverts = ("TimelockUnexpectedOperationState", "TimelockUnexecutedPredecessor")


class OnlyByProposal(Problem):
    """Governor and timelock obey passed proposals alone: propose it, and have it voted on."""

    slug, title, status = "only-by-proposal", "Only a passed proposal may do this", 409
    reverts = ("GovernorOnlyExecutor", "TimelockUnauthorizedCaller")


class ProposalMalformed(Problem):
    """No governor takes a proposal or ballot of this form: list as many targets as calls, and vote 0, 1 or 2."""

    slug, title, status = "proposal-malformed", "The proposal or ballot is malformed", 409
    reverts = (
        "GovernorInvalidProposalLength",
        "GovernorInvalidVoteType",
        "GovernorInvalidVoteParams",
        "TimelockInvalidOperationLength",
    )


class GovernorSettingInvalid(Problem):
    """No governor has such a setting: a number is out of its range, or the token does not count votes by blocks."""

    slug, title, status = "governor-setting-invalid", "No governor has such a setting", 409
    reverts = (
        "GovernorInvalidVotingPeriod",
        "GovernorInvalidQuorumFraction",
        "GovernorPreventLateQuorumVoteExtensionTooLarge",
        "QuorumMissing",
        "TimelockDelayMissing",
        "TimelockInsufficientDelay",
        "ClockModeUnsupported",
    )


class DepositRefused(Problem):
    """The governor keeps nothing: send it to the timelock, which acts for it."""

    slug, title, status = "deposit-refused", "The governor takes no deposit", 409
    reverts = ("GovernorDisabledDeposit",)


class VotesNotCounted(Problem):
    """Votes are known of blocks that are over: ask for a former one."""

    slug, title, status = "votes-not-counted", "This block is not over", 409
    reverts = ("ERC5805FutureLookup",)


class ActionFailed(Problem):
    """A call that was to be made on the way was refused without a reason that has a name of its own."""

    slug, title, status = "action-failed", "An inner call failed", 409
    reverts = ("FailedCall", "AddressEmptyCode", "AccessControlBadConfirmation")


class BeyondStorage(Problem):
    """A number, a text or a block number is not what the contract can keep: use a smaller one."""

    slug, title, status = "beyond-storage", "The contract can't keep this", 409
    reverts = (
        "SafeCastOverflowedUintDowncast",
        "StringTooLong",
        "InvalidShortString",
        "CheckpointUnorderedInsertion",
        "ERC6372InconsistentClock",
    )
