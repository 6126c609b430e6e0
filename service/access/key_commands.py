"""The life of credentials: made, rotated, activated, suspended, resumed, changed, revoked.

Each step is one DB transaction, with its fact in the journal; rows are held, so that of two at once the second is
judged by what the first one left. Times are Postgres' own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access import apikeys, signing_secrets, step_factors, wallet_claims
from service.access.apikeys import Peppers
from service.access.key_limits import Limits, read_limits
from service.access.key_orders import ChangeOrder, KeyOrder, Kind, OverlapStarts, ProofOrder, RotateOrder
from service.access.key_problems import (
    KeyBeingRotated,
    KeyExceedsGrantor,
    KeyLimitsWidened,
    KeyNotFound,
    KeyNotInState,
    KeyOfAnotherCaller,
)
from service.access.key_queries import COLUMNS, KeyInfo, info
from service.access.key_states import OPENS, STATE, State
from service.access.key_turns import in_turn, insist_on_room
from service.access.queries import Caller
from service.access.roles import READ_ONLY, SCOPES, included, life_s, opened, within
from service.access.tables import CredentialRow
from service.db import Database, acting_for, acting_for_every_issuer, new_id
from service.journal import Fact

VERSIONS_USABLE_MAX = 2
"""Versions of one family that open anything at one time."""


@dataclass(frozen=True, slots=True)
class By:
    """Who does it: a caller with one of its credentials, or an operator by the command line, who has neither."""

    issuer_id: UUID
    caller_id: UUID | None = None
    key_id: str | None = None
    role: str | None = None
    operator: str | None = None

    @property
    def told(self) -> dict[str, Any]:
        """How facts name it."""
        return {"by": self.key_id} if self.operator is None else {"by": None, "operator": self.operator}

    @classmethod
    def caller(cls, caller: Caller) -> "By":
        """A caller that was let in."""
        return cls(caller.issuer_id, caller.id, caller.key_id, caller.role)


@dataclass(frozen=True, slots=True)
class Issuing:
    """What secrets are made with. `kek` seals those that have to be read again."""

    peppers: Peppers
    environment: str
    kek: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class Made:
    """A new credential, and its secret where it has one: it is shown now and never again."""

    id: str
    secret: str | None = field(repr=False)


_HELD: LiteralString = f"""
SELECT {COLUMNS} FROM credentials k JOIN callers c ON c.id = k.caller_id
WHERE k.id = ANY(CAST(:ids AS varchar[])) AND c.issuer_id = :issuer ORDER BY k.id FOR NO KEY UPDATE OF k
"""

_FORMER: LiteralString = """SELECT f.id FROM credentials k JOIN credentials f ON f.family_id = k.family_id
WHERE k.id = :id AND f.replaced_by = k.id"""


def _insist_on_open(asking: KeyInfo) -> None:
    """Raises: KeyNotInState. It opened the request, and may have been ended while the request waited."""
    if asking.state not in OPENS:
        raise KeyNotInState(f"the asking key is {asking.state}", state=asking.state)


async def held(session: AsyncSession, by: By, id: str) -> KeyInfo:
    """A credential, locked until the DB transaction ends.

    Raises:
        KeyNotFound: none of the issuer's.
    """
    return (await _all_held(session, by, [id]))[0]


async def _held_beside(session: AsyncSession, by: By, id: str) -> tuple[KeyInfo, KeyInfo | None]:
    """A credential and the asking one, which the command line has not; locked at once, with the former version.

    Raises:
        KeyNotFound: one of them is none of the issuer's.
    """
    formers = (await session.scalars(text(_FORMER), {"id": id})).all()
    found = await _all_held(session, by, [id, *([] if by.key_id is None else [by.key_id]), *formers])
    return found[0], None if by.key_id is None else found[1]


async def _all_held(session: AsyncSession, by: By, ids: Sequence[str]) -> list[KeyInfo]:
    """Credentials in the order of their ids as given; locked in that of the ids, as by whoever writes their uses."""
    rows = await session.execute(text(_HELD), {"ids": sorted({*ids}), "issuer": by.issuer_id})
    found = {row[0]: info(row) for row in rows}
    if not {*ids} <= {*found}:
        raise KeyNotFound("GET /v1/keys lists them all")
    return [found[each] for each in ids]


async def create(session: AsyncSession, issuing: Issuing, caller: Caller, order: KeyOrder) -> Made:
    """Make a credential for the caller that asks, or for a new one that reads alone, with no more rights than the
    asking one.

    Raises:
        KeyExceedsGrantor: it would have more.
        KeyNotInState: the asking one was ended meanwhile.
        KeyOfAnotherCaller: there is a caller of the new one's name.
        WalletTaken: its account is in use.
        TooManyKeys: the issuer has as many as it may.
    """
    await in_turn(session, caller.issuer_id)
    await insist_on_room(session, caller.issuer_id)
    asking = await held(session, By.caller(caller), caller.key_id)
    _insist_on_open(asking)
    now = await _now(session)
    limits = read_limits(asking.limits) if order.limits is None else order.limits
    end = _end_of(asking)
    ends_at = _ends_at(now, _life_s(order), otherwise=end)
    if order.expires_in_s is None and ends_at is not None and end is not None:
        ends_at = min(ends_at, end)
    scopes = sorted({*(order.scopes or _usual(asking, caller, order))})
    _insist_on_grant(asking, scopes, limits, ends_at, role=caller.role)
    caller_id = caller.id if order.role is None else await _new_reader(session, caller, order, scopes)
    row = {"family_id": new_id(), "version": 1, "caller_id": caller_id, "created_by": caller.key_id, "name": order.name}
    row |= {"scopes": scopes, "limits": limits.stored(), "expires_at": ends_at}
    row |= {"activated_at": now} if order.starts_in_s is None else {"not_before": _later(now, order.starts_in_s)}
    made = await _add(session, issuing, By.caller(caller), order.kind, order, row)
    body = {"proves_by": order.kind.value, "scopes": row["scopes"], "limits": row["limits"], "for": str(caller_id)}
    body["role"] = order.role or caller.role
    await _record(session, "key.created", By.caller(caller), made.id, body)
    return made


async def rotate(session: AsyncSession, issuing: Issuing, by: By, id: str, order: RotateOrder) -> Made:
    """Make the next version of an active credential: same rights; the former ends after the overlap, never later than
    it would have.

    Raises:
        KeyNotFound, KeyOfAnotherCaller: not the asking caller's.
        KeyNotInState: it is not active.
        KeyBeingRotated: it has a successor, or another version is usable.
        KeyExceedsGrantor: it has rights or a life that the asking credential has not.
        WalletTaken: the next version's account is in use.
        ValueError: the order's proof is not what the kind takes.
    """
    await in_turn(session, by.issuer_id)
    old, asking = await _held_beside(session, by, id)
    _insist_on_own(by, old)
    if old.state is not State.ACTIVE:
        raise KeyNotInState(f"the key is {old.state}: rotate its successor, or make another", state=old.state)
    version = await _next_version(session, old)
    kind = Kind(old.kind)
    order.insist_on_proof(kind)
    now = await _now(session)
    ends_at = _ends_at(now, order.expires_in_s, otherwise=old.expires_at)
    _insist_on_no_more(by, asking, old, ends_at)
    row: dict[str, Any] = {"family_id": old.family_id, "version": version, "caller_id": old.caller_id}
    row |= {"created_by": by.key_id, "name": old.name, "scopes": old.scopes, "limits": old.limits}
    at_once = order.overlap_starts is OverlapStarts.NOW
    row |= {"expires_at": ends_at, "activated_at": now if at_once else None}
    made = await _add(session, issuing, by, kind, order, row)
    await session.execute(
        text(
            """UPDATE credentials SET replaced_by = :made, overlap_s = :overlap, overlap_starts = :starts,
            retires_at = CASE WHEN :at_once THEN least(expires_at, :now + make_interval(secs => :overlap)) END
            WHERE id = :id"""
        ),
        {
            "made": made.id,
            "overlap": order.overlap_s,
            "starts": order.overlap_starts.value,
            "at_once": at_once,
            "now": now,
            "id": id,
        },
    )
    told = {"replaced_by": made.id, "overlap_s": order.overlap_s, "overlap_starts": order.overlap_starts.value}
    await _record(session, "key.rotated", by, id, told)
    return made


async def begin(db: Database, caller: Caller) -> None:
    """A pending credential was used for the first time: it is active, and its predecessor's overlap starts."""
    with acting_for([caller.issuer_id]):
        async with db.transaction() as session:
            by = By.caller(caller)
            await _held_beside(session, by, caller.key_id)
            await _begin(session, by, caller.key_id)


