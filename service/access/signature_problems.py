"""What goes wrong with signed requests and may be told: each only once the signature itself proved good."""

from service.access.wallets import WalletUnanswered
from service.errors import Problem


class SignatureStale(Problem):
    """The signature is good, but not of now: sign again; `server_time` tells our clock, in seconds since 1970."""

    slug, title, status = "signature-stale", "The signature is too old, or of the future", 401


class NonceReplayed(Problem):
    """This very signature came before, and was taken then: sign each request anew, with a fresh nonce."""

    slug, title, status = "nonce-replayed", "The signature was used before", 401


class SignatureRequired(Problem):
    """This takes a signed request: a bearer key alone does not open it here."""

    slug, title, status = "signature-required", "The request must be signed", 401


PROBLEMS: tuple[type[Problem], ...] = (SignatureStale, NonceReplayed, SignatureRequired, WalletUnanswered)
"""Of every route that takes signed requests."""
