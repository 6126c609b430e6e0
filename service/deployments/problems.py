"""What can be wrong with an issuer's contracts, its roles, and actions that wait for their delay."""

from service.errors import Problem


class ContractMissing(Problem):
    """The issuer has no contract of the kind that this needs; `kind` says which, and one request deploys it."""

    slug, title, status = "contract-missing", "The issuer has no such contract yet", 409


class ContractNotDeployed(Problem):
    """The contract is asked for, but not on the chain yet."""

    slug, title, status = "contract-not-deployed", "The contract is not on the chain yet", 409


class ContractExists(Problem):
    """The issuer has a contract of this kind already, deployed or on its way."""

    slug, title, status = "contract-exists", "The issuer has such a contract already", 409


class GovernorNotFound(Problem):
    """There is no such governor of this issuer."""

    slug, title, status = "governor-not-found", "No such governor", 404


class NotScheduled(Problem):
    """The signer's role acts after a delay, and this action is not scheduled, or was executed or cancelled."""

    slug, title, status = "not-scheduled", "The action is not scheduled", 409
    reverts = ("AccessManagerNotScheduled",)


class NotReady(Problem):
    """The action is scheduled, but its delay has not passed; `ready_at` says when it has."""

    slug, title, status = "not-ready", "The delay has not passed", 409
    reverts = ("AccessManagerNotReady",)


class ScheduleExpired(Problem):
    """The action was scheduled, but not executed within a week of being ready: schedule it again."""

    slug, title, status = "schedule-expired", "The scheduled action has expired", 409
    reverts = ("AccessManagerExpired",)


class ScheduledNotFound(Problem):
    """The issuer's authority has never scheduled such an action."""

    slug, title, status = "scheduled-not-found", "No such scheduled action", 404


class ScheduledByAnother(Problem):
    """Another account than the issuer's signer scheduled this, so that account executes it."""

    slug, title, status = "scheduled-by-another", "Another account scheduled this", 409


class LastAdmin(Problem):
    """An authority without an administrator could never be changed again: grant the role to another account first."""

    slug, title, status = "last-admin", "The last administrator stays", 409
    reverts = ("LastAdmin",)


class SignerLacksRole(Problem):
    """The account that signs has not the role that the contract asks for."""

    slug, title, status = "signer-lacks-role", "The signer lacks the role", 409
    reverts = (
        "AccessManagedUnauthorized",
        "AccessManagerUnauthorizedAccount",
        "AccessManagerUnauthorizedCall",
        "AccessManagerUnauthorizedCancel",
        "AccessControlUnauthorizedAccount",
        "NotAMember",
    )


class OperationAlreadyExecuted(Problem):
    """The contract has executed this operation before, and refuses it a second time."""

    slug, title, status = "operation-already-executed", "The contract did this already", 409
    reverts = ("OperationAlreadyExecuted",)