async def activate(session: AsyncSession, by: By, id: str) -> None:
    """Let a pending credential begin, as its first use would.

    Raises:
        KeyNotFound: none of the issuer's.
        KeyNotInState: it is not pending, or its time has not come.
        KeyExceedsGrantor: it has rights or a life that the asking credential has not.
    """
    await in_turn(session, by.issuer_id)
    key, asking = await _held_beside(session, by, id)
    early = key.not_before is not None and key.not_before > await _now(session)
    if key.state is not State.PENDING or early:
        told = "is not to be used yet" if early else f"is {key.state}"
        raise KeyNotInState(f"the key {told}: only a pending one whose time has come begins", state=key.state)
    _insist_on_no_more(by, asking, key, _end_of(key))
    await _begin(session, by, id)


async def _begin(session: AsyncSession, by: By, id: str) -> None:
    begun = await session.execute(
        text(
            """UPDATE credentials SET activated_at = clock_timestamp()
            WHERE id = :id AND activated_at IS NULL AND suspended_at IS NULL AND revoked_at IS NULL RETURNING id"""
        ),
        {"id": id},
    )
    if begun.one_or_none() is None:
        return
    await session.execute(
        text(
            """UPDATE credentials
            SET retires_at = least(expires_at, clock_timestamp() + make_interval(secs => overlap_s))
            WHERE family_id = (SELECT family_id FROM credentials WHERE id = :id)
                AND replaced_by = :id AND retires_at IS NULL"""
        ),
        {"id": id},
    )
    await _record(session, "key.activated", by, id, {})


