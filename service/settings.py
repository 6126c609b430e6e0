"""Settings, read once from the environment (prefix MUNIMENT_)."""

import base64
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.addresses import parse_address

_HTTP = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_KEK = re.compile(r"environment|(file|pkcs11|aws-kms|transit|gcp-kms|azure):\S+")
_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[^\s/?#@:\[\]]+)(:[0-9]{1,5})?")
_PROCESSOR = re.compile(
    r"[a-z][a-z0-9-]{0,31}=(https://[^\s/?#]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?)(/[^\s?#]*)?"
)
_WEBSOCKET = re.compile(r"wss?://[^\s/?#]+(/[^\s#]*)?")


def _split(urls: SecretStr) -> list[str]:
    """What blanks or commas part."""
    return urls.get_secret_value().replace(",", " ").split()


KNOWN_TEST_CHAINS = frozenset(
    {
        *(31_337, 1_337),  # devnets: anvil and hardhat; geth --dev
        *(11_155_111, 17_000, 560_048),  # Sepolia, Holesky, Hoodi
        *(84_532, 421_614, 11_155_420, 59_141, 534_351, 300),  # Sepolia of Base, Arbitrum, OP, Linea, Scroll, zkSync
        *(80_002, 97, 43_113, 10_200),  # Polygon Amoy, BNB testnet, Avalanche Fuji, Chiado
    }
)
"""Chains whose units are worth nothing, so that keys of the environment `test` may move them."""


class SettingsMissing(Exception):
    """A setting that this command needs is absent or malformed."""


class Unread(SecretStr):
    """In place of a secret that a process has no use for, and does not read."""

    def get_secret_value(self) -> str:
        """Raises: SettingsMissing."""
        raise SettingsMissing("this process reads no such secret: the README says which reads which")


READ_BY = {
    **dict.fromkeys(("api_key_pepper", "api_key_peppers_old", "payment_processors"), ("api",)),
    **dict.fromkeys(("transit_token", "gcp_credentials", "azure_client_secret"), ("api",)),
    "key_encryption_key": ("api", "dispatcher"),
    "pkcs11_pin": ("api", "sender"),
    "keystore_password": ("sender",),
    "web3signer_url": ("sender",),
}
"""Secrets, and the processes that read them; `muniment` commands read what they are given."""


class Settings(BaseSettings):
    """What a deployment decides. Every process reads the same set, but for secrets of others, and uses its part."""

    model_config = SettingsConfigDict(env_prefix="MUNIMENT_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="postgresql:// URL; any Postgres from version 15 on.")
    replica_url: SecretStr | None = Field(
        None, description="postgresql:// URL of a streaming replica of it, for reads that accept its lag."
    )
    replica_lag_max_s: float = Field(
        5.0, gt=0, le=600, description="A replica that lacks what was written so long ago is not read."
    )
    rpc_url: SecretStr = Field(
        description="The JSON-RPC address of the chain's node, or several with blanks between; it may hold a key."
    )
    receipt_quorum: int = Field(1, ge=1, description="So many of the nodes must agree on receipts and finality.")
    rpc_ws_url: SecretStr | None = Field(
        None, description="A node's websocket, which only wakes the poll; it may hold a key."
    )
    receipts_share: float = Field(
        0.02, ge=0, le=1, description="Of blocks that nothing speaks against, so many are compared with their receipts."
    )
    chain_id: int = Field(gt=0, description="Start-up stops if the node reports another chain.")
    finality: str = Field(
        "finalized", pattern=r"^(finalized|depth:[0-9]{1,4})$", description="`finalized` or `depth:N`."
    )
    factory_address: str | None = Field(None, description="The AssetFactory, printed by `muniment factory deploy`.")

    @field_validator("database_url", "replica_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        # Whoever only talks to an API does without it, and starts in half the time.
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            scheme = make_url(url.get_secret_value()).get_backend_name()
        except (ArgumentError, ValueError):
            raise ValueError("write postgresql://user:password@host:port/database") from None
        if scheme not in ("postgresql", "postgres"):
            raise ValueError("only postgresql:// will do")
        return url

    @field_validator("rpc_url")
    @classmethod
    def _is_http(cls, urls: SecretStr) -> SecretStr:
        each = _split(urls)
        try:
            parsed = [urlsplit(url) for url in each]
            usable = all(url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 for url in parsed)
        except ValueError:
            usable = False
        if not each or not usable:
            raise ValueError("write http://host:port or https://host, or several with blanks between")
        if len(set(each)) < len(each):
            raise ValueError("name each node once")
        return urls

    @field_validator("rpc_ws_url")
    @classmethod
    def _is_websocket(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _WEBSOCKET.fullmatch(url.get_secret_value()):
            raise ValueError("write ws://host:port or wss://host")
        return url

    @field_validator("receipt_quorum")
    @classmethod
    def _is_reachable(cls, quorum: int, others: ValidationInfo) -> int:
        if "rpc_url" in others.data and quorum > len(_split(others.data["rpc_url"])):
            raise ValueError("only as many nodes can agree as MUNIMENT_RPC_URL names")
        return quorum

    @field_validator("kms_key_ids", "test_chains", mode="before")
    @classmethod
    def _are_names(cls, given: Any) -> Any:
        return [name for each in given.split(",") if (name := each.strip())] if isinstance(given, str) else given

    @field_validator("environment")
    @classmethod
    def _keeps_apart(cls, environment: str, others: ValidationInfo) -> str:
        # Where either is malformed, that is told in place of this.
        chain, named = others.data.get("chain_id"), others.data.get("test_chains")
        known = chain is None or named is None or chain in KNOWN_TEST_CHAINS.union(named)
        if environment == "test" and not known:
            raise ValueError(
                f"chain {chain} is no known test chain, and keys of the environment `test` would move what is on it "
                "unsigned: set MUNIMENT_ENVIRONMENT=live, or name the chain in MUNIMENT_TEST_CHAINS if its units are "
                "worth nothing"
            )
        return environment

    @field_validator("kms_endpoint", "web3signer_url")
    @classmethod
    def _is_server(cls, given: str | SecretStr | None) -> str | SecretStr | None:
        text = given.get_secret_value() if isinstance(given, SecretStr) else given
        if text is not None and not _HTTP.fullmatch(text):
            raise ValueError("write http://host:port or https://host")
        return given

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, given: str | None) -> str | None:
        if given is not None and not _ORIGIN.fullmatch(given):
            raise ValueError("write https://host or http://host:port, without a path")
        return given

    @field_validator("payment_processors")
    @classmethod
    def _are_processors(cls, given: SecretStr) -> SecretStr:
        each = _split(given)
        names = [text.partition("=")[0] for text in each]
        if not all(_PROCESSOR.fullmatch(text) for text in each) or len(set(names)) < len(names):
            raise ValueError("write name=https://host, or several with blanks between; http:// only to this machine")
        return given

    @field_validator("api_key_peppers_old")
    @classmethod
    def _are_peppers(cls, given: SecretStr) -> SecretStr:
        try:
            peppers = json.loads(given.get_secret_value())
            usable = isinstance(peppers, dict) and all(
                re.fullmatch("[1-9][0-9]{0,3}", version) and isinstance(pepper, str) and len(pepper) >= 32
                for version, pepper in peppers.items()
            )
        except (ValueError, RecursionError):
            usable = False
        if not usable:
            raise ValueError('write {"1": "the pepper of version 1, at least 32 characters"}')
        return given

    @field_validator("vault_kek")
    @classmethod
    def _names_keys(cls, text: str) -> str:
        if not text.split() or not all(_KEK.fullmatch(each) for each in text.split()):
            kinds = "environment, file:PATH, pkcs11:LABEL, aws-kms:ARN, transit:URL, gcp-kms:NAME, azure:URL"
            raise ValueError(f"write one of {kinds}, or several with blanks between")
        return text

    @field_validator("key_encryption_key")
    @classmethod
    def _is_key(cls, key: SecretStr) -> SecretStr:
        try:
            size = len(base64.b64decode(key.get_secret_value(), validate=True))
        except ValueError:
            size = 0
        if size != 32:
            raise ValueError("write 32 bytes in base64, as `openssl rand -base64 32` prints them")
        return key

    @field_validator("factory_address")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        if text is not None:
            parse_address(text)
        return text

    start_block: int = Field(0, ge=0, description="The mirror begins here: the factory's block or earlier.")

    keystore_dir: Path = Field(description="Folder of V3 keystore files of the signers.")
    keystore_password: SecretStr = Field(description="Opens the keystore files, once at start.")
    pkcs11_module: Path | None = Field(None, description="Library of an HSM that holds signers.")
    pkcs11_token: str | None = Field(None, description="Label of the HSM's token.")
    pkcs11_pin: SecretStr | None = Field(None, description="The token's user PIN.")
    kms_key_ids: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Signers in AWS KMS: key ids, aliases or ARNs, with commas between."
    )
    kms_region: str | None = Field(
        None, description="AWS region of those keys; credentials come as for AWS's own tools."
    )
    kms_endpoint: str | None = Field(None, description="Address of KMS in place of the region's own.")
    web3signer_url: SecretStr | None = Field(None, description="A web3signer server that holds signers.")
    signer_timeout_s: float = Field(5.0, gt=0, description="Longest wait for one answer of an HSM or a key server.")
    key_encryption_key: SecretStr = Field(
        description="32 bytes in base64; seals managed accounts' keys and secrets in rows, and signs cursors."
    )
    vault_kek: str = Field(
        "environment",
        description="Key-encryption keys of the token vault with blanks between: the first wraps, the others unwrap.",
    )
    transit_token: SecretStr | None = Field(None, description="Token of HashiCorp Vault or OpenBao.")
    transit_namespace: str | None = Field(None, description="Namespace of the transit engine there.")
    gcp_credentials: SecretStr | None = Field(None, description="JSON of a Google service account's key.")
    azure_tenant_id: str | None = Field(None, description="Azure tenant of the application below.")
    azure_client_id: str | None = Field(None, description="Azure application that may use the key.")
    azure_client_secret: SecretStr | None = Field(None, description="The Azure application's secret.")
    payment_processors: SecretStr = Field(
        SecretStr(""),
        description="Payment processors as name=URL with blanks between; a URL may hold a user and a password.",
    )
    test_chains: Annotated[tuple[Annotated[int, Field(gt=0)], ...], NoDecode] = Field(
        (), description="Chains beside the known ones whose units are worth nothing, by id, with commas between."
    )
    environment: Literal["test", "live"] = Field(
        "test",
        validate_default=True,
        description="Keys of the other environment open nothing; in `live`, what moves property must be signed. "
        "`test` is for test chains alone.",
    )
    api_key_pepper: SecretStr = Field(min_length=32, description="Keys the hash of API keys at rest.")
    api_key_pepper_version: int = Field(1, ge=1, le=10_000, description="One more with each new pepper.")
    api_key_peppers_old: SecretStr = Field(
        SecretStr("{}"), description="Former peppers by version, as a JSON object; a key moves on when it is used."
    )

    key_requests_max: int = Field(60_000, ge=1, description="Requests of one credential a minute, in each API process.")
    issuer_requests_max: int = Field(
        300_000, ge=1, description="Requests of all credentials of one issuer a minute, in each API process."
    )
    address_failures_max: int = Field(
        600, ge=1, description="Failed proofs from one address a minute; then no proof from there is looked at."
    )

    webhooks_private: bool = Field(
        False, description="Webhooks may go to this machine, and over http: for a devnet and tests alone."
    )

    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8000, ge=0, le=65535, description="Port that the API listens on.")
    public_url: str | None = Field(
        None, description="The address that callers know the API by, for signed requests; where it listens, unless set."
    )
    api_connections_max: int = Field(10, ge=4, le=100, description="Postgres connections for reads, and for writes.")
    body_bytes_max: int = Field(65_536, ge=1_024, description="A larger request body is refused.")

    node_timeout_s: float = Field(10.0, gt=0, description="Longest wait for one answer of the node.")
    node_batch_max: int = Field(100, ge=1, le=1_000, description="Calls in one JSON-RPC batch.")
    poll_interval_s: float = Field(0.25, gt=0, description="Pause of a worker that found nothing to do.")
    lease_ttl_s: float = Field(10.0, ge=1, description="A silent worker's place is free after this long.")
    indexer_blocks_max: int = Field(200, ge=1, le=2_000, description="Blocks in one indexer step.")
    sender_transactions_max: int = Field(100, ge=1, le=1_000, description="Transactions in one sender step.")
    resend_after_s: float = Field(5.0, gt=0, description="Unmined transactions are broadcast again after this.")
    replace_after_s: float = Field(60.0, gt=0, description="More is offered for a stuck transaction after this.")
    fee_max_wei: int = Field(500 * 10**9, gt=0, description="The most that is ever offered for a unit of gas, in wei.")
    balance_low_wei: int = Field(10**17, ge=0, description="A signer with less ether than this is told as low.")

    @property
    def authority(self) -> str:
        """The host that callers speak to, and its port unless it is usual. Source: RFC 9421 section 2.2.3."""
        host = f"[{self.api_host}]" if ":" in self.api_host else self.api_host
        url = urlsplit((self.public_url or f"http://{host}:{self.api_port}").lower())
        return url.netloc.removesuffix({"http": ":80", "https": ":443"}[url.scheme])

    @property
    def rpc_urls(self) -> list[str]:
        """The chain's nodes, the preferred one first."""
        return _split(self.rpc_url)

    @property
    def processors(self) -> dict[str, str]:
        """The URL of each payment processor, by its name."""
        return dict(each.split("=", 1) for each in _split(self.payment_processors))

    @property
    def old_peppers(self) -> dict[int, SecretStr]:
        """Former peppers, by version."""
        given = json.loads(self.api_key_peppers_old.get_secret_value())
        return {int(version): SecretStr(pepper) for version, pepper in given.items()}

    @property
    def factory(self) -> bytes:
        """The factory's address, 20 bytes.

        Raises:
            SettingsMissing: not set.
        """
        if self.factory_address is None:
            raise SettingsMissing("set MUNIMENT_FACTORY_ADDRESS: `muniment factory deploy` prints it")
        return parse_address(self.factory_address)


_STAND_INS = {
    "key_encryption_key": SecretStr(base64.b64encode(bytes(32)).decode()),
    "api_key_pepper": SecretStr("-" * 32),
    "keystore_password": SecretStr("-"),
}
"""Of required secrets that a process does not read; none of them is ever used."""


def read_settings(process: str | None = None) -> Settings:
    """The settings of this process's environment.

    Args:
        process: its name; of secrets it reads those alone that READ_BY says, whatever is in the environment.

    Raises:
        SettingsMissing: names each variable that is absent or malformed, never its content.
    """
    unread = [name for name, readers in READ_BY.items() if process is not None and process not in readers]
    try:
        given = Settings(**{name: _STAND_INS.get(name, Settings.model_fields[name].default) for name in unread})
        return given.model_copy(update=dict.fromkeys(unread, Unread("")))
    except ValidationError as error:
        told = ((str(each["loc"][0]).upper(), each["msg"].removeprefix("Value error, ")) for each in error.errors())
        raise SettingsMissing("; ".join(f"MUNIMENT_{name}: {message}" for name, message in told)) from None
