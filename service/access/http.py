"""Bearer authentication of a request, and what its key may do."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.access import apikeys
from service.access.apikeys import Scope
from service.access.queries import Caller, StoredKeys
from service.errors import Problem
from service.settings import Settings

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", description="An API key made by `muniment keys create`: `munsk_…`."
)


class Unauthorized(Problem):
    """The API key is missing, malformed, unknown or revoked; the answer is the same for each."""

    slug, title, status = "unauthorized", "A valid API key is required", 401


class ScopeMissing(Problem):
    """The API key is good, but not for this: `scope` says what it lacks."""

    slug, title, status = "scope-missing", "The API key lacks the scope", 403


REFUSED: tuple[type[Problem], ...] = (Unauthorized, ScopeMissing)
"""Problems of every route that asks for a key."""


async def authenticate(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """The caller that the request's key belongs to.

    Raises:
        Unauthorized: for every reason alike, so that nothing can be learnt from the answer.
    """
    refusal = Unauthorized("send `Authorization: Bearer munsk_…` with a key made by `muniment keys create`")
    key = apikeys.parse(given.credentials) if given else None
    if key is None:
        raise refusal
    keys: StoredKeys = request.app.state.keys
    settings: Settings = request.app.state.settings
    stored = await keys.ask(key.id)
    # An unknown id costs the same hash as a known one, so that time does not tell them apart.
    hashed = key.hashed(settings.api_key_pepper)
    if stored is None or not hmac.compare_digest(hashed, stored.secret_hmac) or not stored.usable:
        raise refusal
    return stored.caller


def require(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency: the caller, whose key must have this scope."""

    async def scoped(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        if scope not in caller.scopes:
            raise ScopeMissing(f"make a key for it: `muniment keys create --scope {scope}`", scope=scope)
        return caller

    return scoped


Authenticated = Annotated[Caller, Depends(require(Scope.ISSUE))]
"""Whoever may do what issuers do."""

Operating = Annotated[Caller, Depends(require(Scope.TRANSACTIONS))]
"""Whoever may see and steer the issuer's transactions."""

Scraping = Annotated[Caller, Depends(require(Scope.METRICS))]
"""Whoever may read the metrics."""

Tokenizing = Annotated[Caller, Depends(require(Scope.VAULT_TOKENIZE))]
"""Whoever may hand values to the vault and take vault tokens back."""

Revealing = Annotated[Caller, Depends(require(Scope.VAULT_REVEAL))]
"""Whoever may see values again."""

Searching = Annotated[Caller, Depends(require(Scope.VAULT_SEARCH))]
"""Whoever may read what is known of records besides their values."""

Governing = Annotated[Caller, Depends(require(Scope.VAULT_POLICY))]
"""Whoever may decide what the vault keeps and forgets."""
