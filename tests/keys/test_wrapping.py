"""Key-encryption keys: how each is chosen, what is refused at start, and the words of each provider."""

import asyncio
import base64
import os
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pkcs11 import Attribute
from pydantic import SecretStr

from service.keys.signing import ProviderDown, ProviderUnusable
from service.keys.wrapping import KeyAltered, KeyContext, KeyEncryptionKey, KeyEncryptionKeys, KeyRefused
from service.keys.wrapping_azure import Application, open_azure_key
from service.keys.wrapping_gcp_kms import GcpKmsKey, ServiceAccount, open_gcp_kms_key
from service.keys.wrapping_http import insist_on_server
from service.keys.wrapping_local import create_file, from_environment, from_file
from service.keys.wrapping_opening import open_key_encryption_keys
from service.keys.wrapping_pkcs11 import open_pkcs11_key
from service.keys.wrapping_transit import open_transit_key
from service.settings import Settings, SettingsMissing
from tests.keys.clouds import CLIENT_SECRET, GCP_KEY, NAMESPACE, TRANSIT_TOKEN, Clouds, started_clouds
from tests.keys.providers import PIN, Hsm
from tests.keys.wrapping_providers import APPLICATION, TIMEOUT_S, make_aes_key

CONTEXT = KeyContext(UUID(int=1), "data", 1)


@pytest.fixture
async def clouds() -> AsyncIterator[Clouds]:
    async with started_clouds() as started:
        yield started


@pytest.fixture(params=["transit", "gcp-kms", "azure"])
async def cloud_key(request: pytest.FixtureRequest, clouds: Clouds) -> AsyncIterator[KeyEncryptionKey]:
    """A key of each service, without anything between."""
    async with AsyncExitStack() as stack:
        yield await opened(stack, clouds, request.param)


async def opened(stack: AsyncExitStack, clouds: Clouds, kind: str) -> KeyEncryptionKey:
    if kind == "transit":
        token = SecretStr(TRANSIT_TOKEN)
        transit = open_transit_key(f"{clouds.url}/transit/k", token, NAMESPACE, timeout_s=TIMEOUT_S)
        return await stack.enter_async_context(transit)
    if kind == "gcp-kms":
        account = SecretStr(clouds.service_account)
        google = open_gcp_kms_key(GCP_KEY, account, timeout_s=TIMEOUT_S, endpoint=clouds.url)
        return await stack.enter_async_context(google)
    azure = open_azure_key(f"{clouds.url}/keys/k", APPLICATION, timeout_s=TIMEOUT_S, login=clouds.url)
    return await stack.enter_async_context(azure)


def told(kek: SecretStr, **changes: Any) -> Settings:
    """Settings that name key-encryption keys and nothing else of use."""
    return Settings(
        database_url=SecretStr("postgresql://localhost/ledger"),
        rpc_url=SecretStr("http://localhost:8545"),
        chain_id=31_337,
        keystore_dir=Path("keys"),
        keystore_password=SecretStr("password"),
        key_encryption_key=kek,
        api_key_pepper=SecretStr("p" * 32),
        **changes,
    )


def test_a_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    name = create_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert from_file(path).name == name
    with pytest.raises(ProviderUnusable, match="there already"):
        create_file(path)
    with pytest.raises(ProviderUnusable, match="cannot be written"):
        create_file(tmp_path / "missing" / "kek")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    create_file(tmp_path / "kek")
    (tmp_path / "kek").chmod(mode)
    with pytest.raises(ProviderUnusable, match="mode 0600"):
        from_file(tmp_path / "kek")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_file_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "kek").write_bytes(os.urandom(size))
    (tmp_path / "kek").chmod(0o600)
    with pytest.raises(ProviderUnusable, match="32 bytes"):
        from_file(tmp_path / "kek")
    with pytest.raises(ProviderUnusable, match="cannot be read"):
        from_file(tmp_path / "missing")


async def test_the_environments_key_is_derived_and_never_the_one_of_managed_accounts(kek: SecretStr) -> None:
    secret = base64.b64decode(kek.get_secret_value())
    key = os.urandom(32)
    wrapped = await from_environment(kek).wrap(key, CONTEXT)
    info = b"muniment vault key-encryption key 1"
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(secret)
    nonce, ciphertext = wrapped.sealed[1:13], wrapped.sealed[13:]
    assert AESGCM(derived).decrypt(nonce, ciphertext, CONTEXT.encoded()) == key


