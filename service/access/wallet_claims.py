"""Wallets that become credentials: the account itself agrees to it first, and is one family's at a time.

Without that, whoever names an account would keep its owner from using it, or sign for whoever named it before.
"""

from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.key_problems import WalletTaken, WalletUnproved
from service.access.key_states import UNENDED
from service.access.step_messages import Place
from service.access.wallets import Wallet, Wallets
from service.chain.typed_data import TypedData
from service.db import Database, take_turn

DOMAIN = "Muniment credentials"
PROOF_LIFE_S = 600
"""A proof says itself until when it is good, and no longer than this from now."""


@dataclass(frozen=True, slots=True)
class Proof:
    """An account's signature of the message that was good until `expires_at_s`, seconds since 1970."""

    signature: bytes
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A wallet that is to be a credential of an issuer's caller, which its name tells from all others there."""

    issuer_id: UUID
    caller: str
    wallet: Wallet

    def typed_data(self, place: Place, expires_at_s: int) -> TypedData:
        """What the account signs: good for no other caller, issuer, account, chain or deployment. Source: EIP-712."""
        return TypedData(
            DOMAIN,
            place.chain_id,
            place.factory,
            "WalletCredential",
            (
                ("issuer", "string", str(self.issuer_id)),
                ("caller", "string", self.caller),
                ("account", "address", self.wallet.account),
                ("chainId", "uint256", self.wallet.chain_id),
                ("expiresAt", "uint256", expires_at_s),
            ),
        )


async def insist_on_proof(db: Database, wallets: Wallets, place: Place, claim: Claim, proof: Proof | None) -> None:
    """Make sure that the account agrees to be this caller's credential, by Postgres' clock.

    Raises:
        WalletUnproved: it has not said so; with what it has to sign.
        WalletUnanswered: it is a contract, and nobody can say now.
    """
    ((now_s,),) = await db.fetch("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint", ())
    if proof is None:
        why = "the account has to agree to it"
    elif not now_s < proof.expires_at_s <= now_s + PROOF_LIFE_S:
        why = f"signature_expires_at is over, or more than {PROOF_LIFE_S} s away"
    else:
        digest = claim.typed_data(place, proof.expires_at_s).digest()
        if await wallets.proves_digest(claim.wallet, proof.signature, digest):
            return
        why = "the signature is not the account's, or of another message"
    expires_at_s = now_s + PROOF_LIFE_S
    raise WalletUnproved(
        f"{why}: sign typed_data with the account, and send the same request with signature and signature_expires_at",
        typed_data=claim.typed_data(place, expires_at_s).as_json(),
        signature_expires_at=expires_at_s,
    )


async def take(session: AsyncSession, wallet: Wallet, *, issuer_id: UUID, family_id: UUID) -> None:
    """Make sure that a wallet is no other family's, of whatever issuer; nobody else can take it meanwhile.

    One that is suspended or waits for its time has it still.

    Raises:
        WalletTaken: it is; which one is told to its own issuer alone.
    """
    await _in_turn(session, wallet.account)
    given = {"account": wallet.account, "chain": wallet.chain_id, "family": family_id}
    statement = f"""{_CREDENTIALS} AND k.chain_id = :chain AND k.family_id <> :family LIMIT 1"""
    for row in (await session.execute(text(statement), given)).all():
        told = {"other": row.id} if row.issuer_id == issuer_id else {}
        raise WalletTaken(
            "the account is another credential on this chain: rotate that one, or revoke it first", **told
        )


async def insist_on_no_credential(session: AsyncSession, issuer_id: UUID, account: bytes) -> None:
    """Make sure that an account is no credential of an issuer's on any chain; it can't become one meanwhile.

    Raises:
        WalletTaken: it is: one account would be both factors.
    """
    await _in_turn(session, account)
    given = {"account": account, "issuer": issuer_id}
    found = await session.execute(text(f"{_CREDENTIALS} AND c.issuer_id = :issuer LIMIT 1"), given)
    for row in found.all():
        raise WalletTaken("the account is a credential already, and no second factor then", other=row.id)


_CREDENTIALS: LiteralString = f"""SELECT k.id, c.issuer_id FROM credentials k JOIN callers c ON c.id = k.caller_id
WHERE k.account = :account AND c.deleted_at IS NULL AND {UNENDED}"""


async def _in_turn(session: AsyncSession, account: bytes) -> None:
    """Wait for whoever gives this account something to do, of whatever issuer."""
    await take_turn(session, f"muniment wallet {account.hex()}")
