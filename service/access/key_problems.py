"""What can be refused to whoever has a credential, or administers them."""

from service.errors import Problem


class Unauthorized(Problem):
    """The API key is missing, malformed, unknown, ended or not for this deployment, network or hour: all told alike."""

    slug, title, status = "unauthorized", "A valid API key is required", 401


class KeyExpired(Problem):
    """The API key was good, and its time is over; `replaced_by` is the id of its successor, where it has one."""

    slug, title, status = "key-expired", "The API key has expired", 401


class ScopeMissing(Problem):
    """The API key is good, but not for this: `scope` says what it lacks."""

    slug, title, status = "scope-missing", "The API key lacks the scope", 403


class LimitExceeded(Problem):
    """The API key is good, but held to less: `limit` names its limit, `left` the base units that are left of it."""

    slug, title, status = "limit-exceeded", "A limit of the API key is exceeded", 403


class KeyInUrl(Problem):
    """An API key stood in the URL, where proxies and logs keep it: it counts as leaked, and is revoked."""

    slug, title, status = "key-in-url", "An API key is in the URL", 400


class HeadersTooLarge(Problem):
    """The request's URL and headers are larger than any call of this API needs."""

    slug, title, status = "headers-too-large", "The request headers are too large", 400


class HeaderRepeated(Problem):
    """A header that says one thing came more than once, and can be read in two ways: `header` names it."""

    slug, title, status = "header-repeated", "A header came more than once", 400


class KeyNotFound(Problem):
    """There is no such credential, or it is not the issuer's."""

    slug, title, status = "key-not-found", "No such key", 404


class KeyOfAnotherCaller(Problem):
    """The credential is another caller's: only that caller may make or see its secrets."""

    slug, title, status = "key-of-another-caller", "The key belongs to another caller", 403


class KeyExceedsGrantor(Problem):
    """A credential can give no more than it has: `exceeds` names the scopes, limits or life that go beyond it."""

    slug, title, status = "key-exceeds-grantor", "The key would do more than the one that asks", 403


class KeyNotInState(Problem):
    """The credential's state does not allow this; `state` tells it."""

    slug, title, status = "key-not-in-state", "The key's state does not allow this", 409


class KeyBeingRotated(Problem):
    """The credential has a successor already, or two versions of its family are usable."""

    slug, title, status = "key-being-rotated", "The key is being rotated", 409


class KeyLimitsWidened(Problem):
    """A change may take scopes away and tighten limits, and do nothing else; `exceeds` names what goes beyond."""

    slug, title, status = "key-limits-widened", "A key's rights can only shrink", 409


class TooManyKeys(Problem):
    """The issuer has as many keys as it may that have not ended; versions of one count as one."""

    slug, title, status = "too-many-keys", "Too many keys", 409


class WalletUnproved(Problem):
    """The account has to agree first: sign `typed_data`, and send the request again with the signature."""

    slug, title, status = "wallet-unproved", "The wallet's account has not agreed to this", 403


class WalletTaken(Problem):
    """An account is one credential for each chain, and an issuer's second factor is none; `other` is what has it."""

    slug, title, status = "wallet-taken", "The wallet's account is in use", 409


class SecretAlreadyShown(Problem):
    """The request was carried out before, and a secret is shown once; `key` is the id of what it made."""

    slug, title, status = "secret-already-shown", "The secret was shown already", 409


class TooManyReports(Problem):
    """So many keys were reported from this address lately that it has to wait."""

    slug, title, status = "too-many-reports", "Too many reports", 429
