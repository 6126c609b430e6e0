"""The vault of a process: its database and its keyring, with the stored versions of keys between them."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database, ReadConnection, new_id
from service.keys.signing import ProviderDown
from service.keys.wrapping import KeyAltered, KeyContext, KeyEncryptionKeys, KeyRefused, WrappedKey
from service.telemetry import logger
from service.vault.crowding import Crowding
from service.vault.envelope import Tampered
from service.vault.keyring import KeyClosed, KeyMissing, Keyring, KeyRow, KeyRows, KeyState, LiveKey, Purpose
from service.vault.policies import Kind
from service.vault.problems import RecordDamaged, VaultKeysUnavailable

ISSUER_PURPOSES = (Purpose.DATA, Purpose.INDEX, Purpose.SUBJECT_WRAPPING)
POLICY_PURPOSES = {
    Kind.VAULT: (Purpose.FINGERPRINT, Purpose.RECORD),
    Kind.VAULTLESS: (Purpose.FINGERPRINT, Purpose.FF1),
    Kind.ONE_WAY: (Purpose.FINGERPRINT,),
}


@dataclass(frozen=True, slots=True)
class Vault:
    """What every command and query of the vault needs from outside."""

    db: Database
    keyring: Keyring
    crowding: Crowding

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[tuple[AsyncSession, ReadConnection]]:
        """One DB transaction, for typed statements and the journal, and with psycopg's own connection beneath it."""
        async with self.db.transaction() as session:
            raw = await (await session.connection()).get_raw_connection()
            yield session, cast(ReadConnection, raw.driver_connection)

    async def newest(self, issuer_id: UUID, purpose: Purpose, policy_id: UUID | None = None) -> LiveKey:
        """The key that is used for what is new.

        Raises:
            VaultKeysUnavailable: it cannot be unwrapped now.
            KeyMissing: there is none.
        """
        with told():
            return await self.keyring.newest(issuer_id, purpose, policy_id)

    async def versions(self, issuer_id: UUID, purpose: Purpose, versions: Iterable[int]) -> dict[int, bytes]:
        """The issuer's keys of these versions, ready to open; without those that are retired, destroyed or unknown.

        Raises:
            VaultKeysUnavailable: one cannot be unwrapped now.
        """
        found = {}
        for version in set(versions):
            with told():
                try:
                    found[version] = (await self.keyring.version(issuer_id, purpose, version)).secret
                except (KeyMissing, KeyClosed) as error:
                    logger().error("vault_key_missing", kind=purpose.value, reason=type(error).__name__)
        return found


def open_vault(db: Database, keks: KeyEncryptionKeys) -> Vault:
    """The vault of a database, under these key-encryption keys."""
    return Vault(db, Keyring(stored_keys(db), keks), Crowding(db))


def stored_keys(db: Database) -> KeyRows:
    """What reads the versions of a key."""

    async def read(issuer: UUID, purpose: Purpose, policy: UUID | None) -> Sequence[KeyRow]:
        rows = await db.fetch(
            """SELECT version, state, kek, kek_version, wrapped FROM vault.keys
            WHERE issuer_id = %s AND policy_id IS NOT DISTINCT FROM %s AND purpose = %s""",
            (issuer, policy, purpose.value),
        )
        return [
            KeyRow(version, KeyState(state), None if wrapped is None else WrappedKey(kek, kek_version, wrapped))
            for version, state, kek, kek_version, wrapped in rows
        ]

    return read


async def new_keys(vault: Vault, issuer_id: UUID, policy_id: UUID, kind: Kind) -> list[dict[str, Any]]:
    """Rows for the keys of a new policy, and for those of its issuer, which may have them already.

    Raises:
        VaultKeysUnavailable: the provider does not wrap now.
    """
    named = [(purpose, None) for purpose in ISSUER_PURPOSES] + [(each, policy_id) for each in POLICY_PURPOSES[kind]]
    rows = []
    for purpose, policy in named:
        with told():
            wrapped = await vault.keyring.made(KeyContext(issuer_id, purpose, 1, policy))
        rows.append(
            {
                "id": new_id(),
                "issuer_id": issuer_id,
                "policy_id": policy,
                "purpose": purpose.value,
                "version": 1,
                "kek": wrapped.kek,
                "kek_version": wrapped.kek_version,
                "wrapped": wrapped.sealed,
            }
        )
    return rows


@contextmanager
def told() -> Iterator[None]:
    """A failure of the provider inside the block as a problem; its own words stay in neither answer nor log."""
    try:
        yield
    except (ProviderDown, KeyRefused, KeyAltered) as error:
        logger().error("vault_keys_unavailable", error_kind=type(error).__name__)
        raise VaultKeysUnavailable("send the same request again, with the same idempotency key") from None


def damaged(error: Tampered) -> RecordDamaged:
    """What does not open, told to the operator by an alarm and to the caller as a problem."""
    logger().error("vault_record_damaged", reason=str(error))
    return RecordDamaged("this is recorded as an alarm: ask the operator to compare the vault with its backup")
