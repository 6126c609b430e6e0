"""Every provider of a key-encryption key, with the troubles that it can be in."""

import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType
from pydantic import SecretStr

from service.keys.wrapping import KeyEncryptionKey
from service.keys.wrapping_aws_kms import open_kms_key
from service.keys.wrapping_azure import Application, open_azure_key
from service.keys.wrapping_gcp_kms import open_gcp_kms_key
from service.keys.wrapping_local import create_file, from_environment, from_file
from service.keys.wrapping_pkcs11 import open_pkcs11_key
from service.keys.wrapping_transit import open_transit_key
from tests.keys.clouds import CLIENT_SECRET, GCP_KEY, NAMESPACE, TRANSIT_TOKEN, started_clouds
from tests.keys.providers import PIN, REGION, Hsm, Trouble, make_kms_key, wired
from tests.keys.wire import Wire

TIMEOUT_S = 5.0
PATIENCE_S = 0.3  # while a provider is held up
APPLICATION = Application("tenant", "client", SecretStr(CLIENT_SECRET))


@dataclass(frozen=True, slots=True)
class WrappingPlace:
    """A key-encryption key, and the troubles of its provider; None where it is in this process."""

    kek: KeyEncryptionKey
    down: Trouble | None = None
    held: Trouble | None = None


def make_aes_key(hsm: Hsm, label: str, *, extractable: bool = False, bits: int = 256) -> None:
    """A new AES key in a token that nobody has open."""
    token = pkcs11.lib(str(hsm.module)).get_token(token_label=hsm.label)
    template = {Attribute.EXTRACTABLE: extractable, Attribute.SENSITIVE: not extractable}
    with token.open(rw=True, user_pin=PIN.get_secret_value()) as session:
        session.generate_key(KeyType.AES, bits, label=label, store=True, template=template)


@asynccontextmanager
async def in_file(folder: Path) -> AsyncIterator[WrappingPlace]:
    """A new file's key."""
    create_file(folder / "kek")
    yield WrappingPlace(from_file(folder / "kek"))


@asynccontextmanager
async def in_environment(secret: SecretStr) -> AsyncIterator[WrappingPlace]:
    """The key that the environment's gives."""
    yield WrappingPlace(from_environment(secret))


@asynccontextmanager
async def in_token(hsm: Hsm) -> AsyncIterator[WrappingPlace]:
    """A key of the token, made once. It goes down and is held up as a signer is."""
    label = "kek"
    token = pkcs11.lib(str(hsm.module)).get_token(token_label=hsm.label)
    with token.open(user_pin=PIN.get_secret_value()) as session:
        missing = not list(session.get_objects({Attribute.LABEL: label}))
    if missing:
        make_aes_key(hsm, label)
    async with open_pkcs11_key(hsm.module, hsm.label, PIN, label, timeout_s=TIMEOUT_S) as kek:

        @asynccontextmanager
        async def down() -> AsyncIterator[None]:
            await kek._token.run(pkcs11.lib(str(hsm.module)).finalize)
            yield

        @asynccontextmanager
        async def held() -> AsyncIterator[None]:
            release = threading.Event()
            kek._token._thread.submit(release.wait)
            kek._token._timeout_s = PATIENCE_S
            yield
            release.set()

        yield WrappingPlace(kek, down, held)


@asynccontextmanager
async def in_aws_kms(port: int) -> AsyncIterator[WrappingPlace]:
    """A new symmetric key of KMS, behind a wire."""
    key_id = await make_kms_key(port, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    async with (
        wired(port) as wire,
        open_kms_key(key_id, region=REGION, endpoint=f"http://127.0.0.1:{wire.port}", timeout_s=TIMEOUT_S) as kek,
    ):
        yield WrappingPlace(kek, wire.cut, _held(kek, wire))


@asynccontextmanager
async def in_cloud(kind: str) -> AsyncIterator[WrappingPlace]:
    """A key of one of the three services that a server plays, behind a wire."""
    async with started_clouds() as clouds, wired(clouds.port) as wire:
        wire_url = f"http://127.0.0.1:{wire.port}"
        opened: AbstractAsyncContextManager[KeyEncryptionKey]
        if kind == "transit":
            opened = open_transit_key(f"{wire_url}/transit/k", SecretStr(TRANSIT_TOKEN), NAMESPACE, timeout_s=TIMEOUT_S)
        elif kind == "gcp-kms":
            account = SecretStr(clouds.service_account)
            opened = open_gcp_kms_key(GCP_KEY, account, timeout_s=TIMEOUT_S, endpoint=wire_url)
        else:
            opened = open_azure_key(f"{wire_url}/keys/k", APPLICATION, timeout_s=TIMEOUT_S, login=wire_url)
        async with opened as kek:
            yield WrappingPlace(kek, wire.cut, _held(kek, wire))


def _held(kek: Any, wire: Wire) -> Trouble:
    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        kek._timeout_s = PATIENCE_S
        async with wire.held():
            yield

    return held
