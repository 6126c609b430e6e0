"""The key-encryption keys that MUNIMENT_VAULT_KEK names."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from service.keys.signing import ProviderUnusable
from service.keys.wrapping import KeyEncryptionKey, KeyEncryptionKeys
from service.keys.wrapping_local import from_environment, from_file
from service.settings import Settings, SettingsMissing


@asynccontextmanager
async def open_key_encryption_keys(settings: Settings) -> AsyncIterator[KeyEncryptionKeys]:
    """Every one that is configured; closed again at the end of the block. No server is asked before it is needed.

    Raises:
        ProviderUnusable: one cannot be used as it is configured.
        SettingsMissing: one is configured by half.
    """
    async with AsyncExitStack() as stack:
        yield KeyEncryptionKeys([await _opened(stack, settings, each) for each in settings.vault_kek.split()])


async def _opened(stack: AsyncExitStack, settings: Settings, told: str) -> KeyEncryptionKey:
    kind, _, rest = told.partition(":")
    if told == "environment":
        return from_environment(settings.key_encryption_key)
    if kind == "file":
        return from_file(Path(rest))
    openers = {"pkcs11": _pkcs11, "aws-kms": _aws_kms, "transit": _transit, "gcp-kms": _gcp_kms, "azure": _azure}
    return await openers[kind](stack, settings, rest)


async def _pkcs11(stack: AsyncExitStack, settings: Settings, label: str) -> KeyEncryptionKey:
    module, token, pin = settings.pkcs11_module, settings.pkcs11_token, settings.pkcs11_pin
    if module is None or token is None or pin is None:
        names = "MUNIMENT_PKCS11_MODULE, MUNIMENT_PKCS11_TOKEN and MUNIMENT_PKCS11_PIN"
        raise SettingsMissing(f"MUNIMENT_VAULT_KEK=pkcs11:… needs {names}")
    try:
        from service.keys.wrapping_pkcs11 import open_pkcs11_key
    except ModuleNotFoundError:
        raise ProviderUnusable("MUNIMENT_VAULT_KEK=pkcs11:… needs a package: pip install 'muniment[pkcs11]'") from None
    opened = open_pkcs11_key(module, token, pin, label, timeout_s=settings.signer_timeout_s)
    return await stack.enter_async_context(opened)


async def _aws_kms(stack: AsyncExitStack, settings: Settings, key_id: str) -> KeyEncryptionKey:
    arn = key_id.split(":")
    region = arn[3] if arn[0] == "arn" and len(arn) > 3 else settings.kms_region
    if region is None:
        raise SettingsMissing("MUNIMENT_VAULT_KEK=aws-kms:… needs an ARN, or MUNIMENT_KMS_REGION beside it")
    try:
        from service.keys.wrapping_aws_kms import open_kms_key
    except ModuleNotFoundError:
        raise ProviderUnusable("MUNIMENT_VAULT_KEK=aws-kms:… needs a package: pip install 'muniment[kms]'") from None
    timeout_s = settings.signer_timeout_s
    opened = open_kms_key(key_id, region=region, endpoint=settings.kms_endpoint, timeout_s=timeout_s)
    return await stack.enter_async_context(opened)


async def _transit(stack: AsyncExitStack, settings: Settings, url: str) -> KeyEncryptionKey:
    from service.keys.wrapping_transit import open_transit_key

    token = _needed("TRANSIT_TOKEN", settings.transit_token)
    opened = open_transit_key(url, token, settings.transit_namespace, timeout_s=settings.signer_timeout_s)
    return await stack.enter_async_context(opened)


async def _gcp_kms(stack: AsyncExitStack, settings: Settings, key: str) -> KeyEncryptionKey:
    from service.keys.wrapping_gcp_kms import open_gcp_kms_key

    credentials = _needed("GCP_CREDENTIALS", settings.gcp_credentials)
    opened = open_gcp_kms_key(key, credentials, timeout_s=settings.signer_timeout_s)
    return await stack.enter_async_context(opened)


async def _azure(stack: AsyncExitStack, settings: Settings, url: str) -> KeyEncryptionKey:
    from service.keys.wrapping_azure import Application, open_azure_key

    tenant_id, client_id = settings.azure_tenant_id, settings.azure_client_id
    if tenant_id is None or client_id is None:
        raise SettingsMissing("MUNIMENT_VAULT_KEK=azure:… needs MUNIMENT_AZURE_TENANT_ID and MUNIMENT_AZURE_CLIENT_ID")
    secret = _needed("AZURE_CLIENT_SECRET", settings.azure_client_secret)
    application = Application(tenant_id, client_id, secret)
    opened = open_azure_key(url, application, timeout_s=settings.signer_timeout_s)
    return await stack.enter_async_context(opened)


def _needed(name: str, given: SecretStr | None) -> SecretStr:
    if given is None:
        raise SettingsMissing(f"MUNIMENT_VAULT_KEK needs MUNIMENT_{name} beside it")
    return given
