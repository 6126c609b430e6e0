"""All signers of a process, whichever provider keeps their keys."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from service.keys.keystore import Keystore, has_files
from service.keys.signing import ProviderUnusable, Signer
from service.settings import Settings, SettingsMissing


class Signers(Mapping[bytes, Signer]):
    """The signer of each address, 20 bytes.

    Raises:
        ProviderUnusable: two providers hold the same key.
    """

    def __init__(self, signers: Iterable[Signer]) -> None:
        self._signers: dict[bytes, Signer] = {}
        for signer in signers:
            first = self._signers.setdefault(signer.address, signer)
            if first is not signer:
                providers = f"{first.provider} and {signer.provider}"
                raise ProviderUnusable(f"the key of 0x{signer.address.hex()} is there twice, with {providers}")

    @property
    def addresses(self) -> frozenset[bytes]:
        """The signers there are."""
        return frozenset(self._signers)

    def __getitem__(self, address: bytes) -> Signer:
        return self._signers[address]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._signers)

    def __len__(self) -> int:
        return len(self._signers)


@asynccontextmanager
async def open_signers(settings: Settings) -> AsyncIterator[Signers]:
    """The signers of every provider that is configured; closed again at the end of the block.

    The keystore may be empty where another provider is configured.

    Raises:
        ProviderUnusable: a provider cannot be used as it is configured.
        ProviderDown: one does not answer, so its signers are not known; try again.
        SettingsMissing: a provider is configured by half.
    """
    async with AsyncExitStack() as stack:
        signers: list[Signer] = []
        if settings.pkcs11_module is not None:
            signers += await stack.enter_async_context(_pkcs11(settings))
        if settings.kms_key_ids:
            signers += await stack.enter_async_context(_kms(settings))
        if settings.web3signer_url is not None:
            from service.keys.web3signer import open_web3signer

            opened = open_web3signer(settings.web3signer_url, timeout_s=settings.signer_timeout_s)
            signers += await stack.enter_async_context(opened)
        if not signers or has_files(settings.keystore_dir):
            keystore = await asyncio.to_thread(Keystore.open, settings.keystore_dir, settings.keystore_password)
            signers += keystore.signers
        yield Signers(signers)


@asynccontextmanager
async def _pkcs11(settings: Settings) -> AsyncIterator[Iterable[Signer]]:
    module, label, pin = settings.pkcs11_module, settings.pkcs11_token, settings.pkcs11_pin
    if module is None or label is None or pin is None:
        raise SettingsMissing("MUNIMENT_PKCS11_MODULE needs MUNIMENT_PKCS11_TOKEN and MUNIMENT_PKCS11_PIN beside it")
    try:
        from service.keys.pkcs11 import open_token
    except ModuleNotFoundError:
        raise ProviderUnusable("MUNIMENT_PKCS11_MODULE needs a package: pip install 'muniment[pkcs11]'") from None
    async with open_token(module, label, pin, timeout_s=settings.signer_timeout_s) as signers:
        yield signers


@asynccontextmanager
async def _kms(settings: Settings) -> AsyncIterator[Iterable[Signer]]:
    if settings.kms_region is None:
        raise SettingsMissing("MUNIMENT_KMS_KEY_IDS needs MUNIMENT_KMS_REGION beside it")
    try:
        from service.keys.aws_kms import open_kms
    except ModuleNotFoundError:
        raise ProviderUnusable("MUNIMENT_KMS_KEY_IDS needs a package: pip install 'muniment[kms]'") from None
    async with open_kms(
        settings.kms_key_ids,
        region=settings.kms_region,
        endpoint=settings.kms_endpoint,
        timeout_s=settings.signer_timeout_s,
    ) as signers:
        yield signers
