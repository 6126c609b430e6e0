"""Signatures of requests, read and held to the profile: pure, against the RFC's own examples and another library."""

import base64
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from service.access import signatures
from service.access.signatures import NotSigned, Target
from tests.access.signing import AUTHORITY, Signing, digest_of, new_signing
from tests.world import make_settings

# RFC 9421 appendix B.1.2, test-key-rsa-pss; B.1.4, test-key-ed25519; B.1.5, test-shared-secret.
RSA_PSS = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----"""
ED25519 = base64.b64decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")
SHARED = base64.b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")

DIGEST = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
RFC_REQUEST = Target(
    "POST",
    "example.com",
    "/foo",
    "param=Value&Pet=dog",
    {
        "date": ["Tue, 20 Apr 2021 02:07:55 GMT"],
        "content-type": ["application/json"],
        "content-digest": [DIGEST],
        "content-length": ["18"],
    },
)
"""RFC 9421 appendix B.2, test-request."""

# RFC 9421 appendices B.2.1, B.2.3, B.2.5 and B.2.6.
B21 = (
    'sig-b21=();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
    (
        "sig-b21=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsck"
        "zXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+"
        "O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLh"
        "dxO5Nyt8C8ssinQ98Xw9Q==:"
    ),
)
B23 = (
    (
        'sig-b23=("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length")'
        ';created=1618884473;keyid="test-key-rsa-pss"'
    ),
    (
        "sig-b23=:bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768"
        "ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9"
        "o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2"
        "FUo5fTIztsDZKEgM4cUA==:"
    ),
)
B25 = (
    'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
    "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
)
B26 = (
    (
        'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    ),
    "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
)


@pytest.mark.parametrize(("kind", "key", "vector"), [("hmac", SHARED, B25), ("ed25519", ED25519, B26)])
def test_the_rfcs_examples_of_our_algorithms_prove_good(kind: str, key: bytes, vector: tuple[str, str]) -> None:
    found = signatures.read(*vector)
    base = signatures.base(found, RFC_REQUEST)
    assert signatures.proves(kind, key, found, base)
    assert not signatures.proves(kind, key, found, base + b" ")
    assert not signatures.proves(kind, bytes([*key[:-1], key[-1] ^ 1]), found, base)


@pytest.mark.parametrize("vector", [B21, B23])
def test_the_bases_of_the_rfcs_other_examples_are_what_was_signed(vector: tuple[str, str]) -> None:
    found, key = signatures.read(*vector), load_pem_public_key(RSA_PSS.encode())
    assert isinstance(key, RSAPublicKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA512()), salt_length=64)
    key.verify(found.signature, signatures.base(found, RFC_REQUEST), pss, hashes.SHA512())


@pytest.mark.parametrize(
    "written",
    [
        # B.2.2 and B.2.4: components with parameters, and of an answer.
        'sig=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="k"',
        'sig=("@method" "content-type";bs);created=1618884473;keyid="k"',
        'sig=("@method" "@method");created=1',
        'sig=("@Method");created=1',
        'sig=("Content-Type");created=1',
        "sig=(@method);created=1",
        'sig=("@method");created="1"',
        'sig=("@method");created=01',
        'sig=("@method");created=-1',
        'sig=("@method");created=1.0',
        'sig=("@method");created=1;created=2',
        'sig=("@method");created=1;unknown=1',
        'sig=("@method");keyid=token',
        'sig=("@method");keyid="a\\"b"',
        'sig=("@method"),sig2=("@method")',
        'sig=("@method"), ',
        'Sig=("@method")',
        '("@method")',
        "sig=",
        "",
        'sig=("@method"',
        'sig=("@method")\u00a0',
        'sig=("@method")\x00',
        "sig=(" + " ".join(f'"a{index}"' for index in range(21)) + ")",
        'sig=("@method");keyid="' + "a" * 5_000 + '"',
    ],
)
def test_what_the_profile_does_not_know_is_refused(written: str) -> None:
    with pytest.raises(NotSigned):
        signatures.read(written, "sig=:AAAA:")


@pytest.mark.parametrize(
    "proof",
    ["sig=:AAA:", "sig=AAAA", "sig=:AAAA:, sig2=:AAAA:", "other=:AAAA:", "sig=:AA-_:", "sig=::", "sig=:AAAA:;a"],
)
def test_a_signature_is_one_of_the_same_label(proof: str) -> None:
    with pytest.raises(NotSigned):
        signatures.read('sig=("@method");created=1', proof)


@given(st.text(max_size=300), st.text(max_size=100))
def test_garbage_is_refused_and_nothing_else_happens(written: str, proof: str) -> None:
    with pytest.raises(NotSigned):
        signatures.read(written, proof)


@given(st.text('sig=("@method);created123,: \\', max_size=120))
def test_what_is_nearly_a_signature_is_read_or_refused(written: str) -> None:
    try:
        found = signatures.read(written, "sig=:AAAA:")
    except NotSigned:
        return
    assert signatures.read(f"sig={found.written}", "sig=:AAAA:") == found


class Known(HTTPSignatureKeyResolver):
    """The keys of one credential, for the library."""

    def __init__(self, signing: Signing) -> None:
        private: Any = signing.secret
        self.public = private
        if signing.kind == "ed25519":
            private = Ed25519PrivateKey.from_private_bytes(signing.secret)
            self.public = private.public_key()
        self.private = private

    def resolve_public_key(self, key_id: str) -> Any:
        return self.public

    def resolve_private_key(self, key_id: str) -> Any:
        return self.private


BODY = b'{"to":"0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A","amount":"1000"}'
PATH = "/v1/tokens/a%20b/transfer"
ALGORITHMS = {"ed25519": algorithms.ED25519, "hmac": algorithms.HMAC_SHA256}
TARGET_HEADERS = {"content-type": "application/json", "idempotency-key": "k-1", "content-digest": digest_of(BODY)}


def target_of(headers: Mapping[str, str], path: str = PATH, query: str = "wait=0") -> Target:
    return Target("POST", AUTHORITY, path, query, {name.lower(): [value] for name, value in headers.items()})


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_request_that_another_library_signed_proves_good(kind: str) -> None:
    signing = new_signing(kind)
    sent = {name: value for name, value in TARGET_HEADERS.items() if name != "content-digest"}
    message = SimpleNamespace(method="POST", url=f"http://{AUTHORITY}{PATH}?wait=0", headers=sent)
    signer = HTTPMessageSigner(signature_algorithm=ALGORITHMS[kind], key_resolver=Known(signing))
    covered = ("@method", "@authority", "@path", "@query", "content-type", "idempotency-key")
    told: dict[str, Any] = {"nonce": "n" * 22, "tag": "muniment-1", "covered_component_ids": covered}
    signer.sign(message, key_id=signing.key_id, body=BODY, **told)
    found = signatures.read(message.headers["Signature-Input"], message.headers["Signature"])
    key = signing.public_key if kind == "ed25519" else signing.secret
    assert signatures.proves(kind, key, found, signatures.base(found, target_of(message.headers)))


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_what_we_take_for_good_another_library_does_too(kind: str) -> None:
    signing = new_signing(kind)
    headers = signing.headers("POST", f"{PATH}?wait=0", BODY, headers=TARGET_HEADERS)
    found, target = signatures.read(headers["signature-input"], headers["signature"]), target_of(headers)
    signatures.insist_on_profile(found, target, wallet=False, has_body=True)
    key = signing.public_key if kind == "ed25519" else signing.secret
    assert signatures.proves(kind, key, found, signatures.base(found, target))
    message = SimpleNamespace(method="POST", url=f"http://{AUTHORITY}{PATH}?wait=0", headers=headers)
    verifier = HTTPMessageVerifier(signature_algorithm=ALGORITHMS[kind], key_resolver=Known(signing))
    (result,) = verifier.verify(message, expect_tag="muniment-1", body=BODY)
    assert result.parameters["keyid"] == signing.key_id


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    signing = new_signing("ed25519")
    forger = Signing("hmac", signing.key_id, signing.public_key)
    for said in ("ed25519", "hmac-sha256", None):
        headers = forger.but(alg=said).headers("GET", "/v1/status")
        found = signatures.read(headers["signature-input"], headers["signature"])
        base = signatures.base(found, Target("GET", AUTHORITY, "/v1/status", "", {}))
        assert not signatures.proves("ed25519", signing.public_key, found, base)
        assert signatures.proves("hmac", signing.public_key, found, base) == (said in (None, "hmac-sha256"))


@pytest.mark.parametrize("left_out", ["@method", "@authority", "@path", "@query", *TARGET_HEADERS])
def test_a_signature_that_covers_too_little_is_refused(left_out: str) -> None:
    made = new_signing()
    fewer = Signing(made.kind, made.key_id, made.secret, components=[n for n in made.components if n != left_out])
    headers = fewer.headers("POST", f"{PATH}?wait=0", BODY, headers=TARGET_HEADERS)
    found = signatures.read(headers["signature-input"], headers["signature"])
    with pytest.raises(NotSigned, match="too little"):
        signatures.insist_on_profile(found, target_of(headers), wallet=False, has_body=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"tag": None},
        {"tag": "muniment-2"},
        {"nonce": None},
        {"nonce": "a" * 21},
        {"nonce": "a" * 65},
        {"nonce": "a" * 21 + "="},
        {"created": None},
        {"expires": None},
        {"created": 1_000, "expires": 1_000},
        {"created": 1_000, "expires": 999},
        {"created": 1_000, "expires": 1_121},
        {"created": 0, "expires": 60},
    ],
)
def test_a_signature_that_says_too_little_is_refused(changed: dict[str, Any]) -> None:
    headers = new_signing().but(**changed).headers("GET", "/v1/status")
    found = signatures.read(headers["signature-input"], headers["signature"])
    with pytest.raises(NotSigned):
        signatures.insist_on_profile(found, target_of({}, "/v1/status", ""), wallet=False, has_body=False)


def test_a_wallet_needs_no_tag_and_names_no_algorithm() -> None:
    wallet, target = new_signing("wallet"), target_of({}, "/v1/status", "")
    for changed, good in (({"tag": None}, True), ({}, True), ({"tag": "other"}, False), ({"alg": "ed25519"}, False)):
        headers = wallet.but(**changed).headers("POST", "/v1/status")
        found = signatures.read(headers["signature-input"], headers["signature"])
        if good:
            signatures.insist_on_profile(found, target, wallet=True, has_body=False)
        else:
            with pytest.raises(NotSigned):
                signatures.insist_on_profile(found, target, wallet=True, has_body=False)


@pytest.mark.parametrize(
    ("header", "fits"),
    [
        (digest_of(b"a"), True),
        (digest_of(b"a", "sha-512"), True),
        (f"{digest_of(b'a')}, {digest_of(b'a', 'sha-512')}", True),
        (f"{digest_of(b'a')}, unknown=:AAAA:", True),
        (f"{digest_of(b'a')}, {digest_of(b'b', 'sha-512')}", False),
        (f"{digest_of(b'a')}, {digest_of(b'a')}", False),
        (digest_of(b"b"), False),
        (digest_of(b"a", "md5"), False),
        (f"{digest_of(b'a')},", False),
        (digest_of(b"a").upper(), False),
        (digest_of(b"a").replace("=:", "=", 1), False),
        ("sha-256=::", False),
        ("", False),
    ],
)
def test_content_has_every_digest_that_is_told_and_known(header: str, fits: bool) -> None:
    assert signatures.fits_digest(header, b"a") is fits


def test_a_field_of_several_lines_is_signed_as_one() -> None:
    target = Target("GET", "api", "", "", {"x": [" a ", "b"]})
    found = signatures.read('s=("@path" "@query" "x");created=1', "s=:AAAA:")
    assert signatures.base(found, target) == (
        b'"@path": /\n"@query": ?\n"x": a, b\n"@signature-params": ("@path" "@query" "x");created=1'
    )


@pytest.mark.parametrize("value", ["a\nb", "a\r", "caf\u00e9"])
def test_a_component_is_one_line_of_ascii(value: str) -> None:
    found = signatures.read('s=("x");created=1', "s=:AAAA:")
    with pytest.raises(NotSigned):
        signatures.base(found, Target("GET", "api", "/", "", {"x": [value]}))


@pytest.mark.parametrize(
    ("given", "authority"),
    [
        ({}, "127.0.0.1:8000"),
        ({"api_host": "::1", "api_port": 80}, "[::1]"),
        ({"public_url": "https://API.example.com"}, "api.example.com"),
        ({"public_url": "https://api.example.com:443"}, "api.example.com"),
        ({"public_url": "http://api.example.com:8080"}, "api.example.com:8080"),
        ({"public_url": "https://[2001:db8::1]:8443"}, "[2001:db8::1]:8443"),
    ],
)
def test_the_authority_is_what_the_settings_say(given: dict[str, Any], authority: str, tmp_path: Path) -> None:
    url = SecretStr("postgresql://nobody@nowhere/none")
    assert make_settings(url, "http://127.0.0.1:1", tmp_path, **given).authority == authority


@pytest.mark.parametrize(
    "url", ["api.example.com", "https://a/b", "https://u:p@a", "ftp://a", "https://a:b", "https://"]
)
def test_a_public_url_is_an_origin(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="without a path"):
        make_settings(SecretStr("postgresql://nobody@nowhere/none"), "http://127.0.0.1:1", tmp_path, public_url=url)
