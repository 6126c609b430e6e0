"""An issuer's compliance office: investors, policies, and tokens that ask about them."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import httpx

from service.addresses import checksum
from tests.world import World

REASON = "0x" + "77" * 32


@dataclass(slots=True)
class Office:
    """What a test asks of the registries; every write is final when it returns."""

    world: World
    registry: str
    addresses: dict[str, str] = field(default_factory=dict)  # of the tokens that were deployed here, by id
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def investor(self) -> str:
        """An id that no investor has yet."""
        return f"0x{'5e' * 30}{next(self._numbers):04x}"

    def wallet(self) -> str:
        """An address that nobody has used yet."""
        return checksum(bytes.fromhex(f"{'ab' * 18}{next(self._numbers):04x}"))

    async def write(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Write, and wait until it is final and succeeded."""
        (answer,) = await self.writes((path, body))
        return answer

    async def writes(self, *asked: tuple[str, dict[str, Any]]) -> list[httpx.Response]:
        """Write many things that the contract takes in any order, and wait for all."""
        answers = [await self.world.post(path, body) for path, body in asked]
        assert [answer.status_code for answer in answers] == [202] * len(asked), [answer.text for answer in answers]
        await self.world.finish()
        for answer in answers:
            operation = await self.world.operation(answer.json()["id"])
            assert operation["status"] == "succeeded", operation["problem"]
        return answers

    async def identity(self, investor: str, **changed: Any) -> httpx.Response:
        """Attest something about an investor."""
        return await self.write("/v1/identities", identity(investor, **changed))

    async def block(self, investor: str, blocked: bool = True) -> httpx.Response:
        """Block an investor, or end that."""
        body = {"investor": investor, "blocked": blocked, "reason_hash": REASON}
        return await self.write("/v1/identities/block", body)

    async def link(self, wallet: str, investor: str | None) -> httpx.Response:
        """Say whose wallet a wallet is."""
        return await self.write("/v1/wallets/link", {"wallet": wallet, "investor": investor})

    async def member(self, **changed: Any) -> tuple[str, str]:
        """An investor with an identity and one managed wallet."""
        investor, wallet = self.investor(), await self.world.account()
        link = {"wallet": wallet, "investor": investor}
        await self.writes(("/v1/identities", identity(investor, **changed)), ("/v1/wallets/link", link))
        return investor, wallet

    async def token(self, policy: dict[str, Any] | None = None, **changed: Any) -> str:
        """A token that asks the registry, with a policy."""
        body = {
            "asset_id": await self.world.asset(),
            "name": "Harbour",
            "symbol": "HARB",
            "compliance": True,
            **changed,
        }
        operation = (await self.write("/v1/tokens", body)).json()
        token_id = str(operation["token_id"])
        self.addresses[token_id] = operation["contract"]
        await self.write(f"/v1/tokens/{token_id}/policy", policy or {"level_min": 1})
        return token_id

    async def deed(self, token_id: str, deed_id: int, to: str) -> None:
        """Issue a deed."""
        body = {"deed_id": str(deed_id), "to": to, "uri": f"https://example.com/{deed_id}", "document_hash": REASON}
        await self.write(f"/v1/tokens/{token_id}/deeds", body)

    async def mint(self, token_id: str, to: str, amount: int) -> None:
        """Create units."""
        await self.write(f"/v1/tokens/{token_id}/mint", {"to": to, "amount": str(amount)})


def identity(investor: str, **changed: Any) -> dict[str, Any]:
    """A request body: an investor of level 1 in Switzerland, for ever."""
    return {"investor": investor, "country": 756, "level": 1, "expires_at": None, **changed}


async def open_office(world: World) -> Office:
    """The office of an issuer that has a compliance registry from now on."""
    return Office(world, await world.contract("compliance"))