async def test_a_key_in_an_hsm_cannot_be_read_out(hsm: Hsm) -> None:
    make_aes_key(hsm, "sealed")
    with pkcs11.lib(str(hsm.module)).get_token(token_label=hsm.label).open(user_pin=PIN.get_secret_value()) as session:
        (key,) = session.get_objects({Attribute.LABEL: "sealed"})
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            key[Attribute.VALUE]


@pytest.mark.parametrize(
    ("label", "extractable", "bits", "why"),
    [("loose", True, 256, "may leave"), ("short", False, 128, "256 bits"), ("nobody", None, 0, "has 0 AES keys")],
)
async def test_a_key_in_an_hsm_that_is_not_as_it_should_be_wraps_nothing(
    hsm: Hsm, label: str, extractable: bool | None, bits: int, why: str
) -> None:
    if extractable is not None:
        make_aes_key(hsm, label, extractable=extractable, bits=bits)
    async with open_pkcs11_key(hsm.module, hsm.label, PIN, label, timeout_s=TIMEOUT_S) as key:
        with pytest.raises(KeyRefused, match=why):
            await key.wrap(bytes(32), CONTEXT)


async def test_a_server_that_ignores_the_context_is_noticed_before_anything_is_wrapped(clouds: Clouds) -> None:
    clouds.knows_associated_data = False
    async with AsyncExitStack() as stack:
        keks = KeyEncryptionKeys([await opened(stack, clouds, "transit")])
        with pytest.raises(KeyRefused, match="does not bind"):
            await keks.wrap(os.urandom(32), CONTEXT)
        assert list(await keks.faults()) == [keks.newest]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_cannot_answer_now_may_be_asked_again(
    clouds: Clouds, cloud_key: KeyEncryptionKey, status: int
) -> None:
    clouds.status = status
    with pytest.raises(ProviderDown, match=str(status)):
        await cloud_key.wrap(bytes(32), CONTEXT)


@pytest.mark.parametrize("status", [302, 403, 404])
async def test_any_other_answer_is_final(clouds: Clouds, cloud_key: KeyEncryptionKey, status: int) -> None:
    wrapped = await cloud_key.wrap(bytes(32), CONTEXT)
    clouds.status = status
    with pytest.raises(KeyRefused, match=str(status)):
        await cloud_key.wrap(bytes(32), CONTEXT)
    with pytest.raises(KeyRefused, match=str(status)):
        await cloud_key.unwrap(wrapped, CONTEXT)


async def test_an_access_token_is_fetched_once_for_all_and_again_when_it_is_refused(clouds: Clouds) -> None:
    async with AsyncExitStack() as stack:
        for given, kind in ((1, "gcp-kms"), (3, "azure")):
            key = await opened(stack, clouds, kind)
            await asyncio.gather(*(key.wrap(bytes(32), CONTEXT) for _ in range(20)))
            assert clouds.tokens_given == given
            clouds.access_token = f"another-{kind}"
            with pytest.raises(KeyRefused, match="401"):
                await key.wrap(bytes(32), CONTEXT)
            await key.wrap(bytes(32), CONTEXT)
            assert clouds.tokens_given == given + 1


async def test_credentials_that_are_not_known_are_told_by_the_setting(clouds: Clouds) -> None:
    wrong = Application("tenant", "client", SecretStr("wrong-secret"))
    async with open_azure_key(f"{clouds.url}/keys/k", wrong, timeout_s=TIMEOUT_S, login=clouds.url) as key:
        with pytest.raises(KeyRefused, match="MUNIMENT_AZURE_CLIENT_SECRET") as caught:
            await key.wrap(bytes(32), CONTEXT)
    assert "wrong-secret" not in str(caught.value) + repr(wrong)
    with pytest.raises(ProviderUnusable, match="MUNIMENT_GCP_CREDENTIALS"):
        ServiceAccount(SecretStr('{"client_email": "m@p.iam"}'))
    async with open_transit_key(f"{clouds.url}/transit/k", SecretStr("wrong"), None, timeout_s=TIMEOUT_S) as transit:
        with pytest.raises(KeyRefused, match="403"):
            await transit.wrap(bytes(32), CONTEXT)


@pytest.mark.parametrize("version", ["", "0", "4", "3/../../sys", "zz"])
async def test_a_version_that_was_altered_in_the_row_opens_nothing(clouds: Clouds, version: str) -> None:
    async with AsyncExitStack() as stack:
        key = await opened(stack, clouds, "transit")
        wrapped = await key.wrap(os.urandom(32), CONTEXT)
        assert wrapped.kek_version == "3"
        with pytest.raises(KeyAltered):
            await key.unwrap(replace(wrapped, kek_version=version), CONTEXT)


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.example/transit/k",
        "https://user:password@keys.example/transit/k",
        "https://keys.example/k",
        "https://keys.example/transit/k?x=1",
        "https://keys.example/transit/../k",
        "ftp://keys.example/transit/k",
        "https://keys.example:port/transit/k",
        "nothing",
    ],
)
def test_a_server_is_https_and_holds_no_password(url: str) -> None:
    with pytest.raises(ProviderUnusable, match="https://host/path") as caught:
        insist_on_server(url, path_min=2)
    assert "password@" not in str(caught.value)


