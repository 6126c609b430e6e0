"""Roles, and which scopes come with others. Pure.

A caller may have a role: whatever its credentials name, they open nothing beyond it. A caller without a role is held to
the scopes of its credentials alone.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache

from service.access.apikeys import Scope


class Role(StrEnum):
    """What a caller is for."""

    ISSUER_ADMIN = "issuer-admin"  # all that an issuer does, its vault and its credentials
    OPERATOR = "operator"  # tokens, their contracts and their transactions
    COMPLIANCE = "compliance"  # investors, rules, documents and reserves, and the vault's values about them
    AUDITOR = "auditor"  # reads, for a time
    KEY_ADMIN = "key-admin"  # which credentials there are
    PLATFORM_OPERATOR = "platform-operator"  # the deployment: its metrics, signers and transactions


INCLUDED: Mapping[Scope, frozenset[Scope]] = {
    Scope.ISSUE: frozenset(
        {
            Scope.READ,
            Scope.EXPORTS,
            Scope.TOKENS_WRITE,
            Scope.COMPLIANCE_WRITE,
            Scope.GOVERNANCE_WRITE,
            Scope.CONTRACTS_WRITE,
            Scope.BATCHES_WRITE,
        }
    ),
}
"""Scopes that come with another one."""

_VAULT = frozenset({Scope.VAULT_TOKENIZE, Scope.VAULT_REVEAL, Scope.VAULT_SEARCH, Scope.VAULT_POLICY})

SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.ISSUER_ADMIN: frozenset({*Scope} - {Scope.METRICS}),
    Role.OPERATOR: frozenset(
        {
            Scope.READ,
            Scope.EXPORTS,
            Scope.TOKENS_WRITE,
            Scope.GOVERNANCE_WRITE,
            Scope.CONTRACTS_WRITE,
            Scope.BATCHES_WRITE,
            Scope.TRANSACTIONS,
            Scope.WEBHOOKS,
        }
    ),
    Role.COMPLIANCE: frozenset({Scope.READ, Scope.EXPORTS, Scope.COMPLIANCE_WRITE}) | _VAULT - {Scope.VAULT_POLICY},
    Role.AUDITOR: frozenset({Scope.READ, Scope.EXPORTS, Scope.VAULT_SEARCH}),
    Role.KEY_ADMIN: frozenset({Scope.KEYS_READ, Scope.KEYS_ADMIN}),
    Role.PLATFORM_OPERATOR: frozenset({Scope.METRICS, Scope.TRANSACTIONS}),
}
"""The most that a role opens, and what its credentials name unless told."""

READ_ONLY = frozenset({Role.AUDITOR})
"""Roles that change nothing and show no value, so that a caller may make another one of them."""

LIFE_MAX_S: Mapping[Role, int] = {Role.AUDITOR: 366 * 86_400}
"""How long credentials of a role last at most; what is not here may last for ever."""

LIFE_S: Mapping[Role, int] = {Role.AUDITOR: 90 * 86_400}
"""How long credentials of such a role last unless told."""


def included(scopes: Iterable[str]) -> frozenset[str]:
    """Scopes, and those that come with them."""
    named = frozenset(scopes)
    return named.union(*(more for scope, more in INCLUDED.items() if scope in named))


def life_s(role: str | None, asked_s: int | None) -> int | None:
    """Seconds that a credential of a role lasts; None for ever.

    Args:
        asked_s: None for as long as is usual.

    Raises:
        ValueError: longer than the role lets it.
    """
    if role is None or (known := Role(role)) not in LIFE_MAX_S:
        return asked_s
    if asked_s is not None and asked_s > LIFE_MAX_S[known]:
        raise ValueError(f"a credential of the role {role} lasts {LIFE_MAX_S[known]} seconds at most")
    return LIFE_S[known] if asked_s is None else asked_s


@lru_cache(maxsize=1_024)
def opened(scopes: frozenset[str], role: str | None) -> frozenset[str]:
    """The scopes that open something: of a credential, as far as its caller's role goes.

    Args:
        role: None where the caller has none; of one that this version does not know nothing is opened.
    """
    if role is None:
        return included(scopes)
    return included(scopes) & within(role)


def within(role: str) -> frozenset[str]:
    """The scopes that a role may open, those included that come with others."""
    return included(SCOPES[Role(role)]) if role in {*Role} else frozenset()
