"""Authentication of a request, and what its credential may do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import APIKey
from fastapi.routing import iter_route_contexts
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.access import signature_problems, signatures, signed_requests
from service.access.admission import Admission
from service.access.apikeys import Scope
from service.access.key_amounts import insist_on_token
from service.access.key_limits import read_limits
from service.access.key_problems import (
    HeaderRepeated,
    HeadersTooLarge,
    KeyExpired,
    KeyInUrl,
    LimitExceeded,
    ScopeMissing,
    Unauthorized,
)
from service.access.queries import Caller
from service.access.rates import QuotaExceeded, Quotas, Standing
from service.access.roles import opened
from service.access.signature_problems import NonceReplayed, SignatureRequired, SignatureStale
from service.access.signed_requests import SignedRequests
from service.access.wallets import WalletUnanswered
from service.db import act_for
from service.errors import Problem
from service.web.paging import walks
from service.web.queries import known_query

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", description="An API key made by `muniment keys create`: `munsk_…`."
)


_signature = APIKeyHeader(
    name="Signature",
    auto_error=False,
    scheme_name="httpSignature",
    description=f"A signature of the whole request (RFC 9421) by the profile `{signatures.TAG}`; wallets by ERC-8128.",
)
_signature.model = APIKey.model_validate(
    {
        **_signature.model.model_dump(by_alias=True),
        "x-http-message-signature": {"profile": signatures.TAG, "components": list(signatures.COMPONENTS)},
    }
)

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
ALL = WRITES | {"GET"}

SAID_ONCE = ("Idempotency-Key", "Muniment-Approval")
"""Headers that mean one thing, besides those of credentials: with two of those nothing is proved."""

GATE: tuple[type[Problem], ...] = (HeadersTooLarge, KeyInUrl)
"""Problems of every route, whoever asks."""

REFUSED: tuple[type[Problem], ...] = (
    *GATE,
    Unauthorized,
    KeyExpired,
    ScopeMissing,
    LimitExceeded,
    HeaderRepeated,
    QuotaExceeded,
    *signature_problems.PROBLEMS,
)
"""Problems of every route that asks for a key."""


async def authenticate(
    request: Request,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _documented: Annotated[str | None, Depends(_signature)],
) -> Caller:
    """The caller that the request's key belongs to, or the one that signed it.

    A request that is handled again has proved itself: its nonce is spent, and it is off the quotas.

    Raises:
        Unauthorized: for every reason alike, so that nothing can be learnt from the answer.
        KeyExpired: of a credential that has proved itself.
        QuotaExceeded: too many requests of the credential or its issuer, or too many failures from the address.
        HeaderRepeated: it can be read in two ways.
        RequestValidationError: the query has a parameter that the route does not know, or one twice.
    """
    if not hasattr(request.state, "standings"):
        await _admit(request, given)
    caller: Caller = request.state.caller
    # What follows sees this issuer's rows alone.
    act_for(caller.issuer_id)
    walks(request, caller.id)
    await known_query(request)
    for name in SAID_ONCE:
        if len(request.headers.getlist(name)) > 1:
            raise HeaderRepeated(f"send {name} once", header=name)
    return caller


async def _admit(request: Request, given: HTTPAuthorizationCredentials | None) -> None:
    """Leave the caller, and how its quotas stand, in the request's state."""
    admission: Admission = request.app.state.admission
    quotas: Quotas = request.app.state.quotas
    address = request.client.host if request.client else None
    try:
        quotas.look_at(address)
    except QuotaExceeded as used_up:
        admission.traffic.refused("address-failures")
        request.state.standings = [used_up.standing]
        raise
    try:
        caller, standings = await _proved(request, given, admission, quotas, address)
    except QuotaExceeded as used_up:
        request.state.standings = [used_up.standing]
        raise
    except (Unauthorized, KeyExpired, NonceReplayed, SignatureStale, WalletUnanswered):
        quotas.failed(address)
        raise
    request.state.caller = caller
    request.state.standings = standings


async def _proved(
    request: Request,
    given: HTTPAuthorizationCredentials | None,
    admission: Admission,
    quotas: Quotas,
    address: str | None,
) -> tuple[Caller, list[Standing]]:
    """The caller, and how its quotas stand after the request."""
    if signed_requests.is_signed(request.headers):
        signed: SignedRequests = request.app.state.signed_requests
        return await signed.caller_of(request, admission, quotas, address)
    # Of two headers one reader takes the first and another one the last.
    alone = len(request.headers.getlist("authorization")) == 1
    caller = await admission.by_key(given.credentials if given and alone else None, address)
    try:
        return caller, quotas.take(caller.key_id, caller.issuer_id)
    except QuotaExceeded as problem:
        admission.refused(problem.slug, caller.key_id, address)
        raise


