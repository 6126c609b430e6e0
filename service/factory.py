"""Bringing a chain its factory: at the same address whoever sends it, and only once."""

from eth_hash.auto import keccak

from service.addresses import checksum
from service.chain import contracts
from service.operators.authority import operator_call
from service.transactions.commands import Wish
from service.transactions.direct import send_directly
from service.transactions.lanes import Means

_SALT = bytes(32)


class NoDeterministicDeployer(Exception):
    """The chain lacks the contract that deploys at chosen addresses."""


def address_for(admin: bytes) -> bytes:
    """Where the factory of this administrator is, on any chain. Source: EIP-1014."""
    code = contracts.creation_code("AssetFactory", admin)
    return contracts.create2_address(contracts.DETERMINISTIC_DEPLOYER, _SALT, keccak(code))


class NoFactory(Exception):
    """The chain has no factory of this administrator."""


async def deploy(means: Means, admin: bytes, *, lease_ttl_s: float) -> int | None:
    """Deploy the factory; its block, or None when it was there before.

    Raises:
        NoDeterministicDeployer: the chain has none.
    """
    if await means.chain.code(address_for(admin)):
        return None
    if not await means.chain.code(contracts.DETERMINISTIC_DEPLOYER):
        raise NoDeterministicDeployer(
            f"chain {means.chain.chain_id} has no code at 0x{contracts.DETERMINISTIC_DEPLOYER.hex()}: "
            "have its keyless deployment transaction sent first"
        )
    code = contracts.creation_code("AssetFactory", admin)
    wish = Wish(means.chain.chain_id, admin, contracts.DETERMINISTIC_DEPLOYER, _SALT + code)
    return await send_directly(means, wish, lease_ttl_s=lease_ttl_s)


async def allow(means: Means, admin: bytes, signer: bytes, *, lease_ttl_s: float) -> None:
    """Let another signer deploy tokens with the administrator's factory.

    Raises:
        NoFactory: there is none yet.
    """
    if not await means.chain.code(address_for(admin)):
        raise NoFactory(f"there is no factory of {checksum(admin)}: run `muniment factory deploy` first")
    data = operator_call("grantRole", signer)
    wish = Wish(means.chain.chain_id, admin, address_for(admin), data)
    await send_directly(means, wish, lease_ttl_s=lease_ttl_s)
