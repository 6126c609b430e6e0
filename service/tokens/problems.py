"""What can be wrong with an asset, an account or a token; where the contract has a name for it, that name is here."""

from service.errors import Problem


class AssetNotFound(Problem):
    """There is no such asset of this issuer."""

    slug, title, status = "asset-not-found", "No such asset", 404


class AccountNotFound(Problem):
    """This issuer has registered no such account."""

    slug, title, status = "account-not-found", "No such account", 404


class AccountExists(Problem):
    """The account is registered already."""

    slug, title, status = "account-exists", "This account is registered already", 409


class AccountNotManaged(Problem):
    """The account's key is not in our keeping, so its holder must sign for itself."""

    slug, title, status = "account-not-managed", "This account signs for itself", 409


class TokenNotFound(Problem):
    """There is no such token of this issuer."""

    slug, title, status = "token-not-found", "No such token", 404


class AssetAlreadyTokenized(Problem):
    """The asset has a token of this kind already, deployed or on its way."""

    slug, title, status = "asset-already-tokenized", "This asset has such a token already", 409


class TokenNotDeployed(Problem):
    """The token's contract was not on the chain at this block."""

    slug, title, status = "token-not-deployed", "The token is not on the chain yet", 409
    revert = "NoContract"


class WalkReorganised(Problem):
    """The block that these pages describe left the chain, so pages before and after would not belong together."""

    slug, title, status = "walk-reorganised", "The block of this walk was replaced", 409


class TokenPaused(Problem):
    """The token is paused: nothing of it moves until it is unpaused."""

    slug, title, status = "token-paused", "The token is paused", 409
    revert = "EnforcedPause"


class TokenNotPaused(Problem):
    """The token is not paused, so it can't be unpaused."""

    slug, title, status = "token-not-paused", "The token is not paused", 409
    revert = "ExpectedPause"


class InsufficientBalance(Problem):
    """The account holds less than the amount."""

    slug, title, status = "insufficient-balance", "The account holds too little", 409
    revert = "ERC20InsufficientBalance"


class OperationAlreadyExecuted(Problem):
    """The contract has executed this operation before, and refuses it a second time."""

    slug, title, status = "operation-already-executed", "The contract did this already", 409
    revert = "OperationAlreadyExecuted"


class AuthorizationAlreadyUsed(Problem):
    """The holder's authorization was used or cancelled before."""

    slug, title, status = "authorization-already-used", "The authorization was used already", 409
    revert = "ERC3009UsedAuthorization"


class SignerLacksRole(Problem):
    """The issuer's signer has not the role that the contract asks for."""

    slug, title, status = "signer-lacks-role", "The signer lacks the role", 409
    revert = "AccessControlUnauthorizedAccount"


class AlreadyDeployed(Problem):
    """The factory has deployed this very token before."""

    slug, title, status = "already-deployed", "The factory deployed this already", 409
    revert = "AlreadyDeployed"


BY_REVERT: dict[str, type[Problem]] = {
    problem.revert: problem
    for problem in (
        TokenNotDeployed,
        TokenPaused,
        TokenNotPaused,
        InsufficientBalance,
        OperationAlreadyExecuted,
        AuthorizationAlreadyUsed,
        SignerLacksRole,
        AlreadyDeployed,
    )
    if problem.revert
}
"""Problems by the contract's error of the same meaning."""
