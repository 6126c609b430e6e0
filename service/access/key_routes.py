"""/v1/keys: the credentials of an issuer; /v1/whoami and /v1/time."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from service.access import apikeys, key_commands, key_queries, wallet_claims
from service.access import key_problems as problems
from service.access.admission import Admission
from service.access.apikeys import Scope
from service.access.http import GATE, REFUSED, Administering, Anyone, Auditing
from service.access.key_commands import By, Made
from service.access.key_limits import read_limits
from service.access.key_orders import (
    ChangeOrder,
    KeyOrder,
    Kind,
    LeakedOrder,
    ProofOrder,
    ReasonOrder,
    RevokeAllOrder,
    RotateOrder,
)
from service.access.key_states import State
from service.access.key_views import (
    KEY_ID,
    KeysView,
    KeyUsesView,
    KeyView,
    MadeKeyView,
    ReportedView,
    RevokedView,
    TimeView,
    WhoView,
)
from service.access.queries import Caller
from service.access.step_approvals import PER_KEY, PER_REQUEST
from service.access.step_http import SteppingUp, StepUpsDep, critical
from service.access.step_problems import CRITICAL
from service.access.wallet_claims import Claim
from service.db import Database
from service.web import idempotency
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import Db, IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page
from service.web.problems import BodyTooLarge, InvalidRequest
from service.web.queries import KNOWN_QUERY

router = APIRouter(tags=["keys"], route_class=StrictJsonRoute)

KeyId = Annotated[str, Path(pattern="^[0-9A-Za-z]{11}$", description="Its public id.", examples=[KEY_ID])]


class _MadeBeforeError(Exception):
    """Undoes what a request made that came twice at one moment."""


async def _admission(request: Request) -> Admission:
    admission: Admission = request.app.state.admission
    return admission


Gate = Annotated[Admission, Depends(_admission)]


async def _proving(caller: Anyone, db: Db, ups: StepUpsDep) -> Callable[[str, ProofOrder], Awaitable[None]]:
    async def insist(name: str, order: ProofOrder) -> None:
        if order.wallet is not None:
            claim = Claim(caller.issuer_id, name, order.wallet)
            await wallet_claims.insist_on_proof(db, ups.wallets, ups.place, claim, order.proof)

    return insist


Proving = Annotated[Callable[[str, ProofOrder], Awaitable[None]], Depends(_proving)]
"""Insists that the wallet that an order names agrees to be a credential of the caller of this name."""

_ONE = (*REFUSED, problems.KeyNotFound)
_STEP = (*_ONE, problems.KeyNotInState)
_MAKE = (
    *(*REFUSED, BodyTooLarge, IdempotencyKeyReused, problems.SecretAlreadyShown, problems.KeyExceedsGrantor),
    *(problems.WalletUnproved, problems.WalletTaken),
)


@router.post("/keys", status_code=201, responses=documented(*_MAKE, problems.TooManyKeys, *CRITICAL))
async def create_key(
    order: KeyOrder,
    caller: Administering,
    key: IdempotencyKey,
    db: Db,
    gate: Gate,
    response: Response,
    approval: SteppingUp,
    proving: Proving,
) -> MadeKeyView:
    """Make a credential for the caller that asks, or for a new auditor; no right or day of life beyond the asking
    one's. An issuer has at most 1,000 keys that have not ended, versions of one counted once; rotation makes no further
    one. A new caller's role is critical. A wallet's account agrees first: without its signature the answer is
    403 `wallet-unproved` with the typed data to sign; then the same request again, with the signature."""

    async def insist() -> None:
        await proving(order.caller or caller.name, order)
        if order.role is not None:
            await approval.insist(PER_KEY)

    async def make(session: AsyncSession) -> Made:
        return await key_commands.create(session, gate.issuing, caller, order)

    print_ = idempotency.fingerprint("create_key", None, order.canonical())
    return await _made_once(db, gate, caller, key, print_, insist, make, response)


@router.get("/keys", responses=documented(*REFUSED, BadCursor))
async def list_keys(
    caller: Auditing,
    db: Db,
    state: Annotated[State | None, Query(description="Only credentials that stand so.")] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> Page[KeyView]:
    """The issuer's credentials, the newest family first."""
    before = decode_cursor(cursor, "keys", UUID, int) if cursor else None
    position = (before[0], before[1]) if before else None
    rows = await key_queries.keys_page(
        db, issuer_id=caller.issuer_id, state=state, before=position, count_max=limit + 1
    )
    views = [KeyView.of(row) for row in rows]
    data, next_cursor = page(
        views, limit=limit, cursor_of=lambda last: encode_cursor("keys", last.family_id, last.version)
    )
    return Page(data=data, next_cursor=next_cursor)


