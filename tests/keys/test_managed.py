"""Managed accounts' keys: encrypted at rest, bound to their address, never leaving."""

import base64
import logging
import traceback

import pytest
from eth_account import Account
from pydantic import SecretStr
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from service.db import Base, Database
from service.keys.managed import (
    ManagedKey,
    ManagedKeyUnreadable,
    NotManaged,
    Signature,
    create_managed_key,
    sign_digest,
)

DIGEST = bytes(range(100, 132))
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1; source: SEC 2


@pytest.fixture
async def account(db: Database, kek: SecretStr) -> bytes:
    async with db.transaction() as session:
        return await create_managed_key(session, kek)


def recovered(signature: Signature, digest: bytes) -> bytes:
    vrs = signature.v, int.from_bytes(signature.r, "big"), int.from_bytes(signature.s, "big")
    return bytes.fromhex(Account._recover_hash(digest, vrs)[2:])


async def test_a_managed_account_signs_for_itself(db: Database, kek: SecretStr, account: bytes) -> None:
    async with db.transaction() as session:
        signature = await sign_digest(session, kek, account, DIGEST)
        assert await sign_digest(session, kek, account, DIGEST) == signature
    assert recovered(signature, DIGEST) == account
    assert signature.v in (27, 28)
    assert (len(signature.r), len(signature.s)) == (32, 32)
    assert int.from_bytes(signature.s, "big") <= ORDER // 2


async def test_many_accounts_have_many_keys(db: Database, kek: SecretStr) -> None:
    async with db.transaction() as session:
        addresses = [await create_managed_key(session, kek) for _ in range(20)]
        signatures = [await sign_digest(session, kek, address, DIGEST) for address in addresses]
    assert len(set(addresses)) == 20
    assert [recovered(signature, DIGEST) for signature in signatures] == addresses


async def test_what_is_stored_is_sealed_with_a_nonce_of_its_own(db: Database, kek: SecretStr) -> None:
    async with db.transaction() as session:
        for _ in range(20):
            await create_managed_key(session, kek)
        stored = list(await session.scalars(select(ManagedKey.ciphertext)))
    assert {len(ciphertext) for ciphertext in stored} == {12 + 32 + 16}
    assert len({ciphertext[:12] for ciphertext in stored}) == 20


async def test_a_key_of_an_undone_transaction_never_was(db: Database, kek: SecretStr) -> None:
    async with db.transaction() as session:
        address = await create_managed_key(session, kek)
        await session.rollback()
    async with db.transaction() as session:
        with pytest.raises(NotManaged):
            await sign_digest(session, kek, address, DIGEST)


async def test_another_account_is_not_ours_to_sign_for(db: Database, kek: SecretStr) -> None:
    async with db.transaction() as session:
        with pytest.raises(NotManaged, match="0x" + "22" * 20):
            await sign_digest(session, kek, b"\x22" * 20, DIGEST)


async def test_another_key_encryption_key_opens_nothing(db: Database, account: bytes) -> None:
    other = SecretStr(base64.b64encode(b"\x01" * 32).decode())
    async with db.transaction() as session:
        with pytest.raises(ManagedKeyUnreadable, match=account.hex()):
            await sign_digest(session, other, account, DIGEST)


async def test_a_key_moved_to_another_address_opens_nothing(db: Database, kek: SecretStr, account: bytes) -> None:
    async with db.transaction() as session:
        other = await create_managed_key(session, kek)
        theirs = await session.scalar(select(ManagedKey.ciphertext).where(ManagedKey.address == other))
        await session.execute(update(ManagedKey).values(ciphertext=theirs).where(ManagedKey.address == account))
    async with db.transaction() as session:
        with pytest.raises(ManagedKeyUnreadable):
            await sign_digest(session, kek, account, DIGEST)
        assert recovered(await sign_digest(session, kek, other, DIGEST), DIGEST) == other


async def test_any_altered_byte_is_noticed(db: Database, kek: SecretStr, account: bytes) -> None:
    async with db.transaction() as session:
        stored = await session.scalar(select(ManagedKey.ciphertext).where(ManagedKey.address == account))
        assert stored is not None
        flipped = [stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :] for at in range(len(stored))]
        for altered in flipped:
            await session.execute(update(ManagedKey).values(ciphertext=altered).where(ManagedKey.address == account))
            with pytest.raises(ManagedKeyUnreadable):
                await sign_digest(session, kek, account, DIGEST)


@pytest.mark.parametrize("size", [0, 12, 59, 61])
async def test_postgres_refuses_a_ciphertext_of_another_length(db: Database, size: int) -> None:
    with pytest.raises(IntegrityError):
        async with db.transaction() as session:
            session.add(ManagedKey(address=b"\x22" * 20, ciphertext=b"\x01" * size))


async def test_postgres_refuses_an_address_of_another_length(db: Database) -> None:
    with pytest.raises(IntegrityError):
        async with db.transaction() as session:
            session.add(ManagedKey(address=b"\x22" * 19, ciphertext=b"\x01" * 60))


async def test_only_32_bytes_are_signed(db: Database, kek: SecretStr, account: bytes) -> None:
    async with db.transaction() as session:
        for size in (0, 31, 33):
            with pytest.raises(ValueError, match="a digest has 32 bytes"):
                await sign_digest(session, kek, account, bytes(size))


async def test_a_malformed_key_encryption_key_is_told_without_it(db: Database) -> None:
    short, long = (base64.b64encode(b"\x5a" * size).decode() for size in (31, 33))
    async with db.transaction() as session:
        for bad in ("not base64 at all!", short, long, "é", ""):
            with pytest.raises(ValueError, match="is 32 bytes in base64") as refused:
                await create_managed_key(session, SecretStr(bad))
            assert not bad or bad not in "".join(traceback.format_exception(refused.value))


async def test_no_log_and_no_repr_tells_a_key_or_a_signature(
    db: Database, kek: SecretStr, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with db.transaction() as session:
            address = await create_managed_key(session, kek)
            signature = await sign_digest(session, kek, address, DIGEST)
            row = await session.get(ManagedKey, address)
            assert row is not None
            told = f"{row!r} {signature!r} {caplog.text}"
            hidden = [row.ciphertext, signature.r, signature.s, base64.b64decode(kek.get_secret_value())]
    assert address.hex() in told
    for secret in hidden:
        assert secret.hex() not in told
        assert repr(secret) not in told


async def test_the_table_is_the_migrated_one(db: Database) -> None:
    table = Base.metadata.tables["managed_keys"]
    async with db.read() as connection:
        cursor = await connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'managed_keys'"
        )
        columns = {name for (name,) in await cursor.fetchall()}
    assert columns == set(table.columns.keys())
    async with db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM managed_keys")) == 0
