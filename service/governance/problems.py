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


class TimelockNotReady(Problem):
    """The timelock's delay has not passed, or it has done or forgotten this: execute once `eta` is past."""

    slug, title, status = "timelock-not-ready", "The timelock is not ready", 409
    reverts = ("TimelockUnexpectedOperationState",)


class GovernorSettingInvalid(Problem):
    """No governor has such a setting: a number is out of its range; propose another one."""

    slug, title, status = "governor-setting-invalid", "No governor has such a setting", 409
    reverts = (
        "GovernorInvalidVotingPeriod",
        "GovernorInvalidQuorumFraction",
        "GovernorPreventLateQuorumVoteExtensionTooLarge",
        "QuorumMissing",
    )