async def suspend(session: AsyncSession, by: By, id: str, reason: str) -> None:
    """Let a credential open nothing until it is resumed.

    Raises:
        KeyNotFound: none of the issuer's.
        KeyNotInState: it has ended, or is suspended.
    """
    key = await held(session, by, id)
    if key.state not in OPENS:
        raise KeyNotInState(f"the key is {key.state}", state=key.state)
    await _set(session, id, "suspended_at = clock_timestamp(), suspended_for = :reason", reason=reason)
    await _record(session, "key.suspended", by, id, {"reason": reason})


async def resume(session: AsyncSession, by: By, id: str) -> None:
    """Let a suspended credential open again what it did.

    Raises:
        KeyNotFound: none of the issuer's.
        KeyNotInState: it is not suspended.
        KeyExceedsGrantor: it has rights or a life that the asking credential has not.
    """
    await in_turn(session, by.issuer_id)
    key, asking = await _held_beside(session, by, id)
    if key.state is not State.SUSPENDED:
        raise KeyNotInState(f"the key is {key.state}", state=key.state)
    _insist_on_no_more(by, asking, key, _end_of(key))
    await _set(session, id, "suspended_at = NULL, suspended_for = NULL")
    await _record(session, "key.resumed", by, id, {})


async def revoke(session: AsyncSession, by: By, id: str, reason: str) -> None:
    """End a credential for ever; one that was revoked before stays as it is.

    Raises:
        KeyNotFound: none of the issuer's.
    """
    if (await held(session, by, id)).state is State.REVOKED:
        return
    await _set(session, id, "revoked_at = clock_timestamp(), revoked_for = :reason", reason=reason)
    await _record(session, "key.revoked", by, id, {"reason": reason})


async def change(session: AsyncSession, by: By, id: str, order: ChangeOrder) -> None:
    """Rename a credential, take scopes from it, tighten its limits.

    Raises:
        KeyNotFound: none of the issuer's.
        KeyLimitsWidened: it would be let do more.
    """
    key = await held(session, by, id)
    exceeds: list[str] = sorted({*(order.scopes or [])} - included(key.scopes))
    if order.limits is not None and not order.limits.within(read_limits(key.limits)):
        exceeds.append("limits")
    if exceeds:
        raise KeyLimitsWidened("a key's rights only shrink: make another key for more", exceeds=exceeds)
    changed: dict[str, Any] = {"name": order.name or key.name, "scopes": key.scopes, "limits": key.limits}
    changed |= {} if order.scopes is None else {"scopes": sorted({*order.scopes})}
    changed |= {} if order.limits is None else {"limits": order.limits.stored()}
    row = await session.get_one(CredentialRow, id)
    row.name, row.scopes, row.limits = changed["name"], changed["scopes"], changed["limits"]
    await session.flush()
    await _record(session, "key.changed", by, id, changed)