@router.get("/keys/stragglers", responses=documented(*REFUSED))
async def list_stragglers(caller: Auditing, db: Db) -> KeysView:
    """Retiring credentials that are still used although their successors are in use; at most 500, the first to end."""
    found = await key_queries.stragglers(db, issuer_id=caller.issuer_id)
    return KeysView(data=[KeyView.of(each) for each in found])


@router.post(
    "/keys/leaked", dependencies=[KNOWN_QUERY], responses=documented(*GATE, BodyTooLarge, problems.TooManyReports)
)
async def report_leaked_keys(order: LeakedOrder, request: Request, gate: Gate) -> ReportedView:
    """Report API keys that were found where they should not be: each that is one is revoked at once.

    Nobody has to be known for it: whoever has a key could use it. The answer does not tell which keys there are.
    """
    gate.reports.take(request.client.host if request.client else None)
    given = (apikeys.parse(each) for each in order.keys)
    await gate.leaked([key for key in given if key is not None], place="report")
    return ReportedView(reported_count=len(order.keys))


@router.post(
    "/keys/revoke-all",
    dependencies=critical(Scope.KEYS_ADMIN, PER_REQUEST),
    responses=documented(*REFUSED, BodyTooLarge, *CRITICAL),
)
async def revoke_all_keys(order: RevokeAllOrder, caller: Administering, gate: Gate) -> RevokedView:
    """Break the glass: end every credential of the issuer at once and for ever, but the asking one unless told."""
    async with gate.changing() as session:
        sparing = None if order.also_asking else caller.key_id
        count = await key_commands.revoke_all(session, By.caller(caller), order.reason, sparing=sparing)
    return RevokedView(revoked_count=count)


@router.get("/keys/{key_id}", responses=documented(*_ONE))
async def read_key(key_id: KeyId, caller: Auditing, db: Db) -> KeyView:
    """One credential."""
    return await _told(db, caller, key_id)


@router.get("/keys/{key_id}/usage", responses=documented(*_ONE))
async def read_key_usage(
    key_id: KeyId,
    caller: Auditing,
    db: Db,
    days: Annotated[int, Query(ge=1, le=366, description="So many UTC days, today's among them.")] = 30,
) -> KeyUsesView:
    """What a credential was used for, by day, operation and network, and what it was refused for: at most 5,000 rows
    of each, some seconds late. Uses are kept for 400 days, refusals for 90."""
    uses = await key_queries.uses(db, issuer_id=caller.issuer_id, id=key_id, days=days)
    return KeyUsesView.of(uses, await key_queries.refusals_of(db, issuer_id=caller.issuer_id, id=key_id, days=days))


@router.patch("/keys/{key_id}", responses=documented(*_ONE, BodyTooLarge, problems.KeyLimitsWidened))
async def change_key(key_id: KeyId, order: ChangeOrder, caller: Administering, db: Db, gate: Gate) -> KeyView:
    """Rename a credential, take scopes from it, tighten its limits; what is left out stays."""
    async with gate.changing() as session:
        await key_commands.change(session, By.caller(caller), key_id, order)
    return await _told(db, caller, key_id)


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    responses=documented(
        *_MAKE,
        problems.KeyNotFound,
        problems.KeyOfAnotherCaller,
        problems.KeyNotInState,
        problems.KeyBeingRotated,
    ),
)
async def rotate_key(
    key_id: KeyId,
    order: RotateOrder,
    caller: Administering,
    key: IdempotencyKey,
    db: Db,
    gate: Gate,
    response: Response,
    proving: Proving,
) -> MadeKeyView:
    """Make the next version of an active credential; both open the same until the overlap is over. A wallet's account
    agrees first, as of `create_key`."""

    async def insist() -> None:
        old = await key_queries.key(db, issuer_id=caller.issuer_id, id=key_id)
        if old.kind == Kind.WALLET and old.caller_id == caller.id:
            await proving(old.caller, order)

    async def make(session: AsyncSession) -> Made:
        try:
            return await key_commands.rotate(session, gate.issuing, By.caller(caller), key_id, order)
        except ValueError as error:
            raise InvalidRequest(str(error), errors=[{"pointer": "#", "detail": str(error)}]) from None

    print_ = idempotency.fingerprint("rotate_key", key_id, order.canonical())
    return await _made_once(db, gate, caller, key, print_, insist, make, response)


