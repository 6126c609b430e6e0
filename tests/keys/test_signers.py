"""All signers of a process: every provider that is configured, each key once, and what is told of half a setting."""

import sys
from pathlib import Path
from typing import Any

import pytest
from coincurve import PrivateKey
from pydantic import SecretStr, ValidationError

from service.keys import keystore
from service.keys.keystore import KeystoreError, LocalSigner
from service.keys.signers import Signers, open_signers
from service.keys.signing import ProviderDown, ProviderUnusable
from service.settings import Settings, SettingsMissing
from tests.keys.conftest import KDF_ITERATIONS
from tests.keys.providers import PIN, REGION, Hsm, make_kms_key, started_web3signer
from tests.world import PASSWORD, make_settings


def settings(keystore_dir: Path, **changed: Any) -> Settings:
    return make_settings(SecretStr("postgresql:///ledger"), "http://127.0.0.1:1", keystore_dir, **changed)


async def test_every_provider_is_opened(tmp_path: Path, hsm: Hsm, kms: int) -> None:
    own = keystore.create(tmp_path, PASSWORD, kdf_iterations=KDF_ITERATIONS)
    key_ids = [await make_kms_key(kms), await make_kms_key(kms)]
    async with started_web3signer() as server:
        configured = settings(
            tmp_path,
            pkcs11_module=hsm.module,
            pkcs11_token=hsm.label,
            pkcs11_pin=PIN,
            kms_key_ids=",".join(key_ids),
            kms_region=REGION,
            kms_endpoint=f"http://127.0.0.1:{kms}",
            web3signer_url=f"http://127.0.0.1:{server.port}",
        )
        async with open_signers(configured) as signers:
            providers = sorted(signer.provider for signer in signers.values())
            assert providers == ["aws_kms", "aws_kms", "keystore", "pkcs11", "web3signer"]
            assert signers[own].provider == "keystore"
            assert signers.addresses == set(signers)
            for address, signer in signers.items():
                assert signer.address == address
                await signer.sign_digest(bytes(32))


async def test_the_keystore_alone_must_hold_a_key(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="holds no key file"):
        async with open_signers(settings(tmp_path)):
            pass


async def test_an_empty_keystore_will_do_beside_another_provider(tmp_path: Path) -> None:
    async with started_web3signer() as server:
        for directory in (tmp_path, tmp_path / "missing"):
            configured = settings(directory, web3signer_url=f"http://127.0.0.1:{server.port}")
            async with open_signers(configured) as signers:
                assert [signer.provider for signer in signers.values()] == ["web3signer"]


async def test_a_provider_that_is_down_at_start_says_so(tmp_path: Path) -> None:
    keystore.create(tmp_path, PASSWORD, kdf_iterations=KDF_ITERATIONS)
    with pytest.raises(ProviderDown):
        async with open_signers(settings(tmp_path, web3signer_url="http://127.0.0.1:1")):
            pass


def test_a_key_in_two_places_is_refused() -> None:
    key = PrivateKey()
    with pytest.raises(ProviderUnusable, match="there twice"):
        Signers([LocalSigner(key), LocalSigner(key)])


@pytest.mark.parametrize(
    ("half", "missing"),
    [
        ({"pkcs11_module": "module.so"}, "MUNIMENT_PKCS11_TOKEN"),
        ({"pkcs11_module": "module.so", "pkcs11_token": "token"}, "MUNIMENT_PKCS11_PIN"),
        ({"kms_key_ids": "one"}, "MUNIMENT_KMS_REGION"),
    ],
)
async def test_half_a_provider_is_told_by_what_is_missing(tmp_path: Path, half: dict[str, Any], missing: str) -> None:
    with pytest.raises(SettingsMissing, match=missing):
        async with open_signers(settings(tmp_path, **half)):
            pass


@pytest.mark.parametrize(
    ("package", "module", "configured", "extra"),
    [
        (
            "pkcs11",
            "service.keys.pkcs11",
            {"pkcs11_module": "module.so", "pkcs11_token": "token", "pkcs11_pin": "1"},
            r"muniment\[pkcs11\]",
        ),
        ("aiobotocore", "service.keys.aws_kms", {"kms_key_ids": "one", "kms_region": REGION}, r"muniment\[kms\]"),
    ],
)
async def test_a_missing_package_is_told_by_how_to_get_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    module: str,
    configured: dict[str, Any],
    extra: str,
) -> None:
    for name in [name for name in sys.modules if name == module or name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ProviderUnusable, match=extra):
        async with open_signers(settings(tmp_path, **configured)):
            pass


@pytest.mark.parametrize(("written", "read"), [("", ()), ("one", ("one",)), ("one, alias/two ,", ("one", "alias/two"))])
def test_key_ids_come_with_commas_between(tmp_path: Path, written: str, read: tuple[str, ...]) -> None:
    assert settings(tmp_path, kms_key_ids=written).kms_key_ids == read


@pytest.mark.parametrize("url", ["signer", "ftp://signer", "http://", "http://signer?key=1", "https:///path"])
@pytest.mark.parametrize("name", ["web3signer_url", "kms_endpoint"])
def test_what_is_no_address_of_a_server_is_refused(tmp_path: Path, name: str, url: str) -> None:
    with pytest.raises(ValidationError, match=name):
        settings(tmp_path, **{name: url})


def test_secrets_of_providers_are_not_shown(tmp_path: Path) -> None:
    configured = settings(tmp_path, pkcs11_pin="hidden-pin", web3signer_url="http://someone:hidden-word@signer")
    for shown in (repr(configured), str(configured), str(configured.model_dump()), configured.model_dump_json()):
        assert "hidden" not in shown
