"""The client and the real API: a token from nothing to its holders, the vault's way, and each kind of credential."""

import asyncio
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account

from scripts import local
from service.client.api import Client
from service.client.credentials import (
    BearerCredential,
    Credential,
    Ed25519Credential,
    HmacCredential,
    WalletCredential,
)
from service.client.exchange import Request
from service.client.problems import ApiProblem, OperationFailed
from service.client.shapes import Operation
from service.client.vault import Item
from tests.client.conftest import listen, served
from tests.client.test_signing import KEY
from tests.vault.desk import CARD, Desk
from tests.world import World

README = (local.ROOT / "service" / "client" / "README.md").read_text()


async def test_a_token_is_made_minted_and_read_in_python(world: World) -> None:
    listening, url = listen()
    async with served(world.app, listening):
        with Client(url, BearerCredential(world.key)) as client:

            async def final(ask: Callable[[], Any]) -> Any:
                begun = await asyncio.to_thread(ask)
                waiting = asyncio.create_task(asyncio.to_thread(client.wait, begun))
                await world.finish()
                return await waiting

            asset = await asyncio.to_thread(client.assets.register, "12 Harbour Street", "house")
            holder = await asyncio.to_thread(client.accounts.register, label="Ada")
            deployed = await final(lambda: client.tokens.deploy(asset.id, "Harbour", "HARB", decimals=18))
            token = deployed.token_id
            minted = await final(lambda: client.tokens.mint(token, to=holder.address, amount=10**30))
            block = minted.transaction.block
            found = await asyncio.to_thread(client.tokens.holder, token, holder.address, min_block=block)
            assert found.amount == 10**30
            rows = await asyncio.to_thread(lambda: list(client.tokens.holders(token)))
            assert [(each.account, each.amount) for each in rows] == [(holder.address, 10**30)]
            (move,) = await asyncio.to_thread(lambda: list(client.tokens.transfers(token)))
            assert (move.kind, move.from_, move.to, move.amount) == ("mint", None, holder.address, 10**30)
            (page,) = await asyncio.to_thread(lambda: list(client.pages("list_holders", token_id=token)))
            assert page["at"]["block"] >= block
            read = await asyncio.to_thread(client.call, "read_token", token_id=token)
            assert read["total_supply"] == str(10**30)

            def burn(key: str | None) -> Operation:
                return client.tokens.burn(token, from_=holder.address, amount=10**30, idempotency_key=key)

            first, again, second = [await asyncio.to_thread(burn, key) for key in ("burn-1", "burn-1", None)]
            assert first.id == again.id
            await world.finish()
            assert (await asyncio.to_thread(client.wait, first)).status == "succeeded"
            with pytest.raises(OperationFailed) as failed:
                await asyncio.to_thread(client.wait, second)
            assert failed.value.operation.id == second.id


@pytest.mark.asyncio(loop_scope="module")
async def test_values_go_into_the_vault_and_come_back_in_python(desk: Desk, desk_url: str) -> None:
    def act() -> None:
        with Client(desk_url, BearerCredential(desk.key)) as client:
            vault = client.vault
            rules = {"purposes": ["audit"], "views": ["plain", "masked"]}
            policy = vault.create_policy(
                "cards", kind="vault", data_class="card", format={"kind": "card"}, reveal=rules
            )
            assert policy.id in [each.id for each in vault.policies()]
            made, refused = vault.tokenize(policy.id, [Item(value=CARD, subject="investor-17"), "4111"])
            assert (made.status, refused.status, refused.token) == ("created", "refused", None)
            assert refused.problem is not None
            token = made.token or ""
            (shown,) = vault.reveal([token], purpose="audit", reason="Annual audit", view="plain")
            assert shown.value == CARD
            (record, strange) = vault.lookup([token, "9" * 16])
            assert record is not None
            assert (record.id, record.policy_id, strange) == (made.record_id, policy.id, None)
            assert [each.id for each in vault.search(policy.id, CARD)] == [record.id]
            assert [each.id for each in vault.records(subject="investor-17")] == [record.id]
            assert vault.erase("investor-17").records_count == 1
            assert [each and each.state for each in vault.revoke([token])] == ["erased"]
            with pytest.raises(ApiProblem) as missing:
                vault.search("0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01", CARD)
            assert missing.value.slug == "policy-not-found"

    await asyncio.to_thread(act)


# Signed


def recipe(holding: str) -> dict[str, Any]:
    """What the README's block of Python that holds a text defines, run as it is written there."""
    (block,) = [each for each in re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S) if holding in each]
    defined: dict[str, Any] = {}
    exec(block, defined)
    return defined


def credentials(desk: Desk, desk_url: str) -> dict[str, Credential]:
    """One of each kind that signs, made through the API."""
    with Client(desk_url, BearerCredential(desk.key)) as client:
        public = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

        def made(kind: str, **proof: Any) -> Any:
            body = {"name": "settlement desk", "scopes": ["issue", "vault:tokenize"], "kind": kind, **proof}
            return client.exchange.ask(Request("POST", "/v1/keys", authorized=True, body=body), uuid4().hex).content

        ed25519, hmac = made("ed25519", public_key=public), made("hmac")
        register_wallet = recipe("wallet-unproved")["register_wallet"]
        account = Account.from_key(secrets.token_bytes(32))
        wallet = register_wallet(client, account, name="treasury", scopes=["issue", "vault:tokenize"], chain_id=31337)
        assert wallet["account"] == account.address
    return {
        "ed25519": Ed25519Credential(ed25519["id"], bytes(range(32))),
        "hmac": HmacCredential(hmac["id"], hmac["secret"]),
        "wallet": WalletCredential.of_private_key(31337, bytes(account.key)),
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_each_kind_of_credential_signs_and_a_clock_is_set_right(desk: Desk, desk_url: str) -> None:
    def act() -> None:
        for (kind, credential), offset_s in zip(credentials(desk, desk_url).items(), (-90, 90, -3600), strict=True):
            with Client(desk_url, credential) as client:
                client.exchange.clock.offset_s = offset_s
                asset = client.assets.register("12 Harbour Street", "house", idempotency_key=f"of-{kind}")
                assert abs(client.exchange.clock.offset_s) < 30
                again = client.assets.register("12 Harbour Street", "house", idempotency_key=f"of-{kind}")
                assert asset.id == again.id
                assert asset.id in [each.id for each in client.assets.list()]
                assert client.exchange.ask(Request("GET", "/v1/whoami", authorized=True)).content["kind"] == kind

    await asyncio.to_thread(act)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_document_goes_up_by_signed_streams_and_a_stranger_sends_nothing(
    desk: Desk, desk_url: str, tmp_path: Path
) -> None:
    deed = tmp_path / "deed.pdf"
    deed.write_bytes(bytes(3 * 2**20))
    reveal = {"purposes": ["audit"], "views": ["plain"]}
    policy = await desk.policy(data_class="document", format={"kind": "prefix"}, reveal=reveal)

    def act() -> None:
        mine = credentials(desk, desk_url)["ed25519"]
        with Client(desk_url, mine) as client:
            assert client.vault.documents.upload(deed, policy=policy).whole
        stranger = Ed25519Credential(getattr(mine, "key_id", ""), bytes(32))
        with Client(desk_url, stranger) as client, pytest.raises(ApiProblem) as refused:
            client.assets.register("12 Harbour Street", "house")
        assert refused.value.slug == "unauthorized"

    await asyncio.to_thread(act)
