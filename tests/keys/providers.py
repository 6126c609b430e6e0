"""Every provider with a key of its own: a real SoftHSM, moto's KMS, and a small server that speaks web3signer's API."""

import asyncio
import os
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from aiobotocore.session import get_session
from aiohttp import web
from coincurve import PrivateKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from eth_hash.auto import keccak
from moto.kms.utils import ECDSAPrivateKey
from moto.server import ThreadedMotoServer
from pkcs11.util.ec import encode_named_curve_parameters
from pydantic import SecretStr

from scripts.softhsm import softhsm
from service.keys.aws_kms import open_kms
from service.keys.keystore import LocalSigner
from service.keys.pkcs11 import Token, open_token
from service.keys.signing import Signer
from service.keys.web3signer import open_web3signer
from tests.keys.wire import Wire

PIN = SecretStr("271828")
SO_PIN = "3141592653"
REGION = "eu-central-1"
TIMEOUT_S = 4.0
Trouble = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """A signer, and the troubles that its provider can be in."""

    signer: Signer
    down: Trouble
    held: Trouble


@dataclass(frozen=True, slots=True)
class Hsm:
    """A SoftHSM token with one secp256k1 key, and one of another curve beside it."""

    module: Path
    label: str


@contextmanager
def started_hsm(folder: Path) -> Iterator[Hsm]:
    """A token of this process's own, made by SoftHSM's own program."""
    found = softhsm()
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    try:
        label = f"muniment-{uuid.uuid4().hex[:8]}"
        make_token(label)
        with (
            pkcs11.lib(str(found.module))
            .get_token(token_label=label)
            .open(rw=True, user_pin=PIN.get_secret_value()) as session
        ):
            for number, curve in enumerate(("secp256k1", "secp256r1")):
                parameters = session.create_domain_parameters(
                    pkcs11.KeyType.EC,
                    {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)},
                    local=True,
                )
                parameters.generate_keypair(store=True, id=bytes([number]), label=curve)
        yield Hsm(found.module, label)
    finally:
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before


def make_token(label: str) -> None:
    """An empty token; a module that is loaded already learns of it when it is initialized anew."""
    found = softhsm()
    told = ["--label", label, "--pin", PIN.get_secret_value(), "--so-pin", SO_PIN]
    subprocess.run(
        [found.util, "--module", found.module, "--init-token", "--free", *told], check=True, capture_output=True
    )


@asynccontextmanager
async def in_hsm(hsm: Hsm) -> AsyncIterator[Place]:
    """The token's signer. It goes down as its library is finalized, and is held up by a call that takes its time."""
    async with open_token(hsm.module, hsm.label, PIN, timeout_s=TIMEOUT_S) as signers:
        (signer,) = signers
        token: Token = signer._token

        @asynccontextmanager
        async def down() -> AsyncIterator[None]:
            await token.run(pkcs11.lib(str(hsm.module)).finalize)
            yield

        @asynccontextmanager
        async def held() -> AsyncIterator[None]:
            release = threading.Event()
            token._thread.submit(release.wait)
            yield
            release.set()

        yield Place(signer, down, held)


@asynccontextmanager
async def in_keystore() -> AsyncIterator[LocalSigner]:
    """A key in memory."""
    yield LocalSigner(PrivateKey())


@contextmanager
def started_kms() -> Iterator[int]:
    """The port of moto's KMS, which is made to honour `MessageType=DIGEST`: by itself it hashes the digest again."""

    def sign(key: Any, message: bytes, signing_algorithm: str) -> bytes:
        assert signing_algorithm == "ECDSA_SHA_256"
        made: bytes = key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
        return made

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ECDSAPrivateKey, "sign", sign)
        server.start()
        yield server.get_host_and_port()[1]
        server.stop()


async def make_kms_key(port: int, spec: str = "ECC_SECG_P256K1", usage: str = "SIGN_VERIFY") -> str:
    """A new key of KMS; its id."""
    async with get_session().create_client(
        "kms", region_name=REGION, endpoint_url=f"http://127.0.0.1:{port}"
    ) as client:
        made = await client.create_key(KeySpec=spec, KeyUsage=usage)
        key_id: str = made["KeyMetadata"]["KeyId"]
        return key_id


@asynccontextmanager
async def in_kms(port: int) -> AsyncIterator[Place]:
    """A new key of KMS, behind a wire."""
    async with wired(port) as wire:
        key_id = await make_kms_key(port)
        endpoint = f"http://127.0.0.1:{wire.port}"
        async with open_kms([key_id], region=REGION, endpoint=endpoint, timeout_s=TIMEOUT_S) as signers:
            (signer,) = signers
            yield Place(signer, wire.cut, wire.held)


@dataclass(slots=True)
class Web3SignerServer:
    """What web3signer answers, by its OpenAPI; `answer` in place of that, and `status` in place of 200."""

    key: PrivateKey = field(default_factory=PrivateKey, repr=False)
    status: int = 200
    answer: str | None = None
    knows_apply_hash: bool = True
    port: int = 0

    @property
    def public_key(self) -> str:
        """As web3signer lists it: 64 bytes."""
        return "0x" + self.key.public_key.format(compressed=False)[1:].hex()

    async def list_keys(self, request: web.Request) -> web.Response:
        """GET /api/v1/eth1/publicKeys."""
        return web.json_response([self.public_key], status=self.status)

    async def sign(self, request: web.Request) -> web.Response:
        """POST /api/v1/eth1/sign/{identifier}: hashed first, unless asked otherwise by who knows how."""
        question = await request.json()
        assert set(question) == {"data", "applyHash"}
        if request.match_info["identifier"] != self.public_key:
            return web.Response(status=404)
        data = bytes.fromhex(question["data"][2:])
        if question["applyHash"] or not self.knows_apply_hash:
            data = keccak(data)
        made = self.key.sign_recoverable(data, hasher=None)
        text = "0x" + (made[:64] + bytes([27 + made[64]])).hex()
        return web.Response(status=self.status, text=text if self.answer is None else self.answer)


@asynccontextmanager
async def started_web3signer() -> AsyncIterator[Web3SignerServer]:
    """A server with one key, on a free port."""
    server = Web3SignerServer()
    app = web.Application()
    app.router.add_get("/api/v1/eth1/publicKeys", server.list_keys)
    app.router.add_post("/api/v1/eth1/sign/{identifier}", server.sign)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@asynccontextmanager
async def in_web3signer() -> AsyncIterator[Place]:
    """A key of a web3signer, behind a wire."""
    async with (
        started_web3signer() as server,
        wired(server.port) as wire,
        open_web3signer(SecretStr(f"http://127.0.0.1:{wire.port}"), timeout_s=TIMEOUT_S) as signers,
    ):
        (signer,) = signers
        yield Place(signer, wire.cut, wire.held)


@asynccontextmanager
async def wired(port: int) -> AsyncIterator[Wire]:
    """A wire to a port."""
    wire = Wire(port)
    await wire.start()
    yield wire
    await wire.stop()
    await asyncio.sleep(0)
