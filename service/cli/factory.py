"""`muniment factory`: the contract that deploys tokens."""

import json
import sys
from typing import Any

from service.addresses import checksum
from service.cli import frame
from service.settings import read_settings

app = frame.group("The contract that deploys tokens, one a chain.")


@app.command("deploy")
def deploy_factory(admin: frame.AddressArgument, as_json: frame.JsonOption = False) -> None:
    """Deploy the factory from a signer of ours, or find it there already."""
    from service import factory
    from service.transactions.direct import open_means

    settings, signer = read_settings(), frame.address(admin)

    async def work(db: Any) -> int | None:
        async with open_means(settings, db) as means:
            return await factory.deploy(means, signer, lease_ttl_s=settings.lease_ttl_s)

    block = frame.with_database(settings, work)
    address = checksum(factory.address_for(signer))
    if as_json:
        sys.stdout.write(json.dumps({"address": address, "block": block}) + "\n")
        return
    frame.out.print(f"deployed in block {block}" if block is not None else "it was there already")
    frame.out.print(f"MUNIMENT_FACTORY_ADDRESS={address}")


@app.command("allow")
def allow_signer(admin: frame.AddressArgument, signer: frame.AddressArgument) -> None:
    """Let another signer deploy tokens with ADMIN's factory."""
    from service import factory
    from service.transactions.direct import open_means

    settings = read_settings()

    async def work(db: Any) -> None:
        async with open_means(settings, db) as means:
            await factory.allow(means, frame.address(admin), frame.address(signer), lease_ttl_s=settings.lease_ttl_s)

    frame.with_database(settings, work)
    frame.out.print("allowed")
