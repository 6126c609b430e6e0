"""Bearer authentication of a request."""

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.access import apikeys, queries
from service.access.queries import Caller
from service.db import Database
from service.errors import Problem
from service.settings import Settings

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", description="An API key made by `muniment keys create`: `munsk_…`."
)


class Unauthorized(Problem):
    """The API key is missing, malformed, unknown or revoked; the answer is the same for each."""

    slug, title, status = "unauthorized", "A valid API key is required", 401


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
    db: Database = request.app.state.db
    settings: Settings = request.app.state.settings
    stored = await queries.stored_key(db, key.id)
    # An unknown id costs the same hash as a known one, so that time does not tell them apart.
    hashed = key.hashed(settings.api_key_pepper)
    if stored is None or not hmac.compare_digest(hashed, stored.secret_hmac) or not stored.usable:
        raise refusal
    return stored.caller


Authenticated = Annotated[Caller, Depends(authenticate)]
