"""What a caller proves itself with. What is secret is in no output of these."""

import base64
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Protocol

from service.client.problems import Unusable
from service.client.signing import (
    LIFE_S,
    TAG,
    Message,
    content_digest,
    parameters,
    profile,
    signature_base,
    signature_headers,
)

VISIBLE = re.compile(r"[\x21-\x7e]+")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_NONCE_BYTES = 16


class Credential(Protocol):
    """Whatever makes a request the caller's."""

    def headers(self, message: Message, now_s: float) -> dict[str, str]:
        """The headers to add, made anew for each time that a request is sent.

        Args:
            now_s: seconds since 1970 by the server's clock.
        """
        ...


class BearerCredential:
    """An API key: whoever has it may use it."""

    def __init__(self, key: str) -> None:
        if not VISIBLE.fullmatch(key):
            raise Unusable("an API key is `munsk_…` as `muniment keys create` printed it, on one line")
        self._key = key

    def headers(self, message: Message, now_s: float) -> dict[str, str]:
        """The key itself. Source: RFC 6750."""
        return {"Authorization": f"Bearer {self._key}"}


class _Signing:
    """What the kinds that sign have in common: profile `muniment-1`, with a nonce of 128 bits."""

    label = "sig1"

    def __init__(self, key_id: str, algorithm: str | None) -> None:
        if not VISIBLE.fullmatch(key_id):
            raise Unusable("a key id is what `muniment keys create` printed beside the key")
        self.key_id = key_id
        self._algorithm = algorithm

    def headers(self, message: Message, now_s: float) -> dict[str, str]:
        """Digest and signature. Source: RFC 9421, RFC 9530."""
        digest = {} if message.content is None else {"Content-Digest": content_digest(message.content)}
        lower = {name.lower(): value for name, value in digest.items()}
        whole = Message(message.method, message.url, {**message.headers, **lower}, None)
        created = int(now_s)
        params = parameters(covered := profile(whole), self._parameters(created))
        signature = self._sign(signature_base(whole, covered, params))
        return {**digest, **signature_headers(self.label, params, signature)}

    def _parameters(self, created: int) -> dict[str, str | int]:
        nonce = base64.urlsafe_b64encode(secrets.token_bytes(_NONCE_BYTES)).decode().rstrip("=")
        algorithm = {} if self._algorithm is None else {"alg": self._algorithm}
        times: dict[str, str | int] = {"created": created, "expires": created + LIFE_S}
        return {**times, "nonce": nonce, "keyid": self.key_id, **algorithm, "tag": TAG}

    def _sign(self, base: bytes) -> bytes:
        raise AssertionError("each kind signs its own way")


class Ed25519Credential(_Signing):
    """A private key whose public half the deployment has.

    Args:
        private_key: the 32 bytes of RFC 8032, or a PEM file's text (PKCS #8) without a passphrase.

    Raises:
        Unusable: it is neither.
    """

    def __init__(self, key_id: str, private_key: bytes | str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        super().__init__(key_id, "ed25519")
        given = private_key.encode() if isinstance(private_key, str) else private_key
        try:
            raw = len(given) == 32
            key = Ed25519PrivateKey.from_private_bytes(given) if raw else load_pem_private_key(given, None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise Unusable("an Ed25519 key is 32 bytes, or PEM as `openssl genpkey -algorithm ed25519` writes it")
        self._key = key

    def _sign(self, base: bytes) -> bytes:
        return self._key.sign(base)


class HmacCredential(_Signing):
    """A secret that the deployment has, too.

    Args:
        secret: bytes, or as the API told it in hexadecimal.

    Raises:
        Unusable: it is neither.
    """

    def __init__(self, key_id: str, secret: bytes | str) -> None:
        super().__init__(key_id, "hmac-sha256")
        try:
            self._secret = bytes.fromhex(secret) if isinstance(secret, str) else secret
        except ValueError:
            self._secret = b""
        if not self._secret:
            raise Unusable("an HMAC secret is bytes, or hexadecimal digits as `POST /v1/keys` showed them once")

    def _sign(self, base: bytes) -> bytes:
        return hmac.digest(self._secret, base, "sha256")


class WalletCredential(_Signing):
    """An Ethereum account. Source: ERC-8128.

    Args:
        sign: makes 65 bytes (r, s, v) of a text's bytes as wallets do it (`personal_sign`, ERC-191), or for a contract
            what its `isValidSignature` takes (ERC-1271).
    """

    label = "eth"

    def __init__(self, chain_id: int, address: str, sign: Callable[[bytes], bytes]) -> None:
        if not _ADDRESS.fullmatch(address):
            raise Unusable("a wallet's address is 0x and 40 hexadecimal digits")
        super().__init__(f"erc8128:{chain_id}:{address.lower()}", None)
        self._sign_text = sign

    @classmethod
    def of_private_key(cls, chain_id: int, private_key: bytes) -> "WalletCredential":
        """The account of 32 bytes.

        Raises:
            Unusable: they are no key of secp256k1.
        """
        from eth_account import Account
        from eth_account.messages import encode_defunct

        try:
            account = Account.from_key(private_key)
        except Exception:  # eth_account raises many kinds, and some of them hold the key
            raise Unusable("a wallet's private key is 32 bytes") from None
        return cls(chain_id, account.address, lambda text: bytes(account.sign_message(encode_defunct(text)).signature))

    def _sign(self, base: bytes) -> bytes:
        return self._sign_text(base)
