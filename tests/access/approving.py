"""Critical requests as tests send and approve them."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from eth_account import Account

from service.access import step_codes
from tests.access.desk import sql
from tests.web.answers import problem
from tests.world import World

APPROVER = Account.from_key("0x" + "5a" * 32)
REVOKE_ALL = "/v1/keys/revoke-all"
GRANT = {"role": "enforcer", "account": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}
NOWHERE = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
FORCED = {
    "from": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "to": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "amount": "10",
    "reason": "Court order 12/2026",
    "document_hash": "0x" + "8f" * 32,
}


@dataclass(slots=True)
class Desk:
    """An issuer of its own, and what approves its critical requests."""

    world: World
    key: str
    factor: str = ""
    secret: bytes = b""

    async def post(
        self, path: str, body: Any = None, *, approval: str | None = None, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """A request, as it is sent before and after it is approved: without `idempotency_key` it has none."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["authorization"] = f"Bearer {key or self.key}"
        if approval is not None:
            sent["muniment-approval"] = approval
        return await self.world.client.post(path, headers=sent, json={} if body is None else body)

    async def add(self, order: dict[str, Any], **given: str) -> dict[str, Any]:
        """A second factor that waits to be confirmed."""
        answer = await self.post("/v1/second-factors", order, idempotency_key=secrets.token_hex(8), **given)
        assert answer.status_code == 201, answer.text
        added: dict[str, Any] = answer.json()
        return added

    async def with_app(self) -> "Desk":
        """The same with an authenticator app."""
        added = await self.add({"kind": "totp", "name": "phone"})
        self.factor, self.secret = added["id"], secret_of(added)
        answer = await self.post(f"/v1/second-factors/{self.factor}/confirm", {"totp": self.code()})
        assert answer.status_code == 200, answer.text
        await self.forget_code()
        return self

    def code(self, *, later: int = 0) -> str:
        """What the app shows now, or so many steps later."""
        return step_codes.code(self.secret, int(time.time()) // 30 + later)

    def wrong(self) -> str:
        """A code that the app does not show."""
        return f"{(int(self.code()) + 500_000) % 1_000_000:06}"

    async def forget_code(self) -> None:
        """As if half a minute had passed since the last code."""
        await sql(self.world, "UPDATE second_factors SET last_step = 0 WHERE id = :id", id=self.factor)

    async def give(self, approval: str, **order: Any) -> httpx.Response:
        """Approve, by the app unless told."""
        return await self.post(
            f"/v1/approvals/{approval}", {"factor_id": self.factor, **(order or {"totp": self.code()})}
        )

    async def asked(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """What a critical request is answered that nobody has approved."""
        asked: dict[str, Any] = problem(await self.post(path, body, **headers), "step-up-required")
        return asked

    async def approved(self, path: str, body: Any = None, **headers: str) -> str:
        """The approval of a critical request."""
        approval = str((await self.asked(path, body, **headers))["approval_id"])
        answer = await self.give(approval)
        assert answer.status_code == 200, answer.text
        await self.forget_code()
        return approval

    async def told(self) -> list[dict[str, Any]]:
        """What the journal says of it all, in its order."""
        query = """SELECT e.body FROM journal_entries e JOIN second_factors f USING (issuer_id)
            WHERE f.id = :id AND e.kind ~ '^(step-up|second-factor)' ORDER BY e.position"""
        return [json.loads(row.body) for row in await sql(self.world, query, id=self.factor)]


def secret_of(added: dict[str, Any]) -> bytes:
    (text,) = parse_qs(urlsplit(added["otpauth_uri"]).query)["secret"]
    return base64.b32decode(text + "=" * (-len(text) % 8))


async def desk(world: World) -> Desk:
    return Desk(world, await world.new_issuer(f"issuer {secrets.token_hex(4)}"))


async def desk_with_app(world: World) -> Desk:
    return await (await desk(world)).with_app()


def signed(typed_data: dict[str, Any]) -> str:
    made: str = APPROVER.sign_typed_data(full_message=typed_data).signature.hex()
    return "0x" + made.removeprefix("0x")
