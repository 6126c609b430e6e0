"""Every error of the contracts with the problem that means the same, whichever slice tells it."""

from types import ModuleType

from service.compliance import problems as compliance
from service.deployments import problems as deployments
from service.errors import Problem
from service.governance import problems as governance
from service.tokens import problems as tokens

TOLD_BY: tuple[ModuleType, ...] = (compliance, deployments, governance, tokens)
"""The modules whose problems have reverts: each is here, so that each has been read."""

BY_REVERT: dict[str, type[Problem]] = {
    revert: problem for problem in Problem.registry.values() for revert in problem.reverts
}
"""Problems by the contract's error of the same meaning."""

_NOT_ASKED = "no request of ours asks for this yet; if a caller's transaction meets it, it is told as `call-refused`"
_CHECKED = "the request is refused as `invalid-request` before the chain is asked"
_OURS = "our own encoding never sends this"
_SETTINGS = "only a wrong deployment of the service itself meets it"

UNTOLD: dict[str, str] = {
    **dict.fromkeys(
        (
            *("AlreadyClaimed", "AmountNotExact", "DeadlineAhead", "DeadlinePassed", "DistributionClosed"),
            *("DistributionEmpty", "DistributionExists", "DistributionIdMissing", "DistributionUnknown"),
            *("ProofInvalid", "RecordBlockMismatch", "RemainderExceeded", "SafeERC20FailedOperation"),
            *("ConsentMissing", "LegNotExact", "NonceUsed", "NotParty", "ReentrancyGuardReentrantCall"),
            *("TradeExpired", "TradeOneSided", "TradeWithOneself", "LogNotGrown"),
            *("ERC2612ExpiredSignature", "ERC2612InvalidSigner", "ERC721InvalidOperator"),
            *("AccessManagerBadConfirmation", "AccessManagerLockedFunction", "AccessManagerLockedRole"),
            *("AccessManagerAlreadyScheduled", "AccessManagerUnauthorizedConsume"),
            *("RegistryFixed", "RegistryOutdated", "InvalidAccountNonce", "VotesExpiredSignature"),
            *("GovernorOnlyExecutor", "TimelockUnauthorizedCaller", "GovernorDisabledDeposit"),
            *("ERC5805FutureLookup", "TimelockUnexecutedPredecessor", "FailedCall", "AddressEmptyCode"),
            "AccessControlBadConfirmation",
        ),
        _NOT_ASKED,
    ),
    **dict.fromkeys(
        (
            *("ERC20InvalidApprover", "ERC20InvalidCap", "ERC20InvalidReceiver", "ERC20InvalidSender"),
            *("ERC20InvalidSpender", "ERC721InvalidApprover", "ERC721InvalidOwner", "ERC721InvalidReceiver"),
            *("ERC2981InvalidDefaultRoyalty", "ERC2981InvalidDefaultRoyaltyReceiver"),
            *("ERC2981InvalidTokenRoyalty", "ERC2981InvalidTokenRoyaltyReceiver"),
            *("WalletInvalid", "CountryInvalid", "CountryRuleInvalid", "LotTooLarge", "LotsTooMany"),
            *("TimelockDelayMissing", "SafeCastOverflowedUintDowncast", "GovernorInvalidVoteType"),
        ),
        _CHECKED,
    ),
    "AlreadyDeployed": "a deployment that the chain has already is taken over as done",
    **dict.fromkeys(
        (
            *("ECDSAInvalidSignature", "ECDSAInvalidSignatureLength", "ECDSAInvalidSignatureS"),
            *("ERC3009InvalidSignature", "LengthMismatch", "OperationIdMissing", "HookGasTooLow", "TokenMissing"),
            *("GovernorInvalidProposalLength", "GovernorInvalidVoteParams", "TimelockInvalidOperationLength"),
            *("StringTooLong", "InvalidShortString", "CheckpointUnorderedInsertion", "ERC6372InconsistentClock"),
            *("ClockModeUnsupported", "AlreadyIssued", "TimelockInsufficientDelay"),
            *("AccessManagedRequiredDelay", "CallsMissing", "ERC7943CannotSend", "ERC7943CannotTransfer"),
        ),
        _OURS,
    ),
    **dict.fromkeys(
        (
            *("AccessManagedInvalidAuthority", "AccessManagerInvalidInitialAdmin", "AdminMissing"),
            *("AuthorityMissing", "Create2EmptyBytecode", "FailedDeployment", "InsufficientBalance", "NoCode"),
        ),
        _SETTINGS,
    ),
}
"""Errors of the contracts that have no problem of their own, and why no request can meet them."""