async def revoke_all(session: AsyncSession, by: By, reason: str, *, sparing: str | None) -> int:
    """Break the glass: end every credential of the issuer for ever, but one that is spared; how many that were."""
    await in_turn(session, by.issuer_id)
    rows = await session.execute(
        text(
            """WITH held AS (
                SELECT k.id FROM credentials k JOIN callers c ON c.id = k.caller_id
                WHERE c.issuer_id = :issuer AND k.revoked_at IS NULL AND k.id IS DISTINCT FROM :sparing
                ORDER BY k.id FOR UPDATE OF k
            ) UPDATE credentials k SET revoked_at = clock_timestamp(), revoked_for = :reason
            FROM held WHERE k.id = held.id RETURNING k.id"""
        ),
        {"issuer": by.issuer_id, "reason": reason, "sparing": sparing},
    )
    ids = sorted(rows.scalars())
    told = {**by.told, "reason": reason, "all": True}
    await journal.append(session, [Fact("key.revoked", by.issuer_id, {"key": each, **told}) for each in ids])
    return len(ids)


async def revoke_leaked(db: Database, ids: Sequence[str], *, place: str) -> None:
    """End keys that were found where they should not be; who showed them has proved to have them.

    Args:
        place: `report` or `url`.
    """
    with acting_for_every_issuer():
        async with db.transaction() as session:
            rows = await session.execute(
                text(
                    """WITH held AS (
                    SELECT id FROM credentials WHERE id = ANY(CAST(:ids AS varchar[])) ORDER BY id FOR UPDATE
                ) UPDATE credentials k SET revoked_at = clock_timestamp(), revoked_for = 'leaked'
                FROM held, callers c WHERE k.id = held.id AND c.id = k.caller_id AND k.revoked_at IS NULL
                RETURNING k.id, c.issuer_id"""
                ),
                {"ids": sorted(ids)},
            )
            facts = [Fact("key.leaked", issuer_id, {"key": each, "place": place}) for each, issuer_id in rows]
            await journal.append(session, facts)


async def _add(
    session: AsyncSession, issuing: Issuing, by: By, kind: Kind, order: ProofOrder, row: dict[str, Any]
) -> Made:
    """Store a credential with what proves it.

    Raises:
        WalletTaken: the account is in use.
    """
    made = Made(apikeys.new_public_id(), None)
    if kind is Kind.BEARER:
        key = apikeys.make(issuing.environment)
        made = Made(key.id, key.text)
        row |= {"secret_hmac": key.hashed(issuing.peppers.newest), "pepper_version": issuing.peppers.version}
    elif kind is Kind.HMAC:
        plain = signing_secrets.new_secret()
        made = Made(made.id, plain.hex())
        row["sealed_secret"] = signing_secrets.sealed(issuing.kek, made.id, plain)
    elif kind is Kind.ED25519:
        row["public_key"] = bytes.fromhex(order.public_key or "")
    else:
        assert order.wallet is not None, "a wallet has an account and a chain"
        await wallet_claims.take(session, order.wallet, issuer_id=by.issuer_id, family_id=row["family_id"])
        await step_factors.insist_on_none(session, by.issuer_id, order.wallet.account)
        row |= {"account": order.wallet.account, "chain_id": order.wallet.chain_id}
    session.add(CredentialRow(id=made.id, environment=issuing.environment, kind=kind.value, **row))
    await session.flush()
    return made


async def _next_version(session: AsyncSession, old: KeyInfo) -> int:
    """Raises: KeyBeingRotated."""
    statement = f"SELECT k.id, k.version, {STATE} FROM credentials k WHERE k.family_id = :family ORDER BY k.version"
    rows = (await session.execute(text(statement), {"family": old.family_id})).all()
    usable = [each for each, _, state in rows if each != old.id and State(state) in {*OPENS, State.SUSPENDED}]
    if len(usable) >= VERSIONS_USABLE_MAX - 1:
        raise KeyBeingRotated(
            f"the key {usable[-1]} of the same family is still usable: wait for its end, or revoke it first",
            other=usable[-1],
        )
    return int(rows[-1].version) + 1


