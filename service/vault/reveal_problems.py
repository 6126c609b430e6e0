"""What can be wrong with a reveal, its approval or a payment. None of it repeats a value or a vault token."""

from service.errors import Problem


class RevealRefused(Problem):
    """The policy's rules do not let this caller see this, or not for this purpose; `reason` says which rule."""

    slug, title, status = "reveal-refused", "The policy does not allow this reveal", 403


class RevealSuspended(Problem):
    """The caller passed a limit of a policy, and reveals nothing with any key until the suspension is lifted."""

    slug, title, status = "reveal-suspended", "The caller's reveals are suspended", 403


class RevealUnrecorded(Problem):
    """The entry that must come before any value could not be written, so that nothing was revealed."""

    slug, title, status = "reveal-unrecorded", "The reveal could not be recorded", 503


class ApprovalMissing(Problem):
    """The policy wants others to agree first, and no approval fits: of another request, too few, spent or expired."""

    slug, title, status = "approval-missing", "Others must agree first", 403


class NotExportable(Problem):
    """The policy's mapping mode is not `exportable`: its vault tokens are stored nowhere, so nobody can tell them."""

    slug, title, status = "not-exportable", "The policy cannot be exported", 409


class ApprovalNotFound(Problem):
    """The issuer has no such request for approval."""

    slug, title, status = "approval-not-found", "No such request for approval", 404


class ApprovalClosed(Problem):
    """The request for approval is spent or expired; nobody can agree to it any more."""

    slug, title, status = "approval-closed", "The request for approval is closed", 409


class AnotherCallerNeeded(Problem):
    """This takes a caller other than the one that it is about: nobody agrees with, or pardons, themselves."""

    slug, title, status = "another-caller-needed", "Another caller must do this", 403


class SuspensionNotFound(Problem):
    """The issuer has no such suspension."""

    slug, title, status = "suspension-not-found", "No such suspension", 404


class ProcessorUnknown(Problem):
    """This deployment has no payment processor of this name."""

    slug, title, status = "processor-unknown", "No such payment processor", 422


class ProcessorUnavailable(Problem):
    """The payment processor gave no usable answer. Whether it charged is not known; the same request asks it again."""

    slug, title, status = "processor-unavailable", "The payment processor does not answer", 503
