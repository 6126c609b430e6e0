"""Signatures of requests: RFC 9421's own vectors, another implementation's judgement, and wallets."""

import base64
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_account import Account
from eth_account.messages import encode_defunct
from http_message_signatures import HTTPMessageSignaturesException
from hypothesis import given
from hypothesis import strategies as st

from service.client.credentials import BearerCredential, Ed25519Credential, HmacCredential, WalletCredential
from service.client.problems import Unusable
from service.client.signing import Message, content_digest, parameters, signature_base
from tests.client.servers import Heard, verified

# RFC 9421 appendices B.1.4, B.1.5 and B.2.
ED25519_PEM = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""
SHARED_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
RFC_REQUEST = Message(
    "POST",
    "https://example.com/foo?param=Value&Pet=dog",
    {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "content-type": "application/json",
        "content-length": "18",
    },
    None,
)
HMAC_VECTOR = (
    ("date", "@authority", "content-type"),
    "test-shared-secret",
    "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
)
ED25519_VECTOR = (
    ("date", "@method", "@path", "@authority", "content-type", "content-length"),
    "test-key-ed25519",
    "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "https://api.example.com"


def ed25519() -> Ed25519Credential:
    return Ed25519Credential("Ed9KpQ2mZr1", bytes(range(32)))


def sent(credential: Any, url: str, body: bytes | None, **headers: str) -> Heard:
    """A request as it would be heard."""
    known = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        known["content-type"] = "application/json"
    added = credential.headers(Message("POST", url, known, body), time.time())
    lower = {name.lower(): value for name, value in added.items()}
    return Heard("POST", url.removeprefix(ORIGIN), {**known, **lower}, body or b"", 0)


@pytest.mark.parametrize(
    ("vector", "credential"),
    [
        (HMAC_VECTOR, HmacCredential("test-shared-secret", SHARED_SECRET)),
        (ED25519_VECTOR, Ed25519Credential("test-key-ed25519", ED25519_PEM)),
    ],
    ids=["B.2.5", "B.2.6"],
)
def test_the_vectors_of_rfc_9421(vector: tuple[tuple[str, ...], str, str], credential: Any) -> None:
    covered, key_id, signature = vector
    params = parameters(covered, {"created": 1618884473, "keyid": key_id})
    assert base64.b64encode(credential._sign(signature_base(RFC_REQUEST, covered, params))).decode() == signature


def test_the_digest_of_rfc_9530() -> None:
    # Appendix B.1 of RFC 9530.
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


@pytest.mark.parametrize("url", ["/v1/assets", "/v1/assets?limit=2&name=a%20b", "/v1/%7Bx%7D/a+b?", "/"])
@pytest.mark.parametrize("body", [None, b"{}", b'{"to": "\xc3\xa9"}'])
def test_another_implementation_accepts_what_is_signed(url: str, body: bytes | None) -> None:
    for credential, key in (
        (ed25519(), KEY.public_key()),
        (HmacCredential("AxO7whPXdOT", bytes(range(32))), bytes(range(32))),
    ):
        heard = sent(credential, ORIGIN + url, body, idempotency_key="mint-1")
        found = verified(heard, ORIGIN, key)
        assert found["expires"] == found["created"] + 60
        assert 0 <= time.time() - found["created"] < 10
        assert re.fullmatch(r"[A-Za-z0-9_-]{22}", found["nonce"])


def test_another_implementation_refuses_what_was_changed() -> None:
    heard = sent(ed25519(), f"{ORIGIN}/v1/assets?limit=2", b'{"a": 1}', idempotency_key="mint-1")
    changed: list[Callable[[], Heard]] = [
        lambda: Heard("PUT", heard.path, heard.headers, heard.body, 0),
        lambda: Heard("POST", "/v1/assets?limit=3", heard.headers, heard.body, 0),
        lambda: Heard("POST", "/v1/tokens?limit=2", heard.headers, heard.body, 0),
        lambda: Heard("POST", heard.path, heard.headers, b'{"a": 2}', 0),
        lambda: Heard("POST", heard.path, {**heard.headers, "idempotency-key": "mint-2"}, heard.body, 0),
        lambda: Heard("POST", heard.path, {**heard.headers, "content-type": "text/csv"}, heard.body, 0),
    ]
    verified(heard, ORIGIN, KEY.public_key())
    for each in changed:
        with pytest.raises(HTTPMessageSignaturesException):
            verified(each(), ORIGIN, KEY.public_key())
    with pytest.raises(HTTPMessageSignaturesException):
        verified(heard, "https://elsewhere.example.com", KEY.public_key())


def test_a_signature_covers_all_that_the_profile_wants_in_its_order() -> None:
    whole = sent(ed25519(), f"{ORIGIN}/v1/assets", b"{}", idempotency_key="k").headers["signature-input"]
    assert whole.startswith(
        'sig1=("@method" "@authority" "@path" "@query" "content-digest" "content-type" "idempotency-key");created='
    )
    assert re.search(
        r'created=(\d+);expires=\d+;nonce="[^"]{22}";keyid="Ed9KpQ2mZr1";alg="ed25519";tag="muniment-1"$', whole
    )
    bare = sent(ed25519(), f"{ORIGIN}/v1/assets", None).headers["signature-input"]
    assert bare.startswith('sig1=("@method" "@authority" "@path" "@query");')


@given(
    port=st.sampled_from(["", ":443", ":8443"]), host=st.sampled_from(["api.example.com", "API.Example.com", "[::1]"])
)
def test_an_authority_is_in_lower_case_and_without_the_usual_port(port: str, host: str) -> None:
    base = signature_base(Message("GET", f"https://{host}{port}/", {}, None), ["@authority"], "()").decode()
    assert base.splitlines()[0] == f'"@authority": {host.lower()}{port if port == ":8443" else ""}'


def test_no_two_signatures_have_one_nonce() -> None:
    inputs = {sent(ed25519(), f"{ORIGIN}/v1/assets", b"{}").headers["signature-input"] for _ in range(100)}
    assert len(inputs) == 100


def test_a_wallet_signs_as_erc_8128_has_it() -> None:
    account = Account.from_key(bytes([7]) * 32)
    credential = WalletCredential.of_private_key(1, bytes([7]) * 32)
    heard = sent(credential, f"{ORIGIN}/v1/assets", b"{}")
    found = heard.headers["signature-input"]
    params = found.removeprefix("eth=")
    assert f'keyid="erc8128:1:{account.address.lower()}"' in params
    assert "alg=" not in params
    covered = re.findall(r'"([^"]+)"', params.split(")")[0])
    message = Message("POST", f"{ORIGIN}/v1/assets", heard.headers, None)
    signature = base64.b64decode(heard.headers["signature"].removeprefix("eth=:").removesuffix(":"))
    text = encode_defunct(signature_base(message, covered, params))
    assert Account.recover_message(text, signature=signature) == account.address


def test_a_wallet_signs_through_whatever_holds_its_key() -> None:
    asked: list[bytes] = []

    def sign(text: bytes) -> bytes:
        asked.append(text)
        return b"\x01" * 65

    heard = sent(WalletCredential(10, "0x" + "Ab" * 20, sign), f"{ORIGIN}/v1/assets", None)
    assert asked[0].startswith(b'"@method": POST\n"@authority": api.example.com\n')
    assert heard.headers["signature"] == f"eth=:{base64.b64encode(bytes([1]) * 65).decode()}:"


def test_what_is_no_credential_is_told_without_its_secret() -> None:
    rsa = "-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----\n"
    makers: list[Callable[[], Any]] = [
        lambda: BearerCredential("munsk_test_two\nlines"),
        lambda: Ed25519Credential("key", b"short secret"),
        lambda: Ed25519Credential("key", rsa),
        lambda: Ed25519Credential("two words", bytes(32)),
        lambda: HmacCredential("key", b""),
        lambda: HmacCredential("key", "short secret"),
        lambda: WalletCredential(1, "0x12", lambda text: text),
        lambda: WalletCredential.of_private_key(1, b"short secret"),
    ]
    for make in makers:
        with pytest.raises(Unusable) as refused:
            make()
        assert not re.search(r"lines|nothing|short", str(refused.value))


def test_no_credential_shows_its_secret() -> None:
    for credential in (
        BearerCredential("munsk_test_secret"),
        ed25519(),
        HmacCredential("key", b"munsk_test_secret"),
        WalletCredential.of_private_key(1, bytes([7]) * 32),
    ):
        assert "secret" not in repr(credential)
        assert (bytes([7]) * 32).hex() not in repr(credential)
