"""What can be refused about second factors and approvals."""

from service.access.key_problems import WalletTaken
from service.errors import Problem


class StepUpRequired(Problem):
    """This is critical, and somebody must approve it with a second factor first; then send the same request again."""

    slug, title, status = "step-up-required", "A second factor must approve this", 403


class SecondFactorMissing(Problem):
    """This is critical, and in a live deployment it takes a second factor, of which the issuer has none yet."""

    slug, title, status = "second-factor-missing", "The issuer has no second factor", 403


class ApprovalMismatch(Problem):
    """The approval is of another request: another caller, method, path, body or idempotency key; or there is none."""

    slug, title, status = "approval-mismatch", "The approval is of another request", 403


class TooManyApprovals(Problem):
    """The caller has as many requests that wait for approval as it may have; `retry_after_s` says when one is over."""

    slug, title, status = "too-many-approvals", "Too many requests wait for approval", 429


class StepUpNotFound(Problem):
    """The issuer has no such request that waits for approval, or its time is over."""

    slug, title, status = "step-up-not-found", "No such request to approve", 404


class SecondFactorRefused(Problem):
    """The code is wrong or was used before, or the signature is not the account's; both are told alike."""

    slug, title, status = "second-factor-refused", "The second factor does not confirm this", 403


class SecondFactorLocked(Problem):
    """So many wrong codes came lately that none is looked at for a while; `retry_after_s` says how long."""

    slug, title, status = "second-factor-locked", "Too many wrong codes", 429


class SecondFactorNotFound(Problem):
    """There is no such second factor, or it is not the issuer's, was removed, or was not confirmed in time."""

    slug, title, status = "second-factor-not-found", "No such second factor", 404


class TooManySecondFactors(Problem):
    """The issuer has as many second factors as it may have; those that wait to be confirmed count for an hour."""

    slug, title, status = "too-many-second-factors", "Too many second factors", 409


CRITICAL: tuple[type[Problem], ...] = (StepUpRequired, SecondFactorMissing, ApprovalMismatch, TooManyApprovals)
"""Problems of every critical route."""

PROOF: tuple[type[Problem], ...] = (SecondFactorRefused, SecondFactorLocked, SecondFactorNotFound, WalletTaken)
"""Problems of every route that takes a proof."""
