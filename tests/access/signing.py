"""Signs requests for tests, as the profile says or otherwise; it shares nothing with the service that it judges."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_hash.auto import keccak
from sqlalchemy import func

from service.access import signing_secrets
from service.access.apikeys import new_public_id
from service.access.tables import CallerRow, CredentialRow
from service.db import Database, new_id
from service.settings import Settings
from tests import leaks

AUTHORITY = "127.0.0.1:8000"
"""Of a test deployment, whose public address is not set: clients speak to it under another name."""

COMPONENTS = (
    *("@method", "@authority", "@path", "@query", "content-digest", "content-type"),
    *("idempotency-key", "muniment-approval"),
)


def digest_of(body: bytes, algorithm: str = "sha-256") -> str:
    """A Content-Digest field. Source: RFC 9530."""
    made = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(made).decode()}:"


@dataclass(frozen=True, slots=True)
class Signing:
    """A credential with what signs for it, and what of its requests is said otherwise than the profile does."""

    kind: str
    key_id: str
    secret: bytes = field(repr=False)
    label: str = "sig1"
    authority: str = AUTHORITY
    components: Sequence[str] = COMPONENTS
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def public_key(self) -> bytes:
        """Of an Ed25519 key."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    @property
    def account(self) -> bytes:
        """Of a wallet."""
        return keccak(PrivateKey(self.secret).public_key.format(compressed=False)[1:])[12:]

    def but(self, **parameters: Any) -> "Signing":
        """The same with other parameters; None leaves one out."""
        return replace(self, parameters={**self.parameters, **parameters})

    def sign(self, text: bytes) -> bytes:
        """A signature over these bytes."""
        if self.kind == "hmac":
            return hmac.digest(self.secret, text, "sha256")
        if self.kind == "ed25519":
            return Ed25519PrivateKey.from_private_bytes(self.secret).sign(text)
        digest = keccak(b"\x19Ethereum Signed Message:\n" + str(len(text)).encode() + text)
        made = PrivateKey(self.secret).sign_recoverable(digest, hasher=None)
        return made[:64] + bytes([27 + made[64]])

    def headers(
        self, method: str, path: str, body: bytes = b"", *, headers: dict[str, str] | None = None, at: int | None = None
    ) -> dict[str, str]:
        """The headers of a signed request, of which `headers` are the others; at a time, or now."""
        path, _, query = path.partition("?")
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if body:
            sent = {"content-type": "application/json", "content-digest": digest_of(body), **sent}
        values = {"@method": method, "@authority": self.authority, "@path": path, "@query": f"?{query}", **sent}
        covered = [name for name in self.components if name in values]
        created = int(time.time()) if at is None else at
        algorithm = {"ed25519": "ed25519", "hmac": "hmac-sha256", "wallet": None}[self.kind]
        said = {"created": created, "expires": created + 60, "nonce": secrets.token_urlsafe(16), "keyid": self.key_id}
        said |= {"alg": algorithm, "tag": "muniment-1", **self.parameters}
        written = "(" + " ".join(f'"{name}"' for name in covered) + ")"
        for name, value in said.items():
            if value is not None:
                written += f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"'
        lines = [*(f'"{name}": {values[name]}' for name in covered), f'"@signature-params": {written}']
        made = base64.b64encode(self.sign("\n".join(lines).encode())).decode()
        return {**sent, "signature-input": f"{self.label}={written}", "signature": f"{self.label}=:{made}:"}


def new_signing(kind: str = "ed25519", *, chain_id: int = 31_337) -> Signing:
    """A fresh key that no deployment knows yet."""
    made = Signing(kind, new_public_id(), secrets.token_bytes(32))
    leaks.know_secret(made.secret.hex())
    if kind != "wallet":
        return made
    return replace(made, key_id=f"erc8128:{chain_id}:0x{made.account.hex()}", label="eth")


async def register(
    db: Database, settings: Settings, signing: Signing, *, like_key: str, chain_id: int = 31_337, **changed: Any
) -> str:
    """Give the caller of a key another credential, which this signs for; the credential's id."""
    credential_id = new_public_id() if signing.kind == "wallet" else signing.key_id
    async with db.transaction() as session:
        first = await session.get_one(CredentialRow, like_key)
        caller = await session.get_one(CallerRow, first.caller_id)
        proof: dict[str, Any] = {"account": signing.account, "chain_id": chain_id}
        if signing.kind == "ed25519":
            proof = {"public_key": signing.public_key}
        elif signing.kind == "hmac":
            kek = settings.key_encryption_key
            proof = {"sealed_secret": signing_secrets.sealed(kek, credential_id, signing.secret)}
        row = {
            "family_id": new_id(),
            "version": 1,
            "caller_id": caller.id,
            "environment": settings.environment,
            "kind": signing.kind,
            "name": signing.kind,
            "scopes": first.scopes,
            "activated_at": func.now(),
            **proof,
        }
        session.add(CredentialRow(id=credential_id, **(row | changed)))
    return credential_id
