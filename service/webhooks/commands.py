"""Making, changing, rotating and deleting webhooks, and sending messages again; each with its fact in the journal."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from yarl import URL

from service import journal
from service.access.queries import Caller
from service.db import Database, new_id
from service.journal import Fact
from service.web import idempotency
from service.webhooks import queries, sealing
from service.webhooks.egress import insist_on_public, parse_url
from service.webhooks.events import TEST, instant
from service.webhooks.orders import ReplayOrder, RotationOrder, TrialOrder, WebhookChange, WebhookOrder
from service.webhooks.problems import TooManyWebhooks, WebhookDisabled
from service.webhooks.queries import Delivery, Webhook
from service.webhooks.queueing import Message, enqueue
from service.webhooks.sealing import Sealer
from service.webhooks.signing import Secrets
from service.webhooks.tables import DeliveryRow, Disabled, SecretRow, State, WebhookRow

WEBHOOKS_MAX = 50
"""Of one issuer."""

_SIGNING_MAX = 3
"""Versions of the secrets that sign at once; a fourth ends the oldest."""

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('webhooks ' || :issuer, 0))")


@dataclass(frozen=True, slots=True)
class Office:
    """What webhooks are made with.

    Args:
        private: addresses of this machine will do, for a devnet.
    """

    db: Database
    sealer: Sealer = field(repr=False)
    private: bool


async def create(office: Office, caller: Caller, key: str, order: WebhookOrder) -> tuple[Webhook, str | None]:
    """Make a webhook; with it the secret in the clear, unless the request took effect before.

    Raises:
        WebhookUrlRefused: the URL is none to send to.
        TooManyWebhooks: the issuer has WEBHOOKS_MAX.
        IdempotencyKeyReused: the key belongs to another request.
    """
    print_ = idempotency.fingerprint("POST /v1/webhooks", None, order.asked())
    first = await idempotency.first_resource(office.db, caller.id, key, print_)
    secret = None
    if first is None:
        url = await _checked(office, order.url)
        secrets, id_ = sealing.make(), new_id()
        async with office.db.transaction() as session:
            if await idempotency.claim(session, caller.id, key, print_, f"webhooks/{id_}"):
                await _insist_on_room(session, caller.issuer_id)
                stored = {"url": str(url), "types": order.types, "description": order.description}
                position = await journal.end(session) if order.since == "now" else 0
                await session.execute(
                    insert(WebhookRow).values(id=id_, issuer_id=caller.issuer_id, position=position, **stored)
                )
                await _store(session, office.sealer, secrets, id_, 1)
                await _record(session, caller, "webhook.created", id_, {"types": order.types, "host": url.host})
                secret = secrets.secret
        first = await idempotency.first_resource(office.db, caller.id, key, print_)
    assert first is not None, "the key was spent a moment ago"
    return await queries.webhook(office.db, issuer_id=caller.issuer_id, id=UUID(first.split("/")[1])), secret


async def change(office: Office, caller: Caller, id: UUID, wanted: WebhookChange) -> Webhook:
    """Change a webhook. Enabled anew, it is sent all that waits at once.

    Raises:
        WebhookNotFound: none of the issuer's.
        WebhookUrlRefused: the URL is none to send to.
    """
    url = None if wanted.url is None else await _checked(office, wanted.url)
    values: dict[str, Any] = {} if url is None else {"url": str(url)}
    values |= {name: told for name in ("types", "description") if (told := getattr(wanted, name)) is not None}
    noted = {**{name: told for name, told in values.items() if name == "types"}, **({"host": url.host} if url else {})}
    async with office.db.transaction() as session:
        row = await _locked(session, caller.issuer_id, id)
        if wanted.enabled is not None and wanted.enabled != (row.disabled_at is None):
            noted["enabled"] = wanted.enabled
            values |= {"disabled_at": None, "disabled_for": None, "failures": 0, "failing_since": None}
            if not wanted.enabled:
                values |= {"disabled_at": func.now(), "disabled_for": Disabled.CALLER}
            else:
                pending = (DeliveryRow.webhook_id == id, DeliveryRow.state == State.PENDING)
                await session.execute(update(DeliveryRow).where(*pending).values(due_at=func.now(), failures=0))
        if values:
            await session.execute(update(WebhookRow).where(WebhookRow.id == id).values(**values))
            await _record(session, caller, "webhook.changed", id, noted)
    return await queries.webhook(office.db, issuer_id=caller.issuer_id, id=id)


async def remove(office: Office, caller: Caller, id: UUID) -> Webhook:
    """Delete a webhook with its secrets and its deliveries; how it was.

    Raises:
        WebhookNotFound: none of the issuer's.
    """
    found = await queries.webhook(office.db, issuer_id=caller.issuer_id, id=id)
    async with office.db.transaction() as session:
        await _locked(session, caller.issuer_id, id)
        await session.execute(delete(WebhookRow).where(WebhookRow.id == id))
        await _record(session, caller, "webhook.deleted", id, {})
    return found


async def rotate(
    office: Office, caller: Caller, key: str, id: UUID, order: RotationOrder
) -> tuple[Webhook, str | None]:
    """Make a new secret and key pair; those before sign for a while longer, so that receivers can change theirs.

    Raises:
        WebhookNotFound: none of the issuer's.
        IdempotencyKeyReused: the key belongs to another request.
    """
    print_ = idempotency.fingerprint("POST /v1/webhooks/{webhook_id}/rotate", str(id), order.asked())
    secret = None
    async with office.db.transaction() as session:
        await _locked(session, caller.issuer_id, id)
        if await idempotency.claim(session, caller.id, key, print_, f"webhooks/{id}"):
            newest = await session.scalar(select(func.max(SecretRow.version)).where(SecretRow.webhook_id == id))
            version, secrets = (newest or 0) + 1, sealing.make()
            ends_at = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, order.overlap_s)
            before = update(SecretRow).where(SecretRow.webhook_id == id)
            await session.execute(before.values(ends_at=func.least(SecretRow.ends_at, ends_at)))
            oldest = before.where(SecretRow.version <= version - _SIGNING_MAX)
            await session.execute(oldest.values(ends_at=func.least(SecretRow.ends_at, func.now())))
            await _store(session, office.sealer, secrets, id, version)
            noted = {"version": version, "overlap_s": order.overlap_s}
            await _record(session, caller, "webhook.secret-rotated", id, noted)
            secret = secrets.secret
    return await queries.webhook(office.db, issuer_id=caller.issuer_id, id=id), secret


async def replay(office: Office, caller: Caller, id: UUID, order: ReplayOrder) -> int:
    """Have messages sent again, as the same messages; how many.

    Raises:
        WebhookNotFound: none of the issuer's.
        WebhookDisabled: it takes nothing now.
    """
    async with office.db.transaction() as session:
        row = await _locked(session, caller.issuer_id, id)
        _insist_on_enabled(row)
        chosen = update(DeliveryRow).where(DeliveryRow.webhook_id == id, DeliveryRow.number >= order.from_number)
        if order.only == "dead":
            chosen = chosen.where(DeliveryRow.state == State.DEAD)
        again = chosen.values(state=State.PENDING, failures=0, due_at=func.now()).returning(DeliveryRow.number)
        count = len((await session.scalars(again)).all())
        noted = {"from": str(order.from_number), "only": order.only, "count": count}
        await _record(session, caller, "webhook.replayed", id, noted)
    return count


async def send_test(office: Office, caller: Caller, key: str, id: UUID, order: TrialOrder) -> Delivery:
    """Send a message of the type `webhook.test`.

    Raises:
        WebhookNotFound: none of the issuer's.
        WebhookDisabled: it takes nothing now.
        IdempotencyKeyReused: the key belongs to another request.
    """
    print_ = idempotency.fingerprint("POST /v1/webhooks/{webhook_id}/test", str(id), order.asked())
    notice = {"recorded_at": instant(datetime.now(UTC)), "data": {"webhook": str(id)}}
    async with office.db.transaction() as session:
        row = await _locked(session, caller.issuer_id, id)
        number = row.number + 1
        if await idempotency.claim(session, caller.id, key, print_, f"webhooks/{id}/deliveries/{number}"):
            _insist_on_enabled(row)
            await enqueue(session, [Message(id, TEST, f"webhook:{id}", notice=notice)])
    first = await idempotency.first_resource(office.db, caller.id, key, print_)
    assert first is not None, "the key was spent a moment ago"
    sent = int(first.rpartition("/")[2])
    rows = await queries.deliveries_page(office.db, webhook_id=id, state=None, before=sent + 1, count_max=1)
    return rows[0]


async def _checked(office: Office, text: str) -> URL:
    url = parse_url(text, private=office.private)
    await insist_on_public(url, private=office.private)
    return url


async def _insist_on_room(session: AsyncSession, issuer_id: UUID) -> None:
    await session.execute(_ONE_AT_A_TIME, {"issuer": str(issuer_id)})
    count = await session.scalar(select(func.count()).where(WebhookRow.issuer_id == issuer_id))
    if (count or 0) >= WEBHOOKS_MAX:
        raise TooManyWebhooks(f"an issuer has {WEBHOOKS_MAX} at most: delete one, or let one take more types")


def _insist_on_enabled(row: WebhookRow) -> None:
    if row.disabled_at is not None:
        raise WebhookDisabled("enable it with PATCH /v1/webhooks/{webhook_id} first", disabled_for=row.disabled_for)


async def _locked(session: AsyncSession, issuer_id: UUID, id: UUID) -> WebhookRow:
    query = select(WebhookRow).where(WebhookRow.id == id, WebhookRow.issuer_id == issuer_id).with_for_update()
    row = await session.scalar(query)
    if row is None:
        raise queries.missing()
    return row


async def _store(session: AsyncSession, sealer: Sealer, secrets: Secrets, webhook_id: UUID, version: int) -> None:
    sealed = sealer.seal(secrets, webhook_id, version)
    await session.execute(
        insert(SecretRow).values(
            webhook_id=webhook_id,
            version=version,
            sealed_hmac=sealed.hmac,
            sealed_private=sealed.private,
            public_key=secrets.public_key,
        )
    )


async def _record(session: AsyncSession, caller: Caller, kind: str, id: UUID, noted: dict[str, Any]) -> None:
    # The URL stays out: its path may be a secret.
    body = {"webhook": str(id), "caller": str(caller.id), "key": caller.key_id, **noted}
    await journal.append(session, [Fact(kind, caller.issuer_id, body)])