@router.post("/keys/{key_id}/activate", responses=documented(*_STEP, problems.KeyExceedsGrantor))
async def activate_key(key_id: KeyId, caller: Administering, db: Db, gate: Gate) -> KeyView:
    """Let a pending credential begin without waiting for its first use; one that does no more than the asking one."""
    async with gate.changing() as session:
        await key_commands.activate(session, By.caller(caller), key_id)
    return await _told(db, caller, key_id)


@router.post("/keys/{key_id}/suspend", responses=documented(*_STEP, BodyTooLarge))
async def suspend_key(key_id: KeyId, order: ReasonOrder, caller: Administering, db: Db, gate: Gate) -> KeyView:
    """Let a credential open nothing until it is resumed."""
    async with gate.changing() as session:
        await key_commands.suspend(session, By.caller(caller), key_id, order.reason)
    return await _told(db, caller, key_id)


@router.post("/keys/{key_id}/resume", responses=documented(*_STEP, problems.KeyExceedsGrantor))
async def resume_key(key_id: KeyId, caller: Administering, db: Db, gate: Gate) -> KeyView:
    """Let a suspended credential open again what it did; one that does no more than the asking one."""
    async with gate.changing() as session:
        await key_commands.resume(session, By.caller(caller), key_id)
    return await _told(db, caller, key_id)


@router.post("/keys/{key_id}/revoke", responses=documented(*_ONE, BodyTooLarge))
async def revoke_key(key_id: KeyId, order: ReasonOrder, caller: Administering, db: Db, gate: Gate) -> KeyView:
    """End a credential at once and for ever; one that was revoked before stays as it is."""
    async with gate.changing() as session:
        await key_commands.revoke(session, By.caller(caller), key_id, order.reason)
    return await _told(db, caller, key_id)


@router.get("/whoami", responses=documented(*REFUSED))
async def who_am_i(caller: Anyone) -> WhoView:
    """Who asks, and what the credential opens."""
    return WhoView.model_validate(
        {
            "caller": caller.name,
            "caller_id": caller.id,
            "issuer_id": caller.issuer_id,
            "role": caller.role,
            "key_id": caller.key_id,
            "kind": caller.kind,
            "environment": caller.environment,
            "scopes": sorted(caller.scopes),
            "limits": read_limits(dict(caller.limits)),
            "signed": caller.signed,
            "retires_at": caller.retiring.ends_at if caller.retiring else None,
            "replaced_by": caller.retiring.replaced_by if caller.retiring else None,
        }
    )


@router.get("/time", dependencies=[KNOWN_QUERY], responses=documented(*GATE))
async def read_time() -> TimeView:
    """Our clock, for whoever signs requests; nobody has to be known for it."""
    return TimeView(unix_s=time.time())


async def _told(db: Database, caller: Caller, key_id: str) -> KeyView:
    return KeyView.of(await key_queries.key(db, issuer_id=caller.issuer_id, id=key_id))


async def _made_once(
    db: Database,
    gate: Admission,
    caller: Caller,
    key: str,
    print_: bytes,
    insist: Callable[[], Awaitable[None]],
    make: Callable[[AsyncSession], Awaitable[Made]],
    response: Response,
) -> MadeKeyView:
    """Make a credential, once for each idempotency key; its secret is in the first answer alone.

    Args:
        insist: makes sure that it may be made; of one that is made already it is not asked again.

    Raises:
        SecretAlreadyShown: the key made one before.
        IdempotencyKeyReused: for another request.
    """
    made = None
    if (before := await idempotency.first_resource(db, caller.id, key, print_)) is None:
        await insist()
        try:
            async with gate.changing() as session:
                made = await make(session)
                if not await idempotency.claim(session, caller.id, key, print_, f"keys/{made.id}"):
                    raise _MadeBeforeError
        except _MadeBeforeError:
            made, before = None, await idempotency.first_resource(db, caller.id, key, print_)
    key_id = made.id if made is not None else (before or "").removeprefix("keys/")
    info = await key_queries.key(db, issuer_id=caller.issuer_id, id=key_id)
    if made is None and info.kind in ("bearer", "hmac"):
        detail = f"this request made the key {key_id}: if its secret is lost, revoke it and make another"
        raise problems.SecretAlreadyShown(detail, key=key_id)
    response.headers["Location"] = f"/v1/keys/{key_id}"
    view = KeyView.of(info)
    return MadeKeyView(**view.model_dump(), secret=None if made is None else made.secret)