def _insist_on_own(by: By, key: KeyInfo) -> None:
    if by.caller_id is not None and key.caller_id != by.caller_id:
        raise KeyOfAnotherCaller("have its own caller do it, or the operator with `muniment keys`")


def _usual(asking: KeyInfo, caller: Caller, order: KeyOrder) -> frozenset[str]:
    """What a credential of a new role opens unless told: what the asking one opens of it, too."""
    assert order.role is not None, "without a role scopes are told"
    return SCOPES[order.role] & opened(frozenset(asking.scopes), caller.role) or SCOPES[order.role]


def _life_s(order: KeyOrder) -> int | None:
    """Raises: KeyExceedsGrantor."""
    try:
        return life_s(order.role, order.expires_in_s)
    except ValueError as error:
        raise KeyExceedsGrantor(str(error), exceeds=["life"]) from None


async def _new_reader(session: AsyncSession, caller: Caller, order: KeyOrder, scopes: Sequence[str]) -> UUID:
    """A new caller of a role that changes nothing: any other could be a second pair of eyes for whoever made it."""
    assert order.role is not None, "a new caller has a role"
    if order.role not in READ_ONLY:
        detail = f"have the operator make it: `muniment keys create --role {order.role}`"
        raise KeyExceedsGrantor(detail, exceeds=["role"])
    if beyond := sorted({*scopes} - within(order.role)):
        raise KeyExceedsGrantor(f"the role {order.role} does not open this", exceeds=beyond)
    row = {"id": new_id(), "issuer": caller.issuer_id, "name": order.caller, "role": order.role.value}
    made: UUID | None = await session.scalar(
        text(
            """INSERT INTO callers (id, issuer_id, name, role) VALUES (:id, :issuer, :name, :role)
            ON CONFLICT DO NOTHING RETURNING id"""
        ),
        row,
    )
    if made is None:
        raise KeyOfAnotherCaller(f"there is a caller {order.caller!r} already: name a new one")
    return made


def _insist_on_grant(
    asking: KeyInfo, scopes: Sequence[str], limits: Limits, ends_at: datetime | None, *, role: str | None = None
) -> None:
    exceeds: list[str] = sorted({*scopes} - opened(frozenset(asking.scopes), role))
    if not limits.within(read_limits(asking.limits)):
        exceeds.append("limits")
    end = _end_of(asking)
    if end is not None and (ends_at is None or ends_at > end):
        exceeds.append("life")
    if exceeds:
        raise KeyExceedsGrantor("ask with a key that has it, or ask for less", exceeds=exceeds)


def _insist_on_no_more(by: By, asking: KeyInfo | None, key: KeyInfo, ends_at: datetime | None) -> None:
    """Make sure that a credential which is to open something again, or longer, does nothing that the asking one can't;
    the command line may do everything.

    Raises:
        KeyExceedsGrantor: it does.
        KeyNotInState: the asking one was ended meanwhile.
    """
    if asking is None:
        return
    _insist_on_open(asking)
    _insist_on_grant(asking, key.scopes, read_limits(key.limits), ends_at, role=by.role)


def _end_of(key: KeyInfo) -> datetime | None:
    return min((each for each in (key.expires_at, key.retires_at) if each is not None), default=None)


def _ends_at(now: datetime, expires_in_s: int | None, *, otherwise: datetime | None) -> datetime | None:
    return otherwise if expires_in_s is None else _later(now, expires_in_s)


def _later(now: datetime, seconds: int) -> datetime:
    return now + timedelta(seconds=seconds)


async def _now(session: AsyncSession) -> datetime:
    now: datetime = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return now


async def _set(session: AsyncSession, id: str, changes: LiteralString, **given: str) -> None:
    await session.execute(text(f"UPDATE credentials SET {changes} WHERE id = :id"), {"id": id, **given})


async def _record(session: AsyncSession, kind: str, by: By, id: str, told: dict[str, Any]) -> None:
    await journal.append(session, [Fact(kind, by.issuer_id, {"key": id, **by.told, **told})])
