"""The problems that the vault tells. None of them repeats a value, a vault token or a reference."""

from service.errors import Problem


class PolicyNotFound(Problem):
    """The issuer has no such policy."""

    slug, title, status = "policy-not-found", "No such policy", 404


class PolicyExists(Problem):
    """The issuer has another policy of this name."""

    slug, title, status = "policy-exists", "A policy has this name", 409


class PolicyUnfit(Problem):
    """What the policy asks for does not go together, or leaves too few vault tokens; `reason` says what."""

    slug, title, status = "policy-unfit", "The policy does not fit together", 422


class NotOfThisPolicy(Problem):
    """The policy has no place for this: a subject where nothing is stored, a context where it is, or a new value."""

    slug, title, status = "not-of-this-policy", "The policy has no place for this", 409


class ValueUnfit(Problem):
    """The value is not one that its policy takes; `reason` says what is wrong, and no part of the value is repeated."""

    slug, title, status = "value-unfit", "The value does not fit its policy", 422


class ValueOfAnotherSubject(Problem):
    """A deterministic policy has this value as another subject's, and its vault token would be erased with that one."""

    slug, title, status = "value-of-another-subject", "The value is another subject's", 409


class AssetTokenNotFound(Problem):
    """What a record or a document is said to belong to is no token of the issuer's."""

    slug, title, status = "asset-token-not-found", "No such token of an asset", 404


class SpaceExhausted(Problem):
    """No free vault token was found for this value: its format's space is nearly used up."""

    slug, title, status = "space-exhausted", "The token format is used up", 409


class VaultTokenNotFound(Problem):
    """The issuer has no live record of this vault token: unknown, another issuer's, expired, revoked or erased."""

    slug, title, status = "vault-token-not-found", "No such vault token", 404


class VaultSubjectNotFound(Problem):
    """The issuer has no subject of this reference."""

    slug, title, status = "vault-subject-not-found", "No such subject in the vault", 404


class VaultKeysUnavailable(Problem):
    """The provider of the key-encryption key does not answer: nothing of the vault is read or written until it does."""

    slug, title, status = "vault-keys-unavailable", "The vault's keys cannot be used now", 503


class RequestErased(Problem):
    """The request of this idempotency key named a person who was erased since: what it asked is not known any more."""

    slug, title, status = "request-erased", "The request was erased", 410


class PolicyNeedsAnother(Problem):
    """A caller of whose keys one may reveal cannot loosen reveal rules: nobody widens what they themselves may see."""

    slug, title, status = "policy-needs-another", "Another caller must loosen the policy", 403


class RecordDamaged(Problem):
    """What is stored does not open: altered, cut short, or moved to another place. The operator was alarmed."""

    slug, title, status = "record-damaged", "A record of the vault is damaged", 500