async def test_the_first_named_wraps_and_all_unwrap(kek: SecretStr, tmp_path: Path) -> None:
    create_file(tmp_path / "a")
    name = create_file(tmp_path / "b")
    key = os.urandom(32)
    async with open_key_encryption_keys(told(kek)) as before:
        old = await before.wrap(key, CONTEXT)
        assert old.kek.startswith("environment:")
    naming = f"file:{tmp_path / 'b'} file:{tmp_path / 'a'} environment"
    async with open_key_encryption_keys(told(kek, vault_kek=naming)) as keks:
        assert keks.newest == name
        assert (await keks.wrap(key, CONTEXT)).kek == name
        assert await keks.unwrap(old, CONTEXT) == key
        assert await keks.faults() == {}


async def test_every_kind_is_opened_without_asking_it(kek: SecretStr, hsm: Hsm, clouds: Clouds, kms: int) -> None:
    arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"
    url = "https://keys.example"
    naming = f"pkcs11:kek aws-kms:{arn} transit:{url}/transit/k gcp-kms:{GCP_KEY} azure:{url}/keys/k"
    settings = told(
        kek,
        vault_kek=naming,
        pkcs11_module=hsm.module,
        pkcs11_token=hsm.label,
        pkcs11_pin=PIN,
        transit_token=SecretStr(TRANSIT_TOKEN),
        gcp_credentials=SecretStr(clouds.service_account),
        azure_tenant_id="tenant",
        azure_client_id="client",
        azure_client_secret=SecretStr(CLIENT_SECRET),
    )
    async with open_key_encryption_keys(settings) as keks:
        assert repr(keks).count(",") == 4
        assert keks.newest == f"pkcs11:{hsm.label}/kek"


@pytest.mark.parametrize(
    ("naming", "missing"),
    [
        ("pkcs11:kek", "PKCS11_MODULE"),
        ("aws-kms:alias/kek", "KMS_REGION"),
        ("transit:https://keys.example/transit/k", "TRANSIT_TOKEN"),
        (f"gcp-kms:{GCP_KEY}", "GCP_CREDENTIALS"),
        ("azure:https://keys.example/keys/k", "AZURE_TENANT_ID"),
    ],
)
async def test_a_provider_that_is_configured_by_half_is_told(kek: SecretStr, naming: str, missing: str) -> None:
    with pytest.raises(SettingsMissing, match=missing):
        async with open_key_encryption_keys(told(kek, vault_kek=naming)):
            pass


@pytest.mark.parametrize("naming", ["", "  ", "vault", "file:", "environment:x", "environment aws:key"])
def test_what_names_no_key_encryption_key_is_refused_at_start(kek: SecretStr, naming: str) -> None:
    with pytest.raises(ValueError, match="environment, file:PATH"):
        told(kek, vault_kek=naming)


async def test_one_that_is_named_twice_is_refused(kek: SecretStr) -> None:
    with pytest.raises(ProviderUnusable, match="each once"):
        async with open_key_encryption_keys(told(kek, vault_kek="environment environment")):
            pass


@pytest.mark.parametrize("key", ["projects/p", f"{GCP_KEY}/../x", f"{GCP_KEY}:decrypt"])
async def test_a_name_of_another_form_is_refused(clouds: Clouds, key: str) -> None:
    with pytest.raises(ProviderUnusable, match="gcp-kms:projects"):
        async with open_gcp_kms_key(key, SecretStr(clouds.service_account), timeout_s=TIMEOUT_S) as opened_key:
            assert isinstance(opened_key, GcpKmsKey)
    with pytest.raises(ProviderUnusable, match="azure:https"):
        async with open_azure_key("https://keys.example/secrets/k", APPLICATION, timeout_s=TIMEOUT_S):
            pass


@pytest.mark.parametrize(("purpose", "version"), [("", 1), ("Data", 1), ("data|1", 1), ("data", 0), ("data", 2**32)])
def test_a_context_is_one_word_and_a_number(purpose: str, version: int) -> None:
    with pytest.raises(ValueError, match="short word"):
        KeyContext(UUID(int=1), purpose, version)
