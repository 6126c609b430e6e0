"""What can be wrong with an asset, an account or a token; where the contracts have a name for it, that name is here."""

from collections.abc import Mapping
from typing import Any

from service.chain.restrictions import rule_of
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


class AdoptionNotFound(Problem):
    """There is no such adoption of this issuer."""

    slug, title, status = "adoption-not-found", "No such adoption", 404


class AlreadyAdopted(Problem):
    """The issuer has this contract as a token already; `token_id` and `adoption_id` name it."""

    slug, title, status = "already-adopted", "This contract is adopted already", 409


class TooManyAdoptions(Problem):
    """So many of the issuer's adoptions have not ended that one has to end first; `adoption_id` names the oldest."""

    slug, title, status = "too-many-adoptions", "Too many adoptions are on their way", 409


class AlreadyFollowed(Problem):
    """The contract was deployed through this deployment's factory, so it is mirrored without being adopted."""

    slug, title, status = "already-followed", "This contract is one of ours", 409


class NoCode(Problem):
    """There is no contract at the address."""

    slug, title, status = "no-code", "There is no contract at this address", 422


class NotAToken(Problem):
    """The contract answers neither as ERC-20 nor as ERC-721, or not as the kind that was asked for."""

    slug, title, status = "not-a-token", "The contract is no such token", 422


class TokenNotDeployed(Problem):
    """The token's contract was not on the chain at this block."""

    slug, title, status = "token-not-deployed", "The token is not on the chain yet", 409
    reverts = ("NoContract",)


class TokenPaused(Problem):
    """The token is paused: nothing of it moves until it is unpaused."""

    slug, title, status = "token-paused", "The token is paused", 409
    reverts = ("EnforcedPause",)


class TokenNotPaused(Problem):
    """The token is not paused, so it can't be unpaused."""

    slug, title, status = "token-not-paused", "The token is not paused", 409
    reverts = ("ExpectedPause",)


class InsufficientBalance(Problem):
    """The account holds less than the amount."""

    slug, title, status = "insufficient-balance", "The account holds too little", 409
    reverts = ("ERC20InsufficientBalance",)


class AuthorizationAlreadyUsed(Problem):
    """The holder's authorization was used or cancelled before."""

    slug, title, status = "authorization-already-used", "The authorization was used already", 409
    reverts = ("ERC3009UsedAuthorization",)


class WrongTokenKind(Problem):
    """Tokens of this kind can't do this; `kind` says what the token is."""

    slug, title, status = "wrong-token-kind", "This kind of token can't do that", 409


class InsufficientAllowance(Problem):
    """The spender was allowed less than the amount."""

    slug, title, status = "insufficient-allowance", "The spender was allowed too little", 409
    reverts = ("ERC20InsufficientAllowance", "ERC721InsufficientApproval")


class InsufficientUnfrozenBalance(Problem):
    """The account holds the amount or the deed, but it is frozen, wholly or in part."""

    slug, title, status = "insufficient-unfrozen-balance", "Too much of it is frozen", 409
    reverts = ("ERC7943InsufficientUnfrozenBalance",)


class FrozenAmountChanged(Problem):
    """The frozen amount is not what the request expected: somebody else decided meanwhile, so decide anew."""

    slug, title, status = "frozen-amount-changed", "The frozen amount is another one by now", 409
    reverts = ("ERC7943ExpectedValueMismatch",)


class TransferRestricted(Problem):
    """A rule of the token or of the issuer's compliance policy forbids this; `rule` says which, with its data."""

    slug, title, status = "transfer-restricted", "A rule forbids this transfer", 409
    reverts = ("TransferRestricted",)

    @classmethod
    def explained(cls, arguments: Mapping[str, str]) -> dict[str, Any]:
        """The rule and its data."""
        rule = rule_of(arguments)
        whom = f" ({rule['account']})" if rule["account"] else ""
        return {"detail": f"{rule['name']}{whom}: {rule['text']}", "rule": rule}


class CannotReceive(Problem):
    """The account is not eligible to receive this token: give its investor a valid identity first."""

    slug, title, status = "cannot-receive", "The account may not receive this token", 409
    reverts = ("ERC7943CannotReceive",)


class CapExceeded(Problem):
    """More units than the token may ever have."""

    slug, title, status = "cap-exceeded", "The cap does not allow so many units", 409
    reverts = ("ERC20ExceededCap", "ERC20ExceededSafeSupply")


class NotBacked(Problem):
    """The named attester has not signed for a reserve that backs so many units, or its signature has expired."""

    slug, title, status = "not-backed", "The attested reserve does not back this", 409
    reverts = ("ReserveExceeded", "ReserveExpired", "ReserveMissing")


class DeedNotFound(Problem):
    """There is no such deed, or it is retired."""

    slug, title, status = "deed-not-found", "No such deed", 404
    reverts = ("ERC721NonexistentToken",)


class DeedExists(Problem):
    """A deed of this id exists, or existed: an id is used once."""

    slug, title, status = "deed-exists", "This deed's id is used", 409
    reverts = ("ERC721InvalidSender", "DeedRetired")


class NotTheHolder(Problem):
    """The deed is another account's."""

    slug, title, status = "not-the-holder", "The account does not hold this deed", 409
    reverts = ("ERC721IncorrectOwner",)


class PreparedNotFound(Problem):
    """Nothing of this id was prepared for this issuer."""

    slug, title, status = "prepared-not-found", "Nothing was prepared under this id", 404


class PreparedExpired(Problem):
    """What was prepared has not been submitted in time."""

    slug, title, status = "prepared-expired", "What was prepared has expired", 409
    reverts = ("ERC3009InvalidAuthorizationTime",)


class AlreadySubmitted(Problem):
    """What was prepared has become an operation already; `operation_id` names it."""

    slug, title, status = "already-submitted", "This was submitted before", 409


class NotWhatWasPrepared(Problem):
    """What is submitted is not what was prepared, or another account signed it."""

    slug, title, status = "not-what-was-prepared", "This is not what was prepared", 422


class SignerIsOurs(Problem):
    """The account signs for an issuer here, so it acts through operations and prepares nothing."""

    slug, title, status = "signer-is-ours", "This account's transactions are made here", 409


class NonceSpent(Problem):
    """The transaction's nonce is spent on the chain, so it can never be mined; `nonce` is the next one."""

    slug, title, status = "nonce-spent", "The nonce is spent", 409


class NotMineable(Problem):
    """No block can take this transaction as things are: its nonce is too high, its fee too low, or ether is missing."""

    slug, title, status = "not-mineable", "This transaction can't be mined", 409


class NodeAway(Problem):
    """The question needs the chain's node, which does not answer now."""

    slug, title, status = "node-away", "The chain's node does not answer", 503
