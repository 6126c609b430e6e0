"""What can be wrong with what an operator asks."""

from service.errors import Problem


class TransactionNotFound(Problem):
    """There is no such transaction of this issuer."""

    slug, title, status = "transaction-not-found", "No such transaction", 404


class SignerNotFound(Problem):
    """This account does not sign for the issuer."""

    slug, title, status = "signer-not-found", "No such signer", 404


class SignerShared(Problem):
    """Other issuers' transactions are sent by the same signer: only the service's operator speaks for all of them."""

    slug, title, status = "signer-shared", "Several issuers share this signer", 409


class TransactionNotInState(Problem):
    """The transaction stands where this can't be done any more, or not yet; `transaction_status` says where."""

    slug, title, status = "transaction-not-in-state", "The transaction stands elsewhere", 409


class ApprovalByRequester(Problem):
    """The second consent is another caller's to give, not the one's who asked for the transaction."""

    slug, title, status = "approval-by-requester", "Another caller must approve this", 409
