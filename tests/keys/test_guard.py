"""The guard: nothing is signed that a policy forbids or no entry tells of, and trouble stays where it is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from coincurve import PrivateKey
from pydantic import SecretStr
from sqlalchemy import text

from service.db import UNAVAILABLE, Database, new_id
from service.keys import policies
from service.keys.guard import CONCURRENT_MAX, Failure, Guard, Unsigned
from service.keys.keystore import LocalSigner
from service.keys.managed import Signature
from service.keys.policy import Policy, Refusal, SigningIntent
from service.keys.signed import read_signed
from service.keys.signers import Signers
from service.keys.signing import ProviderDown, Signer, SignerRefused, WrongSignature
from service.keys.unsigned import SignedTransaction, UnsignedTransaction, digest

CONTRACT = b"\x22" * 20
MINT = bytes.fromhex("40c10f19")


class Far:
    """A remote signer that can be in trouble; it remembers what it was asked."""

    provider = "far"

    def __init__(self, trouble: Exception | None = None) -> None:
        self._near = LocalSigner(PrivateKey())
        self.address = self._near.address
        self.trouble = trouble
        self.asked: list[bytes] = []
        self.now = self.most = 0

    async def sign_digest(self, digest: bytes) -> Signature:
        self.asked.append(digest)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if self.trouble is not None:
            raise self.trouble
        return self._near.sign_now(digest)

    async def health(self) -> None:
        if self.trouble is not None:
            raise self.trouble


class Witness(Far):
    """A remote signer that looks, when it is asked, for the audit entry of what it signs."""

    def __init__(self, url: SecretStr) -> None:
        super().__init__()
        self._url = url
        self.seen: list[Any] = []

    async def sign_digest(self, digest: bytes) -> Signature:
        async with await psycopg.AsyncConnection.connect(self._url.get_secret_value()) as other:
            found = await other.execute("SELECT verdict, provider FROM signatures WHERE digest = %s", [digest])
            self.seen += await found.fetchall()
        return await super().sign_digest(digest)


def intents(signer: Signer, count: int = 1, *, nonce: int = 0, **changes: Any) -> list[SigningIntent]:
    """Calls of a contract with nonces one after another."""
    call = UnsignedTransaction(
        chain_id=31337,
        nonce=nonce,
        to=CONTRACT,
        data=MINT + bytes(64),
        value=0,
        gas_limit=100_000,
        max_fee_wei=30,
        priority_fee_wei=1,
    )
    return [
        SigningIntent(
            attempt_id=new_id(),
            transaction_id=new_id(),
            transaction=replace(call, nonce=nonce + number, **changes),
            signer=signer.address,
            approved=False,
            purpose="transaction",
        )
        for number in range(count)
    ]


def reasons(outcomes: Sequence[SignedTransaction | Unsigned]) -> list[str | None]:
    return [each.reason if isinstance(each, Unsigned) else None for each in outcomes]


@pytest.fixture
async def sender_db(database_url: SecretStr) -> AsyncIterator[Database]:
    """The rights of the sender, which hold for all that the guard does."""
    database = Database(database_url, role="muniment_sender")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def near() -> LocalSigner:
    return LocalSigner(PrivateKey())


async def audit(db: Database) -> list[Any]:
    async with db.transaction() as session:
        rows = await session.execute(text("SELECT * FROM signatures ORDER BY nonce"))
        return list(rows.all())


async def ruled(db: Database, signer: Signer, **limits: Any) -> None:
    async with db.transaction() as session:
        await policies.set_policy(session, signer.address, Policy(**limits), by="test")


async def test_a_signer_without_a_policy_signs_and_each_has_an_entry(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    asked = intents(near, 3)
    outcomes = await Guard(sender_db, Signers([near])).sign(asked)
    for intent, outcome in zip(asked, outcomes, strict=True):
        assert isinstance(outcome, SignedTransaction)
        assert read_signed(outcome.raw).nonce == intent.transaction.nonce
        assert read_signed(outcome.raw).signer == near.address
    entries = await audit(db)
    assert [entry.digest for entry in entries] == [digest(intent.transaction) for intent in asked]
    first = entries[0]
    assert (first.signer, first.provider, first.purpose, first.chain_id) == (
        near.address,
        "keystore",
        "transaction",
        31337,
    )
    assert (first.nonce, first.recipient, first.selector, first.value_wei) == (0, CONTRACT, MINT, 0)
    assert (first.fee_max_wei, first.verdict, first.reason) == (3_000_000, "allowed", None)
    assert (first.attempt_id, first.transaction_id) == (asked[0].attempt_id, asked[0].transaction_id)


async def test_the_entry_is_durable_before_the_key_is_asked(database_url: SecretStr, sender_db: Database) -> None:
    witness = Witness(database_url)
    await Guard(sender_db, Signers([witness])).sign(intents(witness))
    assert witness.seen == [("allowed", "far")]


async def test_without_an_entry_nothing_is_signed(database_url: SecretStr) -> None:
    far = Far()
    away = Database(SecretStr("postgresql://nobody@127.0.0.1:1/nothing"), role=None)
    with pytest.raises(UNAVAILABLE):
        await Guard(away, Signers([far])).sign(intents(far))
    await away.close()
    assert far.asked == []


async def test_what_is_refused_has_an_entry_and_reaches_no_key(db: Database, sender_db: Database) -> None:
    far = Far()
    await ruled(db, far, selectors=frozenset({b"\xde\xad\xbe\xef"}))
    outcomes = await Guard(sender_db, Signers([far])).sign(intents(far))
    assert outcomes == [Unsigned(Refusal.SELECTOR)]
    assert far.asked == []
    (entry,) = await audit(db)
    assert (entry.verdict, entry.reason, entry.provider) == ("refused", "selector-not-allowed", "far")


async def test_one_refused_intent_leaves_the_others(db: Database, sender_db: Database, near: LocalSigner) -> None:
    await ruled(db, near, contracts=frozenset({CONTRACT}))
    asked = [*intents(near, 1), *intents(near, 1, nonce=1, to=None), *intents(near, 1, nonce=2)]
    outcomes = await Guard(sender_db, Signers([near])).sign(asked)
    assert reasons(outcomes) == [None, "contract-not-allowed", None]


async def test_a_frozen_signer_signs_nothing_until_it_is_let_go(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    guard = Guard(sender_db, Signers([near]))
    await ruled(db, near, rate_max=5)
    async with db.transaction() as session:
        await policies.freeze(session, near.address, by="operator")
    assert reasons(await guard.sign(intents(near, 2))) == ["frozen", "frozen"]
    async with db.transaction() as session:
        await policies.unfreeze(session, near.address, by="operator")
        policy = await policies.read_policy(session, near.address)
    assert policy is not None
    assert policy.rate_max == 5
    assert reasons(await guard.sign(intents(near, 2))) == [None, None]


async def test_setting_a_policy_does_not_let_a_frozen_signer_go(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    async with db.transaction() as session:
        await policies.freeze(session, near.address, by="operator")
    await ruled(db, near, rate_max=5)
    assert reasons(await Guard(sender_db, Signers([near])).sign(intents(near))) == ["frozen"]


async def test_the_rate_counts_within_a_batch_and_over_batches(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    await ruled(db, near, rate_max=3)
    guard = Guard(sender_db, Signers([near]))
    assert reasons(await guard.sign(intents(near, 2))) == [None, None]
    assert reasons(await guard.sign(intents(near, 3, nonce=2))) == [None, "rate-exceeded", "rate-exceeded"]


async def test_the_rate_forgets_what_is_older_than_its_window(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    await ruled(db, near, rate_max=1, rate_window_s=60)
    guard = Guard(sender_db, Signers([near]))
    await guard.sign(intents(near))
    async with db.transaction() as session:
        await session.execute(text("ALTER TABLE signatures DISABLE TRIGGER signatures_append_only"))
        await session.execute(text("UPDATE signatures SET at = now() - interval '61 seconds'"))
    assert reasons(await guard.sign(intents(near, 2, nonce=1))) == [None, "rate-exceeded"]


async def test_asking_again_and_replacing_cost_no_rate(db: Database, sender_db: Database) -> None:
    far = Far(ProviderDown("late"))
    await ruled(db, far, rate_max=1)
    guard = Guard(sender_db, Signers([far]))
    asked = intents(far)
    assert reasons(await guard.sign(asked)) == ["provider-down"]
    far.trouble = None
    assert reasons(await guard.sign(asked)) == [None]
    assert reasons(await guard.sign(intents(far, max_fee_wei=60))) == [None]
    assert reasons(await guard.sign(intents(far, nonce=1))) == ["rate-exceeded"]


async def test_a_replacement_takes_the_place_of_its_fee(db: Database, sender_db: Database, near: LocalSigner) -> None:
    await ruled(db, near, fee_window_max_wei=6_000_000)
    guard = Guard(sender_db, Signers([near]))
    assert reasons(await guard.sign(intents(near))) == [None]
    assert reasons(await guard.sign(intents(near, max_fee_wei=60))) == [None]
    assert reasons(await guard.sign(intents(near, nonce=1))) == ["fee-over-cap"]


async def test_what_others_sign_does_not_count(db: Database, sender_db: Database, near: LocalSigner) -> None:
    other = LocalSigner(PrivateKey())
    await ruled(db, near, rate_max=1)
    guard = Guard(sender_db, Signers([near, other]))
    assert reasons(await guard.sign([*intents(other, 3), *intents(near)])) == [None] * 4


async def test_two_processes_at_once_stay_within_one_window(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    await ruled(db, near, rate_max=5)
    guards = [Guard(sender_db, Signers([near])) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(guard.sign(intents(near, 3, nonce=3 * number)) for number, guard in enumerate(guards))
    )
    assert sum(reason is None for each in outcomes for reason in reasons(each)) == 5


async def test_an_approval_is_asked_for_once(db: Database, sender_db: Database, near: LocalSigner) -> None:
    await ruled(db, near, approvals=frozenset({MINT}))
    guard = Guard(sender_db, Signers([near]))
    (asked,) = intents(near)
    assert reasons(await guard.sign([asked])) == ["approval-missing"]
    assert reasons(await guard.sign([replace(asked, approved=True)])) == [None]


async def test_a_policy_that_cannot_be_read_refuses_everything(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    await ruled(db, near)
    async with db.transaction() as session:
        await session.execute(text("""UPDATE signer_policies SET policy = '{"contract": []}'"""))
        with pytest.raises(policies.PolicyUnreadable, match=near.address.hex()):
            await policies.read_policy(session, near.address)
    assert reasons(await Guard(sender_db, Signers([near])).sign(intents(near))) == ["policy-unreadable"]


async def test_a_signer_that_nobody_holds_is_told(db: Database, sender_db: Database, near: LocalSigner) -> None:
    unknown = LocalSigner(PrivateKey())
    outcomes = await Guard(sender_db, Signers([near])).sign([*intents(unknown), *intents(near)])
    assert reasons(outcomes) == ["unknown-signer", None]
    assert [entry.provider for entry in await audit(db)] == [None, "keystore"]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (ProviderDown("away"), Failure.DOWN),
        (SignerRefused("no"), Failure.REFUSED),
        (WrongSignature("other"), Failure.WRONG),
        (RuntimeError("a bug"), Failure.FAILED),
    ],
)
async def test_one_signers_trouble_is_no_others(
    sender_db: Database, near: LocalSigner, trouble: Exception, told: Failure
) -> None:
    bad, good = Far(trouble), Far()
    asked = [*intents(bad), *intents(near), *intents(good)]
    outcomes = await Guard(sender_db, Signers([near, bad, good])).sign(asked)
    assert reasons(outcomes) == [told, None, None]


async def test_a_provider_that_is_down_is_asked_once_and_not_for_each(sender_db: Database) -> None:
    bad = Far(ProviderDown("away"))
    outcomes = await Guard(sender_db, Signers([bad])).sign(intents(bad, 200))
    assert reasons(outcomes) == ["provider-down"] * 200
    assert len(bad.asked) <= CONCURRENT_MAX


async def test_a_remote_signer_is_asked_for_many_at_a_time_and_not_for_all(sender_db: Database) -> None:
    far = Far()
    outcomes = await Guard(sender_db, Signers([far])).sign(intents(far, 200))
    assert reasons(outcomes) == [None] * 200
    assert 1 < far.most <= CONCURRENT_MAX


async def test_keys_that_are_not_at_hand_are_told_with_what_their_provider_said(
    sender_db: Database, near: LocalSigner
) -> None:
    silent, gone, broken = (
        Far(ProviderDown("it does not answer")),
        Far(SignerRefused("the key is gone")),
        Far(KeyError("x")),
    )
    found = await Guard(sender_db, Signers([near, Far(), silent, gone, broken])).faults()
    assert {address: (each.reason, each.detail) for address, each in found.items()} == {
        silent.address: (Failure.DOWN, "it does not answer"),
        gone.address: (Failure.REFUSED, "the key is gone"),
        broken.address: (Failure.FAILED, "a fault of ours, KeyError: the sender's log has it"),
    }


async def test_verdicts_are_those_of_signing_and_leave_no_trace(
    db: Database, sender_db: Database, near: LocalSigner
) -> None:
    await ruled(db, near, rate_max=2)
    guard = Guard(sender_db, Signers([near]))
    asked = [*intents(near, 3), *intents(LocalSigner(PrivateKey()))]
    told = await guard.verdicts(asked)
    assert told == [None, None, "rate-exceeded", "unknown-signer"]
    assert await audit(db) == []
    assert reasons(await guard.sign(asked)) == told


async def test_nothing_asked_is_nothing_done(db: Database, sender_db: Database, near: LocalSigner) -> None:
    guard = Guard(sender_db, Signers([near]))
    assert await guard.sign([]) == []
    assert await guard.verdicts([]) == []
    assert await audit(db) == []


@pytest.mark.parametrize(
    "statement", ["UPDATE signatures SET verdict = 'allowed'", "DELETE FROM signatures", "TRUNCATE signatures"]
)
async def test_an_entry_is_never_changed(db: Database, sender_db: Database, near: LocalSigner, statement: str) -> None:
    await Guard(sender_db, Signers([near])).sign(intents(near))
    with pytest.raises(Exception, match="append-only"):
        async with db.transaction() as session:
            await session.execute(text(statement))
    assert len(await audit(db)) == 1


@pytest.mark.parametrize("role", ["muniment_sender", "muniment_api", "muniment_indexer", "muniment_dispatcher"])
async def test_no_process_may_change_a_policy(database_url: SecretStr, near: LocalSigner, role: str) -> None:
    database = Database(database_url, role=role)
    with pytest.raises(Exception, match="permission denied"):
        async with database.transaction() as session:
            await policies.unfreeze(session, near.address, by=role)
    await database.close()


async def test_a_policy_says_who_set_it(db: Database, near: LocalSigner) -> None:
    await ruled(db, near, rate_max=1)
    async with db.transaction() as session:
        await policies.freeze(session, near.address, by="Grace")
        rows = await session.execute(text("SELECT updated_by, frozen, policy FROM signer_policies"))
        assert rows.all() == [("Grace", True, {"rate_max": 1, "rate_window_s": 3600})]
        assert await policies.read_policy(session, b"\x44" * 20) is None
