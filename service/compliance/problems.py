"""What can be wrong with identities, policies, documents, reserves and previews."""

from service.errors import Problem


class PolicyMissing(Problem):
    """The token has no policy, and moves nothing before it has one: set it with POST /v1/tokens/{token_id}/policy."""

    slug, title, status = "policy-missing", "The token has no policy yet", 409
    reverts = ("TokenNotRegistered",)


class TokenUnregulated(Problem):
    """The token was deployed without `compliance`, so no policy binds it: deploy another token with `compliance`."""

    slug, title, status = "token-unregulated", "No policy binds this token", 409


class InvestorInvalid(Problem):
    """No investor has this id, which is zero or too short: choose 32 random bytes and keep them."""

    slug, title, status = "investor-invalid", "No investor has this id", 422
    reverts = ("InvestorInvalid",)


class InvestorStillBlocked(Problem):
    """A blocked investor keeps its wallets, so that none leaves the block behind: end the block first."""

    slug, title, status = "investor-still-blocked", "The wallet's investor is blocked", 409
    reverts = ("InvestorStillBlocked",)


class HoldingsChanged(Problem):
    """What is held changed while this was asked: wait until the mirror has it, and ask under a new key."""

    slug, title, status = "holdings-changed", "The holdings changed meanwhile", 409
    reverts = ("TokensIncomplete", "TokensUnsorted", "TokensMismatched", "TokenNotHeld")


class SubjectNotFound(Problem):
    """The address is no token and no contract of this issuer: take one from GET /v1/tokens or /v1/contracts."""

    slug, title, status = "subject-not-found", "Nothing of this issuer is there", 404


class DocumentHashMissing(Problem):
    """A document without a hash proves nothing: give the hash of the file, which is never zero."""

    slug, title, status = "document-hash-missing", "The document has no hash", 422
    reverts = ("DocumentHashMissing",)


class DocumentNotFound(Problem):
    """There is no such document, or it was removed: GET /v1/documents lists what is in force."""

    slug, title, status = "document-not-found", "No such document", 404
    reverts = ("DocumentMissing", "DocumentVersionMissing")


class AttesterMissing(Problem):
    """Nobody may attest for this token: name an attester with POST /v1/tokens/{token_id}/reserve/attester."""

    slug, title, status = "attester-missing", "The token has no attester", 409
    reverts = ("AttesterMissing",)


class AttestationStale(Problem):
    """An attestation as new is known already, perhaps this one: have the attester sign a newer one."""

    slug, title, status = "attestation-stale", "The attestation is not newer", 409
    reverts = ("AttestationStale",)


class AttestationFromFuture(Problem):
    """The attestation says that it was signed later than now: wait until then, or sign it anew."""

    slug, title, status = "attestation-from-future", "The attestation is from the future", 409
    reverts = ("AttestationFromFuture",)


class AttestationInvalid(Problem):
    """The signature is not the attester's for these figures: sign what …/reserve/prepare gives, unchanged."""

    slug, title, status = "attestation-invalid", "The attester did not sign this", 422
    reverts = ("AttestationInvalid",)


class StateNotKept(Problem):
    """The node keeps no state of a block so old: ask for a later block, or run the service on an archive node."""

    slug, title, status = "state-not-kept", "The node keeps no state of this block", 422
