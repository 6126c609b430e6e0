"""Wallets that sign requests: accounts with a key, and contracts that say themselves whether they signed.

Sources: ERC-8128 (signed requests), EIP-191 (the message that a wallet signs), ERC-1271 (contracts).
"""

import asyncio
import re
from dataclasses import dataclass

from eth_hash.auto import keccak

from service.addresses import parse_address
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call, Chain, Reverted
from service.errors import Problem
from service.keys.signed import recover

ASK_TIMEOUT_S = 2.0
"""Longest wait for a contract's answer."""

ASK_GAS_MAX = 500_000
"""A contract may use so much gas for it."""

ASKING_MAX = 8
"""Contracts that are asked at once: whoever knows a wallet's address can have it asked with a made-up signature."""

CONTRACT_SIGNATURE_BYTES_MAX = 2_048
"""What a contract takes for a signature may be so long."""

_KEY_ID = re.compile(r"erc8128:([1-9][0-9]{0,17}):(0x[0-9a-fA-F]{40})")
_IS_VALID = bytes.fromhex("1626ba7e")


class WalletUnanswered(Problem):
    """The wallet is a contract, and the chain's node does not say whether it signed; send the request again."""

    slug, title, status = "wallet-unanswered", "The wallet's contract could not be asked", 503


@dataclass(frozen=True, slots=True)
class Wallet:
    """An account on a chain, 20 bytes and the chain's id (EIP-155)."""

    chain_id: int
    account: bytes


def read_key_id(text: str) -> Wallet | None:
    """The wallet that a `keyid` names, `erc8128:<chain>:<address>`; None where it names none."""
    found = _KEY_ID.fullmatch(text)
    if found is None:
        return None
    try:
        return Wallet(int(found[1]), parse_address(found[2]))
    except ValueError:
        return None


def message_digest(message: bytes) -> bytes:
    """What a wallet signs for a message. Source: EIP-191, version 0x45."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


class Wallets:
    """Judges wallets' signatures; contracts on the configured chain alone.

    Args:
        chain: where contracts are asked.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._asking = asyncio.Semaphore(ASKING_MAX)

    async def proves(self, wallet: Wallet, signature: bytes, signed: bytes) -> bool:
        """Whether a signature over these bytes is the wallet's: by its key, low-s alone, or by its contract's word.

        Raises:
            WalletUnanswered: nobody can say now.
        """
        return await self.proves_digest(wallet, signature, message_digest(signed))

    async def proves_digest(self, wallet: Wallet, signature: bytes, digest: bytes) -> bool:
        """Whether a signature over these 32 bytes is the wallet's, as of `proves`.

        Raises:
            WalletUnanswered: nobody can say now.
        """
        if recover(digest, signature) == wallet.account:
            return True
        if wallet.chain_id != self._chain.chain_id or len(signature) > CONTRACT_SIGNATURE_BYTES_MAX:
            return False
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S), self._asking:
                return await self._says(wallet.account, digest, signature)
        except (NodeUnavailable, TimeoutError):
            raise WalletUnanswered("send the request again, with a fresh nonce and signature") from None

    async def _says(self, account: bytes, digest: bytes, signature: bytes) -> bool:
        """What a contract says. Source: ERC-1271, isValidSignature."""
        tail = signature + bytes(-len(signature) % 32)
        data = _IS_VALID + digest + (64).to_bytes(32) + len(signature).to_bytes(32) + tail
        try:
            answer = await self._chain.call(Call(account, data, sender=bytes(20), gas=ASK_GAS_MAX))
        except (Reverted, NodeRefused):
            return False
        return answer == _IS_VALID.ljust(32, b"\0")