def insist_on_signature(request: Request, caller: Caller) -> None:
    """Make sure that what moves property, shows secrets or gives rights was signed: where the deployment is live, and
    of a credential whose limits ask for it.

    Raises:
        SignatureRequired: it was not.
    """
    if caller.signed:
        return
    if request.app.state.settings.environment == "live" or read_limits(dict(caller.limits)).signature_required:
        raise SignatureRequired(f"sign the request by the profile {signatures.TAG}, with a credential to sign with")


@dataclass(frozen=True, slots=True)
class Scoped:
    """A dependency: the caller, whose key must have this scope, and whose role must go so far.

    `signed` are the methods by which what is asked must be signed, as `insist_on_signature` says.
    """

    scope: Scope
    signed: frozenset[str] = frozenset()
    token_later: bool = False
    """Whether the route itself insists that the key may touch the token that it finds, or lists those alone."""

    async def __call__(self, request: Request, caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        """Raises: SignatureRequired, ScopeMissing, LimitExceeded."""
        if request.method in self.signed:
            insist_on_signature(request, caller)
        if self.scope not in opened(caller.scopes, caller.role):
            raise ScopeMissing(f"make a key for it: `muniment keys create --scope {self.scope}`", scope=self.scope)
        if caller.limits:
            _insist_on_limits(request, caller, self)
        return caller


def require(scope: Scope, *, signed: frozenset[str] = frozenset()) -> Scoped:
    """A dependency: the caller, whose key must have this scope."""
    return Scoped(scope, signed)


_OF_NO_TOKEN = frozenset({Scope.KEYS_READ, Scope.KEYS_ADMIN, Scope.METRICS})


def _insist_on_limits(request: Request, caller: Caller, asked: Scoped) -> None:
    """Where the limits name tokens, what names none in its path is refused: it could tell of others.

    Raises:
        LimitExceeded: another chain, or another token.
    """
    chains = read_limits(dict(caller.limits)).chains
    if chains is not None and request.app.state.settings.chain_id not in chains:
        raise LimitExceeded("make a key for this chain", limit="chains")
    if asked.scope not in _OF_NO_TOKEN and not asked.token_later:
        insist_on_token(caller, request.path_params.get("token_id"))


def describe_scopes(app: FastAPI) -> None:
    """Tell of each operation in an app's OpenAPI document which scopes it asks for, all of them: x-required-scopes."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = plain()
        for route in iter_route_contexts(app.routes):
            scopes = sorted({*_scopes(route.dependant)}) if hasattr(route, "dependant") else []
            told = document["paths"].get(route.path, {})
            for method in {method.lower() for method in route.methods or ()} & told.keys() if scopes else ():
                told[method]["x-required-scopes"] = scopes
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _scopes(dependant: Dependant) -> Iterator[str]:
    if isinstance(dependant.call, Scoped):
        yield dependant.call.scope.value
    for each in dependant.dependencies:
        yield from _scopes(each)


EXPORTING = Depends(require(Scope.EXPORTS, signed=ALL))
"""Whoever may take whole registers away: these must be signed though they only read."""

Viewing = Annotated[Caller, Depends(require(Scope.READ, signed=WRITES))]
"""Whoever may see what is the issuer's."""

Following = Annotated[Caller, Depends(Scoped(Scope.READ, token_later=True))]
"""Whoever may see what is of its tokens: the route insists on the token that it finds, or lists `held_tokens` alone."""

Complying = Annotated[Caller, Depends(require(Scope.COMPLIANCE_WRITE, signed=WRITES))]
"""Whoever may decide who holds what, without an idempotency key."""

Operating = Annotated[Caller, Depends(require(Scope.TRANSACTIONS, signed=WRITES))]
"""Whoever may see and steer the issuer's transactions."""

Scraping = Annotated[Caller, Depends(require(Scope.METRICS))]
"""Whoever may read the metrics."""

Tokenizing = Annotated[Caller, Depends(require(Scope.VAULT_TOKENIZE))]
"""Whoever may hand values to the vault and take vault tokens back."""

Revealing = Annotated[Caller, Depends(require(Scope.VAULT_REVEAL, signed=ALL))]
"""Whoever may see values again."""

Searching = Annotated[Caller, Depends(require(Scope.VAULT_SEARCH))]
"""Whoever may read what is known of records besides their values."""

Governing = Annotated[Caller, Depends(require(Scope.VAULT_POLICY, signed=WRITES))]
"""Whoever may decide what the vault keeps and forgets."""

Administering = Annotated[Caller, Depends(require(Scope.KEYS_ADMIN, signed=WRITES))]
"""Whoever may make credentials, and end them."""

Auditing = Annotated[Caller, Depends(require(Scope.KEYS_READ))]
"""Whoever may see which credentials there are, and how they are used."""

Anyone = Annotated[Caller, Depends(authenticate)]
"""Whoever has a credential."""
