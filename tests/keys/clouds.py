"""A small server that speaks the documented JSON of three key services, with keys of its own.

Written after these pages, since none of the programs can run here: Vault's and OpenBao's API documentation of the
transit engine (encrypt and decrypt data); Google's REST reference of Cloud KMS (cryptoKeys.encrypt and .decrypt) and
its OAuth 2.0 for server to server applications; Microsoft's REST reference of Key Vault 7.4 (get key, wrap key, unwrap
key) and its client credentials flow. It checks what the pages require, and counts the access tokens that it gives.
"""

import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TRANSIT_TOKEN = "hvs.hidden-token-of-transit"
NAMESPACE = "ledgers/muniment"
CLIENT_SECRET = "hidden-secret-of-azure"
ACCESS_TOKEN = "hidden-access-token"
GCP_KEY = "projects/p/locations/europe/keyRings/r/cryptoKeys/k"
AZURE_VERSION = "0123456789abcdef0123456789abcdef"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


@cache
def _keypair() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@dataclass(slots=True)
class Clouds:
    """What the three answer; `status` in place of all of it, and `tokens_given` counts."""

    cipher: AESGCM = field(default_factory=lambda: AESGCM(os.urandom(32)), repr=False)
    keypair: rsa.RSAPrivateKey = field(default_factory=_keypair, repr=False)
    status: int = 200
    knows_associated_data: bool = True
    access_token: str = ACCESS_TOKEN
    tokens_given: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def service_account(self) -> str:
        """The JSON of a service account that it knows."""
        pem = self.keypair.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        told = {"client_email": "m@p.iam", "private_key_id": "k1", "private_key": pem.decode()}
        return json.dumps({**told, "type": "service_account", "token_uri": f"{self.url}/google/token"})

    async def transit(self, request: web.Request) -> web.Response:
        """POST /v1/transit/{encrypt,decrypt}/{key}."""
        if request.headers.get("X-Vault-Token") != TRANSIT_TOKEN:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        assert request.headers.get("X-Vault-Namespace") == NAMESPACE
        question = await request.json()
        associated = _b64(question["associated_data"]) if self.knows_associated_data else b""
        if request.match_info["verb"] == "encrypt":
            assert set(question) == {"plaintext", "associated_data"}
            sealed = _text(self._sealed(_b64(question["plaintext"]), associated))
            return self._answer({"data": {"ciphertext": f"vault:v3:{sealed}", "key_version": 3}})
        assert set(question) == {"ciphertext", "associated_data"}
        begin, version, sealed = question["ciphertext"].split(":")
        opened = self._opened(_b64(sealed), associated) if (begin, version) == ("vault", "v3") else None
        if opened is None:
            return self._answer({"errors": ["cipher: message authentication failed"]}, 400)
        return self._answer({"data": {"plaintext": _text(opened)}})

    async def google_token(self, request: web.Request) -> web.Response:
        """POST token_uri, with a signed assertion (RFC 7523)."""
        form = await request.post()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        header, claims, signature = str(form["assertion"]).split(".")
        signed = f"{header}.{claims}".encode()
        self.keypair.public_key().verify(_url(signature), signed, padding.PKCS1v15(), hashes.SHA256())
        told = json.loads(_url(claims))
        assert json.loads(_url(header)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
        assert told["iss"] == "m@p.iam"
        assert told["aud"] == f"{self.url}/google/token"
        assert told["exp"] - told["iat"] == 3_600
        return self._given()

    async def google(self, request: web.Request) -> web.Response:
        """POST /v1/{name}:{encrypt,decrypt}."""
        if not self._is_bearer(request):
            return web.json_response({"error": {"code": 401, "status": "UNAUTHENTICATED"}}, status=401)
        name, _, verb = request.match_info["name"].rpartition(":")
        assert name == GCP_KEY
        question = await request.json()
        associated = _b64(question["additionalAuthenticatedData"])
        if verb == "encrypt":
            sealed = _text(self._sealed(_b64(question["plaintext"]), associated))
            return self._answer({"name": f"{name}/cryptoKeyVersions/7", "ciphertext": sealed})
        opened = self._opened(_b64(question["ciphertext"]), associated)
        if opened is None:
            error = {"code": 400, "message": "Decryption failed", "status": "INVALID_ARGUMENT"}
            return self._answer({"error": error}, 400)
        return self._answer({"plaintext": _text(opened), "usedPrimary": True})

    async def azure_token(self, request: web.Request) -> web.Response:
        """POST /{tenant}/oauth2/v2.0/token."""
        form = await request.post()
        assert form["grant_type"] == "client_credentials"
        assert form["scope"] == "https://vault.azure.net/.default"
        assert (form["client_id"], request.match_info["tenant"]) == ("client", "tenant")
        if form["client_secret"] != CLIENT_SECRET:
            return web.json_response({"error": "invalid_client"}, status=401)
        return self._given()

    async def azure_key(self, request: web.Request) -> web.Response:
        """GET /keys/{key}."""
        assert request.query["api-version"] == "7.4"
        kid = f"{self.url}/keys/k/{AZURE_VERSION}"
        return self._answer({"key": {"kid": kid, "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"]}})

    async def azure(self, request: web.Request) -> web.Response:
        """POST /keys/{key}/{version}/{wrapkey,unwrapkey}."""
        if not self._is_bearer(request):
            return web.json_response({"error": {"code": "Unauthorized"}}, status=401)
        assert request.match_info["version"] == AZURE_VERSION
        assert request.query["api-version"] == "7.4"
        question = await request.json()
        assert question["alg"] == "RSA-OAEP-256"
        value = _url(question["value"])
        try:
            wraps = request.match_info["verb"] == "wrapkey"
            made = self.keypair.public_key().encrypt(value, _OAEP) if wraps else self.keypair.decrypt(value, _OAEP)
        except ValueError:
            return self._answer({"error": {"code": "BadParameter", "message": "…"}}, 400)
        text = base64.urlsafe_b64encode(made).rstrip(b"=").decode()
        return self._answer({"kid": f"{self.url}/keys/k/{AZURE_VERSION}", "value": text})

    def _given(self) -> web.Response:
        self.tokens_given += 1
        return web.json_response({"access_token": self.access_token, "token_type": "Bearer", "expires_in": 3_599})

    def _is_bearer(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.access_token}"

    def _answer(self, body: dict[str, object], status: int = 200) -> web.Response:
        return web.json_response(body, status=status if self.status == 200 else self.status)

    def _sealed(self, plaintext: bytes, associated: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self.cipher.encrypt(nonce, plaintext, associated)

    def _opened(self, sealed: bytes, associated: bytes) -> bytes | None:
        try:
            return self.cipher.decrypt(sealed[:12], sealed[12:], associated)
        except (InvalidTag, ValueError):
            return None


@asynccontextmanager
async def started_clouds() -> AsyncIterator[Clouds]:
    """All three on one free port."""
    clouds = Clouds()
    app = web.Application()
    app.router.add_post("/v1/transit/{verb:encrypt|decrypt}/k", clouds.transit)
    app.router.add_post("/google/token", clouds.google_token)
    app.router.add_post("/v1/{name:projects/.*}", clouds.google)
    app.router.add_post("/{tenant}/oauth2/v2.0/token", clouds.azure_token)
    app.router.add_get("/keys/k", clouds.azure_key)
    app.router.add_post("/keys/k/{version}/{verb:wrapkey|unwrapkey}", clouds.azure)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clouds.port = runner.addresses[0][1]
    yield clouds
    await runner.cleanup()


def _b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _url(text: str) -> bytes:
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
