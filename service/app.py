"""The API: every route, on one Postgres and one chain."""

import asyncio
import base64
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import iter_route_contexts
from fastapi_offline import FastAPIOffline
from starlette.routing import BaseRoute

from service import status
from service.access import key_routes, step_routes
from service.access.admission import open_admission
from service.access.http import describe_scopes
from service.access.key_gate import KeyGate
from service.access.queries import stored_keys
from service.access.rates import quotas_of
from service.access.signed_requests import open_signed_requests
from service.batches import routes as batches
from service.chain.reader import open_chain
from service.compliance import routes as compliance
from service.compliance import vaulted_routes
from service.db import Database, Replica
from service.deployments import routes as deployments
from service.governance import routes as governance
from service.keys.wrapping_opening import open_key_encryption_keys
from service.operations import routes as operations
from service.operations.reading import ReadAgain
from service.operations.submit import Ledger
from service.operators import metrics
from service.operators import routes as operators
from service.ownership import export_routes, named_routes
from service.ownership import routes as ownership_views
from service.refusals import BY_REVERT
from service.settings import Settings
from service.tokens import act_routes, facts_routes, ownership, routes
from service.tokens.queries import tokens_among
from service.vault import disclosure_routes, document_routes, person_routes, reveal_routes
from service.vault import routes as vault
from service.vault.keys import open_vault
from service.vault.payment_processors import open_processors
from service.web import catalogue, problems
from service.web.headers import NOTHING, SafeHeaders
from service.web.limits import BodyLimit
from service.web.paging import cursor_key
from service.webhooks import routes as webhooks

DESCRIPTION = """Turn assets into tokens, and know who owned what at every block.

A write answers **202** with an operation: poll it until it `succeeded` or `failed`, both of which are final.
Every write takes an `Idempotency-Key`: the same key and body answer with the first result, for ever.
Amounts are decimal strings of base units. A read says which block it describes, and `?min_block=` waits for one.
Failures are [problems](/problems) (RFC 9457)."""


SIMULATION_TIMEOUT_S = 3.0
"""A caller waits no longer than this for a node that hangs; then the request is accepted unsimulated."""

_DOCS_FILES = "/static-offline-docs/"

# A request is tried against one route after the other, so those that are asked most come first.
_SLICES = (
    ownership,
    deployments,
    routes,
    act_routes,
    vault,
    reveal_routes,
    facts_routes,
    ownership_views,
    export_routes,
    compliance,
    governance,
    batches,
    operations,
    document_routes,
    disclosure_routes,
    person_routes,
    vaulted_routes,
    named_routes,
    webhooks,
    key_routes,
    step_routes,
)


def _routes() -> list[BaseRoute]:
    """Every route, looked through: else each app did so again, during the first requests that it answers."""
    whole = APIRouter(generate_unique_id_function=lambda route: route.name)
    for router in (*(each.router for each in _SLICES), document_routes.streams, operators.router, status.router):
        whole.include_router(router, prefix="/v1")
    whole.include_router(metrics.router)
    whole.include_router(catalogue.router)
    deque(iter_route_contexts(whole.routes), maxlen=0)
    return whole.routes


_ROUTES = _routes()


def create_app(settings: Settings) -> FastAPI:
    """The API of a deployment. Postgres and the node may be away when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        db = Database(settings.database_url, role="muniment_api", connections_max=settings.api_connections_max)
        chain = open_chain(settings, timeout_max_s=SIMULATION_TIMEOUT_S)
        await db.open()
        if settings.environment == "live":
            await db.warn_of_login()
        app.state.db, app.state.settings, app.state.keys = db, settings, stored_keys(db)
        app.state.quotas, app.state.cursor_key = quotas_of(settings), cursor_key(settings.key_encryption_key)
        app.state.signed_requests = open_signed_requests(settings, db, app.state.keys, chain)
        app.state.ledger = Ledger(db, chain, settings.factory, settings.key_encryption_key, BY_REVERT)
        try:
            async with (
                _replica(settings, db) as app.state.replica,
                open_admission(settings, db, app.state.keys) as app.state.admission,
                open_key_encryption_keys(settings) as keks,
                open_processors(settings) as app.state.processors,
            ):
                app.state.vault, app.state.tokens_among = open_vault(db, keks), partial(tokens_among, db)
                yield
        finally:
            await chain.close()
            await db.close()

    app = FastAPIOffline(
        title="Muniment",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
        routes=_ROUTES,
    )
    app.add_middleware(ReadAgain)
    problems.install(app)
    app.add_middleware(
        BodyLimit,
        bytes_max=settings.body_bytes_max,
        larger=(*batches.BODY_LIMITS, *vault.BODY_LIMITS, *disclosure_routes.BODY_LIMITS),
        streamed=document_routes.STREAMED,
    )
    app.add_middleware(KeyGate)
    live = settings.environment == "live"
    app.add_middleware(SafeHeaders, live=live, pages={"/docs": _docs_policy(app)}, loaded=_DOCS_FILES)
    catalogue.describe(app)
    describe_scopes(app)
    return app


def _docs_policy(app: FastAPI) -> str:
    """What the page of the docs may do: run its one script and the files of the package that it is of."""
    page = get_swagger_ui_html(
        openapi_url=str(app.openapi_url),
        title=app.title,
        oauth2_redirect_url=app.swagger_ui_oauth2_redirect_url,
        swagger_ui_parameters=app.swagger_ui_parameters,
    )
    script = bytes(page.body).partition(b"<script>")[2].partition(b"</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    own = f"script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    return f"{NOTHING}; {own}; connect-src 'self'"


@asynccontextmanager
async def _replica(settings: Settings, db: Database) -> AsyncIterator[Replica | None]:
    """The replica of the database, looked after, where there is one."""
    if settings.replica_url is None:
        yield None
        return
    replica = Replica(
        settings.replica_url,
        role="muniment_api",
        connections_max=settings.api_connections_max,
        lag_max_s=settings.replica_lag_max_s,
    )
    await replica.open()
    watching = asyncio.create_task(replica.watch(db))
    try:
        yield replica
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await replica.close()


def openapi(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document."""
    return create_app(settings).openapi()
