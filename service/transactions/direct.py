"""One transaction sent from the command line while no sender runs: how a chain gets its factory."""

import asyncio
import time

from service.chain.reader import Call, Chain, Receipt
from service.db import Database
from service.keys.signers import Keystore, UnsignedTransaction
from service.transactions.fees import gas_limit, offer
from service.workers import Lease

RECEIPT_TIMEOUT_S = 120.0
_POLL_S = 0.1


class SenderRunning(Exception):
    """A sender holds the lease: two writers of nonces would collide."""


class NotMined(Exception):
    """The transaction has not been mined in time, or failed."""


def lease_name(chain_id: int) -> str:
    """The name of the lease that whoever sends on a chain holds."""
    return f"sender:{chain_id}"


async def send_directly(db: Database, chain: Chain, keystore: Keystore, call: Call, *, ttl_s: float) -> Receipt:
    """Sign and send a call, and wait until it is mined.

    Raises:
        SenderRunning: stop the sender first.
        NotMined: no receipt in time, or the contract refused.
    """
    assert call.to is not None
    lease = Lease(lease_name(chain.chain_id), ttl_s=ttl_s)
    if not await lease.take(db):
        raise SenderRunning("a sender is running on this chain: stop it, run this again, and start it again")
    try:
        (nonce,) = await chain.transaction_counts([call.sender])
        (estimate,) = await chain.estimate_gas([call])
        if not isinstance(estimate, int):
            raise estimate
        fees = await chain.fees()
        price = offer(fees.base_fee_wei, fees.priority_fee_wei)
        signed = keystore.sign(
            call.sender,
            UnsignedTransaction(
                chain_id=chain.chain_id,
                nonce=nonce,
                to=call.to,
                data=call.data,
                value=call.value,
                gas_limit=gas_limit(estimate),
                max_fee_wei=price.max_fee_wei,
                priority_fee_wei=price.priority_fee_wei,
            ),
        )
        (refused,) = await chain.broadcast([signed.raw])
        if refused is not None:
            raise refused
        return await _mined(chain, signed.hash)
    finally:
        await lease.release(db)


async def _mined(chain: Chain, transaction_hash: bytes) -> Receipt:
    end_s = time.monotonic() + RECEIPT_TIMEOUT_S
    while time.monotonic() < end_s:
        (receipt,) = await chain.receipts([transaction_hash])
        if receipt is not None and receipt.succeeded:
            return receipt
        if receipt is not None:
            raise NotMined(f"transaction 0x{transaction_hash.hex()} was mined and failed")
        await asyncio.sleep(_POLL_S)
    raise NotMined(f"transaction 0x{transaction_hash.hex()} is not mined after {RECEIPT_TIMEOUT_S:g} s")
