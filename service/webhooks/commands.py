"""Making, changing, rotating and deleting webhooks, and sending messages again; each with its fact in the journal."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from yarl import URL

from service import journal
from service.access.queries import Caller
from service.db import Database, new_id, take_turn
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

REPLAYED_MAX = 10_000
"""Messages of one replay; whoever wants more goes on where it ended."""

STRETCH_ROWS = 1_000
"""Messages that one DB transaction brings forward when a webhook is enabled."""

_SIGNING_MAX = 3
"""Versions of the secrets that sign at once; a fourth ends the oldest."""


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
        url = await _checked(office, caller.issuer_id, order.url)
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
    """Change a webhook. Enabled anew, it is sent all that waits; where it had failed, one message first.

    Raises:
        WebhookNotFound: none of the issuer's.
        WebhookUrlRefused: the URL is none to send to.
    """
    url = None if wanted.url is None else await _checked(office, caller.issuer_id, wanted.url)
    values: dict[str, Any] = {} if url is None else {"url": str(url)}
    values |= {name: told for name in ("types", "description") if (told := getattr(wanted, name)) is not None}
    noted = {**{name: told for name, told in values.items() if name == "types"}, **({"host": url.host} if url else {})}
    if wanted.enabled:
        while await _bring_forward(office, caller.issuer_id, id) == STRETCH_ROWS:
            pass
    async with office.db.transaction() as session:
        row = await _locked(session, caller.issuer_id, id)
        if wanted.enabled is not None and wanted.enabled != (row.disabled_at is None):
            noted["enabled"] = wanted.enabled
            values |= {"disabled_at": None, "disabled_for": None}
            if not wanted.enabled:
                values |= {"disabled_at": func.now(), "disabled_for": Disabled.CALLER}
            elif row.failures:
                # Its days begin anew, and its failures stay: until it takes something, it is sent one at a time.
                values["failing_since"] = func.now()
        if values:
            await session.execute(update(WebhookRow).where(WebhookRow.id == id).values(**values))
            await _record(session, caller, "webhook.changed", id, noted)
    return await queries.webhook(office.db, issuer_id=caller.issuer_id, id=id)


async def remove(office: Office, caller: Caller, id: UUID) -> Webhook:
    """Delete a webhook with its secrets; its deliveries go in stretches, by the dispatcher's step. How it was.

    Raises:
        WebhookNotFound: none of the issuer's.
    """
    found = await queries.webhook(office.db, issuer_id=caller.issuer_id, id=id)
    async with office.db.transaction() as session:
        row = await _locked(session, caller.issuer_id, id)
        await session.execute(delete(SecretRow).where(SecretRow.webhook_id == id))
        removed = {"removed_at": func.now(), "disabled_at": func.now(), "disabled_for": Disabled.CALLER}
        await session.execute(update(WebhookRow).where(WebhookRow.id == row.id).values(**removed))
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


async def replay(office: Office, caller: Caller, id: UUID, order: ReplayOrder) -> tuple[int, int | None]:
    """Have messages sent again, as the same messages: how many, REPLAYED_MAX at most, and the number to go on from.

    Raises:
        WebhookNotFound: none of the issuer's.
        WebhookDisabled: it takes nothing now.
    """
    async with office.db.transaction() as session:
        _insist_on_enabled(await _locked(session, caller.issuer_id, id))
        chosen = [DeliveryRow.webhook_id == id, DeliveryRow.number >= order.from_number]
        if order.only == "dead":
            chosen.append(DeliveryRow.state == State.DEAD)
        query = select(DeliveryRow.number).where(*chosen).order_by(DeliveryRow.number).limit(REPLAYED_MAX + 1)
        numbers = (await session.scalars(query)).all()
        following = numbers[REPLAYED_MAX] if len(numbers) > REPLAYED_MAX else None
        if following is not None:
            chosen.append(DeliveryRow.number < following)
        again = {"state": State.PENDING, "failures": 0, "due_at": func.now()}
        await session.execute(update(DeliveryRow).where(*chosen).values(**again))
        count = len(numbers[:REPLAYED_MAX])
        noted = {"from": str(order.from_number), "only": order.only, "count": count}
        await _record(session, caller, "webhook.replayed", id, noted)
    return count, following


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


async def _checked(office: Office, issuer_id: UUID, text: str) -> URL:
    url = parse_url(text, private=office.private)
    await insist_on_public(url, private=office.private, issuer_id=issuer_id)
    return url


async def _insist_on_room(session: AsyncSession, issuer_id: UUID) -> None:
    await take_turn(session, f"webhooks {issuer_id}")
    count = await session.scalar(
        select(func.count()).where(WebhookRow.issuer_id == issuer_id, WebhookRow.removed_at.is_(None))
    )
    if (count or 0) >= WEBHOOKS_MAX:
        raise TooManyWebhooks(f"an issuer has {WEBHOOKS_MAX} at most: delete one, or let one take more types")


async def _bring_forward(office: Office, issuer_id: UUID, id: UUID) -> int:
    """Have some of what waits for another sending be due now, where the webhook is disabled; how many."""
    async with office.db.transaction() as session:
        if (await _locked(session, issuer_id, id)).disabled_at is None:
            return 0
        waiting = (DeliveryRow.webhook_id == id, DeliveryRow.state == State.PENDING, DeliveryRow.due_at > func.now())
        query = select(DeliveryRow.number).where(*waiting).order_by(DeliveryRow.due_at).limit(STRETCH_ROWS)
        numbers = (await session.scalars(query)).all()
        chosen = (DeliveryRow.webhook_id == id, DeliveryRow.number.in_(numbers))
        await session.execute(update(DeliveryRow).where(*chosen).values(due_at=func.now()))
    return len(numbers)


def _insist_on_enabled(row: WebhookRow) -> None:
    if row.disabled_at is not None:
        raise WebhookDisabled("enable it with PATCH /v1/webhooks/{webhook_id} first", disabled_for=row.disabled_for)


async def _locked(session: AsyncSession, issuer_id: UUID, id: UUID) -> WebhookRow:
    there = (WebhookRow.id == id, WebhookRow.issuer_id == issuer_id, WebhookRow.removed_at.is_(None))
    row = await session.scalar(select(WebhookRow).where(*there).with_for_update())
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
